"""``dialplan-sms check`` beside a real Asterisk and a real service."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms.sandbox import Sandbox
from tests.asterisk.installation import Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.serving import Service
from tests.asterisk.site import agi_bin

_SUB_SMS = Path(__file__).parents[2] / "dialplan/extensions-sms.conf"
_CURL = (
    "Set(message=${CURL(http://127.0.0.1/api/v1/originate/sms, message=Hi&number=%2B39333123456)})"
)


@pytest.fixture(scope="module")
def healthy(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Pbx, Service, Sandbox]]:
    """An Asterisk with [sub-sms], a service with an outbox, a stand-in PBX."""
    folder = tmp_path_factory.mktemp("check")
    scripts = tmp_path_factory.mktemp("agi-bin")
    with (
        Sandbox(users={"101": "sms101api"}) as sandbox,
        Service(folder, sandbox, f"outbox = sqlite:///{folder}/outbox.sqlite") as service,
        Pbx(installation, includes=[_SUB_SMS], agi_bin=agi_bin(scripts)) as pbx,
    ):
        yield pbx, service, sandbox


def check(pbx: Pbx, service: Service) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Exit status, the lines by name, and all that was printed."""
    program = str(Path(sys.prefix) / "bin/dialplan-sms")
    command = [program, "check", "--json", "--config", str(service.conf)]
    environ = {
        "PATH": os.environ["PATH"],
        "AST_CONFIG_DIR": str(pbx.etc),
        "DIALPLAN_SMS_SOCKET": str(service.socket),
    }
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    lines = {line["name"]: line for line in json.loads(ran.stdout)["findings"]}
    return ran.returncode, lines, ran.stdout + ran.stderr


def bad(lines: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {n: line["do"] for n, line in lines.items() if line["state"] in ("wrong", "warning")}


def test_a_healthy_site_is_well_and_nobody_gets_an_sms(
    healthy: tuple[Pbx, Service, Sandbox],
) -> None:
    pbx, service, sandbox = healthy
    status, lines, output = check(pbx, service)
    assert (status, bad(lines)) == (0, {}), output
    states = {name for name, line in lines.items() if line["state"] != "ok"}
    assert states == {"clock"}  # the stand-in does not tell the time
    assert lines["Asterisk"]["says"].startswith(pbx.installation.version)
    assert sandbox.messages == []
    assert not any(request.form.get("number") for request in sandbox.requests)
    assert "sms101api" not in output


def test_the_call_of_a_check_is_none_of_the_service_s(
    healthy: tuple[Pbx, Service, Sandbox],
) -> None:
    # given a service that has learned what this Asterisk can, and one SMS by FastAGI
    pbx, service, sandbox = healthy
    pbx.set_dialplan(f"[test]\nexten => 1,1,AGI({service.url})\n")
    send = {"SMS_NUMBER": "+39333123456", "SMS_MESSAGE": "Hello"}
    assert pbx.call("1", variables=send).variables["SMS_STATUS"] == "SUCCESS"
    # when it is checked
    status, _, output = check(pbx, service)
    # then nothing was sent, and calls go on as before
    assert status == 0, output
    assert len(sandbox.messages) == 1
    assert service.log.count("status=") == 1
    assert pbx.call("1", variables=send).variables["SMS_STATUS"] == "SUCCESS"
    assert len(sandbox.messages) == 2


def test_an_old_line_is_named_with_its_place(healthy: tuple[Pbx, Service, Sandbox]) -> None:
    pbx, service, _ = healthy
    pbx.set_dialplan(f"[test]\nexten => 1,1,{_CURL}\n")
    status, lines, output = check(pbx, service)
    assert (status, bad(lines)) == (1, {"old CURL()": "dialplan-sms migrate"}), output
    number = (pbx.etc / "extensions.conf").read_text().splitlines().index(f"exten => 1,1,{_CURL}")
    assert f"{pbx.etc}/extensions.conf:{number + 1}" in lines["old CURL()"]["says"]
    pbx.set_dialplan("")


def test_a_missing_app_stack_is_the_one_cause(healthy: tuple[Pbx, Service, Sandbox]) -> None:
    pbx, service, _ = healthy
    pbx.ami.action("ModuleLoad", Module="app_stack.so", LoadType="unload")
    try:
        status, lines, output = check(pbx, service)
    finally:
        pbx.ami.action("ModuleLoad", Module="app_stack.so", LoadType="load")
    assert (status, list(bad(lines))) == (2, ["modules"]), output
    assert "asterisk -rx 'module load app_stack.so'" in bad(lines)["modules"]


def test_a_dialplan_without_sub_sms_is_the_one_cause(
    healthy: tuple[Pbx, Service, Sandbox],
) -> None:
    pbx, service, _ = healthy
    whole = (pbx.etc / "extensions.conf").read_text()
    without = "\n".join(line for line in whole.splitlines() if not line.startswith("#include"))
    pbx.write("extensions.conf", without)
    pbx.cli("dialplan reload")
    try:
        status, lines, output = check(pbx, service)
        assert (status, list(bad(lines))) == (2, ["dialplan"]), output
        assert "#tryinclude extensions-sms.conf" in bad(lines)["dialplan"]
        # and where only the reload is missing
        pbx.write("extensions.conf", whole)
        _, lines, _ = check(pbx, service)
        assert bad(lines)["dialplan"].startswith("asterisk -rx 'dialplan reload'")
    finally:
        pbx.write("extensions.conf", whole)
        pbx.cli("dialplan reload")


def test_another_sub_sms_that_loses_sms_is_named(
    installation: Installation, healthy: tuple[Pbx, Service, Sandbox], tmp_path: Path
) -> None:
    pbx, service, sandbox = healthy
    own = tmp_path / "own.conf"
    own.write_text("[sub-sms]\nexten => s,1,NoOp(of another time)\n same => n,Return()\n")
    dialplan = "[test]\nexten => 1,1,Gosub(sub-sms,s,1)\n"
    with Pbx(installation, dialplan, includes=[own, _SUB_SMS], agi_bin=pbx.etc) as other:
        sent = len(sandbox.messages)
        told = other.call("1", variables={"SMS_NUMBER": "+39333123456", "SMS_MESSAGE": "Hello"})
        assert (told.variables["SMS_STATUS"], len(sandbox.messages)) == ("", sent)
        status, lines, output = check(other, service)
        assert (status, lines["dialplan"]["state"]) == (2, "wrong"), output
        assert f"[sub-sms] is also in {own}:1: Asterisk" in lines["dialplan"]["says"]


def test_a_gosub_that_ends_the_call_is_named(healthy: tuple[Pbx, Service, Sandbox]) -> None:
    pbx, service, _ = healthy
    pbx.set_dialplan("[test]\nexten => 1,1,Gosub(Sub-SMS,s,1)\n same => n,Set(AFTER=yes)\n")
    try:
        assert pbx.call("1", ask=["AFTER"]).variables["AFTER"] == ""
        status, lines, output = check(pbx, service)
    finally:
        pbx.set_dialplan("")
    assert (status, list(bad(lines))) == (2, ["dialplan"]), output
    assert lines["dialplan"]["says"].startswith("there is no [Sub-SMS]: the call ends at ")


def test_a_reload_that_keeps_the_old_dialplan_is_explained(
    installation: Installation, healthy: tuple[Pbx, Service, Sandbox]
) -> None:
    # given an #include of a file that is missing, which Asterisk passes over with "reloaded."
    pbx, service, _ = healthy
    with Pbx(installation, "", agi_bin=pbx.etc) as other:
        (other.etc / "sms.agi").symlink_to(Path(sys.prefix) / "bin/sms.agi")
        whole = (other.etc / "extensions.conf").read_text()
        other.write("extensions.conf", f'{whole}#include "extensions-sms.conf"\n')
        assert "reloaded" in other.cli("dialplan reload").lower()
        status, lines, output = check(other, service)
        assert status == 2, output
        assert "extensions-sms.conf" in lines["dialplan"]["says"]


def test_an_asterisk_that_is_down_is_the_one_cause(
    installation: Installation,
    healthy: tuple[Pbx, Service, Sandbox],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, service, _ = healthy
    # given the folders of an Asterisk, and its program on PATH
    program = tmp_path / "asterisk"
    program.write_text("#!/bin/sh\nexec " + " ".join(installation.command) + ' "$@"\n')
    program.chmod(0o755)
    with Pbx(installation, includes=[_SUB_SMS], agi_bin=Path(sys.prefix) / "bin") as other:
        kept = {
            name: (other.etc / name).read_text() for name in ("asterisk.conf", "extensions.conf")
        }
    other.etc.mkdir(parents=True)
    for name, text in kept.items():
        other.write(name, text)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    try:
        status, lines, output = check(other, service)
    finally:
        shutil.rmtree(other.etc.parent)
    assert (status, list(bad(lines))) == (2, ["Asterisk"]), output
    assert lines["dialplan"]["says"] == "not looked at: mend Asterisk first"
