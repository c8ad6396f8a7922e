"""A service whose files an update replaces: it imports nothing of them any more."""

import signal
import sys
from pathlib import Path

import pytest

from dialplan_sms.config.http import make_hash
from dialplan_sms.sandbox import Sandbox
from dialplan_sms.web.view import ENVIRONMENT
from tests.asterisk.serving import Service
from tests.unit.caller import Call
from tests.waiting import until

WATCH = """
import runpy, sys
told = open(sys.argv[1], "a", buffering=1)
sys.addaudithook(lambda event, given: event == "import" and told.write(f"{given[0]}\\n"))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script and tells in a file what it imports."""


def said(running: Service, words: str) -> None:
    until(lambda: words in running.log, lambda: running.log)


def test_what_is_used_late_is_imported_at_the_start(tmp_path: Path) -> None:
    told = tmp_path / "imports"
    outbox = f"outbox = sqlite:///{tmp_path}/outbox.sqlite"
    with Sandbox(tls=False) as sandbox:
        running = Service(tmp_path, sandbox, outbox, "long_message = truncate\nallow = IT, US")
        running.through = (sys.executable, "-c", WATCH, str(told))
        with running:
            said(running, "service started")
            before = told.read_text()
            for variables in (
                {},
                {"SMS_MODE": "queue"},
                {"SMS_NUMBER": "333 123 4567"},
                {"SMS_NUMBER": "+12025550123"},
                {"SMS_MESSAGE": "long" * 999},
            ):
                status = Call(running.port, **variables).end()["SMS_STATUS"]
                assert status in ("SUCCESS", "QUEUED"), variables
            sandbox.wait(requests=5, timeout=20)
            with running.conf.open("a") as conf:
                conf.write(f"[http]\nuser = wms:{make_hash('private')}\n")
            running.signal(signal.SIGHUP)
            said(running, "sms.conf was read again")
    late = told.read_text().removeprefix(before).split()
    # Of 250 regions, all in one package that changes its numbers only, those that are asked for.
    assert [name for name in late if not name.startswith("phonenumbers.data.region_")] == []


def test_so_are_the_pages_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ENVIRONMENT.list_templates()
    assert names
    monkeypatch.setattr(ENVIRONMENT.loader, "searchpath", [])  # no file is there any more
    for name in names:
        ENVIRONMENT.get_template(name)
