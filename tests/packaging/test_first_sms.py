"""From a fresh Debian to an SMS in the sandbox: the package, setup, and a call on Asterisk."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from tests import waiting
from tests.asterisk.etc import MODULES
from tests.asterisk.fetch import fetch
from tests.packaging.root import SYSTEMS, Root
from tests.pages import blocks, shell_lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LONGEST = 300
"""Seconds of machine time, from the fresh system to the SMS."""
TAKEN = "tmp/taken.jsonl"


def shown(start: str, *pages: str) -> str:
    """The one line that begins so in the shell blocks of *pages*, of all if none is named."""
    (line,) = {line for line in shell_lines(*pages) if line.startswith(start)}
    return line


def front_page(start: str) -> str:
    return shown(start, "README.md")


def test_a_new_admin_sends(root: Root, deb: Path) -> None:
    """With what the front page says, and setup unattended; its PBX is the stand-in."""
    began = time.monotonic()
    if "asterisk" not in SYSTEMS[root.suite]:
        put_asterisk(root)
    assert front_page("apt install ./dialplan-sms_").split("_")[0].endswith("dialplan-sms")
    root.install(deb)
    with ExitStack() as stack:
        printed = stack.enter_context(
            root.start("dialplan-sms", "sandbox", "--record", f"/{TAKEN}", user="asterisk")
        )
        (url,) = re.findall(r"url = (\S+)", "".join(until(printed, "verify = ")))
        stack.enter_context(asterisk(root))

        def run(line: str) -> str:
            return root.run("sh", "-c", line.replace("https://pbx.example.com", url))

        said = run(shown("DIALPLAN_SMS_PASSWORD="))
        assert ".new" not in said
        run(front_page('echo "Hello from the PBX"'))
        (example,) = [
            block.text
            for block in blocks("ini extensions.conf", ["README.md"])
            if "[sms-test]" in block.text
        ]
        with (root.path / "etc/asterisk/extensions.conf").open("a") as extensions:
            extensions.write(f"\n{example}\n")
        run(front_page("asterisk -rx 'dialplan reload'"))
        run(front_page("asterisk -rx 'channel originate"))
        taken = root.path / TAKEN
        waiting.until(lambda: taken.read_text().count("\n") >= 2, lambda: "no SMS came", 30)
        lines = taken.read_text().split("\n")
    texts = [list(json.loads(line).values()) for line in lines[:2]]
    assert "Hello from the PBX" in texts[0]
    assert "Hello from the dialplan, it works :) 100%" in texts[1]
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
    for folder in ("/run", "/var/lib", "/var/log", "/var/spool"):
        owned = ("-o", "asterisk", "-g", "asterisk", "-m", "0750")
        root.run("install", "-d", *owned, f"{folder}/asterisk")
    with root.start("asterisk", "-f", "-U", "asterisk", "-G", "asterisk"):
        ask = partial(root.try_run, "asterisk", "-rx", "core waitfullybooted")
        waiting.until(lambda: "fully booted" in ask().stdout, lambda: ask().stderr, 60)
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
