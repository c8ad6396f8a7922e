"""The package, one a bit older, and fresh systems for them."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from debian import build
from tests.packaging.released import Released
from tests.packaging.root import SYSTEMS, TOP, Root, need, run

OLDER = "0.0.1"
GONE = "usr/lib/dialplan-sms/lib/python3/site-packages/dialplan_sms/gone.py"
"""A module of the older package."""


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this tree, as an admin makes it."""
    folder = tmp_path_factory.mktemp("deb")
    printed = run("make", "--silent", "-C", TOP, "deb", f"DIST={folder}", seconds=600)
    (made,) = folder.glob("*.deb")
    said, _, install = printed.partition(": ")
    assert (said, shlex.split(install)) == ("To install it, as root", ["apt", "install", str(made)])
    return made


@pytest.fixture(scope="session")
def older(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with a lower version, one module more and another extensions-sms.conf."""
    folder = tmp_path_factory.mktemp("older")
    root = folder / "root"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, root], check=True)
    control = root / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {OLDER}", control.read_text()))
    (root / GONE).write_text("")
    with (root / build.CONFFILE).open("a") as conf:
        conf.write("; an older one\n")
    return build.pack(root, folder / "older.deb", "-Znone")


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """The sources of 0.1.0."""
    return Released(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="session")
def released_deb(released: Released, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of 0.1.0, made by its own build."""
    return released.deb(tmp_path_factory.mktemp("released-deb"))


@pytest.fixture(params=SYSTEMS, scope="module")
def root(request: pytest.FixtureRequest) -> Iterator[Root]:
    """A fresh system; Debian 12 has no Asterisk, the other has its own."""
    need()
    with closing(Root(request.param)) as root:
        yield root
