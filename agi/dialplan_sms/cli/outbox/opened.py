"""The outbox as a command opens it: without the service, for as long as the command runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import click
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.outbox.database import OutboxError, explain, open_engine
from dialplan_sms.outbox.history.reader import HistoryReader
from dialplan_sms.outbox.history.search import Place, listing
from dialplan_sms.outbox.history.stored import Filters, Stored
from dialplan_sms.outbox.schema import is_prepared, prepare

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opened:
    """An outbox, and the configuration that names it."""

    config: Config
    engine: sa.Engine
    reader: HistoryReader

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """What *work* finds; it waits for nobody who writes."""
        return self.reader.do(work)

    def do(self, work: Callable[[sa.Connection], T]) -> T:
        """*work* in a transaction of its own."""
        with self.engine.begin() as connection:
            return work(connection)

    def walk(self, filters: Filters, most: int) -> Iterator[Stored]:
        """At most *most* SMS, newest first."""
        place: Place | None = None
        while most > 0:
            size = min(most, 500)
            portion = self.read(lambda c: listing(c, filters, size, place))  # noqa: B023
            yield from portion.found
            most -= len(portion.found)
            place = portion.place
            if place is None:
                return


class NothingStored(click.ClickException):
    """There is no SQLite file yet, which is no error."""

    exit_code = 0

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file)


@contextmanager
def opened(path: Path | None) -> Iterator[Opened]:
    """The outbox of sms.conf; what is wrong with either ends the command in one line."""
    try:
        loaded = smsconf.load(smsconf.find(str(path) if path else None))
        if not loaded.outbox:
            raise OutboxError("there is no outbox: set outbox in [general] of sms.conf")
        loaded.drop_privileges()
        engine = open_engine(loaded.outbox)
    except (ConfigError, OutboxError) as error:
        raise click.ClickException(str(error)) from None
    try:
        _check_file(engine.url)
        reader = HistoryReader(engine.url)
        try:
            if not reader.do(is_prepared):
                with engine.begin() as connection:
                    prepare(connection)
            yield Opened(loaded, engine, reader)
        finally:
            reader.close()
    except (SQLAlchemyError, OutboxError) as error:
        raise click.ClickException(str(explain(error, engine.url))) from None
    finally:
        engine.dispose()


def _check_file(url: sa.URL) -> None:
    # Made here, the file would be root's, and the service could not write to it.
    file = url.database if url.get_backend_name() == "sqlite" else None
    if file and Path(file).parent.is_dir() and not Path(file).exists():
        raise NothingStored(f"nothing is stored yet: {file} is made with the first SMS")
