"""``dialplan-sms setup`` by root on hosts as they are, whoever owns Asterisk's folders."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit import checked
from tests.unit.pbxhost import NEW, PbxHost

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("as_root")]
DAEMON = 1
"""In the place of ``asterisk``: a user of each Linux, whose group is its own."""


@pytest.fixture
def folder() -> Iterator[Path]:
    with checked.folder() as found:
        yield found


def asterisks(pbx: PbxHost) -> None:
    """Asterisk runs as a user of its own, which has its spool."""
    pbx.write_conf(options="runuser = daemon\nrungroup = daemon")
    pbx.run_asterisk(user=(DAEMON, DAEMON))
    os.chown(pbx.spool, DAEMON, DAEMON)


def root_runs_all(pbx: PbxHost) -> int:
    """Asterisk that runs as root, and a container."""
    return 0


def debian(pbx: PbxHost) -> int:
    """Asterisk's own user has the spool, /etc/asterisk is root's."""
    asterisks(pbx)
    return 0


def group_may_write(pbx: PbxHost) -> int:
    """/etc/asterisk is of root, and its group may write."""
    asterisks(pbx)
    os.chown(pbx.etc, 0, DAEMON)
    pbx.etc.chmod(0o2775)
    return DAEMON


def freepbx(pbx: PbxHost) -> int:
    """asterisk owns all."""
    asterisks(pbx)
    (pbx.root / "freepbx.conf").touch()
    (pbx.etc / "extensions_custom.conf").touch()
    pbx.extensions.write_bytes(pbx.extensions.read_bytes() + b"#include extensions_custom.conf\n")
    for path in (pbx.etc, *pbx.etc.iterdir(), pbx.agi_bin):
        os.chown(path, DAEMON, DAEMON)
        path.chmod(0o775 if path.is_dir() else 0o664)
    return DAEMON


@pytest.mark.parametrize("host", [root_runs_all, debian, group_may_write, freepbx])
def test_it_is_set_up_and_taken_back(folder: Path, host: object) -> None:
    pbx = PbxHost(folder / "asterisk")
    owner = host(pbx)  # type: ignore[operator]
    before = pbx.tree("state", "opt", "units", "bin", "spool")
    pbx.install()
    assert {path.stat().st_uid for path in (pbx.sms_conf, pbx.etc / "extensions-sms.conf")} == {
        owner
    }
    asterisk = 0 if host is root_runs_all else DAEMON
    assert (pbx.spool / "sms").stat().st_uid == asterisk
    assert pbx.sms_conf.stat().st_gid == asterisk
    assert pbx.sms_conf.stat().st_mode & 0o777 == 0o640
    assert (pbx.agi_bin / "sms.agi").is_symlink()
    assert "all is there" in pbx.setup().output
    pbx.setup("--remove")
    pbx.sms_conf.unlink()
    assert pbx.tree("state", "opt", "units", "bin", "spool") == before


@pytest.mark.parametrize(
    "place",
    [
        "etc/asterisk/sms.conf", "etc/asterisk/extensions.conf", "etc/asterisk/asterisk.conf",
        "etc/asterisk/extensions_custom.conf", "etc/asterisk/extensions-sms.conf",
        "etc/asterisk/.sms.conf.dialplan-sms", "agi-bin/sms.agi", "agi-bin", "spool/sms", "spool",
        "etc/asterisk",
    ],
)  # fmt: skip
@pytest.mark.parametrize("to", ["precious/passwd", "precious/none", "precious"])
def test_links_of_asterisks_user_lead_root_nowhere(folder: Path, place: str, to: str) -> None:
    """Which has all of Asterisk's folders, and would have root change a file of its choice."""
    (folder / "precious").mkdir()
    precious = folder / "precious/passwd"
    precious.write_text("[general]\n")
    precious.chmod(0o600)
    pbx = PbxHost(folder / "asterisk")
    freepbx(pbx)
    for path in (pbx.root, pbx.root / "etc"):
        os.chown(path, DAEMON, DAEMON)
    link = pbx.root / place
    if link.is_dir():
        link.rename(folder / "away")
    link.unlink(missing_ok=True)
    link.symlink_to(folder / to)
    os.lchown(link, DAEMON, DAEMON)
    for command in (NEW, ("--remove",)):
        pbx.setup(*command, "--asterisk-conf", str(pbx.conf))
        assert precious.read_text() == "[general]\n"
        assert (precious.stat().st_mode & 0o777, precious.stat().st_uid) == (0o600, 0)
        assert [path.name for path in precious.parent.iterdir()] == ["passwd"]
        assert precious.parent.stat().st_uid == 0
