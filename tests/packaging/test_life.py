"""The Debian package's whole life on fresh systems: upgrade, remove, purge, and what is left."""

import re
from pathlib import Path

import pytest

from debian import build
from tests.packaging.conftest import GONE
from tests.packaging.root import Root

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CONF = "/etc/asterisk/sms.conf"
OUTBOX = "/var/spool/asterisk/sms/outbox.sqlite"
PACKAGE = "root/package.deb"
"""What Root installs from."""
ENABLED = "etc/systemd/system/multi-user.target.wants/dialplan-sms.service"
SMS_CONF = (
    f"[general]\noutbox = sqlite:///{OUTBOX}\n[101]\nurl = http://127.0.0.1:9\npassword = x\n"
)


def kept(root: Root, before: set[str]) -> set[str]:
    """The files that were not there before, but for the package, systemd's notes and SQLite's."""
    new = root.tree() - before - {PACKAGE}
    files = {name for name in new if not (root.path / name).is_dir()}
    return {name for name in files if not name.startswith(("var/lib/systemd/", f"{OUTBOX[1:]}-"))}


def test_upgrade_remove_and_purge(root: Root, deb: Path, older: Path) -> None:
    before = root.tree()
    # Another Asterisk's agi-bin, and an admin who has written sms.conf beforehand.
    root.run("install", "-d", "/var/lib/asterisk/agi-bin")
    root.write(CONF, SMS_CONF, 0o640)
    said = root.install(older)
    assert "run dialplan-sms setup" not in said
    assert (root.path / ENABLED).is_symlink()
    root.run("chgrp", "asterisk", CONF)
    link = root.path / "var/lib/asterisk/agi-bin/sms.agi"
    assert str(link.readlink()) == "/usr/lib/dialplan-sms/bin/sms.agi"
    send = ("dialplan-sms", "send", "--mode", "queue", "+39333123456")
    said = root.run(*send, user="asterisk", stdin="Hello\n")
    (number,) = re.findall(r"(?i)\bid\b\D*(\d+)", said)

    # Upgrade.
    assert (root.path / GONE).exists()
    root.install(deb)
    assert not (root.path / GONE).exists()
    assert not list((root.path / GONE).parent.glob("__pycache__/gone.*"))
    assert root.run("dpkg", "--verify", "dialplan-sms") == ""
    assert "an older one" not in (root.path / build.CONFFILE).read_text()
    assert (root.path / CONF[1:]).read_text() == SMS_CONF
    assert link.is_symlink()
    assert "pending" in root.run("dialplan-sms", "outbox", "show", number, user="asterisk")

    # An admin who has disabled the service keeps it so.
    (root.path / ENABLED).unlink()
    root.install(deb)
    assert not (root.path / ENABLED).exists()

    # Remove keeps what is the admin's.
    root.run("dpkg", "--remove", "dialplan-sms")
    assert not link.is_symlink()
    root.run("rmdir", "/var/lib/asterisk/agi-bin")
    beside = [f"{CONF}.new", f"{CONF}.before-dialplan-sms", f"{CONF}.before-dialplan-sms-2"]
    for path in beside:  # of setup and of migrate, with passwords in them
        root.write(path, SMS_CONF, 0o640)
    mine = {path[1:] for path in (CONF, *beside)}
    assert kept(root, before) == mine | {OUTBOX[1:], build.CONFFILE}

    # Purge does not throw an SMS away that waits.
    said = root.run("dpkg", "--purge", "dialplan-sms")
    assert f"{OUTBOX} stays" in said
    assert kept(root, before) == {OUTBOX[1:]}

    # Once it is cancelled, nothing is left.
    root.install(deb)
    root.write(CONF, SMS_CONF, 0o640, "asterisk")
    root.run("dialplan-sms", "outbox", "cancel", number, user="asterisk")
    said = root.run("dpkg", "--purge", "dialplan-sms")
    assert "stays" not in said
    if "var/lib/asterisk" not in before:  # made above
        root.run("rmdir", "/var/lib/asterisk")
    assert root.tree() - {PACKAGE} == before
