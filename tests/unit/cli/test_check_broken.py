"""``dialplan-sms check``: each broken set-up has one cause, and the check names it with its cure."""

import os
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
from tests.unit.checked import Bed, bad


@dataclass
class Broken:
    """How it is broken, and the one line that says so."""

    id: str
    name: str
    cure: str
    breaks: Callable[[Bed, ExitStack], object]
    state: CheckState = CheckState.WRONG


ALL: list[Broken] = []
Breaks = Callable[[Bed, ExitStack], object]
WARNING = CheckState.WARNING


def names(name: str, cure: str, state: CheckState = CheckState.WRONG) -> Callable[[Breaks], Breaks]:
    """A set-up that the check is to call by *name*, with *cure* among what to do."""

    def add(breaks: Breaks) -> Breaks:
        ALL.append(Broken(breaks.__name__, name, cure, breaks, state))
        return breaks

    return add


# --- files and rights, Python and packages


@names("sms.agi", "chmod o+x")
def script_in_a_private_folder(bed: Bed, _: ExitStack) -> None:
    bed.as_asterisk()
    bed.script.parent.chmod(0o700)


@names("sms.agi", "astagidir")
def wrong_agi_bin(bed: Bed, _: ExitStack) -> None:
    bed.down()
    bed.environ["PATH"] = "/nowhere"  # the files of an Asterisk that is not here
    (bed.folder / "etc/asterisk.conf").write_text("[directories]\nastagidir = /nowhere/agi-bin\n")


@names("Python", "make install PYTHON=")
def python_below_root(bed: Bed, _: ExitStack) -> None:
    bed.as_asterisk()
    private = bed.folder / "root"
    private.mkdir(0o700)
    bed.python.rename(private / "python3")
    bed.python.symlink_to(private / "python3")


# --- sms.conf and what it names


@names("sms.conf", "dialplan-sms setup")
def no_conf(bed: Bed, _: ExitStack) -> None:
    bed.conf = bed.folder / "etc/other.conf"
    bed.write = lambda: None  # type: ignore[method-assign]


@names("sms.conf", "chmod 0640")
def conf_for_root_only(bed: Bed, _: ExitStack) -> None:
    bed.as_asterisk()
    bed.write()
    bed.conf.chmod(0o600)


@names("sms.conf", "chmod 0640")
def conf_for_everybody(bed: Bed, _: ExitStack) -> None:
    bed.write()
    bed.conf.chmod(0o644)


@names("sms.conf", "chmod 0640")
def password_file_for_root_only(bed: Bed, _: ExitStack) -> None:
    bed.as_asterisk()
    secret = bed.folder / "etc/secret"
    secret.write_text("sms101api\n")
    secret.chmod(0o600)
    bed.sender = bed.sender.replace("password = sms101api", "password_file = secret")


@names("log", "chown asterisk")
def log_of_another_user(bed: Bed, _: ExitStack) -> None:
    bed.as_asterisk()
    (bed.folder / "sms.log").chmod(0o600)


# --- the PBX


def to(bed: Bed, url: str, verify: str = "") -> None:
    verify = verify and f"verify = {verify}\n"
    bed.sender = f"url = {url}\npassword = sms101api\n{verify}"


@names("connection", "firewall")
def firewall(bed: Bed, stack: ExitStack) -> None:
    to(bed, f"https://127.0.0.1:{stack.enter_context(checked.firewalled())}")


@names("connection", "url with http")
def https_where_http_is(bed: Bed, stack: ExitStack) -> None:
    port = stack.enter_context(checked.pbx(bed, None))
    to(bed, f"https://127.0.0.1:{port}")


@names("certificate", "verify = sha256:")
def ca_file_of_another(bed: Bed, _: ExitStack) -> None:
    (bed.folder / "etc/ca.pem").write_bytes(checked.certificate()[0])
    to(bed, bed.sandbox.url, "ca.pem")


def says(old: str, new: str) -> Breaks:
    """sms.conf has *new* in place of *old* for its sender."""
    return lambda bed, _: setattr(bed, "sender", bed.sender.replace(old, new))


def at(url: str, verify: str = "") -> Breaks:
    """Its url is another one, with {} for that of the stand-in."""
    return lambda bed, _: to(bed, url.format(bed.sandbox.url), verify)


def answers(fault: Fault | Reply) -> Breaks:
    return lambda bed, _: setattr(bed.sandbox, "fault", fault)


def shows(*names: str, start: float = -1, end: float = 365, ahead: float = 0) -> Breaks:
    """A PBX with a certificate of these days, and a clock that is so many seconds ahead."""

    def breaks(bed: Bed, stack: ExitStack) -> None:
        made = checked.certificate(names or ("localhost",), start, end)
        port = stack.enter_context(checked.pbx(bed, made, lambda: time.time() + ahead))
        to(bed, f"https://localhost:{port}", f"{bed.folder}/opt/ca.pem")

    return breaks


MOVED = Reply(302, b"", (("Location", "https://pbx.example.com/login"),))
BUSY = Reply(503, b'{"type":"error","reason":"busy","result":null}')
NO_LICENCE = Reply(200, b'{"type":"error","reason":"No licence","result":null}')
BY_THEIRS = shows(start=1, ahead=2 * 86400)
"""By the PBX's clock the certificate is valid."""
ALL += [
    Broken("mistyped_key", "sms.conf", "perhaps country?", says("url", "contry = IT\nurl")),
    Broken("unknown_name", "name", "DNS", at("https://pbx.invalid")),
    Broken("closed_port", "connection", "port in url", lambda bed, _: to(bed, f"https://127.0.0.1:{free_port()}")),
    Broken("http_for_https", "SMS API", "https", lambda bed, _: to(bed, f"http{bed.sandbox.url[5:]}")),
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
    Broken("unknown_answer", "credentials", "Collaboration", answers(NO_LICENCE), WARNING),
    Broken("too_long", "max_length", "max_length = 670", says("url", "max_length = 1000\nurl"), WARNING),
]  # fmt: skip


# --- the outbox


def outbox(bed: Bed, url: str) -> None:
    """Another outbox, and a service that uses it."""
    bed.general = "".join(
        f"{line}\n" for line in bed.general.splitlines() if not line.startswith("outbox")
    )
    bed.general += f"outbox = {url}\n"


def made(folder: Path) -> Path:
    """An SQLite file of an outbox."""
    file = folder / "outbox.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE sms_meta (name TEXT PRIMARY KEY, value TEXT)")
        database.execute("INSERT INTO sms_meta VALUES ('version', '1')")
    database.close()
    return file


@names("outbox", "chown asterisk")
def outbox_in_a_folder_of_root(bed: Bed, _: ExitStack) -> None:
    bed.as_asterisk()
    spool = bed.folder / "spool"
    spool.mkdir(0o755)
    outbox(bed, f"sqlite:///{spool}/outbox.sqlite")


@names("outbox", "chown asterisk")
def outbox_of_root(bed: Bed, _: ExitStack) -> None:
    bed.as_asterisk()
    spool = bed.folder / "spool"
    spool.mkdir()
    spool.chmod(0o770)
    made(spool).chmod(0o600)
    outbox(bed, f"sqlite:///{spool}/outbox.sqlite")


@names("outbox", "move the file away")
def outbox_that_is_no_database(bed: Bed, _: ExitStack) -> None:
    file = bed.folder / "outbox.sqlite"
    file.write_bytes(b"no database at all" * 100)
    outbox(bed, f"sqlite:///{file}")


@names("outbox", "update this host")
def outbox_of_a_newer_program(bed: Bed, _: ExitStack) -> None:
    file = made(bed.folder)
    with sqlite3.connect(file) as database:
        database.execute("UPDATE sms_meta SET value = '99'")
    database.close()
    outbox(bed, f"sqlite:///{file}")


@names("outbox", "fuser")
def outbox_that_is_locked(bed: Bed, stack: ExitStack) -> None:
    file = made(bed.folder)
    database = sqlite3.connect(file, isolation_level=None)
    stack.callback(database.close)
    database.execute("BEGIN EXCLUSIVE")
    outbox(bed, f"sqlite:///{file}")


@names("disk", "local disk", CheckState.WARNING)
def outbox_on_nfs(bed: Bed, _: ExitStack) -> None:
    device = bed.service.folder.stat().st_dev
    (bed.folder / "mountinfo").write_text(
        "21 1 8:99 / / rw - ext4 /dev/sda1 rw\n"
        f"22 21 {os.major(device)}:{os.minor(device)} / /mnt rw - nfs4 nas:/sms rw\n"
    )


# --- the service


def move(bed: Bed, port: int, to: int) -> None:
    """sms.conf has another port of the service than it listens on."""
    bed.general = bed.general.replace(f":{port}", f":{to}")


def unit(bed: Bed, **properties: str) -> None:
    bed.unit = "LoadState=loaded\n" + "".join(f"{k}={v}\n" for k, v in properties.items())
    move(bed, bed.service.monitor, free_port())


@names("service", "install its unit")
def nobody_sends_what_is_stored(bed: Bed, _: ExitStack) -> None:
    unit(bed)
    bed.unit = ""
    bed.sender += "mode = queue\n"


@names("socket", "systemctl restart")
def socket_left_behind(bed: Bed, _: ExitStack) -> None:
    import socket

    path = bed.folder / "agi.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    bed.environ["DIALPLAN_SMS_SOCKET"] = str(path)


@names("log", "log = ")
def log_that_is_a_link(bed: Bed, _: ExitStack) -> None:
    (bed.folder / "sms.log").rename(bed.folder / "real.log")
    (bed.folder / "sms.log").symlink_to(bed.folder / "real.log")


# --- Asterisk


def include_nothing(bed: Bed) -> None:
    bed.extensions.write_text(f"#include nowhere.conf\n{bed.extensions.read_text()}")


def unloaded(bed: Bed, dialplan: str = "[ Context 'test' created by 'pbx_config' ]\n") -> None:
    bed.console("dialplan show", dialplan)


@names("dialplan", "#tryinclude extensions-sms.conf")
def not_included(bed: Bed, _: ExitStack) -> None:
    unloaded(bed)
    bed.extensions.write_text("[test]\nexten => 1,1,NoOp()\n")


@names("dialplan", "#tryinclude extensions-sms.conf", CheckState.WARNING)
def not_included_and_not_needed(bed: Bed, _: ExitStack) -> None:
    unloaded(bed, "[ Context 'test' ]\n  '1' => 1. AGI(sms.agi)  [pbx_config]\n")
    bed.extensions.write_text("[test]\nexten => 1,1,AGI(sms.agi)\n")


@names("dialplan", "#tryinclude extensions-sms.conf")
def not_included_and_called(bed: Bed, _: ExitStack) -> None:
    lines = "  '1' => 1. AGI(sms.agi)  [pbx_config]\n  '2' => 1. Gosub(sub-sms,s,1)  [pbx_config]\n"
    unloaded(bed, f"[ Context 'test' ]\n{lines}")
    bed.extensions.write_text(
        "[test]\nexten => 1,1,AGI(sms.agi)\nexten => 2,1,Gosub(sub-sms,s,1)\n"
    )


@names("dialplan", "chgrp")
def a_file_of_the_dialplan_not_for_asterisk(bed: Bed, _: ExitStack) -> None:
    bed.as_asterisk()
    unloaded(bed)
    (bed.folder / "etc/extensions-sms.conf").chmod(0o600)


@names("dialplan", "chgrp", CheckState.WARNING)
def an_included_file_not_for_asterisk(bed: Bed, _: ExitStack) -> None:
    bed.as_asterisk()
    (bed.folder / "etc/old.conf").touch(0o600)
    bed.extensions.write_text(f"{bed.extensions.read_text()}#include old.conf\n")


@names("dialplan", "make install ASTERISK_ETC=")
def included_and_missing(bed: Bed, _: ExitStack) -> None:
    unloaded(bed)
    (bed.folder / "etc/extensions-sms.conf").unlink()


@names("dialplan", "mend that #include")
def another_include_missing(bed: Bed, _: ExitStack) -> None:
    unloaded(bed)
    include_nothing(bed)


CURL = "Set(message=${CURL(http://127.0.0.1/api/v1/originate/sms, message=Hello&number=%2B39333123456)})"


@names("old CURL()", "dialplan-sms migrate", CheckState.WARNING)
def curl_loaded_from_elsewhere(bed: Bed, _: ExitStack) -> None:
    unloaded(bed, f"[ Context 'sub-sms' created by 'pbx_config' ]\n'2' => 1. {CURL} [pbx_ael]\n")


ALL += [
    Broken("script_not_linked", "sms.agi", "make install AGI_BIN=", lambda bed, _: bed.link.unlink()),
    Broken("dangling_link", "sms.agi", "make install", lambda bed, _: bed.script.unlink()),
    Broken("script_not_executable", "sms.agi", "chmod 0755", lambda bed, _: bed.script.chmod(0o644)),
    Broken("another_script", "sms.agi", "move it away",
           lambda bed, _: bed.program(bed.script, "#!/bin/sh\necho hello\n")),
    Broken("carriage_returns", "sms.agi", "make install AGI_BIN=",
           lambda bed, _: bed.script.write_bytes(bed.script.read_bytes().replace(b"\n", b"\r\n"))),
    Broken("interpreter_gone", "Python", "make install PYTHON=", lambda bed, _: bed.python.unlink()),
    Broken("old_python", "Python", "a newer one",
           lambda bed, _: bed.program(bed.python, "#!/bin/sh\necho '[[3, 9, 2], {}, \"\"]'\n")),
    Broken("broken_python", "Python", "make install PYTHON=",
           lambda bed, _: bed.program(bed.python, "#!/bin/sh\necho 'cannot execute binary file' >&2; exit 126\n")),
    Broken("packages_gone", "packages", "make install",
           lambda bed, _: bed.program(bed.python, bed.python.read_text().replace('"$@"', '-S "$@"'))),
    Broken("outbox_without_a_folder", "outbox", "install -d",
           lambda bed, _: outbox(bed, f"sqlite:///{bed.folder}/spool/outbox.sqlite")),
    Broken("full_disk", "disk", "free some space", lambda bed, _: setattr(bed, "free", 1 << 20)),
    Broken("database_server_that_is_down", "outbox", "is the server running",
           lambda bed, _: outbox(bed, f"postgresql+psycopg://sms:dbsecret@127.0.0.1:{free_port()}/sms")),
    Broken("service_stopped", "service", "systemctl start dialplan-sms",
           lambda bed, _: unit(bed, ActiveState="inactive", UnitFileState="enabled", User="nobody")),
    Broken("service_that_fails", "service", "journalctl",
           lambda bed, _: unit(bed, ActiveState="failed", UnitFileState="enabled")),
    Broken("monitor_of_another_port", "service", "systemctl restart",
           lambda bed, _: unit(bed, ActiveState="active", UnitFileState="enabled")),
    Broken("monitor_of_a_stranger", "service", "another port",
           lambda bed, stack: move(bed, bed.service.monitor, stack.enter_context(checked.stranger()))),
    Broken("fastagi_that_nobody_answers", "FastAGI", "systemctl restart",
           lambda bed, _: move(bed, bed.service.port, free_port())),
    Broken("fastagi_of_a_stranger", "FastAGI", "another port",
           lambda bed, stack: move(bed, bed.service.port, stack.enter_context(checked.stranger()))),
    Broken("asterisk_down", "Asterisk", "systemctl start asterisk", lambda bed, _: bed.down()),
    Broken("no_agi", "modules", "module load res_agi.so",
           lambda bed, _: bed.modules(set(checked.MODULES) - {"res_agi"})),
    Broken("no_gosub", "modules", "module load app_stack.so",
           lambda bed, _: bed.modules(set(checked.MODULES) - {"app_stack"})),
    Broken("not_reloaded", "dialplan", "dialplan reload", lambda bed, _: unloaded(bed)),
    Broken("the_next_reload_fails", "dialplan", "mend that #include", lambda bed, _: include_nothing(bed), WARNING),
    Broken("curl_left", "old CURL()", "dialplan-sms migrate",
           lambda bed, _: bed.extensions.write_text(f"{bed.extensions.read_text()}exten => 2,1,{CURL}\n"), WARNING),
]  # fmt: skip


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
    with checked.folder() as folder:
        yield Bed(folder, sandbox, serving)


def test_a_healthy_set_up_has_nothing_to_say(bed: Bed) -> None:
    bed.write()
    findings = bed.check()
    assert [each.name for each in findings if each.state is not CheckState.OK] == ["clock"]
    assert exit_status(findings) == 0
    assert len(findings) == 22


def test_it_ends_in_time_where_nothing_answers(bed: Bed) -> None:
    # given a firewall that drops what goes to PBX, database and service, and an Asterisk that hangs
    with ExitStack() as stack:
        port = stack.enter_context(checked.firewalled())
        to(bed, f"https://127.0.0.1:{port}")
        outbox(bed, f"postgresql+psycopg://sms:dbsecret@127.0.0.1:{port}/sms")
        bed.general = bed.general.replace(f":{bed.service.monitor}", f":{port}")
        bed.program(bed.folder / "bin/asterisk", "#!/bin/sh\nsleep 60\n")
        bed.write()
        # when it is checked
        began = time.monotonic()
        findings = bed.check()
    # then it ends, and names each of them once
    assert time.monotonic() - began < 15
    causes = [each.name for each in findings if each.state is CheckState.WRONG]
    assert causes == ["connection", "outbox", "service", "Asterisk"]
    assert "dbsecret" not in repr(findings)


def test_there_are_enough_of_them() -> None:
    assert sum(1 for each in ALL if each.state is CheckState.WRONG) >= 25


@pytest.mark.parametrize("broken", ALL, ids=[each.id for each in ALL])
def test_the_one_cause_is_named_with_its_cure(bed: Bed, broken: Broken) -> None:
    # given a set-up that is broken in one way
    with ExitStack() as stack:
        broken.breaks(bed, stack)
        bed.write()
        # when it is checked
        began = time.monotonic()
        findings = bed.check()
        took = time.monotonic() - began
    # then one line says so, and what to do; nobody got an SMS, and nobody could have
    lines = [(each.name, each.state, each.says, each.do) for each in bad(findings)]
    assert [(line[0], line[1]) for line in lines] == [(broken.name, broken.state)], lines
    assert broken.cure in lines[0][3], lines
    assert exit_status(findings) == (2 if broken.state is CheckState.WRONG else 1)
    assert bed.sandbox.messages == []
    assert checked.numbers_in(bed.bodies) == []
    assert not any(request.form.get("number", "").strip() for request in bed.sandbox.requests)
    assert took < 15
