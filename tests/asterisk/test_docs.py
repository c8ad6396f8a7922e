"""README.md and docs/: every block runs, every table names what there is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dialplan_sms.agi import call as agi_call
from dialplan_sms.config import config, http
from dialplan_sms.config import keys as settings
from dialplan_sms.sandbox import Sandbox
from dialplan_sms.sandbox.faults import magic_trouble
from dialplan_sms.sms.outcome import Cause, Status
from tests.asterisk.installation import Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.site import NUMBER, PASSWORD, Site, agi_bin
from tests.pages import PAGES, TOP, Block, blocks, code, rows, shell_lines

DIALPLAN = TOP / "dialplan"
BIN = Path(sys.prefix) / "bin"


CALLABLE = [block for block in blocks("ini extensions.conf") if block.extensions]
INCLUDES = [block for block in blocks("ini extensions.conf") if "#tryinclude" in block.text]


def named(block: Block) -> str:
    return block.where


def with_text(kind: str, words: str, page: str = "") -> Block:
    """The one block of its kind that has these words."""
    (found,) = [each for each in blocks(kind) if words in each.text and page in each.where]
    return found


def names(page: str, header: str, columns: int = 1) -> list[str]:
    """What stands between back quotes in the first columns of a table."""
    cells = [cell for row in rows(page, header) for cell in row[:columns]]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


class TestDialplan:
    def test_there_are_blocks(self) -> None:
        assert len(CALLABLE) >= 7
        assert len(INCLUDES) == 2
        assert set(blocks("ini extensions.conf")) == {*CALLABLE, *INCLUDES}

    @pytest.mark.parametrize("block", CALLABLE, ids=named)
    def test_every_extension_sends_its_sms(self, site: Site, block: Block) -> None:
        site.asterisk.set_dialplan(block.text)
        for context, extension in block.extensions:
            site.sandbox.clear()
            call = site.asterisk.call(extension, context, caller_id=f"Jo <{NUMBER}>")
            assert call.variables["SMS_STATUS"] == "SUCCESS", call.variables
            (message,) = site.messages
            assert NUMBER in message.numbers
            assert message.original
            assert "${" not in message.original

    def test_what_the_cookbook_says_is_what_arrives(self, site: Site) -> None:
        for block in CALLABLE:
            site.asterisk.set_dialplan(block.text)
            for context, extension in block.extensions:
                site.asterisk.call(extension, context, caller_id=f"Jo <{NUMBER}>")
        texts = [message.original for message in site.messages]
        assert 'Your table is ready, see you at 20:30 :) "Harbour", entrance B' in texts
        assert "Hello from the dialplan, it works :) 100%" in texts
        assert "Thank you for calling; we are back at 15:00." in texts
        (meeting,) = [m for m in site.messages if m.original.startswith("Meeting")]
        assert meeting.original == "Meeting in one hour.\nRoom 3, second floor."
        assert meeting.numbers == ("+39333123456", "+39333123457")
        assert meeting.postpone is not None

    @pytest.mark.parametrize("block", INCLUDES, ids=named)
    def test_the_files_are_included_as_shown(
        self, installation: Installation, stand_in: Sandbox, tmp_path: Path, block: Block
    ) -> None:
        # The sms.conf of docs/install.md, with the stand-in in place of the PBX.
        first = next(found for found in blocks("ini sms.conf") if "docs/install.md" in found.where)
        text = first.text.replace("https://pbx.example.com", stand_in.url)
        files = {path.name: path.read_text() for path in DIALPLAN.glob("*.conf")}
        with Pbx(installation, block.text, agi_bin=agi_bin(tmp_path), files=files) as pbx:
            stand_in.start()
            stand_in.clear()
            pbx.write("sms.conf", f"{text}verify = {stand_in.fingerprint}\n")
            for name in re.findall(r"#tryinclude (\S+)", block.text):
                for context in re.findall(r"^\[(.+)\]", files[name], re.MULTILINE):
                    assert f"Context '{context}'" in pbx.cli(f"dialplan show {context}")
            for context, extension in block.extensions:
                assert pbx.call(extension, context).variables["SMS_STATUS"] == "SUCCESS"
            assert len(stand_in.messages) == len(block.extensions)

    def test_a_context_that_is_not_there_shows_as_the_page_says(self, site: Site) -> None:
        assert "There is no existence of 'sub-sms' context" in PAGES["docs/install.md"]
        assert "There is no existence of 'absent' context" in site.asterisk.cli(
            "dialplan show absent"
        )

    def test_the_examples_are_those_of_the_folder(self) -> None:
        files = {path.name for path in DIALPLAN.glob("*.conf")} - {"extensions-sms.conf"}
        assert {code(row[0]) for row in rows("docs/cookbook.md", "file")} == files
        for name, _, _, entry in rows("docs/cookbook.md", "file"):
            context = re.search(r"[(=](sms-[a-z-]+),s,1\)", code(entry.rpartition(": ")[2]))
            assert context is not None
            assert f"[{context[1]}]" in (DIALPLAN / code(name)).read_text()

    def test_the_second_pbx_gets_what_the_first_cannot(self, site: Site) -> None:
        block = with_text("ini extensions.conf", "sms-second-pbx")
        text = with_text("ini sms.conf", "sms102api", "cookbook").text
        with Sandbox(users={"102": "sms102api"}) as other:
            second = f"{other.url}\nverify = {other.fingerprint}"
            text = text.replace("https://pbx.example.com", "https://127.0.0.1:9")
            site.configure(text.replace("https://pbx2.example.com", second))
            site.asterisk.set_dialplan(block.text)
            ((context, extension),) = block.extensions
            left = site.asterisk.call(extension, context).variables
            assert (left["SMS_STATUS"], left["SMS_VIA"]) == ("SUCCESS", "102")
            assert [message.user for message in other.messages] == ["102"]

    def test_only_some_numbers_are_allowed(self, site: Site) -> None:
        block = with_text("ini extensions.conf", "sms-only-mobiles")
        site.asterisk.set_dialplan(block.text)
        ((context, extension),) = block.extensions
        for caller in ("+44207946000", "anonymous", '+393"="1', "x):1:2", ""):
            site.asterisk.call(extension, context, variables={"CALLERID(num)": caller})
        assert site.messages == []


OLD, NEW = blocks("ini old"), blocks("ini new")


class TestRecipe:
    @pytest.mark.parametrize(
        ("old", "new"), list(zip(OLD, NEW, strict=True)), ids=list(map(named, OLD))
    )
    def test_the_new_lines_send_what_the_old_ones_sent(
        self, site: Site, old: Block, new: Block
    ) -> None:
        conf = with_text("ini sms.conf", "url = http://127")
        site.configure(**dict(re.findall(r"^(country|allow) = (.+)$", conf.text, re.MULTILINE)))
        caller = "0412345678"
        old_lines = old.text.replace("http://127.0.0.1", site.sandbox.url)
        assert site.sandbox.url in old_lines
        insecure = "Set(CURLOPT(ssl_verifypeer)=0)\nSet(CURLOPT(ssl_verifyhost)=0)\n"
        site.dialplan(insecure + old_lines)
        site.call(caller_id=f"Jo <{caller}>")
        (sent,) = (dict(request.form) for request in site.sandbox.requests)
        assert len(site.messages) == 1

        site.sandbox.clear()
        site.dialplan(new.text)
        assert site.call(caller_id=f"Jo <{caller}>").variables["SMS_STATUS"] == "SUCCESS"
        assert [dict(request.form) for request in site.sandbox.requests] == [sent]

    def test_every_one_liner_works(self, site: Site) -> None:
        (table,) = re.findall(
            r"^\| \| \|\n\|.*\n((?:\|.*\n)+)", PAGES["docs/cookbook.md"], re.MULTILINE
        )
        lines = [line for row in table.splitlines() for line in re.findall(r"`([^`]+)`", row)]
        assert len(lines) == 7
        for line in lines:
            site.sandbox.clear()
            site.dialplan(line)
            given = {"TEXT": "Hi"} if "TEXT" in line else {"SMS_MESSAGE": "Hi"}
            if NUMBER not in line:
                given["SMS_NUMBER"] = NUMBER
            assert site.call(given).variables["SMS_STATUS"] == "SUCCESS", line
            (message,) = site.messages
            assert message.numbers == (NUMBER,)
            own = re.search(r"\(sms\.agi,[^,]+,([^,)]+)", line)
            assert message.text == (own[1] if own else "Hi")


class TestPitfalls:
    @pytest.mark.parametrize(
        ("line", "cause"),
        [
            ("AGI(sms.agi,+39333123456,Hi, Jo)", "INVALID_GSM"),
            ("Gosub(sub-sms,s,1(+39333123456,Hello Jo))", "INVALID_MESSAGE"),
            ('AGI(sms.agi,"+39333123456,+39333123457","Hi, Jo")', ""),
        ],
    )
    def test_a_line_ends_as_the_table_says(self, site: Site, line: str, cause: str) -> None:
        site.dialplan(line)
        assert site.call().variables["SMS_CAUSE"] == cause
        assert [m.text for m in site.messages] == ([] if cause else ["Hi, Jo"])

    def test_the_way_to_ask_for_an_empty_text_is_safe(self, site: Site) -> None:
        (test,) = re.findall(r"`(\$\[\$\{LEN\(.+?\])`", PAGES["docs/cookbook.md"])
        site.dialplan(f"Set(EMPTY={test})")
        for text in ("", *"\"'`()[]{}$\\;:,&| ab", '" = "" | "'):
            answer = site.call({"SMS_MESSAGE": text}, ask=["EMPTY"]).variables["EMPTY"]
            assert answer == str(int(not text)), text

    def test_urlencoding_a_text_loses_it(self, site: Site) -> None:
        site.dialplan("Set(A=${URIENCODE(${TEXT})})\nSet(B=${BASE64_ENCODE(${TEXT})})")
        left = site.call({"TEXT": "Hi :) meet at 10:30"}, ask=["A", "B"]).variables
        assert (left["A"], left["B"]) == ("", "")


def load(folder: Path, text: str) -> config.Config:
    path = folder / "sms.conf"
    path.touch(mode=0o640)
    path.write_text(text)
    return config.load(path, http=True)


class TestSmsConf:
    @pytest.mark.parametrize("block", blocks("ini sms.conf"), ids=named)
    def test_every_block_loads(self, tmp_path: Path, block: Block) -> None:
        loaded = load(tmp_path, block.text)
        assert all(sender.password or sender.curl for sender in loaded.senders.values())

    def test_the_semicolon_is_in_the_password(self, tmp_path: Path) -> None:
        block = with_text("ini sms.conf", "\\;")
        assert load(tmp_path, block.text).senders["102"].password == "with;a semicolon"

    def test_the_tables_name_every_key(self) -> None:
        keys = [code(row[0]) for row in rows("docs/sms.conf.md", "key")]
        general, sender = keys[: len(config.GENERAL_KEYS)], keys[len(config.GENERAL_KEYS) :]
        assert sorted(general) == sorted(config.GENERAL_KEYS)
        assert sorted(sender) == sorted(settings.SENDER)

    def test_the_table_of_http_names_every_key(self) -> None:
        assert sorted(names("docs/http.md", "in `[http]`")) == sorted(http.KEYS)

    def test_the_defaults_are_those_of_the_table(self, tmp_path: Path) -> None:
        minimal = "url = http://192.0.2.1\npassword = x\n[101]\n"
        plain = load(tmp_path, f"[general]\n{minimal}")
        table = [(code(row[0]), code(row[2])) for row in rows("docs/sms.conf.md", "key")]
        defaults = {key: default for key, default in table if default}
        for key, default in defaults.items():
            assert load(tmp_path, f"[general]\n{key} = {default}\n{minimal}") == plain
        assert len(defaults) >= 19

    def test_every_word_allowed_is_in_the_table(self) -> None:
        words = r"\b(?:yes|no|refuse|truncate|wait|queue|fallback|syslog|sha256)\b"
        for cell, allowed, *_ in rows("docs/sms.conf.md", "key"):
            key = (config.GENERAL_KEYS | settings.SENDER)[code(cell)]
            assert all(word in allowed for word in re.findall(words, key.kind.allowed)), cell


class TestContract:
    def test_the_table_names_every_cause_once(self) -> None:
        causes = [code(row[0]) for row in rows("docs/troubleshooting.md", "cause")]
        assert sorted(causes) == sorted(filter(None, Cause))

    def test_may_have_been_sent_holds_for_two(self) -> None:
        table = rows("docs/troubleshooting.md", "cause")
        doubtful = [code(row[0]) for row in table if row[2] != "no"]
        assert doubtful == [Cause.NOT_QUEUED, Cause.NO_ANSWER, Cause.BAD_ANSWER]

    def test_every_status_is_explained(self) -> None:
        table = rows("docs/dialplan.md", "variable")
        (status,) = [row[1] for row in table if row[0] == "`SMS_STATUS`"]
        assert set(re.findall(r"`([A-Z]+)`", status)) == set(Status)

    def test_the_variables_are_those_of_the_code(self) -> None:
        assert {*agi_call.INPUTS, *agi_call.OUTPUTS} <= set(
            names("docs/dialplan.md", "variable", 2)
        )

    def test_the_log_line_has_the_words_of_the_table(self, site: Site) -> None:
        words = set(names("docs/troubleshooting.md", "word"))
        site.configure(
            f"[101]\nurl = {site.sandbox.url}\npassword = {PASSWORD}\nmax_length = 5\n"
            f"verify = {site.sandbox.fingerprint}\nlong_message = truncate\n[general]\nlog = sms.log\n"
        )
        site.dialplan("AGI(sms.agi)")
        wish = {"SMS_NUMBER": f"{NUMBER},+99900000012", "SMS_MESSAGE": "a/b c d e" * 20}
        site.call(wish | {"SMS_GSM": "9c7514330001", "SMS_POSTPONE": "2999-07-14 15:35"})
        logged = set(re.findall(r"(?:^| )(\w+)=", site.log))
        assert logged | {"id", "via"} == words  # of what is stored, and what a backup sent
        lines = PAGES["docs/troubleshooting.md"].splitlines()
        sample = next(line for line in lines if " status=" in line)
        assert re.findall(r" (\w+)=", sample) == [
            "call", "sender", "to", "chars", "status", "cause", "failed", "ms", "reason",
        ]  # fmt: skip


def shell(command: str, folder: Path, environ: dict[str, str]) -> str:
    return subprocess.run(
        ["sh", "-c", command], env=os.environ | environ, cwd=folder, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip


class TestShell:
    def test_the_dry_run_runs(self, tmp_path: Path) -> None:
        load(tmp_path, blocks("ini sms.conf")[0].text)
        environ = {
            "DIALPLAN_SMS_CONF": f"{tmp_path}/sms.conf",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        (tmp_path / "guests.csv").write_text("number,name,time\n+39333123456,Jo,20:30\n")
        shown = [block.text for block in blocks("sh") if "--dry-run" in block.text]
        assert len(shown) == 2
        for text in shown:
            dry = text[: text.index("\n", text.index("--dry-run"))]
            assert "dry run: nothing was sent" in shell(dry, tmp_path, environ)

    def test_the_fingerprint_is_the_one_that_verify_takes(self, stand_in: Sandbox) -> None:
        stand_in.start()
        (line,) = [line for line in shell_lines() if "openssl" in line]
        peer = stand_in.url.rpartition("/")[2]
        said = shell(line.replace("pbx.example.com:443", peer), Path.cwd(), {})
        shown, _, value = said.strip().partition("=")
        assert f"{shown}=" == "sha256 Fingerprint="
        assert f"sha256:{value}".lower() == stand_in.fingerprint.lower()

    def test_the_magic_numbers_are_those_of_the_sandbox(self) -> None:
        shown = [trouble.fault for n in re.findall(r"\+999[0-9]+", PAGES["docs/first-steps.md"])
                 if (trouble := magic_trouble(n))]  # fmt: skip
        assert shown == ["hang", "unauthorized", "partial", "reject"]


@pytest.mark.parametrize("asterisk", [True, False], ids=["with", "without"])
def test_the_demo_shows_both_ends_of_an_sms(asterisk: bool, tmp_path: Path) -> None:
    none = {} if asterisk else {"DIALPLAN_SMS_ASTERISK": str(tmp_path / "none")}
    shown = subprocess.run(
        [sys.executable, "-m", "tests.asterisk.demo"], env=os.environ | {"COLUMNS": "100"} | none,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout + shown.stderr
    assert "SMS_STATUS  SUCCESS" in shown.stdout
    assert "Directions: motorway exit 7" in shown.stdout
    assert ("presses 1" in shown.stdout) is asterisk
    assert "recorded AGI session" in shown.stdout or asterisk
    assert "Three things to try next" in shown.stdout
