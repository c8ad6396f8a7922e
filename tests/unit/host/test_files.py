"""Files that appear whole or not at all."""

import os
from pathlib import Path

import pytest

from dialplan_sms.host import files


def test_a_file_is_on_the_disk_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a host that loses its power has an empty file in place of the old one."""
    path = tmp_path / "sms.conf"
    path.write_text("old")
    done = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        done.append(f"fsync {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    files.put(path, b"new one", 0o640)
    assert done == ["fsync 7", "replace"]
    assert path.read_text() == "new one"
