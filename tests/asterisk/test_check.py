"""``dialplan-sms check`` and ``setup`` beside a real Asterisk and a real service."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dialplan_sms.cli.main import main
from dialplan_sms.cli.setup.host import Host, Places
from dialplan_sms.host.installation import write_script
from tests.asterisk.installation import Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.site import NUMBER, PASSWORD, SMS, SUB_SMS, Site

CURL = (
    "Set(message=${CURL(http://127.0.0.1/api/v1/originate/sms, message=Hi&number=%2B39333123456)})"
)


@pytest.fixture
def healthy(_site: Site) -> Site:
    """A site whose service runs, with an outbox."""
    _site.serve(fresh=False)
    _site.asterisk.set_dialplan("")
    return _site


class Found:
    """What a check finds: its exit status, the lines by name, all that it printed."""

    def __init__(self, site: Site, pbx: Pbx | None = None) -> None:
        program = Path(sys.prefix) / "bin/dialplan-sms"
        command: list[str | Path] = [program, "check", "--json", "--config", site.service.conf]
        environ = {
            "PATH": os.environ["PATH"], "AST_CONFIG_DIR": str((pbx or site.asterisk).etc),
            "DIALPLAN_SMS_SOCKET": str(site.service.socket),
        }  # fmt: skip
        ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
        self.status, self.output = ran.returncode, ran.stdout + ran.stderr
        self.lines: dict[str, dict[str, Any]] = {
            line["name"]: line for line in json.loads(ran.stdout)["findings"]
        }

    @property
    def bad(self) -> dict[str, str]:
        """What is to be done, by the name of what is not well."""
        trouble = ("wrong", "warning")
        return {n: line["do"] for n, line in self.lines.items() if line["state"] in trouble}

    def says(self, name: str) -> str:
        return str(self.lines[name]["says"])


def test_a_healthy_site_is_well_and_nobody_gets_an_sms(healthy: Site) -> None:
    found = Found(healthy)
    assert (found.status, found.bad) == (0, {}), found.output
    states = {name for name, line in found.lines.items() if line["state"] != "ok"}
    assert states == {"clock"}  # the stand-in does not tell the time
    assert found.says("Asterisk").startswith(healthy.asterisk.installation.version)
    assert healthy.messages == []
    assert not any(request.form.get("number") for request in healthy.sandbox.requests)
    assert PASSWORD not in found.output


def test_the_call_of_a_check_is_none_of_the_service_s(healthy: Site) -> None:
    # given a service that has learned what this Asterisk can, and one SMS by FastAGI
    healthy.dialplan(f"AGI({healthy.service.url})")
    assert healthy.call(SMS).variables["SMS_STATUS"] == "SUCCESS"
    # when it is checked
    found = Found(healthy)
    # then nothing was sent, and calls go on as before
    assert found.status == 0, found.output
    assert len(healthy.messages) == 1
    assert healthy.service.log.count("status=") == 1
    assert healthy.call(SMS).variables["SMS_STATUS"] == "SUCCESS"
    assert len(healthy.messages) == 2


def test_an_old_line_is_named_with_its_place(healthy: Site) -> None:
    healthy.dialplan(CURL)
    found = Found(healthy)
    assert (found.status, found.bad) == (1, {"old CURL()": "dialplan-sms migrate"}), found.output
    conf = healthy.asterisk.etc / "extensions.conf"
    number = conf.read_text().splitlines().index(f"exten => 1,1,{CURL}")
    assert f"{conf}:{number + 1}" in found.says("old CURL()")


def test_a_missing_app_stack_is_the_one_cause(healthy: Site) -> None:
    healthy.asterisk.ami.action("ModuleLoad", Module="app_stack.so", LoadType="unload")
    try:
        found = Found(healthy)
    finally:
        healthy.asterisk.ami.action("ModuleLoad", Module="app_stack.so", LoadType="load")
    assert (found.status, list(found.bad)) == (2, ["modules"]), found.output
    assert "asterisk -rx 'module load app_stack.so'" in found.bad["modules"]


def test_a_dialplan_without_sub_sms_is_the_one_cause(healthy: Site) -> None:
    pbx = healthy.asterisk
    whole = (pbx.etc / "extensions.conf").read_text()
    without = "\n".join(line for line in whole.splitlines() if not line.startswith("#include"))
    pbx.write("extensions.conf", without)
    pbx.cli("dialplan reload")
    found = Found(healthy)
    assert (found.status, list(found.bad)) == (2, ["dialplan"]), found.output
    assert "#tryinclude extensions-sms.conf" in found.bad["dialplan"]
    # and where only the reload is missing
    pbx.write("extensions.conf", whole)
    assert Found(healthy).bad["dialplan"].startswith("asterisk -rx 'dialplan reload'")


def test_another_sub_sms_that_loses_sms_is_named(
    installation: Installation, healthy: Site, tmp_path: Path
) -> None:
    own = tmp_path / "own.conf"
    own.write_text("[sub-sms]\nexten => s,1,NoOp(of another time)\n same => n,Return()\n")
    dialplan = "[test]\nexten => 1,1,Gosub(sub-sms,s,1)\n"
    scripts = healthy.asterisk.etc
    with Pbx(installation, dialplan, includes=[own, SUB_SMS], agi_bin=scripts) as other:
        assert other.call("1", variables=SMS).variables["SMS_STATUS"] == ""
        assert healthy.messages == []
        found = Found(healthy, other)
        assert (found.status, found.lines["dialplan"]["state"]) == (2, "wrong"), found.output
        assert f"[sub-sms] is also in {own}:1: Asterisk" in found.says("dialplan")


def test_a_gosub_that_ends_the_call_is_named(healthy: Site) -> None:
    healthy.dialplan("Gosub(Sub-SMS,s,1)\nSet(AFTER=yes)")
    assert healthy.call(ask=["AFTER"]).variables["AFTER"] == ""
    found = Found(healthy)
    assert (found.status, list(found.bad)) == (2, ["dialplan"]), found.output
    assert found.says("dialplan").startswith("there is no [Sub-SMS]: the call ends at ")


def test_a_reload_that_keeps_the_old_dialplan_is_explained(
    installation: Installation, healthy: Site
) -> None:
    # given an #include of a file that is missing, which Asterisk passes over with "reloaded."
    with Pbx(installation, agi_bin=healthy.asterisk.etc) as other:
        (other.etc / "sms.agi").symlink_to(Path(sys.prefix) / "bin/sms.agi")
        whole = (other.etc / "extensions.conf").read_text()
        other.write("extensions.conf", f'{whole}#include "extensions-sms.conf"\n')
        assert "reloaded" in other.cli("dialplan reload").lower()
        found = Found(healthy, other)
        assert found.status == 2, found.output
        assert "extensions-sms.conf" in found.says("dialplan")


def on_path(folder: Path, installation: Installation) -> None:
    (folder / "asterisk").write_text(f'#!/bin/sh\nexec {" ".join(installation.command)} "$@"\n')
    (folder / "asterisk").chmod(0o755)


def test_an_asterisk_that_is_down_is_the_one_cause(
    installation: Installation, healthy: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given the folders of an Asterisk, and its program on PATH
    on_path(tmp_path, installation)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with Pbx(installation, includes=[SUB_SMS], agi_bin=Path(sys.prefix) / "bin") as other:
        kept = {
            name: (other.etc / name).read_text() for name in ("asterisk.conf", "extensions.conf")
        }
    other.etc.mkdir(parents=True)
    for name, text in kept.items():
        other.write(name, text)
    try:
        found = Found(healthy, other)
    finally:
        shutil.rmtree(other.etc.parent)
    assert (found.status, list(found.bad)) == (2, ["Asterisk"]), found.output
    assert found.says("dialplan") == "not looked at: mend Asterisk first"


ABSENT = "There is no existence of 'sub-sms' context"


class Bench:
    """One Asterisk with nothing of ours, and setup with places of its own beside it."""

    def __init__(self, pbx: Pbx, top: Path) -> None:
        self.pbx = pbx
        self.script = pbx.etc.parent / "agi/sms.agi"
        on_path(top, pbx.installation)
        # The program that runs, as one in a prefix: its script, its Python, its packages.
        here, prefix = Path(sys.prefix), top / "program"
        (prefix / "bin").mkdir(parents=True)
        (prefix / "pyvenv.cfg").write_text((here / "pyvenv.cfg").read_text())
        (prefix / "lib").symlink_to(here / "lib")
        (prefix / "bin/python3").symlink_to(os.path.realpath(sys.executable))
        write_script(here / "bin/sms.agi", prefix / "bin/sms.agi", prefix / "bin/python3")
        places = Places(
            state=top / "state", units=top / "units", systemd=top / "no-systemd",
            commands=top / "bin", freepbx=top / "no-freepbx", prefix=top / "no-copy",
            path=f"{top}:/usr/bin:/bin",
        )  # fmt: skip
        self.host = Host(places, environ={"DIALPLAN_SMS_PASSWORD": PASSWORD}, is_root=True,
                         interactive=False, prefix=prefix)  # fmt: skip

    def setup(self, *arguments: str) -> str:
        conf = self.pbx.etc / "asterisk.conf"
        given = ["setup", "--asterisk-conf", str(conf), "--yes", *arguments]
        done = CliRunner().invoke(main, given, obj=self.host)
        assert done.exit_code == 0, done.output
        return done.output


@pytest.fixture
def bench(installation: Installation, tmp_path: Path) -> Iterator[Bench]:
    dialplan = "[test]\nexten => 1,1,Set(TEXT=Grüezi, it works :) 100%)\n"
    dialplan += f" same => n,Gosub(sub-sms,s,1({NUMBER},TEXT))\n"
    with Pbx(installation, dialplan) as pbx:
        yield Bench(pbx, tmp_path)


def test_set_up_called_and_taken_back(bench: Bench, site: Site) -> None:
    pbx = bench.pbx
    before = (pbx.etc / "extensions.conf").read_bytes()
    assert ABSENT in pbx.cli("dialplan show sub-sms")
    said = bench.setup(
        "--url", site.sandbox.url, "--sender", "101", "--fingerprint", site.sandbox.fingerprint,
        "--country", "IT",
    )  # fmt: skip
    assert "the dialplan has [sub-sms]" in said
    assert "Context 'sub-sms'" in pbx.cli("dialplan show sub-sms")

    result = pbx.call("1")
    assert result.variables["SMS_STATUS"] == "SUCCESS", result.variables
    assert site.texts == [(NUMBER, "Grüezi, it works :) 100%")]

    assert "all is there: nothing to change" in bench.setup()
    bench.setup("--remove")
    assert ABSENT in pbx.cli("dialplan show sub-sms")
    assert (pbx.etc / "extensions.conf").read_bytes() == before
    assert (pbx.etc / "sms.conf").exists()
    assert not bench.script.is_symlink()
    assert not (pbx.etc / "extensions-sms.conf").exists()


def test_its_folders_and_its_user_are_asked_of_asterisk(bench: Bench) -> None:
    conf = bench.pbx.etc / "asterisk.conf"
    # What the file says now is not what the running Asterisk has read.
    conf.write_text(conf.read_text().replace("/agi\n", "/other\n"))
    said = bench.setup("--dry-run")
    assert f"{bench.pbx.etc.parent}/agi/sms.agi: a link" in said
    assert f"runs as {pwd.getpwuid(os.getuid()).pw_name}\n" in said
