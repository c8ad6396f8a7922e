"""What a list has come to after a run, and what to do next. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dialplan_sms.cli.send.journal import End, Journal
from dialplan_sms.cli.send.plan import Plan
from dialplan_sms.cli.send.run import Told


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list has come to.

    ``before`` of the accepted ones were so in an earlier run, ``queued`` of the others are in the
    outbox, to be sent from there. ``refused`` are certainly not sent, ``refused_before`` of them
    were so in an earlier run and not tried again. ``unknown`` may have been sent, ``left`` were
    never tried; ``stopped`` is why the run ended early.
    """

    rows: int
    accepted: int
    before: int
    queued: int
    refused: int
    refused_before: int
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
    tried = {told.item.digest for told in failed}
    earlier = journal.counts(item.digest for item in plan.items if item.digest not in tried)
    refused_before = earlier[End.REFUSED]
    # What never went out is not in the journal, and was refused all the same.
    refused = refused_before + sum(told.end is End.REFUSED for told in failed)
    return Summary(
        rows=plan.rows,
        accepted=accepted,
        before=before,
        queued=queued,
        refused=refused,
        refused_before=refused_before,
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
        when = "when that is mended, " if summary.stopped else ""
        yield f"{when}the same command goes on, and sends none of them twice: {again}"
    if summary.unknown:
        yield "unknown may have been sent: see the PBX's history; --retry-unknown sends it again"
    if summary.bad:
        yield "bad rows: mend them in the list, and add --changed to the same command"
