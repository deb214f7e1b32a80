"""Write the report once, as headings, sentences and tables without markup.

Markdown and HTML only differ in how they set this, so they cannot tell two stories.
Every text in it is plain: the renderers escape it.
"""

from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.flops import display, percent
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy.verdict import HOLD
from flopguard_operator.report.facts import (
    AttemptFacts,
    LedgerFacts,
    ReportFacts,
    RunFacts,
    share,
)
from flopguard_operator.report.unknowns import unknowns

MOST_ROWS = 200  # per table, so that a report stays one that a person can print

OUTCOMES = {
    "ok": "The ledger verifies.",
    "mismatch": "The ledger does NOT verify: do not rely on this report.",
    "incomplete": "The ledger could be verified only in part.",
}


@dataclass(frozen=True)
class Table:
    """A table: a caption, column heads, and rows of as many cells."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it, in this order."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    table: Table | None = None
    bullets: tuple[str, ...] = ()
    chart: RunFacts | None = None
    """A run whose use is to be drawn over time; only HTML draws."""


@dataclass(frozen=True)
class Part:
    """One run's share of the report; the verdict stands first."""

    title: str
    verdict: str
    tone: str
    """good | warn | bad: how the verdict is coloured."""
    criterion: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    lead: str
    parts: tuple[Part, ...]
    ledger: Section


def compose(facts: ReportFacts) -> Document:
    """Return the report in words; total, whatever the ledger holds."""
    count = len(facts.runs)
    return Document(
        title="flopguard report",
        lead=f"{count} run{'' if count == 1 else 's'} in a ledger of"
        f" {facts.ledger.size} entries. {OUTCOMES[facts.ledger.outcome]}",
        parts=tuple(_part(run) for run in facts.runs),
        ledger=_ledger(facts.ledger),
    )


def criterion(run: RunFacts) -> str:
    """Return whether the law's indicative criterion is met, by both bounds."""
    if run.threshold is None or run.terms is None:
        return f"Indicative criterion: not judged, {run.problem}."
    limit = run.threshold.limit
    upper, measured = run.totals.upper, run.totals.measured
    name = f"Indicative criterion of policy {run.terms.policy}"
    figures = f"more than {display(limit)} FLOPs"
    if measured > limit:
        return f"{name} ({figures}): met. {display(measured)} FLOPs are proven."
    if upper > limit:
        return (
            f"{name} ({figures}): may be met. {display(measured)} FLOPs are proven,"
            f" up to {display(upper)} FLOPs are possible."
        )
    used = f"At most {display(upper)} FLOPs were used, {share(upper, limit)} of it."
    return f"{name} ({figures}): not met. {used}"


def headline(run: RunFacts) -> tuple[str, str]:
    """Return the verdict on a run in one sentence, and its tone."""
    hold = run.account.hold
    if hold is not None:
        proof = "its pods are gone" if run.account.proven else "not yet proven"
        return f"Held ({hold.reason}), {proof}: {_why(run)}", "bad"
    if run.problem:
        return f"Not judged: {run.problem}.", "warn"
    if not run.verdicts:
        return "Below every line of its policy.", "good"
    first = run.verdicts[0].reason
    worst = [verdict for verdict in run.verdicts if verdict.reason == first][-1]
    if worst.action == HOLD:
        return f"To be held ({worst.reason}): {worst.message}", "bad"
    return f"Warned ({worst.reason}): {worst.message}", "warn"


def _why(run: RunFacts) -> str:
    """Return the message of the crossing that the hold was asked for."""
    reason = run.account.hold.reason if run.account.hold else ""
    told = [c.message for c in run.account.crossings if c.reason == reason]
    return told[-1] if told else "the ledger does not say why."


def _part(run: RunFacts) -> Part:
    verdict, tone = headline(run)
    return Part(
        title=f"{run.run.namespace}/{run.run.name}",
        verdict=verdict,
        tone=tone,
        criterion=criterion(run),
        sections=(
            _figures(run),
            Section("Use over time", chart=run),
            _threshold(run),
            _attempts(run),
            _gaps(run),
            _timeline(run),
            Section("What is not known", bullets=unknowns(run)),
        ),
    )


def _figures(run: RunFacts) -> Section:
    done = run.totals.done
    learning = done.get("forward", 0) + done.get("backward", 0)
    rows = [
        ("Measured: proven to have been executed", run.totals.measured),
        (
            "Upper bound: may have been executed; every verdict uses it",
            run.totals.upper,
        ),
        ("of the upper bound: charged for silence, at peak", run.totals.gaps),
        *((f"of measured: {name}", done.get(name, 0)) for name in CATEGORIES),
        ("of measured: forward and backward together", learning),
    ]
    limit = run.threshold.limit if run.threshold else None
    table = Table(
        "FLOPs of the run over all of its attempts",
        ("Quantity", "FLOPs", "Exactly", "Of the budget", "Of the threshold"),
        tuple(
            (name, display(n), str(n), share(n, run.budget), share(n, limit))
            for name, n in rows
        ),
    )
    ref = run.run
    lines = [
        (
            f"FineTuneRun {ref.namespace}/{ref.name}, UID {ref.uid}."
            f" As of the ledger's entry of {run.last_at}."
        )
    ]
    if run.account.terms_set:
        set_ = run.account.terms_set
        lines.append(f"Workload {set_.workload}; program {set_.program or 'none'}.")
    if run.coverage[1]:
        lines.append(
            f"Coverage: marks prove {percent(*run.coverage)} % of the device-seconds"
            " that its pods were given; the rest is charged at the devices' peak."
        )
    if run.budget is not None:
        lines.append(f"Budget: {_limit(run.budget)}.")
    proven = run.account.proven
    if proven is not None:
        lines.append(f"Overshoot of the last hold: {_limit(proven.overshoot)}.")
    return Section("Figures", tuple(lines), table)


def _threshold(run: RunFacts) -> Section:
    if run.threshold is None or run.terms is None:
        return Section("Threshold", (f"Not judged: {run.problem}.",))
    base = run.terms.base
    known = base.pretraining_flops
    figure = "not known" if known is None else f"{display(known)} FLOPs"
    source = f" (source: {base.source})" if base.source else ""
    risk = "with" if base.systemic_risk else "without"
    return Section(
        "Threshold",
        (
            run.threshold.explanation,
            (
                f"Governing: {_limit(run.threshold.limit)}. Policy {run.terms.policy},"
                f" rule {run.threshold.rule}."
            ),
            f"Source of the rule: {run.threshold.citation}.",
            (
                f"Base model: {base.name or 'not named'}, {risk} systemic risk;"
                f" pre-training: {figure}{source}."
            ),
        ),
    )


def _attempts(run: RunFacts) -> Section:
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
        attempt.at,
        attempt.opened.pod,
        attempt.opened.cause,
        display(mark.measured),
        display(attempt.upper),
        str(mark.steps),
        mark.source,
        "yes" if mark.final else "no",
    )


def _gaps(run: RunFacts) -> Section:
    """Return what silence was charged, stream by stream."""
    charged = sorted(run.account.gaps.items())
    if not charged:
        return Section("Gaps", ("No silence of this run was ever charged.",))
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
    told = (f"{more} more are not shown.",) if more > 0 else ()
    return Section("Gaps", told, table)


def _timeline(run: RunFacts) -> Section:
    shown = run.timeline[-MOST_ROWS:]
    left_out = len(run.timeline) - len(shown)
    told = f"The newest {len(shown)} of {len(run.timeline)} moments."
    table = Table(
        "What happened, in the ledger's order (UTC)",
        ("When", "What", "In words"),
        tuple((moment.at, moment.kind, moment.text) for moment in shown),
    )
    return Section("Timeline", (told,) if left_out else (), table)


def _ledger(ledger: LedgerFacts) -> Section:
    table = Table(
        "Checks of the ledger",
        ("Check", "Outcome", "In words"),
        tuple((check.name, check.outcome, check.sentence) for check in ledger.checks),
    )
    return Section(
        "Ledger",
        (
            OUTCOMES[ledger.outcome],
            f"{ledger.size} entries. Root hash: {ledger.root}.",
            f"Signed with: {ledger.key}.",
            "Anybody can repeat the checks offline: flopguard verify FILE.",
        ),
        table if ledger.checks else None,
    )


def _limit(limit: int | Fraction) -> str:
    return f"{display(limit)} FLOPs (exactly {limit})"
