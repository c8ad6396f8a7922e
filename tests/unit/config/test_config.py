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
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.sms.outcome import safe_line

Write = Callable[[str | bytes], Path]

SENDER = "[101]\nurl = http://192.0.2.1\npassword = hunter2\n"


def own(line: str) -> str:
    """A file with this in line 4, in the section of its sender."""
    return f"{SENDER}{line}\n"


def general(line: str, rest: str = SENDER) -> str:
    """A file with this in line 2, in its general section."""
    return f"[general]\n{line}\n{rest}"


GOOD = """
[general]
default_sender = 101
outbox = postgresql+psycopg://sms:hunter2@192.0.2.3/sms
log = sms.log
allow = 192.0.2.0/24, 2001:db8::/64
workers = 8
retention = 30d
country = IT
mode = queue
delivery = at-most-once
deny = +39899
per_sender = 200/1d
on_failure = /bin/x
[101]
url = https://pbx.example.com          ; the path is added
password => sms\\;101api
verify = sha256:AA:{hex}
gsm = 9C:75:14:33:00:01
max_length = 300
long_message = truncate
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
url = http://192.0.2.1:8080/sms/
token = wsk-v1-secret
country = GB
mode = wait
delivery = at-least-once
allow = all
deny = none
per_sender = None
on_failure = none
""".replace("{hex}", ":".join(["0f"] * 31))


def test_a_good_file_is_read_whole_and_shows_no_secret(sms_conf: Write) -> None:
    config = load(sms_conf(GOOD))
    assert config.default_sender == "101"
    assert config.outbox == "postgresql+psycopg://sms:hunter2@192.0.2.3/sms"
    assert config.log == str(config.path.parent / "sms.log")
    assert [str(network) for network in config.allow] == ["192.0.2.0/24", "2001:db8::/64"]
    assert (config.workers, config.retention) == (8, 30 * 86400.0)
    first, second = config.senders["101"], config.senders["102"]
    assert first.url == "https://pbx.example.com/api/v1/originate/sms"
    assert first.password == "sms;101api"
    assert first.verify == "sha256:aa" + "0f" * 31
    assert (first.gsm, first.max_length, first.long_message) == ("9c7514330001", 300, "truncate")
    assert (first.country, first.mode, first.call_timeout) == ("IT", "queue", 30.0)
    assert (first.delivery, first.postpone, first.pace) == ("at-most-once", "pbx", 0)
    assert (first.batch, first.max_age, first.keep_text) == (50, 5400.0, 7 * 86400.0)
    assert (first.allow, first.deny) == (("IT", "FR", "+4179"), ("+39899",))
    assert (first.per_number, first.per_sender) == ((5, 3600.0), (200, 86400.0))
    assert (first.per_caller, first.repeat_window) == ((3, 600.0), 30.0)
    assert first.counted
    assert second.url == "http://192.0.2.1:8080/sms/"
    assert (second.token, second.password, second.country) == ("wsk-v1-secret", "", "GB")
    assert (second.delivery, second.allow, second.deny) == ("at-least-once", ("+",), ())
    assert (first.on_failure, second.on_failure, second.mode) == ("/bin/x", "", "wait")
    assert not second.counted
    assert config.sender("") is first
    assert config.sender("102") is second
    assert config.sender("103") is None
    for secret in ("101api", "wsk-v1", "hunter2"):
        assert secret not in repr(config)


def test_what_is_not_set_has_its_default(sms_conf: Write) -> None:
    config = load(sms_conf(SENDER))
    assert (config.outbox, config.allow, config.workers, config.retention) == ("", (), 4, 7776000.0)
    sender = config.senders["101"]
    assert (sender.delivery, sender.postpone, sender.pace) == ("at-least-once", "here", 5)
    assert (sender.batch, sender.max_age, sender.keep_text) == (20, 86400.0, 0)
    assert (sender.allow, sender.deny, sender.counted) == ((), (), {})
    assert config.default_sender == "101"  # the only one
    assert load(sms_conf(SENDER + SENDER.replace("101", "102"))).default_sender is None


@pytest.mark.parametrize("known", [GENERAL_KEYS, SENDER_KEYS, KEYS])
def test_every_key_is_described_in_a_line(known: Mapping[str, Key]) -> None:
    for name, key in known.items():
        assert 10 < len(key.about) < 70, name
        assert key.about.isprintable(), name
        assert key.kind.allowed, name


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0", 0), ("90", 90), ("0s", 0), ("30S", 30), ("15m", 900), ("15 min", 900), ("24h", 86400), ("7d", 604800)],
)  # fmt: skip
def test_a_time_has_its_unit(sms_conf: Write, written: str, seconds: float) -> None:
    assert load(sms_conf(own(f"max_age = {written}"))).senders["101"].max_age == seconds


@pytest.mark.parametrize("url", ["sqlite:////var/spool/x y.sqlite", "postgresql+psycopg:///sms"])
def test_the_outbox_is_a_database(sms_conf: Write, url: str) -> None:
    assert load(sms_conf(general(f"outbox = {url}"))).outbox == url


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
    is_general, name = key.startswith("[general]"), key.removeprefix("[general] ")
    for value in bad:
        line = f"{name} = {value}"
        with pytest.raises(ConfigError) as failure:
            load(sms_conf(general(line) if is_general else own(line)))
        said, shown = str(failure.value), line if value else f"{name}, empty"
        assert f":{2 if is_general else 4}: {shown} - " in said
        assert said.endswith(f" - allowed: {allowed}")
        assert said == safe_line(said)


COUNTED = ["per_number = 5/1h", "per_sender = 5/1h", "per_caller = 5/1h", "repeat_window = 1h"]


@pytest.mark.parametrize(
    ("stored", "says"),
    [("mode = queue", "mode = queue: needs the outbox"),
     ("mode = fallback", "mode = fallback: needs the outbox"),
     ("on_failure = /bin/x", "on_failure: needs the outbox"),
     *((each, f"{each.split()[0]}: is counted on the history of the outbox") for each in COUNTED)],
)  # fmt: skip
def test_what_is_stored_or_counted_needs_an_outbox(sms_conf: Write, stored: str, says: str) -> None:
    for text, line in ((own(stored), 4), (general(stored), 2)):
        with pytest.raises(ConfigError) as failure:
            load(sms_conf(text))
        assert f"sms.conf:{line}: {says}: set outbox in the general section" in str(failure.value)


@pytest.mark.parametrize("limit", COUNTED)
def test_what_is_counted_needs_a_history_that_is_long_enough(sms_conf: Write, limit: str) -> None:
    text = general("outbox = sqlite:////x\nretention = 1h", own(limit))
    assert load(sms_conf(text)).senders["101"].counted
    with pytest.raises(ConfigError, match=r"sms.conf:7: .* raise retention in the general section"):
        load(sms_conf(text.replace("1h\n[", "59m\n[")))


def test_a_limit_that_is_off_needs_nothing(sms_conf: Write) -> None:
    off = "per_number = none\nper_sender = none\nper_caller = none\nrepeat_window = 0s\n"
    for text in (own(off), general("per_sender = 5/1h", own(off))):
        assert not load(sms_conf(text)).senders["101"].counted


def test_asterisks_own_habits_are_taken(sms_conf: Write) -> None:
    text = (
        "\ufeff;-- a block\r\n[ghost]\r\n--;\r\n[101] ; the sender\r\n"
        "URL => HTTPS://192.0.2.1;-- here, too --;/x\r\n;--- a line\r\npassword = a=b => c\r\n"
    )
    sender = load(sms_conf(text)).senders["101"]
    assert sender.url == "https://192.0.2.1/x"
    assert sender.password == "a=b => c"


def test_a_password_file_is_read_beside_it(sms_conf: Write, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s e;cret\nignored\n")
    secret.chmod(0o600)
    path = sms_conf("[101]\nurl = http://192.0.2.1\npassword_file = password\n")
    assert load(path).senders["101"].password == "s e;cret"
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 0640"):
        load(path)


def backups(*names: str) -> str:
    """Senders from 101 on, each with this backup."""
    return "".join(
        f"[{name}]\nurl = http://192.0.2.1\npassword = x\n{each and f'backup = {each}'}\n"
        for name, each in enumerate(names, 101)
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no sender"),
        (own("passwort = x"), "sms.conf:4: passwort: unknown in [101] - perhaps password?"),
        (general("foo = 1"), "sms.conf:2: foo: unknown in [general] - allowed: default_s"),
        (own("outbox = x"), "sms.conf:4: outbox belongs in [general], not in [101]"),
        ("[101]\nurl = http://192.0.2.1\n", "sms.conf:1: [101] needs one of password, password_file"),
        (own("workers = 2"), "sms.conf:4: workers belongs in [general], not in [101]"),
        (own("token = x"), "found: password and token"),
        ("[101]\npassword = hunter2\n", "sms.conf:1: [101] has no url"),
        ("[101]\npassword = \nurl = http://192.0.2.1", "sms.conf:2: password, empty - allowed"),
        ("[101]\npassword_file = none\nurl = http://192.0.2.1", "there is no"),
        ("[101]\nurl = ftp://192.0.2.1\npassword = hunter2", "sms.conf:2: url = ftp://192.0.2.1 - allowed"),
        ("[101]\nurl = pbx.example.com\npassword = hunter2", "allowed: https:// or http://"),
        ("[101]\nurl = http://a:hunter2@192.0.2.1\npassword = x", "sms.conf:2: url, name and password do not"),
        ("[101]\nurl = https://*.example.com\npassword = hunter2", "sms.conf:2: url = https://*.example.com - al"),
        ("[101]\nurl = https://192.0.2.1:0\npassword = hunter2", "sms.conf:2: url"),
        (general("log = a\0b"), "sms.conf:2: log"),
        ("[101]\nurl = http://192.0.2.1:99999\npassword = hunter2", "allowed"),
        ("[101]\nurl = http://[::1\npassword = hunter2", "allowed"),
        (own("verify = maybe"), "sms.conf:4: verify = maybe, there is no file"),
        (own("verify = sha256:1234"), "64 hex digits"),
        (own("gsm = 1234"), "sms.conf:4: gsm = 1234 - allowed: the MAC address of a gateway, 12 hex"),
        (own("max_length = 0"), "allowed: characters, 1 to 10000"),
        (own("max_length = many"), "allowed: characters, 1 to 10000"),
        (own("long_message = split"), "allowed: refuse, truncate"),
        (own("country = UK"), "GB is the United Kingdom"),
        (own("country = Italy"), "two letters"),
        (own("short_numbers = perhaps"), "allowed: yes, no"),
        (own("mode = later"), "allowed: wait, queue, fallback"),
        (own("call_timeout = 0"), "allowed: seconds, 1 to 300"),
        (SENDER + SENDER, "sms.conf:4: [101] stands already in line 1"),
        (own("url = http://192.0.2.2"), "sms.conf:4: url is set already in line 2"),
        (general("default_sender = 102"), "no section [102], allowed: 101"),
        ("url = x\n" + SENDER, "sms.conf:1: url stands before the first [section]"),
        (own("just words hunter2"), "sms.conf:4: neither [section] nor key = value"),
        (own("[102](101)"), "no template"),
        ("#include other.conf\n", "sms.conf:1: no #include or #exec"),
        ("[10:1]\nurl = http://192.0.2.1\npassword = hunter2", "holds no colon"),
        (b"[101]\nurl = http://192.0.2.1\npassword = \xe4\n", "sms.conf:3: not UTF-8"),
        (b"x" * (1 << 20) + b"x", "larger than 1 MiB"),
        (general("outbox = postgresql://sms:hunter2@192.0.2.3/sms"), "sms.conf:2: outbox, write postgresql+psycopg:// in"),
        (general("outbox = postgres://sms@192.0.2.3/sms"), ": outbox, write postgresql+psycopg:// in place of its"),
        (general("outbox = sqlite:///outbox.sqlite"), ": outbox, write four slashes and the whole path, as sqlite:////"),
        (general("outbox = sqlite://outbox.sqlite"), ": outbox, write four slashes and the whole path, as sqlite:////"),
        (general("outbox = postgresql+psycopg://sms:hunter2@x@127.0.0.1/sms"), ": outbox, an @ in the password is written %40"),
        (general("outbox = sqlite://"), "sms.conf:2: outbox, write four slashes and the whole path, as sqlite:////"),
        (general("outbox = sqlite:///:memory:"), "sms.conf:2: outbox, write four slashes"),
        (general("outbox = mysql://sms:hunter2@192.0.2.3/sms"), "sms.conf:2: outbox - allowed: sqlite:///"),
        (general("outbox = hunter2"), "sms.conf:2: outbox - allowed: sqlite:///"),
        (general("outbox = "), "sms.conf:2: outbox, empty - allowed: sqlite:///"),
        (general("outbox = sqlite:////a\0b"), "sms.conf:2: outbox - allowed: sqlite:///"),
        (backups("101"), "4: backup = 101: a circle, 101 > 101 - allowed: a sender"),
        (backups("102", "101"), "4: backup = 102: a circle, 101 > 102 > 101 - allowed"),
        (backups("102", "103", "104", "102"), "8: backup = 103: a circle, 102 > 103 > 104 > 102"),
        (backups("999", ""), "4: backup: there is no section [999], allowed: 101, 102"),
        (general("backup = 102", backups("", "101")), "2: backup = 102: a circle, 101 > 10"),
        (general("backup = 7", backups("")), "2: backup: there is no section [7]"),
        (backups("102\nbackup_after = soon", ""), "5: backup_after = soon - allowed: a time as"),
    ],
)  # fmt: skip
def test_an_error_says_where_what_and_what_is_allowed(
    sms_conf: Write, text: str | bytes, says: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        load(sms_conf(text))
    assert says in str(failure.value)
    assert "hunter2" not in str(failure.value)
    assert "\n" not in str(failure.value)


def test_what_is_no_file_for_secrets_is_an_error_at_once(sms_conf: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "loop").symlink_to("loop")
    sms_conf(SENDER).chmod(0o644)
    for name, says in (
        ("sms.conf", r"can be read or changed by everybody .* chmod 0640"),
        ("fifo", "is not a regular file"),
        ("loop", "must be a file"),
        ("none/sms.conf", r"there is no .*sms.conf"),
        (".", "cannot be read, Is a directory"),
    ):
        with pytest.raises(ConfigError, match=says):
            load(tmp_path / name)


def test_where_the_file_is() -> None:
    assert find("a.conf", {"DIALPLAN_SMS_CONF": "b.conf"}) == Path("a.conf")
    assert find(None, {"DIALPLAN_SMS_CONF": "b.conf", "AST_CONFIG_DIR": "/c"}) == Path("b.conf")
    assert find(None, {"AST_CONFIG_DIR": "/c"}) == Path("/c/sms.conf")
    assert find(None, {}) == Path("/etc/asterisk/sms.conf")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["", SENDER]), st.binary() | st.text().map(str.encode))
def test_any_file_is_a_config_or_one_error(tmp_path: Path, begins: str, rest: bytes) -> None:
    path = tmp_path / "any.conf"
    path.write_bytes(begins.encode() + rest)
    path.chmod(0o600)
    try:
        load(path)
    except ConfigError as error:
        assert str(error).startswith(str(path))


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


def test_a_backup_may_have_one_of_its_own_and_that_of_all_is_not_its_own(sms_conf: Write) -> None:
    config = load(sms_conf(backups("102", "103", "")))
    assert [sender.backup for sender in config.senders.values()] == ["102", "103", ""]
    assert {sender.backup_after for sender in config.senders.values()} == {30.0}
    config = load(sms_conf(general("backup = 102\nbackup_after = 0s", backups("", "", ""))))
    assert [sender.backup for sender in config.senders.values()] == ["102", "", "102"]
    assert config.senders["101"].backup_after == 0
