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


def test_the_debian_package_has_all() -> None:
    assert "Debian package" in cure(installation.DEBIAN, ["http"])
    assert "make" not in cure(installation.DEBIAN, ["http"])


def test_with_pipx_it_is_the_wheel_with_its_extras(tmp_path: Path) -> None:
    said = cure(place(tmp_path, "pipx_metadata.json", "pyvenv.cfg"), ["http"])
    assert said.startswith(f"run {PIPX}")
    assert "http,postgresql,sandbox]" in said
    assert "make" not in said


def test_what_an_earlier_setup_copied_is_replaced_by_setup(tmp_path: Path) -> None:
    copy = place(tmp_path, ".setup", "pyvenv.cfg", "bin/sms.agi")
    assert cure(copy, ["http"]) == another_python(copy, "/p") == "run dialplan-sms setup"


def test_with_make_install_it_names_the_extras(tmp_path: Path) -> None:
    made = place(tmp_path, "pyvenv.cfg", "bin/sms.agi")
    assert cure(made, ["postgresql", "http"]).endswith("run make install WITH=postgresql,http")
    assert cure(made).endswith("run make install")


def test_in_the_source_folder_there_is_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "source", lambda: tmp_path)
    place(tmp_path, "Makefile")
    assert cure(tmp_path / ".venv", ["http"]) == "in the source folder, run make venv"


def test_where_it_is_not_known_both_ways_are_named(tmp_path: Path) -> None:
    said = cure(tmp_path, ["http"])
    assert "make install WITH=http" in said
    assert PIPX in said
    assert "\n" not in said


def test_the_files_in_asterisks_folders_are_put_there_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = place(tmp_path / "made", "pyvenv.cfg", "bin/sms.agi")
    assert put_in_place(made, "AGI_BIN=/x").endswith("run make install AGI_BIN=/x")
    monkeypatch.setattr(installation, "DEBIAN", place(tmp_path / "d", "pyvenv.cfg", "bin/sms.agi"))
    for other in (
        installation.DEBIAN,
        place(tmp_path / "a", "pipx_metadata.json", "pyvenv.cfg", "bin/sms.agi"),
        place(tmp_path / "b", ".setup", "pyvenv.cfg", "bin/sms.agi"),
    ):
        assert put_in_place(other, "AGI_BIN=/x") == "run dialplan-sms setup"


def test_another_python_is_given_as_the_first_was(tmp_path: Path) -> None:
    assert "--reinstall" in another_python(installation.DEBIAN, "/p")
    pipx = place(tmp_path / "a", "pipx_metadata.json", "pyvenv.cfg")
    assert another_python(pipx, "/p").endswith("sandbox]' --python /p")
    assert another_python(tmp_path / "c", "/p").endswith("make install PYTHON=/p")
