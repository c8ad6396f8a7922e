"""The Debian package on fresh systems: from there to an SMS in the sandbox, and what is where."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path

import pytest

from tests.asterisk.etc import MODULES
from tests.asterisk.fetch import fetch
from tests.packaging.root import Root
from tests.pages import blocks, shell_lines
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LONGEST = 300
"""Seconds of machine time, from the fresh system to the SMS."""
TAKEN = "tmp/taken.jsonl"


def shown(start: str, *pages: str) -> str:
    """The one line that begins so in the shell blocks of *pages*, of all if none is named."""
    (line,) = {line for line in shell_lines(*pages) if line.startswith(start)}
    return line


@pytest.fixture(scope="module")
def installed(root: Root, deb: Path) -> Root:
    """A system with Asterisk and the package."""
    if root.try_run("sh", "-c", "command -v asterisk").returncode:
        put_asterisk(root)
    assert shown("apt install ./dialplan-sms_", "README.md")
    said = root.install(deb)
    assert "dialplan-sms: there is no /etc/asterisk/sms.conf yet: run dialplan-sms setup" in said
    assert not list((root.path / "etc/systemd/system").rglob("dialplan-sms*"))
    return root


def test_a_new_admin_sends(installed: Root) -> None:
    """With what the front page says, and setup unattended; its PBX is the stand-in."""
    root = installed
    with ExitStack() as stack:
        url = stack.enter_context(sandbox(root, "--record", f"/{TAKEN}"))
        stack.enter_context(asterisk(root))

        def run(line: str) -> str:
            return root.run("sh", "-c", line.replace("https://pbx.example.com", url))

        said = run(shown("DIALPLAN_SMS_PASSWORD="))
        assert ".new" not in said
        run(shown('echo "Hello from the PBX"', "README.md"))
        found = blocks("ini extensions.conf", ["README.md"])
        (example,) = [block.text for block in found if "[sms-test]" in block.text]
        with (root.path / "etc/asterisk/extensions.conf").open("a") as extensions:
            extensions.write(f"\n{example}\n")
        run(shown("asterisk -rx 'dialplan reload'", "README.md"))
        run(shown("asterisk -rx 'channel originate", "README.md"))
        taken = root.path / TAKEN
        until(lambda: taken.read_text().count("\n") >= 2, lambda: "no SMS came", 30)
        lines = taken.read_text().split("\n")
    texts = [list(json.loads(line).values()) for line in lines[:2]]
    assert "Hello from the PBX" in texts[0]
    assert "Hello from the dialplan, it works :) 100%" in texts[1]
    assert time.monotonic() - root.made < LONGEST


@contextmanager
def sandbox(root: Root, *options: str) -> Iterator[str]:
    """The URL of a stand-in PBX in it."""
    with root.start("dialplan-sms", "sandbox", *options, user="asterisk") as printed:
        lines = takewhile(lambda line: "verify = " not in line, printed)
        (url,) = re.findall(r"url = (\S+)", "".join(lines))
        yield url


@contextmanager
def asterisk(root: Root) -> Iterator[None]:
    """Asterisk, booted."""
    for folder in ("/run", "/var/lib", "/var/log", "/var/spool"):
        owned = ("-o", "asterisk", "-g", "asterisk", "-m", "0750")
        root.run("install", "-d", *owned, f"{folder}/asterisk")
    with root.start("asterisk", "-f", "-U", "asterisk", "-G", "asterisk"):
        ask = partial(root.try_run, "asterisk", "-rx", "core waitfullybooted")
        until(lambda: "fully booted" in ask().stdout, lambda: ask().stderr, 60)
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


def test_everything_is_in_its_place(installed: Root) -> None:
    assert installed.run("dpkg", "--audit") == ""
    assert installed.run("dpkg", "--verify", "dialplan-sms") == ""
    owner = installed.run("stat", "-c", "%U:%G %a", "/var/spool/asterisk/sms")
    assert owner == "asterisk:asterisk 750\n"
    conf = installed.run("stat", "-c", "%U:%G %a", "/etc/asterisk/extensions-sms.conf")
    assert conf == "root:root 644\n"
    unit = (installed.path / "usr/lib/systemd/system/dialplan-sms.service").read_text()
    (program,) = re.findall(r"^ExecStart=(\S+) serve$", unit, re.MULTILINE)
    installed.run("test", "-x", program)


def test_the_modules_are_compiled(installed: Root) -> None:
    """Else every call compiled them: those who run it cannot write there."""
    site = installed.path / "usr/lib/dialplan-sms/lib/python3/site-packages"
    modules = [path for path in site.rglob("*.py") if "sqlalchemy" not in path.parts]
    assert len(modules) > 500
    cached = {path.name.partition(".")[0] for path in site.rglob("__pycache__/*.pyc")}
    assert {path.stem for path in modules} <= cached


def test_asterisks_user_runs_every_command(installed: Root) -> None:
    listed = installed.run("dialplan-sms", "--help", user="asterisk")
    commands = re.findall(r"^  ([a-z]+)  ", listed.partition("Commands:")[2], re.MULTILINE)
    assert {"sandbox", "send", "serve"} <= set(commands)
    for command in commands:
        said = installed.run("dialplan-sms", command, "--help", user="asterisk")
        assert "Usage: dialplan-sms" in said, said
    assert "needs the Python package" not in listed


def test_an_outbox_on_postgresql_needs_nothing_more(installed: Root) -> None:
    code = "import psycopg; print(psycopg.pq.__impl__)"
    python = "/usr/lib/dialplan-sms/bin/python3"
    assert installed.run(python, "-I", "-c", code, user="asterisk") == "binary\n"


def test_bash_completes(installed: Root) -> None:
    file = "/usr/share/bash-completion/completions/dialplan-sms"
    ask = (
        f"source {file}; COMP_WORDS=(dialplan-sms sen); COMP_CWORD=1;"
        " _dialplan_sms_completion dialplan-sms; echo ${COMPREPLY[@]}"
    )
    assert installed.run("bash", "-c", ask).split() == ["send"]
    assert "dialplan-sms" in installed.run("bash", "-c", f"source {file}; complete -p dialplan-sms")


def test_another_python_of_the_system_compiles_again(installed: Root) -> None:
    site = installed.path / "usr/lib/dialplan-sms/lib/python3/site-packages/dialplan_sms/sms"
    (compiled,) = (site / "__pycache__").glob("sms.*.pyc")
    stale = compiled.with_name("sms.cpython-310.pyc")
    compiled.rename(stale)
    hook = "/usr/share/python3/runtime.d/dialplan-sms.rtupdate"
    installed.run(hook, "pre-rtupdate", "python3.10", "python3.11")
    assert stale.exists()
    installed.run(hook, "rtupdate", "python3.10", "python3.11")
    assert compiled.exists()
    assert not stale.exists()
