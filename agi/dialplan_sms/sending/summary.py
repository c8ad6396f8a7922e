"""What a list has come to after a run, and what to do next. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dialplan_sms.sending.journal import End, Journal
from dialplan_sms.sending.plan import Plan
from dialplan_sms.sending.run import Told


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list has come to.

    ``before`` of the accepted ones were so in an earlier run, ``queued`` of the others are in the
    outbox, to be sent from there. ``refused`` were tried now and certainly not sent, ``unknown``
    may have been sent, ``left`` were not tried (again); ``stopped`` is why the run ended early.
    """

    rows: int
    accepted: int
    before: int
    queued: int
    refused: int
    unknown: int
    bad: int
    duplicates: int
    left: int
    stopped: str
    interrupted: bool

    @property
    def whole(self) -> bool:
        """Whether every row got its SMS."""
        return self.accepted + self.duplicates == self.rows


def sum_up(
    plan: Plan,
    journal: Journal,
    before: int,
    queued: int,
    failed: Collection[Told],
    stopped: str,
    interrupted: bool,
) -> Summary:
    """*failed* are those that were not accepted in this run."""
    ends = journal.counts(item.digest for item in plan.items)
    accepted, unknown = ends[End.ACCEPTED], ends[End.UNKNOWN]
    refused = sum(told.end is End.REFUSED for told in failed)
    return Summary(
        rows=plan.rows,
        accepted=accepted,
        before=before,
        queued=queued,
        refused=refused,
        unknown=unknown,
        bad=len(plan.bad),
        duplicates=len(plan.duplicates),
        left=len(plan.items) - accepted - refused - unknown,
        stopped=stopped,
        interrupted=interrupted,
    )


def advice(summary: Summary, journal: str, again: str) -> Iterator[str]:
    """Lines on what to do. *again* is the command as it was given, *journal* its file or empty."""
    if summary.stopped:
        yield f"stopped: {summary.stopped}"
    if summary.queued:
        yield f"{summary.queued:,} are stored and will be sent: dialplan-sms outbox shows their end"
    if not journal:
        if not summary.whole:
            yield "this run cannot be gone on with: a list from a pipe needs --journal FILE"
        return
    open_ = summary.left or summary.refused or summary.unknown
    if summary.before and summary.before == summary.accepted and not open_:
        yield f"nothing is left to do; to send it to all of them once more, remove {journal}"
    if summary.left or summary.refused:
        yield f"the same command goes on, and sends none of them twice: {again}"
    if summary.unknown:
        yield "unknown may have been sent: see the PBX's history; --retry-unknown sends it again"
    if summary.bad:
        yield "bad rows: mend them in the list, and add --changed to the same command"
