"""How much of a sender's limits is used, for people; limits.py decides."""

import sqlalchemy as sa

from dialplan_sms.outbox.limits import Rate, Rules, Use
from dialplan_sms.outbox.schema import State, message, now, number


def used(
    connection: sa.Connection, sender: str, rules: Rules, most: int = 5
) -> list[tuple[Use, Rate]]:
    """What is used of *sender*'s limits: all of per_sender, the *most* used of the others."""
    at = float(connection.scalar(sa.select(now())) or 0.0)
    found: list[tuple[Use, Rate]] = []
    for rule, rate, whose in (
        ("per_sender", rules.per_sender, message.c.sender),
        ("per_number", rules.per_number, number.c.number),
        ("per_caller", rules.per_caller, message.c.caller),
    ):
        if rate is None:
            continue
        count = sa.func.count()
        rows = connection.execute(
            sa.select(whose, count, sa.func.min(number.c.created))
            .select_from(number.join(message))
            .where(
                message.c.sender == sender,
                message.c.created > at - rate.seconds,
                number.c.created > at - rate.seconds,
                number.c.state != State.CANCELLED,
                whose != "",
            )
            .group_by(whose)
            .order_by(count.desc(), whose)
            .limit(most)
        ).all()
        uses = [Use(rule, *row) for row in rows] or [Use(rule, "", 0, at)]
        found += [(use, rate) for use in uses]
    return found
