"""What the tests of an upgrade begin with is what was released."""

import io
import subprocess
import tarfile

import pytest

from tests.packaging import released
from tests.packaging.root import TOP


def contents(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Each file of a tar archive, compressed or not: its mode and what is in it."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            data = tar.extractfile(member) if member.isfile() else None
            found[member.name] = (member.mode, data.read() if data else b"")
    return found


def test_the_archive_is_the_commit() -> None:
    try:
        command = released.TAR.split()
        done = subprocess.run(command, cwd=TOP, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"this clone does not have {released.COMMIT}")
    assert contents(released.ARCHIVE.read_bytes()) == contents(done.stdout)
