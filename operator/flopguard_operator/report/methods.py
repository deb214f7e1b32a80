"""Say how the figures were found, and how far they can be off."""

from flopguard_operator.flops import display, percent
from flopguard_operator.report.blocks import Section
from flopguard_operator.report.facts import SubjectFacts

METHODS = (
    (
        "Measured: every PyTorch operation that the hook sees is counted when it is"
        " executed, by a closed formula from its shapes; a fused multiply-add is two"
        " operations. All operations count equally, whatever their precision"
        " (C(2025) 5045 para. 125)."
    ),
    (
        "Upper bound: measured, what had begun when a process was last heard, and what"
        " silence is charged at the peak of its accelerators. The truth lies between"
        " the two; the verdicts use the upper one."
    ),
    (
        "Recomputation of activations is measured as a category of its own, so a policy"
        " can leave it out."
    ),
)


def methods(subject: SubjectFacts) -> Section:
    """Return how the figures were found, with the width of the bounds."""
    return Section("Methods and uncertainty", bullets=(*METHODS, uncertainty(subject)))


def uncertainty(subject: SubjectFacts) -> str:
    """Return how far apart the bounds are, in a sentence."""
    total = subject.totals
    apart = total.upper - total.measured
    if not total.upper:
        return "Nothing has been counted yet, so the bounds are one."
    return (
        f"Between the bounds lie {display(apart)} FLOPs,"
        f" {percent(apart, total.upper)} % of the upper one."
    )
