"""Who besides root can change a path: owners, groups, access lists, and every folder on the way."""

import grp
import os
import pwd
import struct
from pathlib import Path

import pytest

from dialplan_sms.host import files, identity
from dialplan_sms.host.identity import EVERYBODY, HostError, User, by_id, changer, changers

STRANGER, OTHER = 47110, 47111
NOBODY = 65534
DAEMON = 1
"""A user of each Linux, whose group is its own."""
Entries = list[tuple[int, int, int]]


def give(monkeypatch: pytest.MonkeyPatch, *folders: Path, user: int = STRANGER) -> None:
    """Those *folders* are a stranger's, all others root's."""
    theirs = {folder.lstat().st_ino for folder in folders}
    monkeypatch.setattr(
        identity, "_writers", lambda _, found: {user if found.st_ino in theirs else 0}
    )


def access_list(entries: Entries) -> bytes:
    """As the kernel keeps it: kind, rights and id of each entry."""
    packed = (struct.pack("<HHI", a, b, c & 0xFFFFFFFF) for a, b, c in entries)
    return struct.pack("<I", 2) + b"".join(packed)


class TestTheWay:
    def test_each_folder_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a/b").mkdir(parents=True)
        give(monkeypatch, tmp_path / "a")
        for path in (tmp_path / "a/b/none", tmp_path / "a/b/none/none"):
            assert changers(path) == {STRANGER: tmp_path / "a"}
        assert changers(tmp_path / "none") == {}

    def test_what_is_there_may_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "sms.conf"
        file.touch()
        give(monkeypatch, file)
        assert changers(file) == {STRANGER: file}
        assert changers(file, itself=False) == {}

    def test_a_link_is_followed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "real/x").mkdir(parents=True)
        (tmp_path / "theirs").mkdir()
        (tmp_path / "theirs/hop").symlink_to("../real")
        (tmp_path / "etc").symlink_to("theirs/hop")
        give(monkeypatch, tmp_path / "theirs")
        assert changers(tmp_path / "etc/x") == {STRANGER: tmp_path / "theirs"}
        assert changers(tmp_path / "real/x") == {}

    @pytest.mark.slow
    def test_a_link_is_its_makers(self, folder: Path) -> None:
        """Wherever it leads: it can lead elsewhere the next moment."""
        link = folder / "link"
        link.symlink_to("/etc")
        os.lchown(link, OTHER, OTHER)
        assert changers(link / "passwd") == {OTHER: link}

    def test_in_a_folder_for_all_what_is_there_is_its_owners(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "open/etc").mkdir(parents=True)
        (tmp_path / "open").chmod(0o777)
        assert changers(tmp_path / "open/etc")[EVERYBODY] == tmp_path / "open"
        (tmp_path / "open").chmod(0o1777)  # as /tmp
        assert changers(tmp_path / "open/etc") == {}
        assert changers(tmp_path / "open")[EVERYBODY] == tmp_path / "open"

    def test_what_is_not_there_is_whoevers_can_put_it_there(self, tmp_path: Path) -> None:
        """A link, which root would follow: the sticky bit keeps nobody from that."""
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o1777)
        for path in (tmp_path / "open/sms.conf", tmp_path / "open/etc/sms.conf"):
            with pytest.raises(
                HostError, match=f"{tmp_path}/open: take a path elsewhere than {path}"
            ):
                changer(path)

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    def test_a_new_file_in_a_groups_sticky_folder_is_that_users(self, folder: Path) -> None:
        os.chown(folder, 0, DAEMON)
        folder.chmod(0o1775)
        files.put(folder / "sms.conf", b"new", 0o640)
        assert (folder / "sms.conf").stat().st_uid == DAEMON

    def test_one_that_goes_in_circles_cannot_be_followed(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to("loop")
        before = set(os.listdir("/proc/self/fd"))
        for path in (tmp_path / "loop", tmp_path / "loop/x"):
            with pytest.raises(HostError, match="cannot be followed, Too many levels of symbolic"):
                changers(path)
        assert len(set(os.listdir("/proc/self/fd"))) == len(before)

    @pytest.mark.parametrize("path", ["/proc/self/cwd/pyproject.toml", "/dev/fd/0"])
    def test_proc_is_no_way(self, path: str) -> None:
        with pytest.raises(HostError, match="through /proc"):
            changers(Path(path))


class TestWhoCanWrite:
    @pytest.mark.parametrize(
        ("mode", "uid", "gid", "who"),
        [
            (0o40755, 0, 0, {0}), (0o40755, 110, 20, {110}), (0o40775, 0, 20, {0, OTHER}),
            (0o40775, 0, 0, {0}), (0o40777, 0, 0, {0, EVERYBODY}), (0o40755, 0, 20, {0}),
            (0o100664, 110, 20, {110, OTHER}), (0o120777, 110, 20, {110}),
        ],
    )  # fmt: skip
    def test_by_mode(
        self, monkeypatch: pytest.MonkeyPatch, mode: int, uid: int, gid: int, who: set[int]
    ) -> None:
        real = identity._members
        monkeypatch.setattr(identity, "_members", lambda gid: {OTHER} if gid == 20 else real(gid))
        status = os.stat_result((mode, 0, 0, 0, uid, gid, 0, 0, 0, 0))
        assert identity._writers(Path("/none"), status) == who

    @pytest.mark.parametrize(
        ("mode", "entries", "who"),
        [
            (0o40775, [(1, 7, -1), (2, 7, STRANGER), (4, 5, -1), (0x10, 7, -1)], {STRANGER}),
            (0o40775, [(1, 7, -1), (2, 5, STRANGER), (4, 5, -1), (0x10, 7, -1)], set()),
            (0o40755, [(1, 7, -1), (2, 7, STRANGER), (4, 7, -1), (0x10, 5, -1)], set()),  # masked
            (0o40775, [(1, 7, -1), (4, 7, -1), (8, 7, 21), (0x10, 7, -1)], {20, 21}),
        ],
    )
    def test_by_an_access_list(
        self, monkeypatch: pytest.MonkeyPatch, mode: int, entries: Entries, who: set[int]
    ) -> None:
        monkeypatch.setattr(os, "getxattr", lambda *_, **__: access_list(entries))
        monkeypatch.setattr(identity, "_members", lambda gid: {gid})
        status = os.stat_result((mode, 0, 0, 0, 0, 20, 0, 0, 0, 0))
        assert identity._writers(Path("/none"), status) - {0} == who

    def test_of_a_group(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who has it as his own, else who was added to it: /etc/asterisk root:asterisk 2775."""
        entries = {
            name: pwd.struct_passwd((name, "x", uid, gid, "", "/", ""))
            for name, uid, gid in (("asterisk", 112, 119), ("alice", 1000, 1000), ("root", 0, 0))
        }
        groups = {
            gid: grp.struct_group(("", "", gid, [name]))
            for gid, name in ((119, "alice"), (50, "alice"), (0, "alice"), (51, "gone"))
        }
        monkeypatch.setattr(pwd, "getpwall", lambda: [*entries.values()])
        monkeypatch.setattr(pwd, "getpwnam", entries.__getitem__)
        monkeypatch.setattr(grp, "getgrgid", groups.__getitem__)
        found = {gid: identity._members(gid) for gid in (119, 50, 0, 51, 4711)}
        assert found == {119: {112}, 50: {1000}, 0: set(), 51: set(), 4711: set()}

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    def test_by_a_real_access_list(self, folder: Path) -> None:
        entries = [(1, 7, -1), (2, 7, STRANGER), (4, 5, -1), (0x10, 7, -1), (0x20, 5, -1)]
        os.setxattr(folder, "system.posix_acl_access", access_list(entries))
        assert changers(folder / "sms.conf") == {STRANGER: folder}


class TestTheOneUser:
    def test_nobody_else(self, tmp_path: Path) -> None:
        """Asterisk that runs as root, and a container: all is root's, or who runs this."""
        assert changer(tmp_path / "sms.conf") is None

    def test_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        entry = next(each for each in pwd.getpwall() if each.pw_uid not in (0, os.geteuid()))
        give(monkeypatch, tmp_path, user=entry.pw_uid)
        found = changer(tmp_path / "sms.conf")
        assert found == identity.named(str(entry.pw_uid)) == by_id(entry.pw_uid)
        assert found is not None
        assert (found.uid, found.gids[0]) == (entry.pw_uid, entry.pw_gid)

    def test_one_without_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a container's user on the host."""
        give(monkeypatch, tmp_path)
        assert changer(tmp_path / "x") == User(f"user {STRANGER}", STRANGER, (STRANGER,))
        assert str(by_id(STRANGER)) == f"the user {STRANGER}"
        assert str(by_id(0)) == "the user root"
        assert by_id(0, (1, 2, 1)).gids == (1, 2)

    def test_more_than_one_is_named_with_what_each_can_change(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "etc").mkdir()
        inodes = {tmp_path.stat().st_ino: STRANGER, (tmp_path / "etc").stat().st_ino: OTHER}
        monkeypatch.setattr(identity, "_writers", lambda _, found: {inodes.get(found.st_ino, 0)})
        with pytest.raises(HostError, match="more than one user can change") as refused:
            changer(tmp_path / "etc/sms.conf")
        for uid, place in ((STRANGER, tmp_path), (OTHER, tmp_path / "etc")):
            assert f"user {uid} ({place})" in str(refused.value)

    def test_everybody(self, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(HostError, match=f"everybody can change {tmp_path}/open: run chmod o-w"):
            changer(tmp_path / "open/sms.conf")
        assert str(by_id(EVERYBODY)) == "everybody"

    def test_no_such_user(self) -> None:
        assert identity.named("no-such-user") is None
        assert identity.named("a\0b") is None
        assert identity.named("²") is None
        assert identity.current().uid == os.geteuid()

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    def test_a_link_of_roots_leads_to_the_owner_of_what_is_there(self, folder: Path) -> None:
        """As /var/spool/asterisk/sms -> /data/sms; and who owns a folder can turn all below it."""
        (folder / "sms/below").mkdir(parents=True)
        os.chown(folder / "sms", NOBODY, NOBODY)
        (folder / "link").symlink_to("sms")
        for place in ("link/outbox.sqlite", "sms/below/outbox.sqlite", "link/none.sqlite"):
            assert changer(folder / place) == by_id(NOBODY), place
