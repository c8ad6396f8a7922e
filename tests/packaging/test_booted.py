"""The package under a real systemd: what the pages say about the service, line by line."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from dialplan_sms.sandbox.faults import Fault, magic_number
from tests.packaging.root import BOOTING, TOP, UNIT, Booted, need
from tests.packaging.test_installed import asterisk, put_asterisk, sandbox, shown
from tests.pages import PAGES, blocks
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=BOOTING)
def system(deb: Path, request: pytest.FixtureRequest) -> Iterator[Booted]:
    """It has booted, and setup has done its work beside a running Asterisk and a stand-in PBX."""
    need()
    with ExitStack() as stack:
        system = stack.enter_context(closing(Booted(request.param)))
        if system.try_run("sh", "-c", "command -v asterisk").returncode:
            put_asterisk(system)
        shutil.copy(deb, system.path / "root" / deb.name)
        line = shown("apt install ./dialplan-sms_").replace("apt install", "apt install --yes")
        system.run("sh", "-c", f"cd /root; {line}")
        url = stack.enter_context(sandbox(system))
        if system.try_run("systemctl", "start", "asterisk").returncode:  # there is no unit of it
            stack.enter_context(asterisk(system))
        line = shown("DIALPLAN_SMS_PASSWORD=").replace("https://pbx.example.com", url)
        system.run("sh", "-c", line)
        yield system


def test_setup_has_started_it_and_it_starts_at_boot(system: Booted) -> None:
    assert system.run("systemctl", "is-enabled", UNIT) == "enabled\n"
    assert system.run("stat", "-c", "%U:%G %a", "/run/dialplan-sms") == "asterisk:asterisk 750\n"


def test_it_sends_through_the_service_and_the_journal_has_a_line(system: Booted) -> None:
    system.wait("active")
    before = json.loads(system.run("dialplan-sms", "status", "--json"))
    system.write(
        "/etc/asterisk/extensions_booted.conf",
        "[booted]\nexten => s,1,Set(SMS_NUMBER=+39333123456)\n same => n,Set(SMS_MESSAGE=Booted)\n"
        " same => n,Gosub(sub-sms,s,1)\n same => n,Hangup()\n",
        0o644,
    )
    with (system.path / "etc/asterisk/extensions.conf").open("a") as extensions:
        extensions.write("#include extensions_booted.conf\n")
    system.run("asterisk", "-rx", "dialplan reload")
    system.run("asterisk", "-rx", "channel originate Local/s@booted application Wait 5")
    journal = partial(system.run, "journalctl", "--no-pager", "-u", UNIT)
    until(lambda: "SUCCESS" in journal(), journal, 30)
    after = json.loads(system.run("dialplan-sms", "status", "--json"))
    assert after != before
    assert "Booted" not in journal()


def test_the_program_of_on_failure_runs_under_the_unit(system: Booted) -> None:
    program, told = "/usr/local/bin/told", "/var/spool/asterisk/sms/told"
    system.write(
        program, f"#!/bin/sh\n{{ cat; id -un; }} >{told}.new\nmv {told}.new {told}\n", 0o755
    )
    conf = "/etc/asterisk/sms.conf"
    system.run("sed", "-i", rf"s|^\[general\]|&\non_failure = {program}|", conf)
    system.run("systemctl", "reload", UNIT)
    refused = magic_number(Fault.REJECT)
    system.run("dialplan-sms", "send", "--mode", "queue", refused, stdin="The pressure is low")
    until(
        lambda: system.try_run("test", "-s", told).returncode == 0,
        lambda: system.run("journalctl"),
        60,
    )
    sms, user = system.run("cat", told).rsplit("}", 1)
    assert f'"number": "{refused}", "state": "failed"' in sms
    assert user == "asterisk\n"
    assert "The pressure" not in sms


def test_every_systemctl_line_of_the_pages_works(system: Booted) -> None:
    """Those that name the service; each is to leave it running, but for stop."""
    shown_line = r"systemctl [a-z-]+(?: --now)? dialplan-sms"
    lines = sorted({line for page in PAGES.values() for line in re.findall(shown_line, page)})
    lines.insert(0, shown("systemctl daemon-reload"))
    assert len(lines) >= 4
    for line in lines:
        if line.startswith("systemctl edit"):
            continue  # opens an editor
        system.run(*line.split())
        system.wait("inactive" if " stop " in line else "active")
        system.run("systemctl", "start", UNIT)
        system.wait("active")


def test_the_unit_of_the_source_runs_as_the_page_says(system: Booted) -> None:
    """What make install has put in /opt is what the package has in /usr/lib."""
    (block,) = [found.text for found in blocks("sh") if found.text.startswith("cp systemd/")]
    source = system.path / "root/source/systemd"
    source.mkdir(parents=True)
    shutil.copy(TOP / "systemd" / UNIT, source)
    system.run("ln", "-s", "/usr/lib/dialplan-sms", "/opt/dialplan-sms")
    system.run("systemctl", "stop", UNIT)
    system.wait("inactive")
    try:
        told = system.run("sh", "-exc", f"cd /root/source\n{block}")
        system.wait("active")
        path = system.run("systemctl", "show", "--property=FragmentPath", "--value", UNIT)
        assert path == f"/etc/systemd/system/{UNIT}\n"
        assert "/opt/dialplan-sms/" in system.run("systemctl", "cat", "--no-pager", UNIT)
        assert "up" in told
        policy = system.run("sh", "-c", f"cat /proc/{system.main_pid()}/stat").rpartition(")")[2]
        assert int(policy.split()[38]) == os.SCHED_BATCH  # proc(5): policy is the 41st
    finally:
        system.run("rm", "-f", f"/etc/systemd/system/{UNIT}", "/opt/dialplan-sms")
        system.run("systemctl", "daemon-reload")
        system.run("systemctl", "restart", UNIT)
    system.wait("active")


def test_it_comes_back_when_killed_and_as_often_as_somebody_asks(system: Booted) -> None:
    system.wait("active")
    for _ in range(3):
        before = system.main_pid()
        system.run("sh", "-c", f"kill -KILL {before}")  # there is no program of that name
        until(
            lambda before=before: system.main_pid() not in ("0", before),  # type: ignore[misc]
            lambda: system.main_pid(),
            60,
        )
        system.wait("active")
    for _ in range(7):  # systemd would else give up after 5 times in 10 s, and leave it dead
        system.run("systemctl", "restart", UNIT)
    system.wait("active")


def test_root_follows_no_link_of_asterisks_user(system: Booted, deb: Path) -> None:
    """Whose spool folder it is can have the service started again, and waits for an upgrade."""
    spool = "/var/spool/asterisk/sms"
    system.run("mv", spool, f"{spool}.away")
    system.run("install", "-d", "-m", "0700", "/etc/private")
    try:
        for there in ("/etc/private", "/none"):
            system.run("ln", "-s", there, spool, user="asterisk")
            system.run("systemctl", "restart", UNIT)
            system.wait("active")
            system.install(deb)
            assert system.run("stat", "-c", "%U %a", "/etc/private") == "root 700\n"
            assert system.try_run("test", "-e", "/none").returncode == 1
            system.run("rm", spool)
    finally:
        system.run("rm", "-rf", spool, "/etc/private")
        system.run("mv", f"{spool}.away", spool)


def test_it_is_gone_when_the_package_is_purged(system: Booted) -> None:
    system.wait("active")
    system.run("dpkg", "--purge", "dialplan-sms")
    assert system.try_run("systemctl", "is-active", UNIT).stdout.strip() != "active"
    assert "dialplan-sms" not in system.run("systemctl", "list-unit-files", "--no-pager")
