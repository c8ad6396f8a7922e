"""The Debian package on fresh systems: what is where, and each door of the program opens."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.root import Root
from tests.unit.process import Asterisk
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SCRIPT = "/usr/share/asterisk/agi-bin/sms.agi"
NUMBER = "+39333123456"


@pytest.fixture(scope="module")
def installed(root: Root, deb: Path) -> Root:
    """A system with the package."""
    said = root.install(deb)
    assert "dialplan-sms: there is no /etc/asterisk/sms.conf yet: run dialplan-sms setup" in said
    return root


@pytest.fixture(scope="module")
def sandbox(installed: Root) -> Iterator[Root]:
    """The same, with a stand-in PBX that it can send to."""
    with installed.start("dialplan-sms", "sandbox", user="asterisk") as printed:
        shown = ""
        while "verify = " not in shown:
            line = printed.readline()
            assert line, shown
            shown += line
        keys = re.findall(r"^\s*((?:url|password|verify) = .+?)\s*$", shown, re.MULTILINE)
        outbox = "outbox = sqlite:////var/spool/asterisk/sms/outbox.sqlite"
        conf = "\n".join(["[general]", outbox, "[101]", *keys, ""])
        installed.write("/etc/asterisk/sms.conf", conf, 0o640, "asterisk")
        yield installed


def call(root: Root, folder: Path) -> dict[str, str]:
    """The variables that Asterisk's user gets of sms.agi, by its link in agi-bin."""
    script = folder / "sms.agi"
    words = " ".join(root.command(SCRIPT, user="asterisk"))
    script.write_text(f"#!/bin/sh\nexec {words}\n")
    script.chmod(0o755)
    session = Asterisk(script, Path("/etc/asterisk"))
    try:
        return session.serve().variables
    finally:
        session.close()


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
    assert not list((installed.path / "etc/systemd/system").rglob("dialplan-sms*"))


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
        shown = installed.run("dialplan-sms", command, "--help", user="asterisk")
        assert "Usage: dialplan-sms" in shown, shown
    assert "needs the Python package" not in listed


def test_it_sends_to_the_sandbox(sandbox: Root, tmp_path: Path) -> None:
    dry = sandbox.run("dialplan-sms", "send", "--dry-run", NUMBER, user="asterisk", stdin="Hello\n")
    assert "dry run: nothing was sent" in dry
    said = call(sandbox, tmp_path)
    assert said["SMS_STATUS"] == "SUCCESS", said


def test_the_service_answers(sandbox: Root, tmp_path: Path) -> None:
    sandbox.run("install", "-d", "-o", "asterisk", "-g", "asterisk", "/run/dialplan-sms")
    with sandbox.start("dialplan-sms", "serve", user="asterisk"):
        ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:4574/healthz').status)"
        until(
            lambda: sandbox.try_run("python3", "-c", ask).stdout == "200\n",
            lambda: sandbox.try_run("python3", "-c", ask).stderr,
        )
        assert sandbox.run("test", "-S", "/run/dialplan-sms/agi.sock") == ""
        assert call(sandbox, tmp_path)["SMS_STATUS"] == "SUCCESS"


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
