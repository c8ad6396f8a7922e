"""One SMS: what sends it, and ``dialplan-sms send NUMBER``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from dialplan_sms.cli.send import view
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config
from dialplan_sms.host.console import Console
from dialplan_sms.routes.pbx import Routes, SmsApi
from dialplan_sms.sms.outcome import Status, safe_line
from dialplan_sms.sms.parts import parts
from dialplan_sms.sms.service import Service, check, choose
from dialplan_sms.sms.sms import Draft

if TYPE_CHECKING:
    from dialplan_sms.outbox.store import Outbox

_COLOUR = {Status.SUCCESS: "green", Status.QUEUED: "green", Status.WARNING: "yellow"}


@contextmanager
def open_service(load: Callable[[], Config]) -> Iterator[Service]:
    """Sends SMS as *load* configures it. Connections and outbox stay open in the block."""
    opened: list[Outbox] = []

    def store(config: Config) -> "Outbox":
        from dialplan_sms.outbox.store import open_outbox  # 0.4 s for who needs the outbox

        if not opened:
            opened.append(open_outbox(config))
        return opened[0]

    yield Service(load, Routes(1), store=store)
    # Not if an exception ends the block: then the process ends at once.
    for outbox in opened:
        outbox.close()


def send_one(draft: Draft, path: Path, as_json: bool) -> int:
    """Send *draft* by the sms.conf in *path*; the exit status."""

    def load() -> Config:
        config = smsconf.load(path)
        config.drop_privileges()
        return config

    with open_service(load) as service:
        handled = service.handle(draft)
        service.log(handled)
    of = handled.outcome
    if as_json:
        view.say_json(
            status=of.status,
            cause=of.cause,
            reason=of.reason,
            failed=of.failed,
            id=of.id,
            via=of.via,
        )
    else:
        words = [
            f" {of.cause}" if of.cause else "",
            f", id {of.id}" if of.id else "",
            f" via {of.via}" if of.via else "",
            f": {safe_line(of.reason)}" if of.reason else "",
            f" (not accepted: {', '.join(of.failed)})" if of.failed else "",
        ]
        view.say(Text.assemble((of.status, _COLOUR.get(of.status, "red")), *words))
    return int(of.status not in (Status.SUCCESS, Status.QUEUED))


def show_one(draft: Draft, config: Config, as_json: bool) -> None:
    """The dry run of *draft*. Raises Refused, and ConfigError if verify cannot be used."""
    sender = choose(config, draft)
    sms = check(draft, sender, config, datetime.now())
    SmsApi(sender)
    mode = draft.mode or sender.mode
    if as_json:
        view.say_json(sender=sender.name, numbers=sms.numbers, mode=mode, dry_run=True,
                      **view.sms_values(sms))  # fmt: skip
        return
    cut = sms.cut_from - len(sms.text) if sms.cut_from else 0
    facts = [
        *view.sender_facts(config, sender),
        ("to", ", ".join(sms.numbers)),
        ("text", f"{len(sms.text)} characters of {sender.max_length}"),
        ("parts", str(parts(sms.text))),
        ("as given", f"{sms.parts_from} parts" if sms.parts_from else ""),
        ("gateway", sms.gsm or ("the PBX chooses" if sender.is_pbx else "")),
        ("mode", mode),
        ("when", f"{sms.postpone:%d/%m/%Y %H:%M}" if sms.postpone else "now"),
        ("key", draft.key),
        ("cut", f"{cut} characters (long_message = truncate)" if cut else ""),
        ("note", view.replaced(sms.replaced)),
        ("", "dry run: nothing was sent"),
    ]
    view.show_facts(Console(), facts)
