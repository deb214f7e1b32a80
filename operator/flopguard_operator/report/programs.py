"""Write what only a program has: its runs, imported jobs, corrections, owners."""

from flopguard_operator.flops import display
from flopguard_operator.ledger.standing import amount, left_of, unnamed
from flopguard_operator.policy.verdict import HOLD
from flopguard_operator.report.blocks import MOST_ROWS, Section, Table
from flopguard_operator.report.facts import (
    DecisionFacts,
    ProgramFacts,
    RunFacts,
    SubjectFacts,
    share,
)
from flopguard_operator.report.judgement import worst
from flopguard_operator.report.moments import when


def lines(program: ProgramFacts) -> tuple[str, ...]:
    """Return what a program is, who answers for it, and as of when this is told."""
    set_, count = program.account.program_set, len(program.runs)
    runs = f"{count} run{'' if count == 1 else 's'}"
    if set_ is None:
        return (
            (
                f"Named by {runs}; the ledger has no FineTuneProgram of that name."
                " It is judged by the terms of its newest run, except its budget."
                f" As of the ledger's entry of {program.last_at}."
            ),
        )
    owners = ", ".join(
        f"{role}: {name or 'nobody is named'}"
        for role, name in (
            ("compliance", set_.compliance),
            ("model", set_.model),
            ("product", set_.product),
        )
    )
    missing, plan = unnamed(set_), set_.rollback_plan.rstrip(" .") or "none"
    told = f" Not named: {', '.join(missing)}." if missing else ""
    return (
        (
            f"FineTuneProgram {program.name}, UID {program.account.ref.uid}, of {runs}."
            f" As of the ledger's entry of {program.last_at}."
        ),
        f"Owners: {owners}. Roll-back plan: {plan}.{told}",
    )


def runs(program: ProgramFacts) -> Section:
    """Return one line for each run, with what of it counts for the program."""
    if not program.runs:
        return Section("Runs", ("No run has joined yet.",))
    shown = program.runs[-MOST_ROWS:]
    left_out = len(program.runs) - len(shown)
    told = f"The newest {len(shown)} of {len(program.runs)} runs."
    table = Table(
        "What each run has spent, and what of it counts here, in FLOPs",
        (
            *("Run", "State", "Measured", "Upper", "Counts here", "Of the program"),
            *("Attempts", "Last entry"),
        ),
        tuple(_run(program, run) for run in shown),
    )
    return Section("Runs", (told,) if left_out else (), table)


def _run(program: ProgramFacts, run: RunFacts) -> tuple[str, ...]:
    counts = left_of(run.account, program.account.adjusted).upper
    return (
        run.name,
        state(run),
        display(run.totals.measured),
        display(run.totals.upper),
        display(counts),
        share(counts, program.totals.upper),
        str(len(run.attempts)),
        when(run.last_at),
    )


def state(run: RunFacts) -> str:
    """Return how a run stands, in a word or two."""
    if run.account.hold is not None:
        return f"held ({run.account.hold.reason})"
    if run.problem:
        return "not judged"
    verdict = worst(run)
    if verdict is None:
        return "below every line of its policy"
    return "to be held" if verdict.action == HOLD else "warned"


def imported(program: ProgramFacts) -> Section:
    """Return the jobs that were not metered; they stand apart from what was."""
    heading, jobs = "Imported jobs", program.account.imported
    if not jobs:
        return Section(heading, ("None: all that counts here was metered.",))
    table = Table(
        "Estimates of past jobs, in FLOPs; the high one counts",
        (
            *("Job", "Method", "Low", "Estimate", "High", "When it ran"),
            *("Digest of the evidence", "By", "Why"),
        ),
        tuple(
            (
                job.name,
                job.method,
                display(job.low),
                display(job.flops),
                display(job.high),
                job.period or "not known",
                job.evidence,
                job.by or "not told",
                job.reason or "not told",
            )
            for job in jobs[-MOST_ROWS:]
        ),
    )
    told = (
        "These jobs were not metered: nothing of them is in the measured figures. Each"
        " counts in the upper bound by its high estimate."
    )
    return Section(heading, (told,), table)


def adjusted(program: ProgramFacts) -> Section:
    """Return what was taken out of the program, or into it."""
    heading = "Excluded and moved"
    changes = program.account.adjusted
    if not changes:
        return Section(heading, ("Nothing was excluded or moved.",))
    names = {run.run.uid: run.name for run in program.runs}
    table = Table(
        "What people took out of the sum, or into it, in FLOPs",
        ("Run", "Change", "FLOPs", "Decision (UID)"),
        tuple(
            (
                names.get(one.of, one.of),
                one.change,
                display(amount(one).upper),
                one.decision,
            )
            for one in changes[-MOST_ROWS:]
        ),
    )
    return Section(heading, table=table)


def decisions(subject: SubjectFacts) -> Section:
    """Return what people decided, under their names."""
    if not subject.decisions:
        return Section("Decisions", ("Nobody has decided anything of it.",))
    table = Table(
        "Decisions, each an entry of the ledger",
        ("When", "Decision", "By", "Why", "Up to", "Evidence", "In force"),
        tuple(_decision(one) for one in subject.decisions[-MOST_ROWS:]),
    )
    return Section("Decisions", table=table)


def _decision(one: DecisionFacts) -> tuple[str, ...]:
    event = one.event
    target = f" {event.target}" if event.target else ""
    ends = f"until {when(event.expires)}" if event.expires else "yes"
    return (
        when(one.at),
        f"{event.kind}{target} ({event.name})",
        event.decided_by,
        event.reason,
        display(event.to_flops) if event.to_flops else "-",
        event.evidence or "none",
        "no, it has expired" if one.expired else ends,
    )


def gaps(program: ProgramFacts, coverage: tuple[str, ...]) -> Section:
    """Return the coverage over all runs, and which of them have gaps."""
    charged = [run for run in program.runs if run.totals.gaps]
    if not charged:
        return Section("Gaps and coverage", (*coverage, "No silence is charged."))
    table = Table(
        "Runs that are charged for silence, in FLOPs; see each run for its pods",
        ("Run", "Charged", "Of its upper bound"),
        tuple(
            (
                run.name,
                display(run.totals.gaps),
                share(run.totals.gaps, run.totals.upper),
            )
            for run in charged[-MOST_ROWS:]
        ),
    )
    return Section("Gaps and coverage", coverage, table)
