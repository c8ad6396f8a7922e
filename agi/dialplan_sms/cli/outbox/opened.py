"""The outbox as a command opens it: without the service, for as long as the command runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import sqlalchemy as sa

from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config
from dialplan_sms.host.terminal import plain
from dialplan_sms.outbox.database import OutboxError, explain, open_engine, sqlite_file
from dialplan_sms.outbox.history.reader import HistoryReader
from dialplan_sms.outbox.history.search import Place, listing
from dialplan_sms.outbox.history.stored import Filters, Stored
from dialplan_sms.outbox.schema import is_prepared, prepare


@dataclass(frozen=True, slots=True)
class Opened:
    """An outbox, and the configuration that names it; *reader* waits for nobody who writes."""

    config: Config
    engine: sa.Engine
    reader: HistoryReader

    def walk(self, filters: Filters, most: int) -> Iterator[Stored]:
        """At most *most* SMS, newest first."""
        place: Place | None = None
        while most > 0:
            find = partial(listing, filters=filters, most=min(most, 500), place=place)
            portion = self.reader.do(find)
            yield from portion.found
            place = portion.place
            most = most - len(portion.found) if place else 0


def elsewhere(config: Config) -> str:
    """Which SMS are not listed, and where they are."""
    log = "journalctl -t dialplan-sms" if config.log == "syslog" else config.log
    what = "what was sent at once without the service, as by send"
    return f"{what}, is only in the log: {plain(log)}"


def explain_empty(config: Config) -> str:
    """What would be listed, and where the rest is."""
    what = "The outbox shows what modes queue and fallback store, and what the service sends"
    return f"{what}; {elsewhere(config)}"


@contextmanager
def opened(
    path: Path, sender: str = "", ids: Sequence[int] = (), say: Callable[[str], None] = click.echo
) -> Iterator[Opened]:
    """The outbox of the sms.conf at *path*; what is wrong with either is a ConfigError or one line.

    Names a *sender* that sms.conf has no more: its SMS may be there all the same. If there is no
    SQLite file yet, that ends the command: an error if there are *ids*, else what *say* says.
    """
    config = smsconf.load(path)
    if not config.outbox:
        raise click.ClickException("there is no outbox: set outbox in [general] of sms.conf")
    config.drop_privileges()
    try:
        engine = open_engine(config.outbox)
        # If it were made here, the file would be root's, and the service could not write to it.
        file = sqlite_file(engine.url)
        if file and Path(file).parent.is_dir() and not Path(file).exists():
            nothing = f"nothing is stored yet: {file} is made with the first SMS that is stored"
            if ids:
                raise click.ClickException(f"there is no SMS {ids[0]}: {nothing}")
            say(f"{nothing}. {explain_empty(config)}")
            raise SystemExit(0)
        with ExitStack() as closing:
            closing.callback(engine.dispose)
            reader = HistoryReader(engine.url)
            closing.callback(reader.close)
            if not reader.do(is_prepared):
                with engine.begin() as connection:
                    prepare(connection)
            if sender and sender not in config.senders:
                gone = f"sms.conf has no section {plain(sender[:80])} (any more)"
                click.echo(f"{gone}, its senders are {', '.join(config.senders)}", err=True)
            yield Opened(config, engine, reader)
    except OutboxError as error:
        raise click.ClickException(str(error)) from None
    except sa.exc.SQLAlchemyError as error:
        raise click.ClickException(str(explain(error, engine.url))) from None
