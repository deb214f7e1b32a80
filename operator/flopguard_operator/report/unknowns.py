"""Say what a report does not know, so that no reader takes silence for a zero."""

from flopguard_operator.flops import display
from flopguard_operator.report.facts import (
    AttemptFacts,
    ProgramFacts,
    RunFacts,
    SubjectFacts,
)


def unknowns(run: SubjectFacts) -> tuple[str, ...]:
    """Return one sentence for each thing that the figures of `run` leave open."""
    return (
        *_of_the_count(run),
        *_of_the_sum(run),
        *_of_the_hold(run),
        *_of_the_law(run),
        *_ALWAYS,
    )


_ALWAYS = (
    (
        "Only PyTorch operations that the hook saw are counted. A process that ignores"
        " PYTHONPATH (python -I or -E), or works without PyTorch, is not in these"
        " figures."
    ),
    (
        "The silence of a pod is charged at the peak of its accelerators; that of a pod"
        " without any is charged only where metering.chargeCpuPods asks for it."
    ),
    (
        "Training time is that of the ledger's entries: from the first to the last of"
        " each pod. Energy is that of accelerators, where NVML tells it."
    ),
    (
        "All operations count equally, whatever their precision; what a device can do"
        " with them is not weighed."
    ),
    (
        "Categories are told apart by how autograd runs: forward passes without"
        " gradients may be evaluation, roll-outs or making of data, which the meter"
        " cannot tell apart."
    ),
)


def _of_the_count(run: SubjectFacts) -> list[str]:
    said: list[str] = []
    attempts = _attempts(run)
    open_ = [attempt for attempt in attempts if not attempt.mark.final]
    if open_:
        said.append(
            f"{len(open_)} of {len(attempts)} attempts have no final record: they"
            " still run, or ended without one."
        )
    total = run.totals
    unproven = total.upper - total.measured - total.gaps - total.imported
    if run.totals.gaps:
        said.append(
            f"{display(run.totals.gaps)} FLOPs are charged for time that no mark"
            " proves; late evidence can lower that."
        )
    if unproven:
        said.append(
            f"{display(unproven)} FLOPs had begun but are not proven to have ended;"
            " the upper bound counts them."
        )
    return said


def _attempts(subject: SubjectFacts) -> tuple[AttemptFacts, ...]:
    if isinstance(subject, ProgramFacts):
        return tuple(each for run in subject.runs for each in run.attempts)
    return subject.attempts if isinstance(subject, RunFacts) else ()


def _of_the_sum(subject: SubjectFacts) -> list[str]:
    """Say what a sum leaves open: work elsewhere, and jobs that nobody metered."""
    if not isinstance(subject, ProgramFacts):
        return [
            (
                "These figures are of this run alone; what its program has spent is"
                " judged in the program's report."
            )
        ] * bool(subject.program)
    said = [
        (
            "Work on the same base model that neither joined this program nor was"
            " imported is not in its sum."
        )
    ]
    if subject.totals.imported:
        said.append(
            f"{display(subject.totals.imported)} FLOPs are of imported jobs: estimates"
            " of people, not measured."
        )
    return said


def _of_the_hold(run: SubjectFacts) -> list[str]:
    if run.account.hold is None or run.account.proven is not None:
        return []
    return ["The hold is not proven yet, so the overshoot is not final."]


def _of_the_law(run: SubjectFacts) -> list[str]:
    said: list[str] = []
    if run.terms is not None and run.terms.base.pretraining_flops is None:
        said.append("The FLOPs of the base model's pre-training are not known.")
    recompute = run.totals.done.get("recompute", 0)
    if recompute:
        said.append(
            f"{display(recompute)} FLOPs are recomputation of activations. The"
            " Commission's Guidelines leave them out (C(2025) 5045 para. 122); policies"
            " that count what was executed count them."
        )
    said.append(
        "Whether a modification makes its maker a provider is a legal judgement; an"
        " indicative criterion does not decide it."
    )
    return said
