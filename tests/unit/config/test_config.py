import grp
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dialplan_sms.config import parser
from dialplan_sms.config.config import GENERAL_KEYS, find, load
from dialplan_sms.config.http import KEYS
from dialplan_sms.config.keys import SENDER as SENDER_KEYS
from dialplan_sms.config.keys import Key
from dialplan_sms.config.parser import ConfigError, parse
from dialplan_sms.sms.outcome import safe_line

Write = Callable[[str | bytes], Path]

SENDER = "[101]\nurl = http://192.0.2.1\npassword = hunter2\n"
GOOD = """
[general]
default_sender = 101
outbox = sqlite:////var/spool/asterisk/sms/outbox.sqlite
log = sms.log
country = IT
[101]
url = https://pbx.example.com          ; the path is added
password => sms\\;101api
verify = sha256:AA:{hex}
gsm = 9C:75:14:33:00:01
max_length = 300
long_message = truncate
[102]
url = http://192.0.2.1:8080/sms/
token = wsk-v1-secret
country = GB
""".replace("{hex}", ":".join(["0f"] * 31))


def test_a_good_file_is_read_whole(sms_conf: Write) -> None:
    config = load(sms_conf(GOOD))
    assert config.default_sender == "101"
    assert config.outbox == "sqlite:////var/spool/asterisk/sms/outbox.sqlite"
    assert config.log == str(config.path.parent / "sms.log")
    first, second = config.senders["101"], config.senders["102"]
    assert first.url == "https://pbx.example.com/api/v1/originate/sms"
    assert first.password == "sms;101api"
    assert first.verify == "sha256:aa" + "0f" * 31
    assert (first.gsm, first.max_length, first.long_message) == ("9c7514330001", 300, "truncate")
    assert (first.country, first.mode, first.call_timeout) == ("IT", "wait", 30.0)
    assert second.url == "http://192.0.2.1:8080/sms/"
    assert (second.token, second.password, second.country) == ("wsk-v1-secret", "", "GB")
    assert config.sender("") is first
    assert config.sender("102") is second
    assert config.sender("103") is None


@pytest.mark.parametrize("known", [GENERAL_KEYS, SENDER_KEYS, KEYS])
def test_every_key_is_described_in_a_line(known: Mapping[str, Key]) -> None:
    for name, key in known.items():
        assert 10 < len(key.about) < 70, name
        assert key.about.isprintable(), name
        assert key.kind.allowed, name


def test_secrets_do_not_show(sms_conf: Write) -> None:
    shown = repr(load(sms_conf(GOOD)))
    assert "101api" not in shown
    assert "wsk-v1" not in shown


LIMITED = """
[general]
outbox = postgresql+psycopg://sms:hunter2@192.0.2.3/sms
allow = 192.0.2.0/24, 2001:db8::/64
workers = 8
retention = 30d
delivery = at-most-once
deny = +39899
per_sender = 200/1d
[101]
url = http://192.0.2.1
password = x
postpone = PBX
pace = 0
batch = 50
max_age = 90 min
keep_text = 7d
allow = it, FR, +41 79
per_number = 5 / 1h
per_caller = 3/10m
repeat_window = 30s
[102]
url = http://192.0.2.1
password = x
delivery = at-least-once
allow = all
deny = none
per_sender = None
"""


def test_outbox_and_limits_are_read(sms_conf: Write) -> None:
    config = load(sms_conf(LIMITED))
    assert config.outbox == "postgresql+psycopg://sms:hunter2@192.0.2.3/sms"
    assert [str(network) for network in config.allow] == ["192.0.2.0/24", "2001:db8::/64"]
    assert (config.workers, config.retention) == (8, 30 * 86400.0)
    first, second = config.senders["101"], config.senders["102"]
    assert (first.delivery, first.postpone, first.pace, first.batch) == (
        "at-most-once",
        "pbx",
        0,
        50,
    )
    assert (first.max_age, first.keep_text) == (5400.0, 7 * 86400.0)
    assert (first.allow, first.deny) == (("IT", "FR", "+4179"), ("+39899",))
    assert (first.per_number, first.per_sender) == ((5, 3600.0), (200, 86400.0))
    assert (first.per_caller, first.repeat_window) == ((3, 600.0), 30.0)
    assert first.counted
    assert (second.delivery, second.allow, second.deny) == ("at-least-once", ("+",), ())
    assert not second.counted


def test_outbox_and_limits_have_defaults(sms_conf: Write) -> None:
    config = load(sms_conf(SENDER))
    assert (config.outbox, config.allow, config.workers, config.retention) == ("", (), 4, 7776000.0)
    sender = config.senders["101"]
    assert (sender.delivery, sender.postpone, sender.pace, sender.batch) == (
        "at-least-once",
        "here",
        5,
        20,
    )
    assert (sender.max_age, sender.keep_text, sender.allow, sender.deny) == (86400.0, 0, (), ())
    assert not sender.counted


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0", 0), ("90", 90), ("0s", 0), ("30S", 30), ("15m", 900), ("15 min", 900), ("24h", 86400), ("7d", 604800)],
)  # fmt: skip
def test_a_time_has_its_unit(sms_conf: Write, written: str, seconds: float) -> None:
    assert load(sms_conf(f"{SENDER}max_age = {written}\n")).senders["101"].max_age == seconds


@pytest.mark.parametrize("url", ["sqlite:////var/spool/x y.sqlite", "postgresql+psycopg:///sms"])
def test_the_outbox_is_a_database(sms_conf: Write, url: str) -> None:
    assert load(sms_conf(f"[general]\noutbox = {url}\n{SENDER}")).outbox == url


@pytest.mark.parametrize(
    "url",
    ["postgresql://sms:hunter2@192.0.2.3/sms", "sqlite:///outbox.sqlite", "sqlite://", "hunter2",
     "sqlite:///:memory:", "mysql://sms:hunter2@192.0.2.3/sms", "", "sqlite:////a\0b"],
)  # fmt: skip
def test_the_outboxs_password_never_shows(sms_conf: Write, url: str) -> None:
    with pytest.raises(ConfigError) as failure:
        load(sms_conf(f"[general]\noutbox = {url}\n{SENDER}"))
    assert "sms.conf:2: outbox" in str(failure.value)
    assert " - allowed: sqlite:///" in str(failure.value)
    assert "hunter2" not in str(failure.value)
    assert "hunter2" not in repr(load(sms_conf(LIMITED)))


@pytest.mark.parametrize(
    ("url", "says"),
    [("postgresql://sms@192.0.2.3/sms", "write postgresql+psycopg:// in place of its"),
     ("postgres://sms@192.0.2.3/sms", "write postgresql+psycopg:// in place of its"),
     ("sqlite:///outbox.sqlite", "write four slashes and the whole path, as sqlite:////"),
     ("sqlite://outbox.sqlite", "write four slashes and the whole path, as sqlite:////"),
     ("postgresql+psycopg://sms:Top@Secret@127.0.0.1/sms", "an @ in the password is written %40")],
)  # fmt: skip
def test_a_url_as_other_programs_take_it_says_what_to_write(
    sms_conf: Write, url: str, says: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        load(sms_conf(f"[general]\noutbox = {url}\n{SENDER}"))
    assert f": outbox, {says}" in str(failure.value)
    assert "Secret" not in str(failure.value)


@pytest.mark.parametrize("mode", ["queue", "fallback"])
def test_a_mode_that_stores_is_taken_with_an_outbox(sms_conf: Write, mode: str) -> None:
    outbox = "[general]\noutbox = sqlite:////x\n"
    assert load(sms_conf(f"{outbox}{SENDER}mode = {mode}\n")).senders["101"].mode == mode
    both = f"[general]\nmode = {mode}\n{SENDER}mode = wait\n"
    assert load(sms_conf(both)).senders["101"].mode == "wait"


def test_a_program_for_failures_needs_the_outbox(sms_conf: Write) -> None:
    with pytest.raises(ConfigError, match=r":2: on_failure: needs the outbox: set outbox in"):
        load(sms_conf(f"[general]\non_failure = /bin/x\n{SENDER}"))
    outbox = "[general]\noutbox = sqlite:////x\non_failure = /bin/x\n"
    both = load(
        sms_conf(
            f"{outbox}{SENDER}[102]\nurl = https://192.0.2.1\npassword = x\non_failure = none\n"
        )
    )
    assert [each.on_failure for each in both.senders.values()] == ["/bin/x", ""]


TIME = "a time as 30s, 15m, 24h or 7d"
RATE = "a number of SMS and a time, as 5/1h or 200/1d, or none"
PLACES = "countries and prefixes, as IT, FR, +4179"
NETWORKS = "networks, as 192.0.2.0/24, 2001:db8::/64 - countries and prefixes stand in the section of a sender"


@pytest.mark.parametrize(
    ("key", "bad", "allowed"),
    [
        ("delivery", ["", "exactly-once", "at least once"], "at-least-once, at-most-once"),
        ("postpone", ["", "there"], "here, pbx"),
        ("pace", ["", "s", "-1s", "1.5s", "5 weeks", "1h30m"], f"{TIME}, 0 for none"),
        ("batch", ["0", "501", "all"], "numbers in a request, 1 to 500"),
        ("max_age", ["", "1y", "1234567s"], TIME),
        ("keep_text", ["", "yes"], f"{TIME}, 0 for as long as needed"),
        ("repeat_window", ["", "no"], f"{TIME}, 0 for none"),
        ("on_failure", ["", "mail", "bin/mail", "./mail"],
         "the path of a program from / on, without arguments, or none"),
        ("on_failure_text", ["", "maybe"], "yes, no"),
        ("allow", ["", "IT,", "Italy", "+", "+0", "0039", "192.0.2.0/24", "all, IT", "none",
                   "+1234567890123456"], f"all, {PLACES}"),
        ("deny", ["", "ITA", "+39x"], f"all, none, {PLACES}"),
        ("per_number", ["", "5", "5/", "/1h", "0/1h", "5/0s", "5/1w", "-1/1h", "5/1h/1d", "5 per 1h"], RATE),
        ("per_sender", ["0", "many/1d", "5/²h"], RATE),
        ("per_caller", ["3/", "12345678/1d"], RATE),
        ("[general] allow", ["", "IT, FR", "192.0.2.0/33", "all"], NETWORKS),
        ("[general] workers", ["-1", "65", ""], "threads that send stored SMS, 0 to 64"),
        ("[general] retention", ["", "for ever", "90 days"], TIME),
    ],
)  # fmt: skip
def test_a_bad_value_says_what_is_allowed(
    sms_conf: Write, key: str, bad: list[str], allowed: str
) -> None:
    """The key of a sender, or of [general]."""
    before, after, key = ("", SENDER, key[10:]) if " " in key else (SENDER, "", key)
    for value in bad:
        with pytest.raises(ConfigError) as failure:
            load(sms_conf(f"[general]\n{before}{key} = {value}\n{after}"))
        said = str(failure.value)
        assert (
            f":{5 if before else 2}: {f'{key} = {value}' if value else f'{key}, empty'} - " in said
        )
        assert said.endswith(f" - allowed: {allowed}")
        assert said == safe_line(said)


COUNTED = ["per_number = 5/1h", "per_sender = 5/1h", "per_caller = 5/1h", "repeat_window = 1h"]


@pytest.mark.parametrize("stored", ["mode = queue", "mode = fallback", *COUNTED])
def test_what_is_stored_or_counted_needs_an_outbox(sms_conf: Write, stored: str) -> None:
    said = f"{stored}: needs the outbox"
    if stored in COUNTED:
        said = f"{stored.partition(' ')[0]}: is counted on the history of the outbox"
    for text, line in ((f"{SENDER}{stored}\n", 4), (f"[general]\n{stored}\n{SENDER}", 2)):
        with pytest.raises(ConfigError) as failure:
            load(sms_conf(text))
        assert f"sms.conf:{line}: {said}: set outbox in the general section" in str(failure.value)


@pytest.mark.parametrize("limit", COUNTED)
def test_what_is_counted_needs_a_history_that_is_long_enough(sms_conf: Write, limit: str) -> None:
    general = "[general]\noutbox = sqlite:////x\nretention = {}\n"
    assert load(sms_conf(general.format("1h") + f"{SENDER}{limit}\n")).senders["101"].counted
    with pytest.raises(ConfigError, match=r"sms.conf:7: .* raise retention in the general section"):
        load(sms_conf(general.format("59m") + f"{SENDER}{limit}\n"))


def test_a_limit_that_is_off_needs_nothing(sms_conf: Write) -> None:
    off = "per_number = none\nper_sender = none\nper_caller = none\nrepeat_window = 0s\n"
    for general in ("", "[general]\nper_sender = 5/1h\n"):
        assert not load(sms_conf(f"{general}{SENDER}{off}deny = none\n")).senders["101"].counted


def test_asterisks_own_habits_are_taken(sms_conf: Write) -> None:
    text = (
        "\ufeff;-- a block\r\n[ghost]\r\n--;\r\n[101] ; the sender\r\n"
        "URL => HTTPS://192.0.2.1;-- here, too --;/x\r\n;--- a line\r\npassword = a=b => c\r\n"
    )
    sender = load(sms_conf(text)).senders["101"]
    assert sender.url == "https://192.0.2.1/x"
    assert sender.password == "a=b => c"


def test_the_only_sender_is_the_default(sms_conf: Write) -> None:
    one = "[101]\nurl = http://192.0.2.1\npassword = x\n"
    assert load(sms_conf(one)).default_sender == "101"
    assert load(sms_conf(one + one.replace("101", "102"))).default_sender is None


def test_a_password_file_is_read_beside_it(sms_conf: Write, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s e;cret\nignored\n")
    secret.chmod(0o600)
    path = sms_conf("[101]\nurl = http://192.0.2.1\npassword_file = password\n")
    assert load(path).senders["101"].password == "s e;cret"
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 0640"):
        load(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no sender"),
        (SENDER + "passwort = x\n", "sms.conf:4: passwort: unknown in [101] - perhaps password?"),
        ("[general]\nfoo = 1\n" + SENDER, "sms.conf:2: foo: unknown in [general] - allowed: default_s"),
        (SENDER + "outbox = x\n", "sms.conf:4: outbox belongs in [general], not in [101]"),
        ("[101]\nurl = http://192.0.2.1\n", "sms.conf:1: [101] needs one of password, password_file"),
        (SENDER + "workers = 2\n", "sms.conf:4: workers belongs in [general], not in [101]"),
        (SENDER + "token = x\n", "found: password and token"),
        ("[101]\npassword = hunter2\n", "sms.conf:1: [101] has no url"),
        ("[101]\npassword = \nurl = http://192.0.2.1", "sms.conf:2: password, empty - allowed"),
        ("[101]\npassword_file = none\nurl = http://192.0.2.1", "there is no"),
        ("[101]\nurl = ftp://192.0.2.1\npassword = hunter2", "sms.conf:2: url = ftp://192.0.2.1 - allowed"),
        ("[101]\nurl = pbx.example.com\npassword = hunter2", "allowed: https:// or http://"),
        ("[101]\nurl = http://a:hunter2@192.0.2.1\npassword = x", "sms.conf:2: url, name and password do not"),
        ("[101]\nurl = https://*.example.com\npassword = hunter2", "sms.conf:2: url = https://*.example.com - al"),
        ("[101]\nurl = https://192.0.2.1:0\npassword = hunter2", "sms.conf:2: url"),
        ("[general]\nlog = a\0b\n" + SENDER, "sms.conf:2: log"),
        ("[101]\nurl = http://192.0.2.1:99999\npassword = hunter2", "allowed"),
        ("[101]\nurl = http://[::1\npassword = hunter2", "allowed"),
        (SENDER + "verify = maybe\n", "sms.conf:4: verify = maybe, there is no file"),
        (SENDER + "verify = sha256:1234\n", "64 hex digits"),
        (SENDER + "gsm = 1234\n", "sms.conf:4: gsm = 1234 - allowed: the MAC address of a gateway, 12 hex"),
        (SENDER + "max_length = 0\n", "allowed: characters, 1 to 10000"),
        (SENDER + "max_length = many\n", "allowed: characters, 1 to 10000"),
        (SENDER + "long_message = split\n", "allowed: refuse, truncate"),
        (SENDER + "country = UK\n", "GB is the United Kingdom"),
        (SENDER + "country = Italy\n", "two letters"),
        (SENDER + "short_numbers = perhaps\n", "allowed: yes, no"),
        (SENDER + "mode = later\n", "allowed: wait, queue, fallback"),
        (SENDER + "call_timeout = 0\n", "allowed: seconds, 1 to 300"),
        (SENDER + SENDER, "sms.conf:4: [101] stands already in line 1"),
        (SENDER + "url = http://192.0.2.2\n", "sms.conf:4: url is set already in line 2"),
        ("[general]\ndefault_sender = 102\n" + SENDER, "no section [102], allowed: 101"),
        ("url = x\n" + SENDER, "sms.conf:1: url stands before the first [section]"),
        (SENDER + "just words hunter2\n", "sms.conf:4: neither [section] nor key = value"),
        (SENDER + "[102](101)\n", "no template"),
        ("#include other.conf\n", "sms.conf:1: no #include or #exec"),
        ("[10:1]\nurl = http://192.0.2.1\npassword = hunter2", "holds no colon"),
        (b"[101]\nurl = http://192.0.2.1\npassword = \xe4\n", "sms.conf:3: not UTF-8"),
        (b"x" * (1 << 20) + b"x", "larger than 1 MiB"),
    ],
)  # fmt: skip
def test_an_error_says_where_what_and_what_is_allowed(
    sms_conf: Write, text: str | bytes, says: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        load(sms_conf(text))
    assert says in str(failure.value)
    assert "hunter2" not in str(failure.value)


def test_a_file_that_everybody_reads_is_refused(sms_conf: Write) -> None:
    path = sms_conf(SENDER)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"can be read or changed by everybody .* chmod 0640"):
        load(path)


def test_a_fifo_or_a_loop_is_an_error_at_once(sms_conf: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "loop").symlink_to("loop")
    for name in ("fifo", "loop"):
        with pytest.raises(ConfigError, match="regular file|must be a file"):
            load(tmp_path / name)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*sms.conf"):
        load(tmp_path / "sms.conf")
    with pytest.raises(ConfigError, match=r"cannot be read, Is a directory"):
        load(tmp_path)


def test_where_the_file_is() -> None:
    assert find("a.conf", {"DIALPLAN_SMS_CONF": "b.conf"}) == Path("a.conf")
    assert find(None, {"DIALPLAN_SMS_CONF": "b.conf", "AST_CONFIG_DIR": "/c"}) == Path("b.conf")
    assert find(None, {"AST_CONFIG_DIR": "/c"}) == Path("/c/sms.conf")
    assert find(None, {}) == Path("/etc/asterisk/sms.conf")


@given(st.text())
def test_any_text_is_sections_or_one_error(text: str) -> None:
    try:
        parse(text, Path("sms.conf"))
    except ConfigError as error:
        assert str(error).startswith("sms.conf:")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.text().map(lambda tail: (SENDER + tail).encode(errors="replace")))
def test_any_file_is_a_config_or_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.conf"
    path.write_bytes(content)
    path.chmod(0o600)
    try:
        load(path)
    except ConfigError as error:
        assert str(path) in str(error)


def test_a_file_of_another_group_is_for_that_group(tmp_path: Path) -> None:
    path = tmp_path / "sms.conf"
    path.touch()
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 0, 65534)
    group = grp.getgrgid(path.stat().st_gid).gr_name
    said = parser._not_for_us(path)
    assert said.endswith(f"only by root and the group {group}: run this as root or as {group}")
    path.chmod(0o600)
    assert parser._not_for_us(path).endswith(f"run chgrp asterisk {path}, then chmod 0640 {path}")
    assert safe_line(parser._not_for_us(path)) == parser._not_for_us(path)


def _senders(*backups: str) -> str:
    """Senders from 101 on, each with a password of its own and this backup."""
    return "".join(
        f"[{name}]\nurl = http://192.0.2.1\npassword = x\n{each and f'backup = {each}'}\n"
        for name, each in enumerate(backups, 101)
    )


def test_a_backup_may_have_one_of_its_own(sms_conf: Write) -> None:
    config = load(sms_conf(_senders("102", "103", "")))
    assert [sender.backup for sender in config.senders.values()] == ["102", "103", ""]
    assert {sender.backup_after for sender in config.senders.values()} == {30.0}


def test_a_backup_of_all_is_not_its_own(sms_conf: Write) -> None:
    config = load(sms_conf("[general]\nbackup = 102\nbackup_after = 0s\n" + _senders("", "", "")))
    assert [sender.backup for sender in config.senders.values()] == ["102", "", "102"]
    assert config.senders["101"].backup_after == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (_senders("101"), r"4: backup = 101: a circle, 101 > 101 - allowed: a sender"),
        (_senders("102", "101"), r"4: backup = 102: a circle, 101 > 102 > 101 - allowed"),
        (_senders("102", "103", "104", "102"), r"8: backup = 103: a circle, 102 > 103 > 104 > 102"),
        (_senders("999", ""), r"4: backup: there is no section \[999\], allowed: 101, 102"),
        ("[general]\nbackup = 102\n" + _senders("", "101"), r"2: backup = 102: a circle, 101 > 10"),
        ("[general]\nbackup = 7\n" + _senders(""), r"2: backup: there is no section \[7\]"),
        (_senders("102\nbackup_after = soon", ""), r"5: backup_after = soon - allowed: a time as"),
    ],
)
def test_a_backup_that_leads_nowhere_is_told_with_its_line(
    sms_conf: Write, text: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        load(sms_conf(text))
    assert "\n" not in str(refused.value)
