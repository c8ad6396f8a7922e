"""The manual pages and sms.conf.sample; that they are current is a step of make lint."""

import re
import subprocess
from pathlib import Path

import pytest

from dialplan_sms.cli.main import _COMMANDS
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import GENERAL_KEYS
from dialplan_sms.config.http import KEYS, make_hash
from dialplan_sms.config.keys import CURL, SECRETS, SENDER, Key
from man import build
from man.keys import _described

PAGES = sorted(build.HERE.glob("*.[15]"))


def test_each_command_has_a_page_and_sms_conf_one() -> None:
    commands = {f"dialplan-sms-{name}.1" for name in _COMMANDS}
    assert {page.name for page in PAGES} == commands | {"dialplan-sms.1", "sms.conf.5"}


def test_each_key_is_in_the_page_and_in_the_sample() -> None:
    page = (build.HERE / "sms.conf.5").read_text()
    sections = re.split(r"^;?\[.+\]$", build.SAMPLE.read_text(), flags=re.MULTILINE)[1:]
    for section, keys in zip(sections, (GENERAL_KEYS, SENDER, KEYS), strict=True):
        assert re.findall(r"^;(\w+) = ", section, re.MULTILINE) == list(keys)
        assert all(f"\n.B {name}\n" in page for name in keys)


@pytest.mark.parametrize("others", [(*SECRETS[1:], *CURL), (*SECRETS, "url")], ids=["url", "curl"])
def test_the_sample_is_taken_once_its_lines_are_uncommented(
    tmp_path: Path, others: tuple[str, ...]
) -> None:
    text = re.sub(r"^;(?=\[|\w+ = )", "", build.SAMPLE.read_text(), flags=re.MULTILINE)
    text = re.sub(rf"^({'|'.join(others)}) = .*", "", text, flags=re.MULTILINE)
    text = re.sub(r"^user = .*", f"user = wms:{make_hash('x')}", text, flags=re.MULTILINE)
    for name in ("http.pem", "http.key"):
        (tmp_path / name).touch(0o600)
    conf = tmp_path / "sms.conf"
    conf.touch(0o600)
    conf.write_text(f"{text}\n[102]\nurl = http://192.0.2.1\npassword = x\n")  # the backup of 101
    config = smsconf.load(conf, http=True)
    assert (config.listen, config.retention) == (smsconf.Config(conf, {}).listen, 90 * 86400)
    assert config.senders["101"].allow == ("IT", "FR", "+4179")
    assert config.senders["101"].call_timeout == 30


def test_a_key_without_a_description_is_named() -> None:
    keys = {"pace": Key(SENDER["pace"].kind, "", field="pace")}
    with pytest.raises(SystemExit, match="the key pace of sms.conf has no description"):
        list(_described("[101]", keys, smsconf.Sender))


@pytest.mark.parametrize(
    ("text", "shown"),
    [(".so x", r"\&.so x"), ("'br", r"\&'br"), (r"a\;-b", r"a\e;\-b"), ('"x"', r"\(dqx\(dq")],
)
def test_no_text_is_a_command_of_roff(text: str, shown: str) -> None:
    assert build._plain(text) == shown


@pytest.mark.slow
def test_mandoc_has_nothing_to_say() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", *PAGES], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("", "")
