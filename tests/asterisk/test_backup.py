"""A sender's backup on both Asterisks: what was certainly not sent arrives by it, exactly once."""

import re
from collections.abc import Iterator

import pytest

from dialplan_sms.sandbox import Fault, Sandbox
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
    return (
        f"[102]\nurl = {sandbox.url}\npassword = {PASSWORD}\nverify = {sandbox.fingerprint}\n"
        "country = IT\ngsm = 9c7514330009\npace = 0\n"
    )


def ail(site: Site, second: Sandbox, trouble: str) -> None:
    """Have the primary in this *trouble*; all that was taken is forgotten."""
    site.sandbox.start()
    site.sandbox.clear()
    second.clear()
    site.sandbox.fault = FAULTS.get(trouble)
    if trouble == "refused":
        site.sandbox.stop()


def check_taken(site: Site, second: Sandbox, trouble: str) -> None:
    """Each number got one SMS: by the backup, if it certainly did not go by the primary."""
    if trouble in DOUBTFUL:
        assert took(second) == [], trouble
        return
    assert took(site.sandbox, second) == sorted(NUMBERS.split(",")), trouble
    assert len(took(second)) == {"": 0, "one of three": 1}.get(trouble, 3), trouble
    assert {each.gsm for each in second.messages} <= {"9c7514330009"}


def took(*sandboxes: Sandbox) -> list[str]:
    return sorted(to for each in sandboxes for message in each.messages for to in message.numbers)


def worked(site: Site, id_: str) -> str:
    """The line of the worker's first try of an SMS."""
    line = re.compile(rf".* id={id_} status=(?!QUEUED).*")
    until(lambda: line.search(site.service.log), lambda: site.service.log)
    return str(line.findall(site.service.log)[0])


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
        ail(site, second, trouble)
        left = site.call(SMS | {"SMS_VIA": "old"}).variables
        status = left["SMS_STATUS"], left["SMS_CAUSE"], left["SMS_VIA"]
        check_taken(site, second, trouble)
        if trouble in DOUBTFUL:
            assert status == ("ERROR", DOUBTFUL[trouble], ""), trouble
            continue
        assert status == ("SUCCESS", "", "102" if trouble else ""), (trouble, left)
        assert ("101: " in left["SMS_REASON"]) is bool(trouble), left
        assert (" via=102 " in site.log.splitlines()[-1]) is bool(trouble)


GENERAL = "default_sender = 101\ncall_timeout = 1\nworkers = 2"
SENDER = "backup = 102\nbackup_after = 0s\npace = 0\n"


def test_mode_queue(site: Site, second: Sandbox) -> None:
    site.serve(GENERAL, SENDER + backup(second))
    whole = site.service.conf.read_text()
    site.dialplan(f"AGI({site.service.url})")
    for trouble in (*UNSENT, "", *DOUBTFUL):
        text = whole
        for name, value in UNSENT.get(trouble, {}).items():
            ours = site.sandbox.url if name == "url" else site.sandbox.fingerprint
            text = text.replace(f"{name} = {ours}", f"{name} = {value}", 1)
        site.service.conf.write_text(text)
        site.service.reload()
        ail(site, second, trouble)
        left = site.call(SMS | {"SMS_MODE": "queue"}).variables
        assert (left["SMS_STATUS"], left["SMS_VIA"]) == ("QUEUED", "")
        said = worked(site, left["SMS_ID"])
        check_taken(site, second, trouble)
        if trouble in DOUBTFUL:
            assert f"cause={DOUBTFUL[trouble]}" in said
            continue
        assert ("via=102" in said, said.endswith(" - sent")) == (bool(trouble),) * 2, said
    assert "Traceback" not in site.service.log


def test_mode_fallback_leaves_the_backup_to_the_worker(site: Site, second: Sandbox) -> None:
    site.serve(GENERAL, SENDER + backup(second))
    site.sandbox.fault = Fault.REJECT
    site.dialplan(f"AGI({site.service.url})")
    left = site.call(SMS | {"SMS_MODE": "fallback"}).variables
    assert (left["SMS_STATUS"], left["SMS_VIA"]) == ("QUEUED", "")
    until(lambda: len(took(second)) == 3, lambda: site.service.log, 20)
    assert took(site.sandbox) == []
