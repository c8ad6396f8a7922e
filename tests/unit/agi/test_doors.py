"""What a service says of a door that it cannot open."""

import re
from pathlib import Path

import pytest

from dialplan_sms.agi import doors
from tests.unit.pbxhost import GROUP, USER


def test_a_folder_that_is_missing_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    folder = tmp_path / "it's run"
    make = f"install -d -o {USER} -g {GROUP} -m 0750 '{tmp_path}/it'\"'\"'s run'"
    said = f"{folder} does not exist: as root, run {make} at each start of this host, or set"
    with pytest.raises(OSError, match=re.escape(said)):
        doors.listen_unix(folder / "agi.sock")
