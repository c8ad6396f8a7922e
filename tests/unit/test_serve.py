"""What a service loads."""

import subprocess
import sys


def test_a_service_without_an_outbox_does_without_sqlalchemy() -> None:
    check = "import sys, dialplan_sms.serve as _; print('sqlalchemy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "False\n"
