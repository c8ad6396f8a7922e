"""What to do for missing packages depends on how the program was installed."""

from pathlib import Path

import pytest

from dialplan_sms.host import installation
from dialplan_sms.host.installation import another_python, cure, put_in_place

PIPX = "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install --force './dialplan_sms-"


def place(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A folder for each way to install."""
    files = {
        "debian": "pyvenv.cfg bin/sms.agi",
        "pipx": "pipx_metadata.json pyvenv.cfg bin/sms.agi",
        "copy": ".setup pyvenv.cfg bin/sms.agi",
        "make": "pyvenv.cfg bin/sms.agi",
        "source": "Makefile .venv/pyvenv.cfg",
        "unknown": "none",
    }
    for way, names in files.items():
        for path in (tmp_path / way / name for name in names.split()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    monkeypatch.setattr(installation, "DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(installation, "source", lambda: tmp_path / "source")
    return {way: tmp_path / way for way in files} | {"source": tmp_path / "source/.venv"}


def test_missing_packages_come_as_the_program_did(ways: dict[str, Path]) -> None:
    said = {way: cure(folder, ["postgresql", "http"]) for way, folder in ways.items()}
    assert "Debian package" in said["debian"]
    assert said["pipx"].startswith(f"run {PIPX}")
    assert "http,postgresql,sandbox]" in said["pipx"]
    for way in ("debian", "pipx"):
        assert "make" not in said[way]
    assert said["copy"] == "run dialplan-sms setup"
    assert said["make"].endswith("run make install WITH=postgresql,http")
    assert cure(ways["make"]).endswith("run make install")
    assert said["source"] == "in the source folder, run make venv"
    for both in ("make install WITH=postgresql,http", PIPX):
        assert both in said["unknown"]
    assert "\n" not in said["unknown"]


def test_the_files_in_asterisks_folders_are_put_there_as_before(ways: dict[str, Path]) -> None:
    assert put_in_place(ways["make"], "AGI_BIN=/x").endswith("run make install AGI_BIN=/x")
    for way in ("debian", "pipx", "copy"):
        assert put_in_place(ways[way], "AGI_BIN=/x") == "run dialplan-sms setup"


def test_another_python_is_given_as_the_first_was(ways: dict[str, Path]) -> None:
    said = {way: another_python(folder, "/p") for way, folder in ways.items()}
    assert "--reinstall" in said["debian"]
    assert said["pipx"].endswith("sandbox]' --python /p")
    assert said["copy"] == "run dialplan-sms setup"
    assert said["unknown"].endswith("make install PYTHON=/p")
