"""From a fresh Debian to an SMS in the sandbox: the package, setup, and a call on Asterisk."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.asterisk.etc import MODULES
from tests.asterisk.fetch import fetch
from tests.packaging.root import SYSTEMS, Root

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LONGEST = 300
"""Seconds of machine time, from the fresh system to the SMS."""
TAKEN = "tmp/taken.jsonl"
EXTENSION = """
[sms-test]
exten => 701,1,Answer()
 same => n,Set(TEXT=Hello from the dialplan, it works :) 100%)
 same => n,Gosub(sub-sms,s,1(+39333123456,TEXT))
 same => n,Hangup()
"""


def test_a_new_admin_sends(root: Root, deb: Path) -> None:
    began = time.monotonic()
    if "asterisk" not in SYSTEMS[root.suite]:
        put_asterisk(root)
    root.install(deb)
    with ExitStack() as stack:
        printed = stack.enter_context(
            root.start("dialplan-sms", "sandbox", "--record", f"/{TAKEN}", user="asterisk")
        )
        shown = "".join(until(printed, "verify = "))
        url, fingerprint = (re.findall(rf"{key} = (\S+)", shown)[0] for key in ("url", "verify"))
        stack.enter_context(asterisk(root))
        said = root.run(
            "dialplan-sms", "setup", "--yes", "--url", url, "--sender", "101", "--country", "IT",
            "--password-file", "-", "--fingerprint", fingerprint, stdin="sms101api\n",
        )  # fmt: skip
        assert ".new" not in said
        with (root.path / "etc/asterisk/extensions.conf").open("a") as extensions:
            extensions.write(EXTENSION)
        root.run("asterisk", "-rx", "dialplan reload")
        root.run("asterisk", "-rx", "channel originate Local/701@sms-test application Wait 5")
        taken = root.path / TAKEN
        deadline = time.monotonic() + 30
        while not taken.read_text().endswith("\n"):
            assert time.monotonic() < deadline, "no SMS came"
            time.sleep(0.05)
    (message,) = map(json.loads, taken.read_text().splitlines())
    assert "Hello from the dialplan, it works :) 100%" in message.values()
    assert time.monotonic() - began < LONGEST


def until(lines: IO[str], word: str) -> Iterator[str]:
    """The lines up to the one with *word*."""
    for line in lines:
        yield line
        if word in line:
            return


@contextmanager
def asterisk(root: Root) -> Iterator[None]:
    """Asterisk, booted."""
    root.run("install", "-d", "-o", "asterisk", "-g", "asterisk", "/run/asterisk")
    with root.start("asterisk", "-f", "-U", "asterisk", "-G", "asterisk"):
        deadline = time.monotonic() + 60
        ask = ("asterisk", "-rx", "core waitfullybooted")
        while "fully booted" not in (said := root.try_run(*ask)).stdout:
            assert time.monotonic() < deadline, said.stdout + said.stderr
            time.sleep(0.1)
        yield


def put_asterisk(root: Root) -> None:
    """Debian 12 has none of its own: the one that other tests use, where it finds its files."""
    there = fetch(22)
    assert there.root is not None
    shutil.copytree(there.root, root.path / "opt/asterisk", symlinks=True)

    def inside(path: Path | str) -> str:
        return str(path).replace(str(there.root), "/opt/asterisk")

    words = " ".join(inside(word) for word in there.command)
    root.write("/usr/sbin/asterisk", f'#!/bin/sh\nexec {words} "$@"\n', 0o755)
    places = {
        "etcdir": "/etc/asterisk", "moddir": inside(there.modules), "datadir": inside(there.data),
        "agidir": "/usr/share/asterisk/agi-bin", "rundir": "/run/asterisk",
        "spooldir": "/var/spool/asterisk", "logdir": "/var/log/asterisk",
        "varlibdir": "/var/lib/asterisk", "dbdir": "/var/lib/asterisk", "keydir": "/var/lib/asterisk",
    }  # fmt: skip
    lines = "".join(f"ast{name} => {path}\n" for name, path in places.items())
    root.write("/etc/asterisk/asterisk.conf", f"[directories]\n{lines}", 0o644)
    loads = "".join(f"load = {name}.so\n" for name in [*MODULES, "res_clioriginate"])
    root.write("/etc/asterisk/modules.conf", f"[modules]\nautoload = no\n{loads}", 0o644)
    root.write("/etc/asterisk/extensions.conf", "[general]\nstatic = yes\n", 0o644)
    for folder in ("/var/lib/asterisk", "/var/log/asterisk", "/var/spool/asterisk"):
        root.run("install", "-d", "-m", "0777", folder)
