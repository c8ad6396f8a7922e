"""The outbox's tests on each PostgreSQL that Debian has, unpacked without root: some 15 minutes.

``python -m pytest tests/unit/outbox/postgresql_versions.py``; the other tests run on the host's own.
"""

import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.asterisk import debian
from tests.asterisk.fetch import cache_folder
from tests.asterisk.installation import AsteriskUnavailable, libraries
from tests.postgres import PROGRAMS_VARIABLE

SUITES = {13: "bullseye", 15: "bookworm", 17: "trixie", 18: "forky"}
HERE = Path(__file__)
_PROGRAMS = ("initdb", "pg_basebackup", "postgres")
# PostgreSQL's packages want these, but the programs do without.
_NOT_FETCHED = (
    "adduser", "debconf", "locales", "lsb-base", "perl", "perl-base", "postgresql-client-common",
    "postgresql-common", "ssl-cert", "tzdata",
)  # fmt: skip


@contextmanager
def programs(version: int) -> Iterator[Path]:
    """The folder of a version's programs, which every user can run. Raises AsteriskUnavailable."""
    packages = _packages(version)
    with tempfile.TemporaryDirectory(prefix="postgresql-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        root = Path(folder) / "root"
        debian.unpack(packages, root)
        programs = root / f"usr/lib/postgresql/{version}/bin"
        for name in _PROGRAMS:  # one runs another by its path
            file = programs / name
            file.rename(f"{file}.real")
            file.write_text(f'#!/bin/sh\nexec {shlex.join(libraries(root))} "$0.real" "$@"\n')
            file.chmod(0o755)
        yield programs


def _packages(version: int) -> list[Path]:
    """From the cache, or downloaded to it first."""
    kept = cache_folder() / f"postgresql-{version}-{platform.machine()}-1"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{kept.name}.part-", dir=kept.parent) as part:
            apt = debian.Apt(Path(part) / "apt", debian.mirror(), SUITES[version])
            apt.run("update")
            name = f"postgresql-{version}"
            record = apt.run("show", "--no-all-versions", name, tool="apt-cache")
            llvm = re.findall(r"\blibllvm\w+", record)  # large, and without jit not loaded
            apt.pretend(dict.fromkeys((*_NOT_FETCHED, *llvm), "99:0"))
            apt.run("install", "--download-only", name)
            apt.archives.rename(kept)
    return sorted(kept.glob("*.deb"))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", SUITES)
def test_the_outbox_keeps_its_promises_on(version: int) -> None:
    command = ["-m", "pytest", "-m", "slow", "-n", "2", "--dist", "loadfile", str(HERE.parent)]
    try:
        with programs(version) as folder:
            told = subprocess.run([folder / "postgres", "-V"], capture_output=True, text=True)
            assert f"(PostgreSQL) {version}." in told.stdout, told.stderr
            done = subprocess.run(
                [sys.executable, *command, "-p", "no:cacheprovider"],
                env=os.environ | {PROGRAMS_VARIABLE: str(folder)},
                cwd=HERE.parents[3], capture_output=True, text=True,
            )  # fmt: skip
    except AsteriskUnavailable as error:
        pytest.fail(f"no PostgreSQL {version}: {error}", pytrace=False)
    print(f"\n{told.stdout.strip()}: {done.stdout.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-5000:]
