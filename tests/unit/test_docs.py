"""README.md and docs/: links, commands and pictures are there; the manual pages and the sample.

The blocks of the pages run in tests/asterisk/test_docs.py.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from dialplan_sms.cli.main import _COMMANDS, main
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import GENERAL_KEYS
from dialplan_sms.config.http import KEYS, make_hash
from dialplan_sms.config.keys import CURL, SECRETS, SENDER, Key
from man import build
from man.keys import _described
from tests.pages import PAGES, README, TOP, anchors, blocks, code, prose, rows, shell_lines

LINKED = (*PAGES, "CONTRIBUTING.md", "CHANGELOG.md")
MANUAL = sorted(build.HERE.glob("*.[15]"))
PICTURES = sorted(TOP.glob("docs/pictures/*"))


def text(name: str) -> str:
    return PAGES.get(name) or (TOP / name).read_text(encoding="utf-8")


def links(name: str) -> list[str]:
    """Links and pictures of a page, but for those to other hosts."""
    shown = re.sub(r"`[^`\n]*`", "", prose(text(name)))
    found = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", shown)
    return [link for pair in found for link in pair if link and "://" not in link]


def target(name: str, link: str) -> tuple[Path, str]:
    """The file that a link leads to, as a path in the repository, and the anchor in it."""
    path, _, anchor = link.partition("#")
    there = (TOP / name).parent / path if path else TOP / name
    return there.resolve().relative_to(TOP), anchor


@pytest.mark.parametrize("name", LINKED)
def test_every_link_leads_somewhere(name: str) -> None:
    for link in links(name):
        path, anchor = target(name, link)
        assert (TOP / path).is_file(), link
        assert not anchor or anchor in anchors(text(str(path))), link


def test_the_pages_have_links() -> None:
    assert sum(len(links(name)) for name in PAGES) > 100


def test_an_anchor_is_made_of_a_heading_alone() -> None:
    assert anchors("# The `h` in SMS_CAUSE's\n```sh\n# no heading\n```") == {"the-h-in-sms_causes"}


def test_every_link_works_where_the_pages_are_installed() -> None:
    setup = ConfigParser()
    setup.read(TOP / "setup.cfg")
    top = "share/doc/dialplan-sms"
    installed = {}
    for folder, patterns in setup["options.data_files"].items():
        if folder.startswith(top):
            for path in (path for pattern in patterns.split() for path in TOP.glob(pattern)):
                installed[path.relative_to(TOP)] = Path(folder).relative_to(top) / path.name
    assert {Path(name) for name in LINKED} | {p.relative_to(TOP) for p in PICTURES} == set(
        installed
    )
    assert all(path == there for path, there in installed.items())
    for name in LINKED:
        assert {target(name, link)[0] for link in links(name)} <= set(installed)


def test_the_front_page_is_short_and_names_every_page() -> None:
    assert README.count("\n") <= 150
    (table,) = re.findall(r"(?ms)^## Documentation$(.*?)^## ", README)
    assert set(re.findall(r"\((docs/[^)]+)\)", table)) == set(PAGES) - {"README.md"}


@pytest.mark.parametrize("name", sorted(set(PAGES) - {"README.md", "docs/architecture.md"}))
def test_a_page_says_what_it_is_for_and_begins_with_an_example(name: str) -> None:
    title, what_for, *rest = PAGES[name].split("\n\n")
    assert re.fullmatch(r"# .+", title)
    assert len(what_for) > 60
    assert "```" not in what_for
    assert any(part.startswith("```") for part in rest[:2])


def test_every_picture_is_shown_and_small() -> None:
    shown = {target(name, link)[0] for name in PAGES for link in links(name)}
    assert {path.relative_to(TOP) for path in PICTURES} <= shown
    assert all(path.stat().st_size < 150_000 for path in PICTURES)


def commands() -> Iterator[list[str]]:
    """The words after every ``dialplan-sms`` that is run in a block or between back quotes."""
    spans = [span for name in LINKED for span in re.findall(r"`([^`\n]+)`", prose(text(name)))]
    for line in (*shell_lines(), *spans):
        if "dialplan-sms" not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, "|"]:
            if not set(word) <= set("();<>|&"):
                command.append(word)
                continue
            while command and re.match(r"(\w+=|runuser$|-u$|asterisk$|--$|sudo$|command_line$)", command[0]):  # fmt: skip
                del command[0]
            if command and re.search(r"(^|/bin/)dialplan-sms$", command[0]):
                yield command[1:]
            command = []


def parsed(words: list[str]) -> list[str]:
    """The names of the command and its subcommand. Raises click.UsageError if there is no such."""
    command: click.Command = main
    context = click.Context(main, info_name="dialplan-sms")
    names: list[str] = []
    while True:
        values, rest, _ = command.make_parser(context).parse_args([*words])
        for parameter in command.params:
            value = values.get(parameter.name or "")
            if isinstance(parameter.type, click.Choice) and value:
                for each in value if isinstance(value, list) else [value]:
                    parameter.type.convert(each, parameter, context)
        if not isinstance(command, click.Group) or not rest:
            assert rest == [], (words, rest)
            return names
        name, *words = rest
        found = command.get_command(context, name)
        assert found is not None, (name, words)
        names.append(name)
        command, context = found, click.Context(found, parent=context, info_name=name)


def test_every_command_and_option_exists() -> None:
    seen = {name for words in commands() for name in parsed(words)}
    assert set(main.list_commands(click.Context(main))) <= seen
    assert {"show", "retry", "cancel", "purge", "limits"} <= seen


@pytest.mark.parametrize(
    "words", ["send --nonsense", "sent", "outbox --state sold", "status now", "outbox revive"]
)
def test_a_command_that_does_not_exist_is_found(words: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parsed(words.split())


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    shown = {
        target
        for page in PAGES.values()
        for target in re.findall(r"(?m)(?:`|^ *)make ([a-z-]+)", page)
    }
    assert {"demo", "test", "bench", "install", "venv", "lint", "deb", "dist"} == shown
    assert shown <= targets


def test_what_the_program_names_of_docs_is_there() -> None:
    files = [*TOP.glob("agi/**/*.py"), TOP / "agi/sms.agi", *TOP.glob("dialplan/*.conf")]
    words = r"docs/[\w.-]+\.md|README"
    named = {page for path in files for page in re.findall(words, path.read_text())}
    assert "README" not in named, "name the page of docs/ that says it"
    assert named <= set(PAGES)


def test_the_limits_of_the_front_page_go_below_a_sender(tmp_path: Path) -> None:
    (limits,) = blocks("ini limits")
    path = tmp_path / "sms.conf"
    path.touch(mode=0o600)
    path.write_text(
        f"[general]\noutbox = sqlite:///{tmp_path}/x\n[101]\nurl = http://192.0.2.1\npassword = x\n{limits.text}"
    )
    assert smsconf.load(path).senders["101"].per_number


def test_the_causes_are_as_many_as_the_front_page_says() -> None:
    (many,) = re.findall(r"one of ([0-9]+) causes", README)
    assert int(many) == len(
        [row for row in rows("docs/troubleshooting.md", "cause") if code(row[0])]
    )


def test_each_command_has_a_page_and_sms_conf_one() -> None:
    commands = {f"dialplan-sms-{name}.1" for name in _COMMANDS}
    assert {page.name for page in MANUAL} == commands | {"dialplan-sms.1", "sms.conf.5"}


def test_each_key_is_in_the_page_and_in_the_sample() -> None:
    page = (build.HERE / "sms.conf.5").read_text()
    sections = re.split(r"^;?\[.+\]$", build.SAMPLE.read_text(), flags=re.MULTILINE)[1:]
    for section, keys in zip(sections, (GENERAL_KEYS, SENDER, KEYS), strict=True):
        assert re.findall(r"^;(\w+) = ", section, re.MULTILINE) == list(keys)
        assert all(f"\n.B {name}\n" in page for name in keys)


@pytest.mark.parametrize("others", [(*SECRETS[1:], *CURL), (*SECRETS, "url")], ids=["url", "curl"])
def test_the_sample_is_taken_uncommented(tmp_path: Path, others: tuple[str, ...]) -> None:
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
        ["mandoc", "-T", "lint", *MANUAL], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("", "")
