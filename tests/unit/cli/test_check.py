"""``dialplan-sms check``: what its lines mean together, how they show, and what each part decides."""

import io
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dialplan_sms.cli import main as cli
from dialplan_sms.cli.check import (
    CheckState,
    Finding,
    asterisk,
    certificate,
    conf,
    outbox,
    pbx,
)
from dialplan_sms.cli.check.asterisk import Asterisk
from dialplan_sms.cli.check.command import at_once, causes_only, exit_status, show, without_secrets
from dialplan_sms.cli.setup import pbx as setup
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.host.identity import READ, RUN, WRITE, User, blocked, by_id, current
from dialplan_sms.host.process import NOT_STARTED, Ran, run
from dialplan_sms.sandbox import Sandbox
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.transport.connection import Resolver
from dialplan_sms.transport.exchange import Stage
from dialplan_sms.transport.tls import Look, PeerCertificate
from tests.asterisk.serving import free_port
from tests.unit import checked
from tests.unit.host.test_asterisk import process

SENDER = Sender("101", "https://pbx.example.com/api/v1/originate/sms", "sms101api")
NOW = 1_800_000_000.0
DAY = 86400.0
ASTERISK = User("asterisk", 64321, (64321, 64322))


def quiet(_: object, __: float, ___: User | None = None) -> Ran:
    return Ran(NOT_STARTED)


LINES = [
    Finding("sms.conf").ok("read"),
    Finding("certificate", of="101").wrong("expired", "renew it"),
    Finding("x").skipped("none"),
]


def shown(encoding: str, findings: list[Finding] = LINES) -> str:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    show(findings, out)
    out.flush()
    return raw.getvalue().decode(encoding)


class TestTheLines:
    def test_what_follows_from_an_earlier_line_is_not_wrong(self) -> None:
        lines = (
            Finding("a").wrong("broken", "mend it"),
            Finding("b", ("a",)).wrong("broken, too", "mend it"),
            Finding("c", ("b",)),
            Finding("d", ("c",)).warning("hm", "look"),
            Finding("e").ok("fine"),
            Finding("f", ("e",)).wrong("of itself", "mend it"),
        )
        found = list(causes_only(lines))
        skip = CheckState.SKIPPED
        states = [CheckState.WRONG, skip, skip, skip, CheckState.OK, CheckState.WRONG]
        assert [each.state for each in found] == states
        assert exit_status(found) == 2
        assert {each.says for each in found[1:4]} == {"not looked at: mend a first"}
        assert not any(each.do for each in found[1:4])

    def test_a_part_that_is_stuck_or_breaks_takes_no_other_along(self) -> None:
        def stuck() -> Iterator[Finding]:
            time.sleep(5)
            yield Finding("stuck").ok("")

        def breaks() -> Iterator[Finding]:
            raise KeyError("x")

        began = time.monotonic()
        fine = Finding("fine").ok("")
        found = at_once({"stuck": stuck, "breaks": breaks, "fine": lambda: [fine]}, 0.3)
        assert time.monotonic() - began < 2
        assert [(each.name, each.state) for each in found] == [
            ("stuck", CheckState.WRONG),
            ("breaks", CheckState.WARNING),
            ("fine", CheckState.OK),
        ]

    @pytest.mark.parametrize(
        ("encoding", "ok", "wrong", "gone", "arrow"),
        [("utf-8", "✓", "✗", "–", "→"), ("ascii", "ok", "X ", "- ", " ->")],
    )
    def test_a_line_each_and_the_cure_below(
        self, encoding: str, ok: str, wrong: str, gone: str, arrow: str
    ) -> None:
        assert shown(encoding).splitlines() == [
            "Wrong: certificate 101 (expired)",
            f"{ok} sms.conf     read",
            f"{wrong} certificate  expired",
            f"               {arrow} renew it",
            f"{gone} x            none",
        ]

    def test_a_sender_is_named_where_there_are_several(self) -> None:
        lines = shown("utf-8", [Finding("credentials", of=of).ok("fine") for of in ("101", "102")])
        assert "✓ credentials 101  fine\n✓ credentials 102  fine\n" in lines

    def test_no_secret_shows_whoever_says_it(self) -> None:
        outbox = "postgresql+psycopg://sms:dbsecret@db/sms"
        config = Config(Path("x"), {"101": SENDER}, "101", outbox=outbox)
        said = Finding("x").warning("the PBX says: sms101api\x1b[31m", "use dbsecret")
        found = without_secrets([said], config)
        assert [(each.says, each.do) for each in found] == [("the PBX says: xxx [31m", "use xxx")]
        assert without_secrets([said], None)[0].do == said.do


def check(path: Path, *options: str, **environ: str) -> Result:
    env = {"AST_CONFIG_DIR": str(path.parent), "PATH": "/usr/bin:/bin"} | environ
    command = ["check", "--config", str(path), "--user", str(os.geteuid()), *options]
    return CliRunner().invoke(cli.main, command, env=env)


class TestTheCommand:
    def test_json_has_the_status_and_every_line(self, sms_conf: Callable[[str], Path]) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        monitor = f"monitor = 127.0.0.1:{free_port()}"
        path = sms_conf(
            f"[general]\nlog = sms.log\n{monitor}\n[101]\nurl = {url}\npassword = secret!\n"
        )
        result = check(path, "--json")
        shown = json.loads(result.stdout)
        assert (result.exit_code, shown["status"]) == (2, 2)
        bad = [line for line in shown["findings"] if line["state"] == "wrong"]
        assert [(line["name"], line["sender"]) for line in bad] == [("connection", "101")]
        assert "port in url" in bad[0]["do"]
        assert "secret!" not in result.output

    def test_the_first_line_is_what_monitoring_shows(self, tmp_path: Path) -> None:
        result = check(tmp_path / "sms.conf")
        assert result.exit_code == 2
        assert result.stdout.startswith("Wrong: sms.conf (there is no ")

    @pytest.mark.parametrize("options", [["--nothing"], ["--user", "nobody-of-that-name"], ["x"]])
    def test_wrong_usage_is_no_verdict(self, tmp_path: Path, options: list[str]) -> None:
        assert check(tmp_path / "sms.conf", *options).exit_code == 3

    def test_who_may_not_read_sms_conf_cannot_check(
        self, sms_conf: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given a user who is neither root nor Asterisk's
        path = sms_conf("[101]\n")
        path.chmod(0)
        me = User("guest", 64400, (64400,))
        monkeypatch.setattr("dialplan_sms.cli.check.command.current", lambda: me)
        result = check(path, "--user", "root")
        assert result.exit_code == 3
        assert "as root" in result.output


class TestRights:
    def test_rights_are_those_of_owner_group_or_others(self, folder: Path) -> None:
        file = folder / "file"
        file.touch()
        me = os.stat(file)
        owner = User("owner", me.st_uid or 64000, (1,))
        group = User("group", 64321, (64322, me.st_gid))
        other = User("other", 64323, (64322,))
        for mode, may in ((0o600, ""), (0o640, "g"), (0o604, "o"), (0o644, "go")):
            file.chmod(mode)
            assert (blocked(file, READ, group) is None) is ("g" in may)
            assert (blocked(file, READ, other) is None) is ("o" in may)
        # the owner's bits hold for the owner, whatever others may
        file.chmod(0o066)
        found = os.stat_result([0o100066, 0, 0, 1, owner.uid, 64322, 0, 0, 0, 0])
        assert not owner.may(found, READ)
        assert other.may(found, READ | WRITE)

    def test_root_may_all_but_run_what_nobody_may(self, folder: Path) -> None:
        root, file = User("root", 0, (0,)), folder / "file"
        file.touch(0)
        assert blocked(file, READ | WRITE, root) is None
        assert blocked(file, RUN, root) is not None

    def test_a_link_to_itself_is_no_file(self, folder: Path) -> None:
        (folder / "a").symlink_to("a")
        bar = blocked(folder / "a", READ, ASTERISK)
        assert bar is not None
        assert bar.missing

    def test_the_cure_names_the_group_of_who_is_judged(self, folder: Path) -> None:
        # given files that everybody may read, and an Asterisk that runs as a user without a name
        nameless = by_id(64321, (64399, os.getegid()))
        path = folder / "sms.conf"
        path.write_text("[101]\nurl = https://192.0.2.1\npassword_file = secret\n")
        (folder / "secret").write_text("x\n")
        (folder / "secret").chmod(0o644)
        for mode, about in ((0o644, path), (0o640, folder / "secret")):
            path.chmod(mode)
            # when they are looked at, then the cure is for that user's group, whatever usual ones are
            found = conf.check(path, nameless)[0]
            assert f"chgrp 64399 {about} && chmod 0640 {about}" in found.do
        log = conf.check_log(checked.config(log=str(folder / "none/sms.log")), nameless)
        assert "user 64321" not in log.do

    @pytest.mark.parametrize(
        ("mode", "says", "do"),
        [
            (0o755, "", ""),
            (None, "there is no {}", "create {}"),
            (0o640, "user 64321 may not run {}, which is {me}", "chmod o+rx {}"),
            (0o777, "everybody can change {}, and so what user 64321 runs", "chmod go-w {}"),
            (0o40755, "{} is not a file", "name a program"),
            (
                0o1755,
                "{} cannot be started: it has no line with #!",
                "begin {} with a line such as #!/bin/sh",
            ),
        ],
    )
    def test_a_program_for_failures_that_cannot_be_run_or_is_anybodys_is_told(
        self, folder: Path, mode: int | None, says: str, do: str
    ) -> None:
        path, program = folder / "sms.conf", folder / "program"
        if mode is not None:
            program.mkdir() if mode & 0o40000 else program.write_text(
                "#!" if mode < 0o1000 else "cat"
            )
            program.chmod(mode & 0o777)
        path.write_text(
            f"[general]\noutbox = sqlite:////x\non_failure = {program}\n"
            "[101]\nurl = https://192.0.2.1\npassword = x\n"
        )
        path.chmod(0o640)
        found = conf.check(path, by_id(64321, (os.getegid(),)))[0]
        assert found.state is (CheckState.WRONG if says else CheckState.OK), found
        me = current()
        says = says.format(program, me=f"{me.owner}:{me.group} 0640")
        assert found.says.startswith(f"on_failure of [101]: {says}" if says else str(path))
        assert found.do.endswith(do.format(program))

    def test_a_log_is_made_in_its_folder(self, folder: Path) -> None:
        for mode, state in ((0o755, CheckState.WRONG), (0o777, CheckState.OK)):
            folder.chmod(mode)
            found = conf.check_log(checked.config(log=f"{folder}/sms.log"), ASTERISK)
            assert found.state is state

    def test_a_host_without_syslog_and_log_is_told(self, tmp_path: Path) -> None:
        found = conf.check_log(checked.config(), ASTERISK, tmp_path / "log")
        assert (found.state, "log = " in found.do) == (CheckState.WARNING, True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(str(tmp_path / "log"))
            found = conf.check_log(checked.config(), ASTERISK, tmp_path / "log")
        assert found.state is CheckState.OK


class TestSmsConf:
    @pytest.mark.parametrize(
        ("keys", "left_out"),
        [
            ("country = IT\nallow = CH, +43", True),
            ("country = IT\nallow = +41791234567", True),
            ("country = IT\nallow = CH, IT", False),
            ("country = IT\nallow = +39333", False),
            ("country = IT\nallow = +3", False),
            ("country = IT\nallow = all", False),
            ("country = IT", False),
            ("allow = CH", False),
        ],
    )
    def test_allow_without_the_own_country_is_told(
        self, sms_conf: Callable[[str], Path], keys: str, left_out: bool
    ) -> None:
        path = sms_conf(f"[101]\nurl = https://192.0.2.1\npassword = x\n{keys}\n")
        found = conf.check(path, by_id(os.geteuid()))[0]
        assert found.state is (CheckState.WARNING if left_out else CheckState.OK), found
        assert ("add IT to allow in [101]" in found.do) is left_out

    @pytest.mark.parametrize(
        ("second", "says", "do"),
        [
            ("url = https://192.0.2.2", "senders 101 (backup 102), 102, default 101", ""),
            ("url = https://192.0.2.1", "[102], the backup of [101], is at the same PBX",
             "backup = a sender at another PBX, in [101]"),
            ("url = https://192.0.2.2\nmax_length = 300",
             "[102], the backup of [101], refuses a text of more than 300 characters",
             "long_message = truncate in [102]"),
        ],
    )  # fmt: skip
    def test_a_backup_that_would_be_of_no_help_is_told(
        self, sms_conf: Callable[[str], Path], second: str, says: str, do: str
    ) -> None:
        path = sms_conf(
            "[general]\ndefault_sender = 101\npassword = x\n[101]\nurl = https://192.0.2.1\n"
            f"backup = 102\n[102]\n{second}\n"
        )
        found = conf.check(path, by_id(os.geteuid()))[0]
        assert says in found.says
        assert (found.state, found.do) == (CheckState.WARNING if do else CheckState.OK, do)


class TestTheAsteriskThatIsAsked:
    def test_the_running_asterisk_is_found_by_its_configuration(self, tmp_path: Path) -> None:
        proc, etc, me = tmp_path / "proc", tmp_path / "etc", os.getuid()
        process(proc, "ls", "/etc/asterisk", pid=10)
        mine = ("-C", f"{etc}/asterisk.conf")
        process(proc, "/usr/sbin/asterisk", *mine, "-rx", "core show uptime", pid=11)
        process(proc, "/usr/sbin/asterisk", "-f", "-U", "asterisk", uid=me, pid=12)
        loader = ("/x/ld-linux-x86-64.so.2", "--library-path", "/x")
        process(proc, *loader, "/x/asterisk", "-fC", "y", *mine, uid=me, pid=13)
        found = Asterisk(etc, quiet, proc).process
        assert found is not None
        assert (found.user.uid, found.user.gids) == (me, (119, 20))
        assert found.command[-1] == "/x/asterisk"
        system = Asterisk(Path("/etc/asterisk"), quiet, proc).process
        assert system is not None
        assert system.command == ("/usr/sbin/asterisk",)

    def test_nobodys_program_is_run_for_its_name(self, tmp_path: Path) -> None:
        """exec -a /tmp/asterisk sleep 60, by anybody; also where that is a set-user-id program."""
        proc, etc = tmp_path / "proc", tmp_path / "etc"
        etc.mkdir()
        command = ("/tmp/asterisk", "-C", f"{etc}/asterisk.conf")
        for pid, effective in ((12, 64321), (13, os.getuid())):
            process(proc, *command, pid=pid, uid=64321, effective=effective)
        assert Asterisk(etc, quiet, proc, "/nowhere").command == ()

    def test_the_console_has_the_rights_of_who_runs_asterisk(self, tmp_path: Path) -> None:
        proc = tmp_path / "proc"
        asked: list[tuple[str, int | None]] = []
        process(proc, "/x/asterisk", "-C", f"{tmp_path}/asterisk.conf", uid=os.getuid(), pid=12)

        def remember(command: Sequence[str], _: float, user: User | None) -> Ran:
            asked.append((command[0], user.uid if user else None))
            return Ran(1)

        Asterisk(tmp_path, remember, proc).ask("core show settings")
        assert asked == [("/x/asterisk", os.getuid())]

    def test_a_template_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # as Debian ships it: [directories](!) leaves what was compiled in
        monkeypatch.setattr(asterisk, "_AGI_BINS", (str(tmp_path / "none"), str(tmp_path)))
        file = tmp_path / "asterisk.conf"
        file.write_text("[directories](!) ; remove the (!)\nastagidir => /nowhere\n")
        assert Asterisk(tmp_path, quiet, tmp_path, "/nowhere").agi_bin() == tmp_path
        file.write_text("[directories]\nastagidir => /srv/agi ; ours\n")
        assert Asterisk(tmp_path, quiet, tmp_path, "/nowhere").agi_bin() == Path("/srv/agi")


def told(etc: Path, answer: str) -> dict[str, Finding]:
    """The lines of an Asterisk whose console answers that."""
    for file in ("asterisk", "asterisk.conf"):
        (etc / file).touch(mode=0o755)
    host = Asterisk(etc, lambda *_: Ran(0, answer), etc, str(etc))
    return {each.name: each for each in asterisk.check(host, current())}


LINE = 'curl -u "bob:hunter2" {url}/sms/v3rysecret --data-urlencode "to={{TO_NUMBER}}" -d "text={{MESSAGE}}"'


def looked_at(conf: Path, url: str, keys: str = "") -> dict[str, Finding]:
    """What is found of a gateway, by name."""
    conf.touch(0o600)
    conf.write_text(f"[gateway]\ncurl = {LINE.format(url=url)}\nsuccess = OK\n{keys}\n")
    loaded = smsconf.load(conf)
    (group,) = pbx.each(loaded, 3.0)
    shown = without_secrets(group.check(), loaded)
    assert "hunter2" not in str(shown)
    assert "v3rysecret" not in str(shown)
    return {line.name: line for line in shown}


class TestThePbx:
    @pytest.mark.parametrize("verify", ["yes", "no"])
    def test_who_can_read_along_is_told(self, verify: str) -> None:
        sender = Sender("101", "https://192.0.2.1/", "x", verify=verify)
        seen = PeerCertificate("sha256:AB", end=NOW + 99 * DAY)
        found = certificate.certificate(sender, Outcome(Status.SUCCESS), seen, NOW)
        assert found.state is (CheckState.WARNING if verify == "no" else CheckState.OK)
        assert ("verify = sha256:AB" in found.do) is (verify == "no")

    def test_plain_http_to_another_host_is_told(self) -> None:
        # given a PBX by http, and a name for it that is not loopback's
        with Sandbox(tls=False, users={"101": "x"}) as sandbox:
            resolver = Resolver(lambda host, *rest: socket.getaddrinfo("127.0.0.1", *rest[:1]))
            url = f"http://pbx.example.com:{sandbox.address.port}/api/v1/originate/sms"
            found = list(pbx.PbxCheck([Sender("101", url, "x")], resolver=resolver).check())
        (bad,) = checked.bad(found)
        assert (bad.name, bad.state) == ("certificate", CheckState.WARNING)
        assert bad.do == "url = https://pbx.example.com"

    @pytest.mark.parametrize(
        ("name", "start", "end", "theirs", "state"),
        [
            ("as it should be", -1, 9, 0, CheckState.OK),
            ("the PBX does not tell", 1, 9, None, CheckState.SKIPPED),
            ("ours is slow", 1, 9, 2, CheckState.WRONG),
            ("ours is fast", -9, -1, -2, CheckState.WRONG),
            ("both differ, and it holds for neither", -9, -5, -2, CheckState.WARNING),
        ],
    )
    def test_a_clock_is_wrong_where_the_certificate_says_so(
        self, name: str, start: float, end: float, theirs: float | None, state: CheckState
    ) -> None:
        made = PeerCertificate("sha256:AB", start=NOW + start * DAY, end=NOW + end * DAY)
        clock = None if theirs is None else NOW + theirs * DAY
        assert certificate.clock(NOW, clock, made, "certificate has expired").state is state, name

    def test_each_sender_of_a_pbx_is_asked(self) -> None:
        with Sandbox(users={"101": "one", "102": "two", "103": "three"}) as sandbox:
            url = f"{sandbox.url}/api/v1/originate/sms"
            senders = [
                Sender(name, url, password, verify=f"sha256:{sandbox.fingerprint[7:].replace(':', '').lower()}")
                for name, password in (("101", "one"), ("102", "wrong"), ("103", "three"))
            ]  # fmt: skip
            found = list(pbx.PbxCheck(senders).check())
            assert [each.of for each in found if each.name == "connection"] == ["101, 102, 103"]
            states = {each.of: each.state for each in found if each.name == "credentials"}
            assert states == {"101": CheckState.OK, "102": CheckState.WRONG, "103": CheckState.OK}
            assert sandbox.messages == []

    @pytest.mark.parametrize(
        ("written", "hint"),
        [
            ('"sms101api"', "without its quotes"),
            ("'sms101api'", "without its quotes"),
            ("sms;101api", "write \\; for ;"),
            ("sms\\;101;api", "write \\; for ;"),
            ("sms101api", ""),
            ("sms101api   ; of 101", ""),
            ("sms\\;101api", ""),
            ("sms'101'api", ""),
        ],
    )
    def test_a_refused_password_that_sms_conf_has_otherwise_than_meant_is_told(
        self, sms_conf: Callable[[str], Path], written: str, hint: str
    ) -> None:
        path = sms_conf(f"[101]\nurl = https://192.0.2.1\npassword = {written}\n")
        sender = smsconf.load(path).senders["101"]
        found = pbx.credentials(sender, error(Cause.UNAUTHORIZED, "HTTP 401 - Unauthorized"), path)
        usual = "[101] must be the PBX user; correct its password"
        assert found.do.startswith(usual) is (not hint)
        assert hint in found.do
        assert usual in found.do
        assert sender.password not in found.says + found.do

    def test_a_list_of_senders_is_cut(self) -> None:
        senders = [Sender(str(101 + n), f"http://127.0.0.1:{free_port()}/", "x") for n in range(5)]
        found = list(causes_only(pbx.PbxCheck(senders).check()))
        assert [each.label for each in checked.bad(found)] == ["connection 101, 102 and 3 more"]
        assert sum(1 for each in found if each.name == "credentials") == 5

    def test_old_tls_has_another_cure_than_none(self) -> None:
        failure = ssl.SSLError(1, "x")
        failure.reason = "UNSUPPORTED_PROTOCOL"
        found = pbx.connection("x port 443", Look(Stage.SECURING, 0.1, failure), 1.0)
        assert (found.state, "TLS 1.2" in found.do) == (CheckState.WRONG, True)

    def test_a_name_server_that_is_dead_costs_its_time_and_no_more(self) -> None:
        ended = threading.Event()

        def lookup(host: str, *rest: object) -> list[tuple[object, ...]]:
            if len(rest) > 3:  # AI_NUMERICHOST
                raise OSError
            ended.wait(10)
            return []

        began = time.monotonic()
        found = list(pbx.PbxCheck([SENDER], resolver=Resolver(lookup), connect_time=0.2).check())
        ended.set()
        assert time.monotonic() - began < 3
        (bad,) = checked.bad(causes_only(found))
        assert (bad.name, "resolv.conf" in bad.do) == ("name", True)

    def test_a_reason_of_nobody_has_no_doubt(self) -> None:
        outcome = error(Cause.INTERNAL, "strange: it may have been sent")
        assert pbx.credentials(SENDER, outcome, Path("/x")).says == "strange"

    def test_a_gateway_is_not_asked(self, tmp_path: Path) -> None:
        conf = tmp_path / "sms.conf"
        with Sandbox() as gateway:
            found = looked_at(conf, gateway.url, f"verify = {gateway.fingerprint}")
            assert found["certificate"].state is CheckState.OK
            assert found["connection"].state is CheckState.OK
            assert "would be an SMS" in found["credentials"].says
            assert "max_length" not in found
            said, good = setup.ask(conf, "gateway")
            assert (good, said) == (True, f"warning: {found['credentials'].says}")
            untrusted = looked_at(conf, gateway.url)["certificate"]
            assert untrusted.state is CheckState.WRONG
            assert f"verify = {gateway.fingerprint} in [gateway]" in untrusted.do
            assert (
                looked_at(conf, gateway.url, f"verify = {conf}")["certificate"].state
                is CheckState.WRONG
            )
            assert gateway.requests == []

    def test_a_gateway_that_does_not_listen_is_named(self, tmp_path: Path) -> None:
        found = looked_at(tmp_path / "sms.conf", f"http://127.0.0.1:{free_port()}")["connection"]
        assert found.state is CheckState.WRONG
        assert found.do.startswith("correct the port in the URL in curl, or")


class TestTheOutbox:
    def test_the_file_system(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert outbox.file_system(Path("/proc").stat().st_dev) == "proc"
        monkeypatch.setattr(outbox, "MOUNTS", tmp_path / "mountinfo")
        assert outbox.file_system(os.makedev(8, 1)) == ""
        (tmp_path / "mountinfo").write_text(
            "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:31 / /mnt rw shared:1 - cifs //nas/x rw\n"
            "3 1 0:3 / /mnt\\040x rw - xfs /dev/b rw\nnonsense\n"
        )
        assert outbox.file_system(os.makedev(0, 31)) == "cifs"
        assert outbox.file_system(os.makedev(0, 3)) == "xfs"
        assert outbox.file_system(os.makedev(0, 1)) == ""

    @pytest.mark.slow
    def test_a_database_server_is_looked_into(self, postgresql: str) -> None:
        found = list(outbox.check(postgresql, current()))
        assert [each.state for each in found] == [CheckState.SKIPPED, CheckState.OK]


_SUB, _OURS = "[sub-sms]\nexten => s,1,Set(SMS_STATUS=)\n", "#include extensions-sms.conf\n"


@pytest.fixture
def dialplan(tmp_path: Path) -> Callable[[str], Finding]:
    """Its line, with that extensions.conf; Asterisk has [sub-sms] loaded."""
    (tmp_path / "extensions-sms.conf").write_text(_SUB)
    (tmp_path / "old.conf").write_text("; of long ago\n" + _SUB)
    (tmp_path / "more.conf").write_text(_OURS)

    def look(main: str) -> Finding:
        (tmp_path / "extensions.conf").write_text(main)
        return told(tmp_path, "[ Context 'sub-sms' created by 'pbx_config' ]\n")["dialplan"]

    return look


class TestWhatAsteriskHas:
    def test_a_module_that_does_not_run_is_missing(self, tmp_path: Path) -> None:
        rows = "res_agi.so   AGI   0   Not Running   core\napp_stack.so  Gosub  0  Running  core\n"
        found = told(tmp_path, rows)["modules"]
        assert "res_agi.so is not loaded" in found.says
        assert "app_stack.so" not in found.says

    def test_a_host_without_asterisk_is_not_asked(self, tmp_path: Path) -> None:
        host = Asterisk(tmp_path, run, path="/nowhere")
        found = [*asterisk.check(host, current()), *asterisk.check_script(host, current(), None)]
        states = {each.name: each.state for each in found}
        none = ("Asterisk", "modules", "dialplan", "old CURL()", "sms.agi")
        skip = dict.fromkeys(none, CheckState.SKIPPED)
        assert states == skip | {"Python": CheckState.OK, "packages": CheckState.OK}

    def test_curl_to_our_own_server_is_none_of_the_old_lines(self, tmp_path: Path) -> None:
        (tmp_path / "asterisk.conf").touch()
        (tmp_path / "extensions.conf").write_text(
            "[a]\nexten => 1,1,Set(m=${CURL(http://127.0.0.1:4575/api/v1/originate/sms,number=%2B39)})\n"
        )
        host = Asterisk(tmp_path, quiet, tmp_path, "/nowhere")
        for ports, state in (([], CheckState.WARNING), ([4575], CheckState.OK)):
            assert [*asterisk.check(host, current(), ports)][-1].state is state

    @pytest.mark.parametrize(
        ("main", "place"),
        [
            (f"#include old.conf\n{_OURS}[a]\n", "old.conf:2"),
            (f"{_OURS}\n[sub-sms](+)\nexten => 1,1,NoOp()\n", "extensions.conf:3"),
            (f"[a]\n{_OURS}exten => 1,1,NoOp()\nexten => 2,1,NoOp()\n", "extensions.conf:3"),
        ],
    )
    def test_another_sub_sms_is_named_with_its_place(
        self, dialplan: Callable[[str], Finding], tmp_path: Path, main: str, place: str
    ) -> None:
        found = dialplan(main)
        says = f"{tmp_path}/{place}: Asterisk merges that with {tmp_path}/extensions-sms.conf:1"
        assert found.state is CheckState.WRONG
        assert found.says == f"[sub-sms] is also in {says}, and SMS are lost"
        assert "delete those lines" in found.do
        assert "dialplan reload" in found.do

    def test_one_included_twice(self, dialplan: Callable[[str], Finding], tmp_path: Path) -> None:
        assert dialplan(f"{_OURS}[a]\n").state is CheckState.OK
        found = dialplan("#tryinclude extensions-sms.conf\n#include more.conf\n")
        places = f"{tmp_path}/extensions.conf:1 and {tmp_path}/more.conf:1"
        assert found.state is CheckState.WARNING
        assert found.says == f"{tmp_path}/extensions-sms.conf is included 2 times: {places}"
        assert "dialplan reload" in found.do

    @pytest.mark.parametrize(
        ("app", "missing"),
        [
            ("Gosub(sub-smss,s,1)", "sub-smss"),
            ("Gosub(Sub-SMS,s,1(${NUMBER},TEXT))", "Sub-SMS"),
            ("ExecIf($[${LEN(${X})} > 0]?Gosub(sms_alarm,s,1(a,b)))", "sms_alarm"),
            ("GosubIf($[1]?my.sms,s,1:test,1,1)", "my.sms"),
            ("Gosub(sub-sms,s,1)", ""),
            ("Gosub(sms,1)", ""),  # an extension
            ("Gosub(sms-${KIND},s,1)", ""),
            ("Gosub(of-lua-sms,s,1)", ""),  # what has no file here, and is loaded
            ("Gosub(announce,s,1)", ""),  # none of ours
            ("GosubIf($[${DIALPLAN_EXISTS(sms-hook,s,1)}]?sms-hook,s,1)", ""),
            ("NoOp(Gosub(sub-smss,s,1))", ""),
        ],
    )
    def test_a_gosub_to_a_context_for_sms_that_is_nowhere_is_named_with_its_place(
        self, tmp_path: Path, app: str, missing: str
    ) -> None:
        names = ("sub-sms", "of-lua-sms", "a")
        contexts = "".join(f"[ Context '{name}' created by 'x' ]\n" for name in names)
        shown = f"{contexts}  '1' =>  1. {app}  [extensions.conf:4]\n-= 3 extensions in 3 contexts. =-\n"
        (tmp_path / "extensions.conf").write_text(f"{_SUB}[a]\nexten => 1,1,{app}\n")
        found = told(tmp_path, shown)["dialplan"]
        if missing:
            says = f"there is no [{missing}]: the call ends at {tmp_path}/extensions.conf:4"
            assert (found.state, found.says) == (CheckState.WRONG, says)
        else:
            assert found.state is CheckState.OK, found
        # An answer that is cut may lack a context that Asterisk has.
        assert told(tmp_path, shown.rpartition("-=")[0])["dialplan"].state is CheckState.OK
        # A line that is not loaded yet may come with its context.
        assert told(tmp_path, shown.replace(app, "NoOp()"))["dialplan"].state is CheckState.OK
