"""``dialplan-sms worker``: sends what is stored, without taking calls."""

from pathlib import Path

import click

from dialplan_sms.cli.main import config_option
from dialplan_sms.daemon.server import LiveConfig, block_signals, until_ended
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.worker import Worker
from dialplan_sms.routes.pbx import Routes
from dialplan_sms.sms.service import Service

_DRAIN = 20.0


@click.command(short_help="Send what is stored without taking calls.")
@config_option
def worker(config: Path) -> None:
    """Send stored SMS from a host that takes no calls, or in place of the service's own workers.

    Any number of them can share one outbox. SIGHUP reads sms.conf again, SIGTERM ends after the
    requests under way.
    """
    block_signals()
    live = LiveConfig(config)
    if not live.config.outbox:
        raise click.ClickException("there is no outbox: set outbox in [general] of sms.conf")
    live.config.drop_privileges()
    try:
        outbox = Outbox(live.config.outbox)
    except OutboxError as error:
        raise click.ClickException(str(error)) from None
    threads = live.config.workers or 4
    routes = Routes(threads)
    service = Service(live, routes)
    working = Worker(outbox, service, threads)
    working.start()
    service.note(f"worker started with {threads} threads", failed=False)
    until_ended(lambda: service.note(*live.reload(routes)))
    working.stop(_DRAIN)
    outbox.close()
