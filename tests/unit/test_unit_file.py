"""The systemd unit: what it runs exists."""

import configparser
from pathlib import Path

from dialplan_sms.agi import doors
from dialplan_sms.cli import main
from dialplan_sms.daemon import server

UNIT = Path(__file__).parents[2] / "systemd/dialplan-sms.service"


def test_the_unit_fits_the_program() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"].split()[-1] in main._COMMANDS
    assert Path(doors.SOCKET).parent == Path("/run", service["RuntimeDirectory"])
    assert int(service["TimeoutStopSec"]) > server.DRAIN
    assert int(service["WatchdogSec"]) >= 30
    assert int(service["LimitNOFILE"]) > 3 * 4096  # max_calls at most, each with one to the PBX
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"  # it is never left dead
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["User"] == "asterisk"
