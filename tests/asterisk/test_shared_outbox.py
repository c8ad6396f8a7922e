"""Several hosts, one outbox on a PostgreSQL server (needs its programs)."""

import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox.database import open_engine
from dialplan_sms.outbox.schema import message
from dialplan_sms.sandbox import Fault, Sandbox
from tests.asterisk.fetch import fetch
from tests.asterisk.pbx import Pbx
from tests.asterisk.serving import Service
from tests.asterisk.site import NUMBER
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
DIALPLAN = "[test]\n" + "".join(
    f"exten => {n},1,AGI({{urls[{n}]}})\n" for n in range(3)
)  # fmt: skip


def ended(url: str) -> Counter[str]:
    """How many messages are in which state."""
    engine = open_engine(url)
    with engine.begin() as connection:
        states = connection.scalars(sa.select(message.c.state)).all()
    engine.dispose()
    return Counter(states)


def wait_for(url: str, count: int, seconds: float) -> None:
    until(lambda: ended(url)["sent"] >= count, lambda: ended(url), seconds)


def test_three_services_share_the_work_and_one_dies_for_good(
    postgresql: str, tmp_path: Path
) -> None:
    with Sandbox(tls=False) as sandbox, ExitStack() as stack:
        services = []
        for n in range(3):
            folder = tmp_path / f"host{n}"
            folder.mkdir()
            general = f"outbox = {postgresql}\ncall_timeout = 2\nworkers = 2"
            services.append(stack.enter_context(Service(folder, sandbox, general, "pace = 0")))
        asterisk = stack.enter_context(
            Pbx(fetch(22), DIALPLAN.format(urls=[service.url for service in services]))
        )

        def queue(host: int, text: str) -> None:
            variables = {"SMS_NUMBER": NUMBER, "SMS_MESSAGE": text, "SMS_MODE": "queue"}
            seen = asterisk.call(f"{host}", variables=variables).variables
            assert seen["SMS_STATUS"] == "QUEUED", seen

        for n in range(30):
            queue(n % 3, f"n{n}")
        wait_for(postgresql, 30, 20)
        assert Counter(each.text for each in sandbox.messages) == {f"n{n}": 1 for n in range(30)}

        sandbox.fault = Fault.HANG
        for n in range(30, 60):
            queue(n % 3, f"n{n}")
        sandbox.wait(requests=36, timeout=20)  # two each are on their way
        services[0].kill()
        sandbox.fault = None
        wait_for(postgresql, 60, 90)
        assert {each.text for each in sandbox.messages} == {f"n{n}" for n in range(60)}


def test_a_worker_of_its_own_sends_for_a_service_without(postgresql: str, tmp_path: Path) -> None:
    general = f"outbox = {postgresql}\nworkers = 0"
    with (
        Sandbox(tls=False) as sandbox,
        Service(tmp_path, sandbox, general, "pace = 0") as service,
        Pbx(fetch(22), DIALPLAN.format(urls=[service.url] * 3)) as asterisk,
    ):
        variables = {"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "Hello", "SMS_MODE": "queue"}
        assert asterisk.call("0", variables=variables).variables["SMS_STATUS"] == "QUEUED"
        time.sleep(1.5)
        assert sandbox.requests == []
        worker = subprocess.Popen(
            [Path(sys.prefix) / "bin/dialplan-sms", "worker", "--config", service.conf],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            wait_for(postgresql, 1, 20)
            worker.terminate()
            assert worker.wait(10) == 0
        finally:
            worker.kill()
            told = worker.communicate()[0]
        assert told == ""
        assert "worker started" in service.log
