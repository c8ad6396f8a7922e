"""Debian's Asterisk packages without root: downloaded by an apt of our own, unpacked to a folder.

The apt here has its own sources, state and cache, and trusts the Debian archive's keys alone.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.asterisk.installation import AsteriskUnavailable

MIRROR_VARIABLE = "DIALPLAN_SMS_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

Say = Callable[[str], None]

# Asterisk wants these, but a test bed never uses them; apt is told that they are there already.
_NOT_FETCHED = ("adduser", "asterisk-core-sounds-en", "debconf", "lsb-base", "perl-base", "tzdata")
_MODULES = ("asterisk-modules", "asterisk-config")
_NOT_UNPACKED = ("doc", "locale", "man", "lintian", "bug", "zoneinfo", "asterisk/sounds")


def mirror() -> str:
    """The Debian mirror that this host's own apt uses, or the one set in the environment."""
    chosen = os.environ.get(MIRROR_VARIABLE)
    if chosen:
        return chosen.rstrip("/")
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise AsteriskUnavailable(
                f"no {tool} here to fetch Asterisk with: "
                "set DIALPLAN_SMS_ASTERISK to an installed asterisk"
            )
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)",
         "Origin: Debian", "Component: main", "Created-By: Packages"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    sites = [line.split() for line in listing.stdout.splitlines() if line.strip()]
    for site, *codename in sites:
        # The security archive is a site of its own and carries none of the suites fetched here.
        if not any("-" in name for name in codename):
            return site.rstrip("/")
    raise AsteriskUnavailable(
        f"apt on this host knows no Debian mirror (or its lists are empty): set {MIRROR_VARIABLE} "
        "to one, or DIALPLAN_SMS_ASTERISK to an installed asterisk"
    )


class Apt:
    """apt-get over one suite, with everything that it writes in one folder."""

    def __init__(self, folder: Path, site: str, suite: str) -> None:
        if not KEYRING.exists():
            raise AsteriskUnavailable(f"{KEYRING} is missing: install debian-archive-keyring")
        self.folder = folder
        self.archives = folder / "cache/archives"
        self.status = folder / "status"
        for place in ("state/lists/partial", "cache/archives/partial", "parts"):
            (folder / place).mkdir(parents=True)
        self.preferences = folder / "preferences"
        self.status.touch()
        self.preferences.touch()
        sources = folder / "sources.list"
        sources.write_text(f"deb [signed-by={KEYRING}] {site} {suite} main\n")
        options = {
            "Dir::State": folder / "state",
            "Dir::State::status": self.status,
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": folder / "parts",
            "Dir::Etc::preferences": self.preferences,
            "Dir::Etc::preferencesparts": folder / "parts",
            "Dir::Log": folder,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",  # as root: _apt could not write into our folder
            "APT::Get::Assume-Yes": "true",
            "APT::Get::AllowUnauthenticated": "false",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::Languages": "none",
            "Acquire::PDiffs": "false",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "20",
            "Debug::NoLocking": "true",
        }
        self._options = [f"-o{name}={value}" for name, value in options.items()]

    def run(self, *arguments: str, tool: str = "apt-get") -> str:
        """What apt printed; AsteriskUnavailable with its first error where it failed."""
        done = subprocess.run(
            [tool, *self._options, *arguments],
            cwd=self.archives, env=os.environ | {"LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        complaints = re.findall(r"^(?:E|W|Err:\d+): ?(.+)", done.stderr, re.MULTILINE)
        # `update` succeeds without an index that it could not get, and says so in a warning.
        missing = any(complaint.startswith("Failed to fetch") for complaint in complaints)
        if done.returncode or missing:
            reason = complaints[0] if complaints else f"exit {done.returncode}"
            raise AsteriskUnavailable(
                f"apt {arguments[0]}: {' '.join(reason.split())} "
                f"(another mirror can be set in {MIRROR_VARIABLE})"
            )
        return done.stdout

    def pretend(self, packages: Mapping[str, str]) -> None:
        """Let apt take these packages for installed, at these versions."""
        self.status.write_text(
            "".join(
                f"Package: {name}\nStatus: install ok installed\nVersion: {version}\n"
                "Architecture: all\nMaintainer: nobody\nDescription: not used here\n\n"
                for name, version in packages.items()
            )
        )
        # Without this, apt replaces them by the archive's packages of the same version.
        self.preferences.write_text(
            f"Package: {' '.join(packages)}\nPin: release o=Debian\nPin-Priority: -1\n"
        )


def download(folder: Path, site: str, suite: str, say: Say) -> list[Path]:
    """Asterisk's packages of a suite, with the libraries that the tests' modules need."""
    apt = Apt(folder, site, suite)
    say(f"reading the package lists of Debian {suite} ({site})")
    apt.run("update")
    record = apt.run("show", "--no-all-versions", "asterisk-modules", tool="apt-cache")
    version = _field(record, "Version")
    say(f"downloading Asterisk {version}")
    # asterisk-modules depends on what all 350 modules need, four times what ours do: it comes on
    # its own, with libcurl alone of its dependencies, and apt is told that it is there already.
    apt.run("download", "asterisk-modules")
    libcurl = re.findall(r"\blibcurl[\w.+-]*", _field(record, "Depends"))
    apt.pretend(dict.fromkeys(_NOT_FETCHED, "99:0") | dict.fromkeys(_MODULES, version))
    apt.run("install", "--download-only", "asterisk", *libcurl[:1])
    return sorted(apt.archives.glob("*.deb"))


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Unpack packages side by side, without what only people read."""
    root.mkdir()
    skipped = [f"--exclude=./usr/share/{name}" for name in _NOT_UNPACKED]

    def one(package: Path) -> None:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
        ) as archive:
            subprocess.run(
                ["tar", "-x", "--no-same-owner", "--no-same-permissions", "-C", str(root),
                 *skipped],
                stdin=archive.stdout, check=True,
            )  # fmt: skip
        if archive.returncode:
            raise AsteriskUnavailable(f"{package.name} cannot be unpacked")

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(one, packages))


def _field(record: str, name: str) -> str:
    found = re.search(rf"^{name}: (.+)$", record, re.MULTILINE)
    if found is None:
        raise AsteriskUnavailable(f"Debian's asterisk-modules has no {name}")
    return found[1]
