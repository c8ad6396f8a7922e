"""``dialplan-sms check``: each broken set-up has one cause, and the check names it with its cure."""

import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from dialplan_sms.cli.check import CheckState
from dialplan_sms.cli.check.command import exit_status
from dialplan_sms.sandbox import Fault, Reply, Sandbox
from tests.asterisk.serving import Service, free_port
from tests.unit import checked
from tests.unit.checked import Bed

WRONG, WARNING = CheckState.WRONG, CheckState.WARNING
CURL = "Set(message=${CURL(http://127.0.0.1/api/v1/originate/sms, message=Hello&number=%2B39333123456)})"
Breaks = Callable[[Bed], object]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(users={"101": "sms101api"}, tokens=["wsk-v1-somebody"]) as running:
        yield running


@pytest.fixture(scope="module")
def serving(sandbox: Sandbox) -> Iterator[Service]:
    with checked.folder() as folder:
        general = f"outbox = sqlite:///{folder}/outbox.sqlite"
        with Service(folder, sandbox, general) as running:
            yield running


@pytest.fixture
def bed(sandbox: Sandbox, serving: Service) -> Iterator[Bed]:
    sandbox.clear()
    with checked.folder() as folder, ExitStack() as stack:
        yield Bed(folder, sandbox, serving, stack)


def test_a_healthy_set_up_has_nothing_to_say(bed: Bed) -> None:
    findings = bed.check()
    assert [each.name for each in findings if each.state is not CheckState.OK] == ["clock"]
    assert exit_status(findings) == 0
    assert len(findings) == 22


def test_it_ends_in_time_where_nothing_answers(bed: Bed) -> None:
    # given a firewall that drops what goes to PBX, database and service, and an Asterisk that hangs
    port = bed.stack.enter_context(checked.firewalled())
    to(bed, f"https://127.0.0.1:{port}")
    outbox(bed, f"postgresql+psycopg://sms:dbsecret@127.0.0.1:{port}/sms")
    move(bed, bed.service.monitor, port)
    bed.program(bed.folder / "bin/asterisk", "#!/bin/sh\nsleep 60\n")
    # when it is checked
    began = time.monotonic()
    findings = bed.check()
    # then it ends, and names each of them once
    assert time.monotonic() - began < 15
    causes = [each.name for each in findings if each.state is WRONG]
    assert causes == ["connection", "outbox", "service", "Asterisk"]
    assert "dbsecret" not in repr(findings)


class TestFilesAndRights:
    def test_script_in_a_private_folder(self, bed: Bed) -> None:
        bed.as_asterisk()
        bed.script.parent.chmod(0o700)
        bed.finds("sms.agi", "chmod o+x")

    def test_wrong_agi_bin(self, bed: Bed) -> None:
        bed.down()
        bed.environ["PATH"] = "/nowhere"  # the files of an Asterisk that is not here
        (bed.folder / "etc/asterisk.conf").write_text(
            "[directories]\nastagidir = /nowhere/agi-bin\n"
        )
        bed.finds("sms.agi", "astagidir")

    def test_python_below_root(self, bed: Bed) -> None:
        bed.as_asterisk()
        private = bed.folder / "root"
        private.mkdir(0o700)
        bed.python.rename(private / "python3")
        bed.python.symlink_to(private / "python3")
        bed.finds("Python", "make install PYTHON=")

    def test_no_conf(self, bed: Bed) -> None:
        bed.conf = bed.folder / "etc/other.conf"
        bed.write = lambda: None  # type: ignore[method-assign]
        bed.finds("sms.conf", "dialplan-sms setup")

    def test_conf_for_root_only(self, bed: Bed) -> None:
        bed.as_asterisk()
        bed.write()
        bed.conf.chmod(0o600)
        bed.finds("sms.conf", "chmod 0640")

    def test_conf_for_everybody(self, bed: Bed) -> None:
        bed.write()
        bed.conf.chmod(0o644)
        bed.finds("sms.conf", "chmod 0640")

    def test_password_file_for_root_only(self, bed: Bed) -> None:
        bed.as_asterisk()
        secret = bed.folder / "etc/secret"
        secret.write_text("sms101api\n")
        secret.chmod(0o600)
        bed.sender = bed.sender.replace("password = sms101api", "password_file = secret")
        bed.finds("sms.conf", "chmod 0640")

    def test_log_of_another_user(self, bed: Bed) -> None:
        bed.as_asterisk()
        (bed.folder / "sms.log").chmod(0o600)
        bed.finds("log", "chown asterisk")

    def test_log_that_is_a_link(self, bed: Bed) -> None:
        log = (bed.folder / "sms.log").rename(bed.folder / "real.log")
        (bed.folder / "sms.log").symlink_to(log)
        bed.finds("log", "log = ")


def to(bed: Bed, url: str, verify: str = "") -> None:
    verify = verify and f"verify = {verify}\n"
    bed.sender = f"url = {url}\npassword = sms101api\n{verify}"


class TestThePbx:
    def test_firewall(self, bed: Bed) -> None:
        to(bed, f"https://127.0.0.1:{bed.stack.enter_context(checked.firewalled())}")
        bed.finds("connection", "firewall")

    def test_https_where_http_is(self, bed: Bed) -> None:
        to(bed, f"https://127.0.0.1:{bed.stack.enter_context(checked.pbx(bed, None))}")
        bed.finds("connection", "url with http")

    def test_ca_file_of_another(self, bed: Bed) -> None:
        (bed.folder / "etc/ca.pem").write_bytes(checked.certificate()[0])
        to(bed, bed.sandbox.url, "ca.pem")
        bed.finds("certificate", "verify = sha256:")


def outbox(bed: Bed, url: str) -> None:
    """Another outbox, and a service that uses it."""
    bed.general = re.sub("(?m)^outbox = .*\n", "", bed.general) + f"outbox = {url}\n"


def made(bed: Bed, version: int = 1) -> Path:
    """An SQLite file of an outbox that the site has."""
    file = bed.folder / "outbox.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE sms_meta (name TEXT PRIMARY KEY, value TEXT)")
        database.execute("INSERT INTO sms_meta VALUES ('version', ?)", (str(version),))
    database.close()
    outbox(bed, f"sqlite:///{file}")
    return file


class TestTheOutbox:
    def test_one_in_a_folder_of_root(self, bed: Bed) -> None:
        bed.as_asterisk()
        outbox(bed, f"sqlite:///{bed.folder}/outbox.sqlite")
        bed.finds("outbox", "chown asterisk")

    def test_one_of_root(self, bed: Bed) -> None:
        bed.as_asterisk()
        bed.folder.chmod(0o775)
        made(bed).chmod(0o600)
        bed.finds("outbox", "chown asterisk")

    def test_one_that_has_no_tables_yet_is_well(self, bed: Bed) -> None:
        (bed.folder / "outbox.sqlite").touch()
        outbox(bed, f"sqlite:///{bed.folder}/outbox.sqlite")
        assert checked.bad(bed.check()) == []

    def test_one_that_is_no_database(self, bed: Bed) -> None:
        made(bed).write_bytes(b"no database at all" * 100)
        bed.finds("outbox", "move the file away")

    def test_one_of_a_newer_program(self, bed: Bed) -> None:
        made(bed, version=99)
        bed.finds("outbox", "update this host")

    def test_one_that_is_locked(self, bed: Bed) -> None:
        database = sqlite3.connect(made(bed), isolation_level=None)
        bed.stack.callback(database.close)
        database.execute("BEGIN EXCLUSIVE")
        bed.finds("outbox", "fuser")

    def test_one_on_nfs(self, bed: Bed) -> None:
        device = bed.service.folder.stat().st_dev
        (bed.folder / "mountinfo").write_text(
            "21 1 8:99 / / rw - ext4 /dev/sda1 rw\n"
            f"22 21 {os.major(device)}:{os.minor(device)} / /mnt rw - nfs4 nas:/sms rw\n"
        )
        bed.finds("disk", "local disk", WARNING)


def move(bed: Bed, port: int, to: int) -> None:
    """sms.conf has another port of the service than it listens on."""
    bed.general = bed.general.replace(f":{port}", f":{to}")


def unit(bed: Bed, **properties: str) -> None:
    bed.unit = "LoadState=loaded\n" + "".join(f"{k}={v}\n" for k, v in properties.items())
    move(bed, bed.service.monitor, free_port())


class TestTheService:
    def test_nobody_sends_what_is_stored(self, bed: Bed) -> None:
        unit(bed)
        bed.unit = ""
        bed.sender += "mode = queue\n"
        bed.finds("service", "install its unit")

    def test_socket_left_behind(self, bed: Bed) -> None:
        path = bed.folder / "agi.sock"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        bed.environ["DIALPLAN_SMS_SOCKET"] = str(path)
        bed.finds("socket", "systemctl restart")


def include_nothing(bed: Bed) -> None:
    bed.extensions.write_text(f"#include nowhere.conf\n{bed.extensions.read_text()}")


def unloaded(bed: Bed, dialplan: str = "[ Context 'test' created by 'pbx_config' ]\n") -> None:
    bed.console("dialplan show", dialplan)


def alone(bed: Bed, *apps: str) -> None:
    """extensions.conf has these lines and no #include, and so Asterisk has loaded it."""
    loaded = "".join(f"  '1' => 1. {app}  [pbx_config]\n" for app in apps)
    unloaded(bed, f"[ Context 'test' ]\n{loaded}")
    bed.extensions.write_text("[test]\n" + "".join(f"exten => 1,1,{app}\n" for app in apps))


class TestAsterisk:
    def test_not_included(self, bed: Bed) -> None:
        alone(bed, "NoOp()")
        bed.finds("dialplan", "#tryinclude extensions-sms.conf")

    def test_not_included_and_not_needed(self, bed: Bed) -> None:
        alone(bed, "AGI(sms.agi)")
        bed.finds("dialplan", "#tryinclude extensions-sms.conf", WARNING)

    def test_not_included_and_called(self, bed: Bed) -> None:
        alone(bed, "AGI(sms.agi)", "Gosub(sub-sms,s,1)")
        bed.finds("dialplan", "#tryinclude extensions-sms.conf")

    def test_a_file_of_the_dialplan_not_for_asterisk(self, bed: Bed) -> None:
        bed.as_asterisk()
        unloaded(bed)
        (bed.folder / "etc/extensions-sms.conf").chmod(0o600)
        bed.finds("dialplan", "chgrp")

    def test_an_included_file_not_for_asterisk(self, bed: Bed) -> None:
        bed.as_asterisk()
        (bed.folder / "etc/old.conf").touch(0o600)
        bed.extensions.write_text(f"{bed.extensions.read_text()}#include old.conf\n")
        bed.finds("dialplan", "chgrp", WARNING)

    def test_included_and_missing(self, bed: Bed) -> None:
        unloaded(bed)
        (bed.folder / "etc/extensions-sms.conf").unlink()
        bed.finds("dialplan", "make install ASTERISK_ETC=")

    def test_another_include_missing(self, bed: Bed) -> None:
        unloaded(bed)
        include_nothing(bed)
        bed.finds("dialplan", "mend that #include")

    def test_curl_loaded_from_elsewhere(self, bed: Bed) -> None:
        unloaded(
            bed, f"[ Context 'sub-sms' created by 'pbx_config' ]\n'2' => 1. {CURL} [pbx_ael]\n"
        )
        bed.finds("old CURL()", "dialplan-sms migrate", WARNING)


@dataclass
class Broken:
    """How it is broken, and the one line that says so."""

    id: str
    name: str
    cure: str
    breaks: Breaks
    state: CheckState = WRONG


def says(old: str, new: str) -> Breaks:
    """sms.conf has *new* in place of *old* for its sender."""
    return lambda bed: setattr(bed, "sender", bed.sender.replace(old, new))


def at(url: str, verify: str = "") -> Breaks:
    """Its url is another one, with {} for that of the stand-in."""
    return lambda bed: to(bed, url.format(bed.sandbox.url), verify)


def answers(fault: Fault | Reply) -> Breaks:
    return lambda bed: setattr(bed.sandbox, "fault", fault)


def shows(*names: str, start: float = -1, end: float = 365, ahead: float = 0) -> Breaks:
    """A PBX with a certificate of these days, and a clock that is so many seconds ahead."""

    def breaks(bed: Bed) -> None:
        made = checked.certificate(names or ("localhost",), start, end)
        port = bed.stack.enter_context(checked.pbx(bed, made, lambda: time.time() + ahead))
        to(bed, f"https://localhost:{port}", f"{bed.folder}/opt/ca.pem")

    return breaks


MOVED = Reply(302, b"", (("Location", "https://pbx.example.com/login"),))
BUSY = Reply(503, b'{"type":"error","reason":"busy","result":null}')
NO_LICENCE = Reply(200, b'{"type":"error","reason":"No licence","result":null}')
OF_NOBODY = Reply(200, b'{"type":"result","result":"Success"}')
BY_THEIRS = shows(start=1, ahead=2 * 86400)
"""By the PBX's clock the certificate is valid."""
OTHERS = [
    Broken("script_not_linked", "sms.agi", "make install AGI_BIN=", lambda bed: bed.link.unlink()),
    Broken("dangling_link", "sms.agi", "make install", lambda bed: bed.script.unlink()),
    Broken("script_not_executable", "sms.agi", "chmod 0755", lambda bed: bed.script.chmod(0o644)),
    Broken("another_script", "sms.agi", "move it away",
           lambda bed: bed.program(bed.script, "#!/bin/sh\necho hello\n")),
    Broken("carriage_returns", "sms.agi", "make install AGI_BIN=",
           lambda bed: bed.script.write_bytes(bed.script.read_bytes().replace(b"\n", b"\r\n"))),
    Broken("interpreter_gone", "Python", "make install PYTHON=", lambda bed: bed.python.unlink()),
    Broken("old_python", "Python", "a newer one",
           lambda bed: bed.program(bed.python, "#!/bin/sh\necho '[[3, 9, 2], {}, \"\"]'\n")),
    Broken("broken_python", "Python", "make install PYTHON=",
           lambda bed: bed.program(bed.python, "#!/bin/sh\necho 'cannot execute binary file' >&2; exit 126\n")),
    Broken("packages_gone", "packages", "make install",
           lambda bed: bed.program(bed.python, bed.python.read_text().replace('"$@"', '-S "$@"'))),
    Broken("outbox_without_a_folder", "outbox", "install -d",
           lambda bed: outbox(bed, f"sqlite:///{bed.folder}/spool/outbox.sqlite")),
    Broken("full_disk", "disk", "free some space", lambda bed: setattr(bed, "free", 1 << 20)),
    Broken("database_server_that_is_down", "outbox", "is the server running",
           lambda bed: outbox(bed, f"postgresql+psycopg://sms:dbsecret@127.0.0.1:{free_port()}/sms")),
    Broken("service_stopped", "service", "systemctl start dialplan-sms",
           lambda bed: unit(bed, ActiveState="inactive", UnitFileState="enabled", User="nobody")),
    Broken("service_that_fails", "service", "journalctl",
           lambda bed: unit(bed, ActiveState="failed", UnitFileState="enabled")),
    Broken("monitor_of_another_port", "service", "systemctl restart",
           lambda bed: unit(bed, ActiveState="active", UnitFileState="enabled")),
    Broken("monitor_of_a_stranger", "service", "another port",
           lambda bed: move(bed, bed.service.monitor, bed.stack.enter_context(checked.stranger()))),
    Broken("fastagi_that_nobody_answers", "FastAGI", "systemctl restart",
           lambda bed: move(bed, bed.service.port, free_port())),
    Broken("fastagi_of_a_stranger", "FastAGI", "another port",
           lambda bed: move(bed, bed.service.port, bed.stack.enter_context(checked.stranger()))),
    Broken("asterisk_down", "Asterisk", "systemctl start asterisk", lambda bed: bed.down()),
    Broken("no_agi", "modules", "module load res_agi.so",
           lambda bed: bed.modules(set(checked.MODULES) - {"res_agi"})),
    Broken("no_gosub", "modules", "module load app_stack.so",
           lambda bed: bed.modules(set(checked.MODULES) - {"app_stack"})),
    Broken("not_reloaded", "dialplan", "dialplan reload", lambda bed: unloaded(bed)),
    Broken("the_next_reload_fails", "dialplan", "mend that #include", lambda bed: include_nothing(bed), WARNING),
    Broken("curl_left", "old CURL()", "dialplan-sms migrate",
           lambda bed: bed.extensions.write_text(f"{bed.extensions.read_text()}exten => 2,1,{CURL}\n"), WARNING),
    Broken("mistyped_key", "sms.conf", "perhaps country?", says("url", "contry = IT\nurl")),
    Broken("unknown_name", "name", "DNS", at("https://pbx.invalid")),
    Broken("closed_port", "connection", "port in url", lambda bed: to(bed, f"https://127.0.0.1:{free_port()}")),
    Broken("http_for_https", "SMS API", "https", lambda bed: to(bed, f"http{bed.sandbox.url[5:]}")),
    Broken("unknown_issuer", "certificate", "verify = sha256:", at("{}")),
    Broken("new_certificate", "certificate", "if you know why: verify = sha256:",
           at("{}", f"sha256:{'ab' * 32}")),
    Broken("another_name", "certificate", "url = https://pbx.example.com", shows("pbx.example.com")),
    Broken("expired_certificate", "certificate", "renew it", shows(start=-9, end=-2)),
    Broken("certificate_ends_soon", "certificate", "renew it", shows(end=3), WARNING),
    Broken("certificate_of_tomorrow", "certificate", "clocks", shows(start=1)),
    Broken("clock_that_is_slow", "clock", "timedatectl", BY_THEIRS),
    Broken("clocks_that_differ", "clock", "timedatectl", shows(ahead=900), WARNING),
    Broken("wrong_password", "credentials", "correct its password", says("sms101api", "sms101apo")),
    Broken("wrong_token", "credentials", "a valid token",
           says("password = sms101api", "token = wsk-v1-nobody")),
    Broken("wrong_path", "SMS API", "url without a path", says("\npassword", "/sms\npassword")),
    Broken("redirected", "SMS API", "url = https://pbx.example.com", answers(MOVED)),
    Broken("web_page", "SMS API", "address, port", answers(Fault.HTML)),
    Broken("pbx_that_breaks", "SMS API", "logs", answers(Fault.SERVER_ERROR)),
    Broken("pbx_that_takes_nothing_now", "SMS API", "check again", answers(BUSY)),
    Broken("pbx_that_hangs", "SMS API", "overloaded", answers(Fault.HANG)),
    Broken("answer_that_nobody_sends", "SMS API", "correct url in sms.conf", answers(OF_NOBODY)),
    Broken("unknown_answer", "credentials", "Collaboration", answers(NO_LICENCE), WARNING),
    Broken("too_long", "max_length", "max_length = 670", says("url", "max_length = 1000\nurl"), WARNING),
]  # fmt: skip


@pytest.mark.parametrize("broken", OTHERS, ids=[each.id for each in OTHERS])
def test_the_one_cause_is_named_with_its_cure(bed: Bed, broken: Broken) -> None:
    broken.breaks(bed)
    bed.finds(broken.name, broken.cure, broken.state)
