"""Write what was counted: figures, attempts, gaps, methods, timeline, ledger."""

from fractions import Fraction

from flopguard_operator.flops import display, percent
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.report.blocks import MOST_ROWS, Section, Table
from flopguard_operator.report.facts import (
    AttemptFacts,
    LedgerFacts,
    RunFacts,
    SubjectFacts,
    share,
)
from flopguard_operator.report.moments import when

OUTCOMES = {
    "ok": "The ledger verifies.",
    "mismatch": "The ledger does NOT verify: do not rely on this report.",
    "incomplete": "The ledger could be verified only in part.",
}


def figures(subject: SubjectFacts, lines: tuple[str, ...]) -> Section:
    """Return what was counted, with its bounds, beside budget and threshold."""
    done = subject.totals.done
    learning = done.get("forward", 0) + done.get("backward", 0)
    rows = [
        ("Measured: proven to have been executed", subject.totals.measured),
        (
            "Upper bound: may have been executed; every verdict uses it",
            subject.totals.upper,
        ),
        ("of the upper bound: charged for silence, at peak", subject.totals.gaps),
        *_imported(subject),
        *((f"of measured: {name}", done.get(name, 0)) for name in CATEGORIES),
        ("of measured: forward and backward together", learning),
    ]
    limit = subject.threshold.limit if subject.threshold else None
    table = Table(
        "FLOPs, lower and upper bound, by category",
        ("Quantity", "FLOPs", "Exactly", "Of the budget", "Of the threshold"),
        tuple(
            (name, display(n), str(n), share(n, subject.budget), share(n, limit))
            for name, n in rows
        ),
    )
    told = list(lines)
    if subject.budget is not None:
        told.append(f"Budget: {exactly(subject.budget)}.")
    proven = subject.account.proven
    if proven is not None:
        told.append(f"Overshoot of the last hold: {exactly(proven.overshoot)}.")
    return Section("Figures and bounds", tuple(told), table)


def _imported(subject: SubjectFacts) -> list[tuple[str, int]]:
    """Return the row of jobs that were not metered, where there are any."""
    imported = subject.totals.imported
    name = "of the upper bound: imported, not measured, by high estimates"
    return [(name, imported)] if imported else []


def run_lines(run: RunFacts) -> tuple[str, ...]:
    """Return what a run is, and as of when the report tells of it."""
    ref, set_ = run.run, run.account.terms_set
    said = [
        (
            f"FineTuneRun {ref.namespace}/{ref.name}, UID {ref.uid}."
            f" As of the ledger's entry of {run.last_at}."
        )
    ]
    if set_:
        said.append(f"Workload {set_.workload}; program {set_.program or 'none'}.")
    return tuple(said)


def attempts(run: RunFacts) -> Section:
    """Return one line for each pod."""
    if not run.attempts:
        return Section("Attempts", ("No pod of this run has counted anything yet.",))
    shown = run.attempts[-MOST_ROWS:]
    left_out = len(run.attempts) - len(shown)
    told = f"The newest {len(shown)} of {len(run.attempts)} attempts."
    table = Table(
        "One line per pod; FLOPs as of its last mark",
        ("Opened", "Pod", "Why", "Measured", "Upper", "Steps", "Source", "Final"),
        tuple(_attempt(attempt) for attempt in shown),
    )
    return Section("Attempts", (told,) if left_out else (), table)


def _attempt(attempt: AttemptFacts) -> tuple[str, ...]:
    mark = attempt.mark
    return (
        when(attempt.at),
        attempt.opened.pod,
        attempt.opened.cause,
        display(mark.measured),
        display(attempt.upper),
        str(mark.steps),
        mark.source,
        "yes" if mark.final else "no",
    )


def gaps(run: RunFacts) -> Section:
    """Return the coverage, and what silence was charged, stream by stream."""
    told = list(coverage(run))
    charged = sorted(run.account.gaps.items())
    if not charged:
        told.append("No silence of this run was ever charged.")
        return Section("Gaps and coverage", tuple(told))
    table = Table(
        "What is charged for time that no mark proves, as of its last entry",
        ("Pod", "What", "Why", "FLOPs", "Seconds", "Devices"),
        tuple(
            (
                gap.pod,
                gap.change if stream not in run.account.closed else "Closed",
                gap.reason,
                display(gap.flops),
                f"{gap.milliseconds // 1000}",
                gap.devices,
            )
            for stream, gap in charged[:MOST_ROWS]
        ),
    )
    more = len(charged) - MOST_ROWS
    if more > 0:
        told.append(f"{more} more are not shown.")
    return Section("Gaps and coverage", tuple(told), table)


def coverage(subject: SubjectFacts) -> tuple[str, ...]:
    """Return which share of the device time is proven; nothing without any."""
    if not subject.coverage[1]:
        return ()
    return (
        (
            f"Coverage: marks prove {percent(*subject.coverage)} % of the"
            " device-seconds that its pods were given; the rest is charged at the"
            " devices' peak."
        ),
    )


def timeline(subject: SubjectFacts) -> Section:
    """Return what happened, line by line."""
    shown = subject.timeline[-MOST_ROWS:]
    left_out = len(subject.timeline) - len(shown)
    told = f"The newest {len(shown)} of {len(subject.timeline)} moments."
    table = Table(
        "What happened, in the ledger's order (UTC)",
        ("When", "What", "In words"),
        tuple((when(moment.at), moment.kind, moment.text) for moment in shown),
    )
    return Section("Timeline", (told,) if left_out else (), table)


def ledger(found: LedgerFacts) -> Section:
    """Return which ledger the report was made from, and whether it verifies."""
    table = Table(
        "Checks of the ledger",
        ("Check", "Outcome", "In words"),
        tuple((check.name, check.outcome, check.sentence) for check in found.checks),
    )
    return Section(
        "Ledger",
        (
            OUTCOMES[found.outcome],
            f"{found.size} entries. Root hash: {found.root}.",
            f"Signed with: {found.key}.",
            "Anybody can repeat the checks offline: flopguard verify FILE.",
        ),
        table if found.checks else None,
    )


def exactly(limit: int | Fraction) -> str:
    """Return FLOPs in short, and exactly beside it."""
    return f"{display(limit)} FLOPs (exactly {limit})"
