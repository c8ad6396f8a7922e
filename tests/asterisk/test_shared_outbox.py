"""Several hosts, one outbox on a PostgreSQL server (needs its programs)."""

import itertools
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Fault, Sandbox
from tests.asterisk.fetch import fetch
from tests.asterisk.pbx import Pbx
from tests.asterisk.serving import Service
from tests.asterisk.site import QUEUE
from tests.asterisk.test_never_lost import look
from tests.postgres import url_of, with_standby
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def ended(url: str) -> Counter[str]:
    return Counter(state for _, state in look(url))


def wait_for(url: str, count: int, seconds: float) -> None:
    until(lambda: ended(url)["sent"] >= count, lambda: ended(url), seconds)


def start(
    count: int, outbox: str, sandbox: Sandbox, folder: Path, stack: ExitStack
) -> tuple[list[Service], Pbx]:
    """As many services, with two workers each, and an Asterisk that calls each of them."""
    services = []
    for n in range(count):
        (folder / f"host{n}").mkdir()
        general = f"outbox = {outbox}\ncall_timeout = 2\nworkers = 2"
        services.append(Service(folder / f"host{n}", sandbox, general, "pace = 0"))
        stack.enter_context(services[-1])
    return services, stack.enter_context(calling(services))


def calling(services: list[Service]) -> Pbx:
    """An Asterisk whose extensions are the services."""
    lines = "".join(f"exten => {n},1,AGI({each.url})\n" for n, each in enumerate(services))
    return Pbx(fetch(22), f"[test]\n{lines}")


def test_three_services_share_the_work_and_one_dies_for_good(
    postgresql: str, tmp_path: Path
) -> None:
    with Sandbox(tls=False) as sandbox, ExitStack() as stack:
        services, asterisk = start(3, postgresql, sandbox, tmp_path, stack)

        def queue(host: int, text: str) -> None:
            seen = asterisk.call(f"{host}", variables=QUEUE | {"SMS_MESSAGE": text}).variables
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


def test_the_database_is_lost_for_good_and_its_standby_goes_on(tmp_path: Path) -> None:
    with (
        with_standby() as (primary, standby), Sandbox(tls=False) as sandbox, ExitStack() as stack
    ):  # fmt: skip
        outbox = url_of(primary.port, standby.port)
        _, asterisk = start(2, outbox, sandbox, tmp_path, stack)
        calls: list[tuple[float, int, str, str]] = []  # began when, on which host, text, status
        enough, numbers = threading.Event(), itertools.count()

        def callers(host: int) -> None:
            while not enough.is_set():
                began, text = time.monotonic(), f"n{next(numbers)}"
                variables = QUEUE | {"SMS_MESSAGE": text}
                seen = asterisk.call(f"{host}", variables=variables, timeout=60).variables
                calls.append((began, host, text, seen["SMS_STATUS"]))

        def queued(since: float = 0.0) -> int:
            """How many calls that began since then were QUEUED, on the host with the fewest."""
            hosts = [call[1] for call in calls if call[0] >= since and call[3] == "QUEUED"]
            return min(hosts.count(0), hosts.count(1))

        with ThreadPoolExecutor(6) as pool:
            try:
                for n in range(6):
                    pool.submit(callers, n % 2)
                until(lambda: queued() >= 50, lambda: calls[-10:], 90)
                primary.crash()
                standby.promote()
                promoted = time.monotonic()
                until(lambda: queued(promoted), lambda: calls[-10:], 10)
                back = time.monotonic() - promoted
                until(lambda: queued(promoted) >= 50, lambda: calls[-10:], 90)
            finally:
                enough.set()
        stored = [text for _, _, text, status in calls if status == "QUEUED"]
        until(lambda: ended(outbox).keys() == {"sent"}, lambda: ended(outbox), 60)
        arrived = Counter(each.text for each in sandbox.messages)
    twice = {text for text, count in arrived.items() if count > 1}
    print(
        f"\n{len(calls)} calls, {len(stored)} QUEUED, {len(arrived)} arrived, {len(twice)} doubled;"
        f" {back:.1f} s from the promotion to QUEUED on both hosts; {Counter(c[3] for c in calls)}"
    )
    assert arrived.keys() >= set(stored)
    assert len(twice) <= 2 * 2  # what each worker had on its way


def test_a_worker_of_its_own_sends_for_a_service_without(postgresql: str, tmp_path: Path) -> None:
    general = f"outbox = {postgresql}\nworkers = 0"
    with (
        Sandbox(tls=False) as sandbox,
        Service(tmp_path, sandbox, general, "pace = 0") as service,
        calling([service]) as asterisk,
    ):
        assert asterisk.call("0", variables=QUEUE).variables["SMS_STATUS"] == "QUEUED"
        time.sleep(1.5)
        assert sandbox.requests == []
        worker = subprocess.Popen(
            [*service.program, "worker", "--config", service.conf],
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
