"""A sender's backup on both Asterisks: what was certainly not sent arrives by it, exactly once."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Fault, Sandbox
from tests.asterisk.serving import Service
from tests.asterisk.site import NUMBER, PASSWORD, Site
from tests.waiting import until

NUMBERS = f"{NUMBER},+39333123457,+39333123458"
SMS = {"SMS_NUMBER": NUMBERS, "SMS_MESSAGE": "The pump has stopped", "SMS_GSM": "9c7514330001"}
UNSENT: dict[str, dict[str, str]] = {
    "refused": {}, "unresolvable": {"url": "https://pbx.invalid"},
    "wrong certificate": {"verify": f"sha256:{'0' * 64}"},
    "401": {}, "rejected": {}, "one of three": {},
}  # fmt: skip
"""What ails the primary, and what sms.conf has for that."""
DOUBTFUL = {"hangs": "NO_ANSWER", "500": "BAD_ANSWER", "resets": "NO_ANSWER"}
FAULTS = {
    "401": Fault.UNAUTHORIZED, "rejected": Fault.REJECT, "one of three": Fault.PARTIAL,
    "hangs": Fault.HANG, "500": Fault.SERVER_ERROR, "resets": Fault.RESET,
}  # fmt: skip


@pytest.fixture(scope="module")
def _second() -> Iterator[Sandbox]:
    with Sandbox(users={"102": PASSWORD}, gateways=("9c7514330009",)) as sandbox:
        yield sandbox


@pytest.fixture
def second(_second: Sandbox) -> Sandbox:
    """The PBX of 102, which has another gateway and took nothing yet."""
    _second.clear()
    return _second


def backup(sandbox: Sandbox) -> str:
    """The section of 102."""
    return (
        f"[102]\nurl = {sandbox.url}\npassword = {PASSWORD}\nverify = {sandbox.fingerprint}\n"
        "country = IT\ngsm = 9c7514330009\npace = 0\n"
    )


def ail(site: Site, trouble: str) -> None:
    """Have the primary in this *trouble*; all that it took is forgotten."""
    site.sandbox.start()
    site.sandbox.clear()
    site.sandbox.fault = FAULTS.get(trouble)
    if trouble == "refused":
        site.sandbox.stop()


def took(*sandboxes: Sandbox) -> list[str]:
    """The numbers that were sent to."""
    return sorted(to for each in sandboxes for message in each.messages for to in message.numbers)


def worked(service: Service, id_: str) -> str:
    """The line of the worker's first try of an SMS."""
    line = re.compile(rf".* id={id_} status=(?!QUEUED).*")
    until(lambda: line.search(service.log), lambda: service.log)
    return str(line.findall(service.log)[0])


def test_mode_wait(site: Site, second: Sandbox) -> None:
    site.dialplan("Gosub(sub-sms,s,1)")
    for trouble in ("", *UNSENT, *DOUBTFUL):
        settings = {
            "url": site.sandbox.url, "verify": site.sandbox.fingerprint
        } | UNSENT.get(trouble, {})  # fmt: skip
        first = "".join(f"{name} = {value}\n" for name, value in settings.items())
        site.configure(
            f"[general]\ndefault_sender = 101\nlog = sms.log\ncall_timeout = 2\n[101]\n{first}"
            f"password = {PASSWORD}\ncountry = IT\nbackup = 102\n{backup(second)}"
        )
        ail(site, trouble)
        second.clear()
        left = site.call(SMS | {"SMS_VIA": "old"}).variables
        status = left["SMS_STATUS"], left["SMS_CAUSE"], left["SMS_VIA"]
        if trouble in DOUBTFUL:
            assert status == ("ERROR", DOUBTFUL[trouble], ""), trouble
            assert took(second) == []
            continue
        assert status == ("SUCCESS", "", "102" if trouble else ""), (trouble, left)
        assert took(site.sandbox, second) == sorted(NUMBERS.split(",")), trouble
        assert len(took(second)) == {"": 0, "one of three": 1}.get(trouble, 3), trouble
        assert {each.gsm for each in second.messages} <= {"9c7514330009"}
        assert ("101: " in left["SMS_REASON"]) is bool(trouble), left
        assert (" via=102 " in site.log.splitlines()[-1]) is bool(trouble)


def test_mode_queue(site: Site, second: Sandbox, tmp_path: Path) -> None:
    general = (
        f"outbox = sqlite:///{tmp_path}/outbox.sqlite\ncall_timeout = 1\ndefault_sender = 101\n"
        "workers = 2\n"
    )
    service = Service(tmp_path, site.sandbox)

    def configure(**settings: str) -> None:
        service.configure(general, f"backup = 102\nbackup_after = 0s\npace = 0\n{backup(second)}")
        text = service.conf.read_text()
        for name, value in settings.items():
            ours = site.sandbox.url if name == "url" else site.sandbox.fingerprint
            text = text.replace(f"{name} = {ours}", f"{name} = {value}", 1)
        service.conf.write_text(text)

    configure()
    site.dialplan(f"AGI({service.url})")
    with service:
        for trouble in (*UNSENT, "", *DOUBTFUL):
            configure(**UNSENT.get(trouble, {}))
            read = service.log.count("was read again")
            service.signal(signal.SIGHUP)
            until(lambda n=read: service.log.count("was read again") > n)  # type: ignore[misc]
            ail(site, trouble)
            second.clear()
            left = site.call(SMS | {"SMS_MODE": "queue"}).variables
            assert (left["SMS_STATUS"], left["SMS_VIA"]) == ("QUEUED", "")
            said = worked(service, left["SMS_ID"])
            if trouble in DOUBTFUL:
                assert f"cause={DOUBTFUL[trouble]}" in said
                assert took(second) == [], trouble
                continue
            assert took(site.sandbox, second) == sorted(NUMBERS.split(",")), (trouble, said)
            assert len(took(second)) == {"": 0, "one of three": 1}.get(trouble, 3), trouble
            assert ("via=102" in said, said.endswith(" - sent")) == (bool(trouble),) * 2, said
        assert "Traceback" not in service.log


def test_mode_fallback_leaves_the_backup_to_the_worker(
    site: Site, second: Sandbox, tmp_path: Path
) -> None:
    site.sandbox.fault = Fault.REJECT
    service = Service(
        tmp_path, site.sandbox,
        f"outbox = sqlite:///{tmp_path}/outbox.sqlite\ndefault_sender = 101\n",
        f"backup = 102\nbackup_after = 0s\npace = 0\n{backup(second)}",
    )  # fmt: skip
    site.dialplan(f"AGI({service.url})")
    with service:
        left = site.call(SMS | {"SMS_MODE": "fallback"}).variables
        assert (left["SMS_STATUS"], left["SMS_VIA"]) == ("QUEUED", "")
        until(lambda: len(took(second)) == 3, lambda: service.log, 20)
    assert took(site.sandbox) == []
