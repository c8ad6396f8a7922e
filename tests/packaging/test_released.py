"""What the tests of an upgrade begin with is what was released."""

import pytest

from tests.packaging import released


def test_the_archive_is_the_commit() -> None:
    commit = released.at_commit()
    if commit is None:
        pytest.skip(f"this clone does not have {released.COMMIT}")
    assert released.contents(released.ARCHIVE.read_bytes()) == released.contents(commit)
