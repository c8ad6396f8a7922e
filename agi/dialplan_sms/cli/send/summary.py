"""What a list has come to after a run, and what to do next. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from dialplan_sms.cli.send.journal import Journal
from dialplan_sms.cli.send.listfile import Result
from dialplan_sms.cli.send.plan import ListPlan
from dialplan_sms.cli.send.run import Run


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list has come to.

    ``before`` of the accepted ones were so in an earlier run, ``queued`` of the others are in the
    outbox, to be sent from there. ``refused`` are certainly not sent, ``refused_before`` of them
    were so in an earlier run and not tried again. ``unknown`` may have been sent, ``left`` were
    never tried; ``stopped`` is why the run ended early. ``journal`` is its file or empty.
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
    journal: str

    @property
    def whole(self) -> bool:
        """Whether every row got its SMS."""
        return self.accepted + self.duplicates == self.rows


def sum_up(plan: ListPlan, journal: Journal, before: int, run: Run, interrupted: bool) -> Summary:
    """What *run* has made of *plan*; *before* were accepted before it."""
    results = journal.results(item.digest for item in plan.items)
    refused = results[Result.REFUSED]
    return Summary(
        rows=plan.rows,
        accepted=results[Result.ACCEPTED],
        before=before,
        queued=run.queued,
        refused=refused,
        refused_before=refused - sum(row.result is Result.REFUSED for row in run.failed),
        unknown=results[Result.UNKNOWN],
        bad=plan.count(Result.BAD),
        duplicates=plan.count(Result.DUPLICATE),
        left=len(plan.items) - results.total(),
        stopped=run.stopped,
        interrupted=interrupted,
        journal=str(journal.path or ""),
    )


def advice(summary: Summary, again: str) -> Iterator[str]:
    """Lines on what to do. *again* is the command as it was given."""
    if summary.stopped:
        yield f"stopped: {summary.stopped}"
    if summary.queued:
        yield f"stored, the worker sends them: {summary.queued:,} (see dialplan-sms outbox)"
    if not summary.journal:
        if not summary.whole:
            yield "this run cannot be continued: a list from a pipe needs --journal FILE"
        return
    rest = summary.left or summary.refused
    if summary.before and summary.before == summary.accepted and not (rest or summary.unknown):
        anew = f"to send it to all of them once more, remove {summary.journal}"
        yield f"nothing is left to do; {anew}"
    if rest:
        when = "when that is mended, " if summary.stopped else ""
        yield f"{when}the same command goes on, and sends none of them twice: {again}"
    if summary.unknown:
        yield "unknown may have been sent: see the PBX's history; --retry-unknown sends it again"
    if summary.bad:
        yield "bad rows: mend them in the list, and add --changed to the same command"
