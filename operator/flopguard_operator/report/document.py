"""Compose the report: verdict first, then figures, law, history, what is not known."""

from collections.abc import Collection

from flopguard_operator.report import ahead, legal, programs, sections, weights
from flopguard_operator.report.blocks import Document, Part, Section
from flopguard_operator.report.duties import duties
from flopguard_operator.report.facts import (
    ProgramFacts,
    ReportFacts,
    RunFacts,
    SubjectFacts,
)
from flopguard_operator.report.form import form
from flopguard_operator.report.judgement import (
    TONES,
    criterion,
    headline,
    state,
    tone,
)
from flopguard_operator.report.methods import methods
from flopguard_operator.report.sections import OUTCOMES
from flopguard_operator.report.unknowns import unknowns

MOST_PARTS = 50  # runs that are told in full, so that a page stays one


def compose(facts: ReportFacts) -> Document:
    """Return the report in words; total, whatever the ledger holds."""
    counts = (("program", len(facts.programs)), ("run", len(facts.runs)))
    lead = " and ".join(
        f"{count} {name}{'' if count == 1 else 's'}"
        for name, count in counts
        if count or name == "run"
    )
    told = {program.name for program in facts.programs}
    newest = sorted(facts.runs, key=lambda run: run.last_at)[-MOST_PARTS:]
    shown = [run for run in facts.runs if run in newest]
    more = (
        f" The newest {len(shown)} runs are told in full; ask for others by name."
        if len(shown) < len(facts.runs)
        else ""
    )
    return Document(
        title="flopguard report",
        lead=f"{lead} in a ledger of {facts.ledger.size} entries."
        f" {OUTCOMES[facts.ledger.outcome]}{more}",
        parts=(
            *(_part("Program", each, _program(each)) for each in facts.programs),
            *(_part("Run", each, _run(each, told)) for each in shown),
        ),
        ledger=sections.ledger(facts.ledger),
    )


def _part(kind: str, subject: SubjectFacts, own: tuple[Section, ...]) -> Part:
    return Part(
        title=subject.name,
        criterion=criterion(subject),
        state=state(subject),
        mark=TONES[state(subject)],
        tone=tone(subject),
        verdict=headline(subject)[0],
        sections=own,
        kind=kind,
    )


def _program(program: ProgramFacts) -> tuple[Section, ...]:
    return (
        *_first(program, programs.lines(program)),
        programs.runs(program),
        programs.imported(program),
        programs.adjusted(program),
        programs.gaps(program, sections.coverage(program)),
        *_law_and_rest(program),
    )


def _run(run: RunFacts, programs_told: Collection[str]) -> tuple[Section, ...]:
    """Return a run's sections; what is its program's is told there, if it is."""
    own = (
        *_first(run, sections.run_lines(run)),
        sections.attempts(run),
        sections.gaps(run),
        *weights.section(run),
    )
    if run.program is None or run.program.ref.name not in programs_told:
        return (*own, *_law_and_rest(run))
    return (*own, programs.decisions(run), *_history(run))


def _first(subject: SubjectFacts, lines: tuple[str, ...]) -> tuple[Section, ...]:
    told = ahead.in_words(subject)
    return (
        legal.policies(subject),
        sections.figures(subject, lines),
        Section("Use over time", told, chart=subject),
        legal.threshold(subject),
    )


def _law_and_rest(subject: SubjectFacts) -> tuple[Section, ...]:
    filled = form(subject)
    return (
        programs.decisions(subject),
        legal.duties(subject, duties(subject)),
        legal.documentation(filled),
        legal.notification(subject, filled),
        methods(subject),
        legal.open_questions(subject),
        *_history(subject),
    )


def _history(subject: SubjectFacts) -> tuple[Section, ...]:
    return (
        sections.timeline(subject),
        Section("What is not known", bullets=unknowns(subject)),
    )
