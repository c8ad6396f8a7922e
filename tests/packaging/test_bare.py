"""What the README's "Try it" promises, on a bare Debian 12: its packages, its two commands."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.packaging.root import BARE, TOP, Root, need, run
from tests.pages import README

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TRY_IT = re.findall(r"(?ms)^## Try it$.*?(?=^## )", README)[0]
PACKAGES = re.findall(r"`([^`]+)`", re.findall(r"(?m)^Needs .* a network", TRY_IT)[0])
COMMANDS = re.findall(r"(?m)^\| `make (\w+)` \|", TRY_IT)
USER = "tryer"
HOME = f"home/{USER}"
REACH = ("/etc/hosts", "/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""How this host reaches a network, and whom it trusts there."""
VARIABLES = ("PIP_CERT", "PIP_INDEX_URL", "DIALPLAN_SMS_DEBIAN_MIRROR")
SETTINGS = {
    name: value
    for name, value in os.environ.items()
    if name in VARIABLES or name.lower().endswith("_proxy")
}


class Bare(Root):
    """A system that shares the host's network, for one who has just cloned the project."""

    NETWORK = ()
    BEGIN = """
        mount -t proc proc "$0/proc"
        mount -t tmpfs -o mode=1777 tmpfs "$0/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=666 devpts "$0/dev/pts"
        echo ready; read -r line
    """


@pytest.fixture
def bare() -> Iterator[Bare]:
    """With README's packages, and a clone of this project in the home of an ordinary user."""
    need()
    with closing(Bare(BARE)) as root:
        _share(root.path)
        install = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends")
        root.run("apt-get", "update", "--quiet", seconds=300, **SETTINGS)
        root.run(*install, *PACKAGES, seconds=300, **SETTINGS)
        _share(root.path)
        root.run("useradd", "--create-home", USER)
        _clone(root.path / HOME / "dialplan-sms")
        root.run("chown", "--recursive", f"{USER}:{USER}", f"/{HOME}")
        yield root


def test_what_the_readme_names_is_enough(bare: Bare) -> None:
    assert COMMANDS == ["demo", "test"]
    for command in COMMANDS:
        make = ("make", "-C", f"/{HOME}/dialplan-sms", command)
        bare.run(*make, user=USER, seconds=1200, HOME=f"/{HOME}", **SETTINGS)


def _share(root: Path) -> None:
    """Hand over how this host reaches a network, as far as there is a folder for it yet."""
    for path in map(Path, REACH):
        there = root / path.relative_to("/")
        if path.exists() and there.parent.exists():
            shutil.copy(path, there)
    shutil.copytree("/etc/apt/apt.conf.d", root / "etc/apt/apt.conf.d", dirs_exist_ok=True)


def _clone(there: Path) -> None:
    """The project as it is in the working tree: a change has to pass before it is committed.

    Without new files that git does not know yet: who clones would not get these either.
    """
    changed = _git(TOP, "stash", "create")
    _git(TOP, "clone", "--quiet", "--no-checkout", TOP, there)
    _git(there, "checkout", "--quiet", "--detach", changed or _git(TOP, "rev-parse", "HEAD"))


def _git(folder: Path, *command: str | Path) -> str:
    return run("git", "-C", folder, *command).strip()
