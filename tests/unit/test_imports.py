"""A call imports nothing that it does not need: each module is a part of what it costs."""

import subprocess
import sys

import pytest

COUNTRY = "from dialplan_sms.config.countries import is_in; is_in"
CALL = """
from tests.unit.fakes import FakeAsterisk, FakeRoute, service
from dialplan_sms.agi.call import call
asterisk = FakeAsterisk({'SMS_NUMBER': '+39333123456', 'SMS_MESSAGE': 'It\u2019s'})
call(asterisk.channel, service(FakeRoute(), %s))
assert asterisk.value('SMS_STATUS') == 'SUCCESS'
"""
SENDER = r"""
import tempfile
from pathlib import Path
from dialplan_sms.config.config import load
from dialplan_sms.routes.pbx import SmsApi
with tempfile.NamedTemporaryFile('w') as conf:
    print('[101]\nurl = http://192.0.2.1\npassword = x', file=conf, flush=True)
    SmsApi(load(Path(conf.name)).senders['101'])
"""
GUARDED = """
phonenumbers anyascii regex dialplan_sms.sms.backup dialplan_sms.sms.length dialplan_sms.sms.parts
dialplan_sms.config.curl dialplan_sms.routes.curl
"""


@pytest.mark.parametrize(
    ("program", "loaded"),
    [
        (f"{COUNTRY}('+39333123456', {{'IT'}})", ""),
        (f"{COUNTRY}('+390669812345', {{'IT'}})", ""),
        (f"{COUNTRY}('+33612345678', {{'IT'}})", ""),
        (f"{COUNTRY}('+447400123456', {{'IT', 'FR'}})", ""),
        (f"{COUNTRY}('+447400123456', {{'GB'}})", "phonenumbers"),  # which share their code
        (CALL % "", ""),
        (CALL % "max_parts=1", "dialplan_sms.sms.length dialplan_sms.sms.parts"),
        (SENDER, ""),
    ],
    ids=lambda it: it[-40:],
)
def test_only_what_is_needed_is_imported(program: str, loaded: str) -> None:
    code = f"import sys\n{program}\nprint(*sorted({{*{GUARDED.split()}}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{loaded}\n", "")
