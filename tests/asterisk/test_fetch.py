"""The cache of fetched trees: built once, whole or not at all. No network."""

import threading
from pathlib import Path

import pytest

from tests.asterisk import debian, fetch
from tests.asterisk.installation import AsteriskUnavailable, Installation


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a mirror that nothing reaches, and trees that count as unpacked."""

    def unpacked(root: Path) -> Installation:
        return Installation("22.0.0", ("asterisk",), root / "modules", root / "data", root)

    monkeypatch.delenv(fetch.INSTALLED_VARIABLE, raising=False)
    monkeypatch.setenv("DIALPLAN_SMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(debian.MIRROR_VARIABLE, "http://192.0.2.1/debian/")
    monkeypatch.setattr(fetch, "unpacked", unpacked)
    return tmp_path / "cache"


def silent(line: str) -> None:
    """Nobody reads the progress here."""


def test_a_failed_fetch_leaves_nothing_that_is_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, site: str, suite: str, say: debian.Say) -> list[Path]:
        folder.mkdir()
        (folder / "half").touch()
        raise AsteriskUnavailable("apt update: unreachable")

    monkeypatch.setattr(debian, "download", broken)

    with pytest.raises(AsteriskUnavailable, match="unreachable"):
        fetch.fetch(22, silent)

    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_what_a_killed_fetch_left_is_swept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "download", lambda *_: [])
    monkeypatch.setattr(debian, "unpack", lambda _, root: root.mkdir())
    tree = fetch.fetch(22, silent).root
    assert tree is not None
    half = tree.with_name(f"{tree.name}.part-killed")
    tree.rename(half)

    again = fetch.fetch(22, silent).root

    assert again == tree
    assert tree.is_dir()
    assert not half.exists()


def test_two_at_once_fetch_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    together = threading.Event()

    def download(folder: Path, site: str, suite: str, say: debian.Say) -> list[Path]:
        fetched.append((site, suite))
        together.wait(0.5)
        return []

    monkeypatch.setattr(debian, "download", download)
    monkeypatch.setattr(debian, "unpack", lambda _, root: root.mkdir())
    threads = [threading.Thread(target=fetch.fetch, args=(16, silent)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert fetched == [("http://192.0.2.1/debian", "bullseye")]


def test_a_cache_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIALPLAN_SMS_CACHE", str(tmp_path / "file/cache"))

    with pytest.raises(AsteriskUnavailable, match="set DIALPLAN_SMS_CACHE"):
        fetch.fetch(22, silent)


def test_a_host_without_debian_sources_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(debian.MIRROR_VARIABLE)
    for name, answer in {"apt-get": "", "dpkg-deb": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(AsteriskUnavailable, match="set DIALPLAN_SMS_DEBIAN_MIRROR"):
        debian.mirror()


def test_the_mirror_is_the_hosts_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(debian.MIRROR_VARIABLE)
    (tmp_path / "dpkg-deb").symlink_to("/bin/true")
    (tmp_path / "apt-get").write_text(
        "#!/bin/sh\necho http://192.0.2.2/security x-security\necho http://192.0.2.3/debian/ x\n"
    )
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert debian.mirror() == "http://192.0.2.3/debian"


def test_an_installed_asterisk_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fetch.INSTALLED_VARIABLE, "/nonexistent/asterisk")

    with pytest.raises(AsteriskUnavailable, match="/nonexistent/asterisk is not a file"):
        fetch.fetch(22, silent)
