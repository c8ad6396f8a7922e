"""The Asterisk that runs on this host, and its asterisk.conf."""

from pathlib import Path

import pytest

from dialplan_sms.host import asterisk
from dialplan_sms.host.asterisk import running


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
def test_the_asterisk_that_runs_is_found(
    tmp_path: Path, command: list[str], conf: str | None
) -> None:
    process(tmp_path, *command)
    (found,) = running(tmp_path)
    assert (found.user.uid, found.user.gids) == (112, (119, 20))
    assert found.conf == (Path(conf) if conf else None)


@pytest.mark.parametrize(
    "command",
    [["asterisk", "-rvvv"], ["/usr/sbin/asterisk", "-C", "/x", "-rx", "core show uptime"],
     ["vi", "/etc/asterisk/asterisk.conf"], ["tail", "/var/log/asterisk"],
     ["/bin/sh", "/usr/sbin/asterisk", "-f"], ["/x/python", "setup", "--to", "/etc/asterisk"], ["/bin/sh", "/usr/sbin/safe_asterisk"], [], [""]],
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
    text = (
        b"[Directories](!)\nastETCdir => /a;x\n[directories]\nastetcdir = /b\n[options](+)\nx=1\n"
    )
    assert asterisk.settings(text) == {
        "directories!": {"astetcdir": "/a"}, "directories": {"astetcdir": "/b"},
        "options": {"x": "1"},
    }  # fmt: skip
