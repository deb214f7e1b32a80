"""Fill the compute, time and energy items of the Model Documentation Form.

Each recipient gets the precision that the form asks for: the AI Office two significant
figures, national authorities an order of magnitude and ranges, downstream providers
nothing of these. The methodology items hold about a hundred words.
"""

from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.flops import display, percent
from flopguard_operator.policy.evaluation import PolicyVerdict
from flopguard_operator.report import energy as drawn
from flopguard_operator.report.facts import SubjectFacts
from flopguard_operator.report.rounding import days, months, order, two_figures
from flopguard_operator.report.usage import NO_ACCELERATOR

COUNTED_BY = "commission-guidelines-2025"
"""Whose count the form asks for; where it has no verdict, the one that governs."""
MARGIN = Fraction(30, 100)
"""Of the reported estimate: C(2025) 5045 para. 123 (C(2025) 7719 point 120)."""
WITHHELD = "-"
_SAME = "as for the AI Office"


@dataclass(frozen=True)
class Item:
    """One item of the form, as each recipient gets it; `WITHHELD` for not at all."""

    name: str
    ai_office: str
    national: str
    downstream: str
    known: bool
    """Whether the meter knows the answer; else a person has to fill it in."""


@dataclass(frozen=True)
class Form:
    """The items, and the block of the notification of paragraph 32."""

    items: tuple[Item, ...]
    reported: int
    """FLOPs that the form reports, at most."""
    proven: int
    policy: str
    """Whose count it is."""
    within_margin: bool
    """Whether what was really executed lies within 30 % of what is reported."""
    notification: tuple[str, ...]


def form(subject: SubjectFacts) -> Form | None:
    """Return the form of a run or a program; None where it cannot be judged."""
    if subject.terms is None or not subject.policies:
        return None
    verdict = _counting(subject)
    unproven = subject.totals.upper - subject.totals.measured
    proven = max(0, verdict.counted - unproven)
    within = verdict.counted - proven <= MARGIN * verdict.counted
    compute = methodology(subject, verdict, proven)
    return Form(
        items=(
            *_model(subject),
            *_time(subject),
            *_compute(verdict, compute),
            *_energy(subject),
            _INFERENCE,
        ),
        reported=verdict.counted,
        proven=proven,
        policy=verdict.policy,
        within_margin=within,
        notification=_notification(subject, verdict, compute),
    )


def _counting(subject: SubjectFacts) -> PolicyVerdict:
    named = (v for v in subject.policies if v.policy == COUNTED_BY)
    return next(named, subject.policies[0])


def _model(subject: SubjectFacts) -> list[Item]:
    base = subject.terms.base.name if subject.terms else ""
    named = base or "not named"
    return [
        Item("Model dependencies (base model)", named, named, named, known=bool(base))
    ]


def _time(subject: SubjectFacts) -> list[Item]:
    usage = subject.usage
    period = f"{usage.first} to {usage.last}" if usage.first else "no pod has run yet"
    spent = [
        f"{days(milliseconds)} {name} days"
        if name != NO_ACCELERATOR
        else f"{days(milliseconds)} pod days {name}"
        for name, milliseconds in usage.devices
    ]
    return [
        Item("Training time: period measured", period, WITHHELD, WITHHELD, known=True),
        Item(
            "Training time: wall clock",
            f"{days(usage.wall)} days",
            months(usage.wall),
            WITHHELD,
            known=True,
        ),
        Item(
            "Training time: hardware days",
            ", ".join(spent) or "0 days",
            WITHHELD,
            WITHHELD,
            known=True,
        ),
    ]


def _compute(verdict: PolicyVerdict, compute: str) -> list[Item]:
    amount = f"{two_figures(verdict.counted)} FLOP"
    return [
        Item(
            "Amount of computation used for training",
            amount,
            f"order of {order(verdict.counted)} FLOP",
            WITHHELD,
            known=True,
        ),
        Item("Measurement methodology (compute)", compute, _SAME, WITHHELD, known=True),
    ]


def _energy(subject: SubjectFacts) -> list[Item]:
    amount, how = drawn.in_form(subject.energy), drawn.methodology(subject.energy)
    known = subject.energy.measured > 0
    return [
        Item("Amount of energy used for training", amount, _SAME, WITHHELD, known),
        Item("Measurement methodology (energy)", how, _SAME, WITHHELD, known),
    ]


_INFERENCE = Item(
    "Benchmarked amount of computation used for inference",
    "Not measured: flopguard meters the modification, not its use.",
    _SAME,
    WITHHELD,
    known=False,
)


def methodology(subject: SubjectFacts, verdict: PolicyVerdict, proven: int) -> str:
    """Return how the compute was found, in about a hundred words."""
    total = subject.totals
    silent = (
        f" {display(total.gaps)} FLOPs of it are charged for silence, at the peak of"
        " the accelerators."
        if total.gaps
        else ""
    )
    if total.imported:
        silent += (
            f" {display(total.imported)} FLOPs of it are of past jobs that were not"
            " metered, by their high estimates."
        )
    share = percent(proven, verdict.counted) if verdict.counted else "100.00"
    return (
        "Measured in the training processes, in the absence of a delegated act under"
        " Article 53(5): every PyTorch operation is counted when it is executed, by"
        " closed formulas from its shapes; all count equally, whatever their"
        " precision. Fused multiply-adds are two operations. The amount is the upper"
        f" bound of what policy {verdict.policy} counts; {share} % of it is proven by"
        f" records of the processes.{silent} Marks are kept in a signed, append-only"
        " ledger, which anybody can replay."
    )


def _notification(
    subject: SubjectFacts, verdict: PolicyVerdict, compute: str
) -> tuple[str, ...]:
    """Return the block that paragraph 32 asks of a notification."""
    base = _base(subject)
    lines = [
        f"Estimated compute of the modification: {two_figures(verdict.counted)} FLOP."
    ]
    if base is not None:
        together = two_figures(base + verdict.counted)
        lines.append(
            f"Estimated cumulative compute of base model and modification: {together}"
            f" FLOP, of which the base is {two_figures(base)} FLOP."
        )
    else:
        lines.append("The compute of the base model is not known to this ledger.")
    return (*lines, f"Approach: {compute}")


def _base(subject: SubjectFacts) -> int | None:
    """Return the base figure that the policy that governs takes as known."""
    if not subject.laws or subject.terms is None:
        return None
    return subject.laws[0].figure(subject.terms.base)
