"""The outbox for a process that makes one call."""

from dialplan_sms.config.config import Config
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.store import Outbox


def open_outbox(config: Config) -> Outbox:
    """The outbox of *config*, to be closed at the end. Raises ConfigError where its URL is none."""
    config.drop_privileges()
    try:
        return Outbox(config.outbox)
    except OutboxError as error:
        raise ConfigError(f"{config.path}: {error}") from None
