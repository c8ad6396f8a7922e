"""The Asterisk that runs on this host, and the lines of its files as it reads them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.host import asterisk
from dialplan_sms.host.asterisk import running
from dialplan_sms.host.asterisk_syntax import lines


def process(
    proc: Path, *command: str, root: str = "/", pid: int = 7, uid: int = 112, effective: int = 0
) -> None:
    """What /proc shows of a process, which a user of that id has started."""
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in command))
    uids, gids = f"{uid}\t{effective}\t{uid}\t{effective}", "119\t0\t0\t0\nGroups:\t119 20 "
    (folder / "status").write_text(f"Name:\tasterisk\nUid:\t{uids}\nGid:\t{gids}\n")
    (folder / "root").symlink_to(root)
    program = command[0] if command else ""
    (folder / "exe").symlink_to("/usr/bin/dash" if program == "/bin/sh" else program or "/none")
    (folder / "cwd").symlink_to("/srv")


@pytest.mark.parametrize(
    ("command", "conf"),
    [
        (["/usr/sbin/asterisk", "-f", "-U", "asterisk"], None),
        (["asterisk", "-C", "/x/asterisk.conf"], "/x/asterisk.conf"),
        (["asterisk", "-fvvvC/x/a.conf"], "/x/a.conf"),
        (["asterisk", "-fC", "etc/a.conf"], "/srv/etc/a.conf"),
        (["asterisk", "-UC", "-f"], None),
        (["asterisk", "-C"], None),
        (["/r/ld.so", "--library-path", "/r", "/r/usr/sbin/asterisk", "-C", "/e"], "/e"),
    ],
)
def test_one_that_runs_is_found(tmp_path: Path, command: list[str], conf: str | None) -> None:
    process(tmp_path, *command)
    (found,) = running(tmp_path)
    assert (found.user.uid, found.user.gids) == (112, (119, 20))
    assert found.conf == (Path(conf) if conf else None)


@pytest.mark.parametrize(
    "command",
    [["asterisk", "-rvvv"], ["/usr/sbin/asterisk", "-C", "/x", "-rx", "core show uptime"],
     ["vi", "/etc/asterisk/asterisk.conf"], ["tail", "/var/log/asterisk"],
     ["/bin/sh", "/usr/sbin/asterisk", "-f"], ["/x/python", "setup", "--to", "/etc/asterisk"],
     ["/bin/sh", "/usr/sbin/safe_asterisk"], [], [""]],
)  # fmt: skip
def test_what_only_looks_like_one_is_not(tmp_path: Path, command: list[str]) -> None:
    process(tmp_path, *command)
    assert running(tmp_path) == []


def test_one_in_a_container_has_files_of_its_own(tmp_path: Path) -> None:
    process(tmp_path, "asterisk", "-f", root="/var/lib/container")
    (tmp_path / "8").mkdir()  # one that has just ended
    assert running(tmp_path) == []
    assert running(tmp_path / "absent") == []


def test_a_template_is_kept_apart() -> None:
    text = b"[Directories](!)\nastETCdir => /a;x\n[directories]\nastetcdir = /b\n[options](+)\nx=1"
    assert asterisk.settings(text) == {
        "directories!": {"astetcdir": "/a"}, "directories": {"astetcdir": "/b"},
        "options": {"x": "1"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a ; b", ["a"]),
        ("a \\; b", ["a ; b"]),
        ("; a\n\n b \r\n", ["b"]),
        (";-- a\nb\n--; c", ["c"]),
        (";-- a ;-- b --;\nc --; d", ["d"]),
        (";--- a\nb", ["b"]),
        ("a ;-- b --; c ; d", ["a  c"]),
        ("\ufeffa", ["a"]),
        (";-- never ends\na\n", []),
        ("--; a", ["--"]),
        ("\\;", [";"]),
        (";", []),
    ],
)
def test_comments_are_those_of_asterisk(text: str, left: list[str]) -> None:
    assert [line.text for line in lines(text) if line.text] == left


def test_what_a_line_is() -> None:
    header, key, arrow, include, tried = lines(
        '\ufeff [a](!,b) ; x\nkey = a=b\nKey=>\\;x\n#include <b.conf>\n # tryinclude "c d"'
    )
    assert header.header == ("a", "!,b")
    assert (header.pair, header.include, key.header) == (None, None, None)
    assert (key.pair, arrow.pair) == (("key", "a=b"), ("Key", ";x"))
    assert (include.include, tried.include) == (("include", "b.conf"), ("tryinclude", "c d"))


@given(st.text(alphabet="a\n\r;-\\ \ufeff"))
def test_each_line_stands_where_it_says(text: str) -> None:
    read = list(lines(text))
    assert [line.number for line in read] == list(range(1, text.count("\n") + 2))
    for line in read:
        whole = line.raw.removeprefix("\ufeff")
        assert text.startswith(whole, line.start)
        assert len(line.content) <= len(line.raw)
