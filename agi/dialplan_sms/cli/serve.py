"""``dialplan-sms serve`` answers FastAGI and the thin sms.agi, ``worker`` only sends."""

import ctypes
import os
import resource
import threading
from contextlib import suppress
from pathlib import Path

import click

from dialplan_sms.cli.main import config_option
from dialplan_sms.daemon.server import LiveConfig, block_signals, run_service, until_ended
from dialplan_sms.host import shortage
from dialplan_sms.routes.pbx import Routes
from dialplan_sms.sms.service import Service


@click.command(short_help="Take calls over FastAGI and from sms.agi.")
@config_option
def serve(config: Path) -> None:
    """Answer AGI(agi://127.0.0.1/sms) and sms.agi, with warm connections to the PBX.

    SIGHUP reads sms.conf again, SIGTERM ends after the calls under way. With this running, sms.agi
    only passes its call on, through $DIALPLAN_SMS_SOCKET or /run/dialplan-sms/agi.sock.
    """
    _prepare_process()
    block_signals()
    try:
        run_service(config)
    except (OSError, RuntimeError) as error:
        short = shortage(error)
        if isinstance(error, RuntimeError) and not short:
            raise
        raise click.ClickException(short or str(error)) from None


def _prepare_process() -> None:
    """Set what a process of many threads needs of its host, as far as the host lets it."""
    # The threads share two heaps: glibc would give each its own, and few of them shrink.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-8, 2)  # mallopt(3): M_ARENA_MAX
    # A thread that wakes up does not take the processor from another (sched(7): SCHED_BATCH). Only
    # one of the service's can run Python at a time: it would mostly take it from the one that holds
    # Python's lock, and wait for that. A fifth of the service's CPU time goes without it. What an
    # admin has chosen (chrt, CPUSchedulingPolicy) stays.
    with suppress(OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    # As many open files as may be: each caller and each HTTP client is one.
    with suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@click.command(short_help="Send what is stored without taking calls.")
@config_option
def worker(config: Path) -> None:
    """Send stored SMS from a host that takes no calls, or in place of the service's own workers.

    Any number of them can share one outbox. SIGHUP reads sms.conf again, SIGTERM ends after the
    requests under way.
    """
    # A service without an outbox does without SQLAlchemy.
    from dialplan_sms.daemon.on_failure import LIMIT, Teller
    from dialplan_sms.outbox.database import OutboxError
    from dialplan_sms.outbox.store import Outbox
    from dialplan_sms.outbox.worker import Worker

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
    stopping = threading.Event()
    teller = Teller(outbox.writer, service, stopping)
    teller.start()
    service.note(f"worker started with {threads} threads", failed=False)
    until_ended(lambda: service.note(*live.reload(routes)))
    stopping.set()
    working.stop(20.0)
    teller.join(LIMIT)
    outbox.close()
