"""Compose the report: verdict first, then figures, law, history, what is not known."""

from flopguard_operator.report import ahead, legal, sections
from flopguard_operator.report.blocks import Document, Part, Section
from flopguard_operator.report.duties import duties
from flopguard_operator.report.facts import ReportFacts, RunFacts
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


def compose(facts: ReportFacts) -> Document:
    """Return the report in words; total, whatever the ledger holds."""
    count = len(facts.runs)
    return Document(
        title="flopguard report",
        lead=f"{count} run{'' if count == 1 else 's'} in a ledger of"
        f" {facts.ledger.size} entries. {OUTCOMES[facts.ledger.outcome]}",
        parts=tuple(_run(run) for run in facts.runs),
        ledger=sections.ledger(facts.ledger),
    )


def _run(run: RunFacts) -> Part:
    filled = form(run)
    return Part(
        title=run.name,
        criterion=criterion(run),
        state=state(run),
        mark=TONES[state(run)],
        tone=tone(run),
        verdict=headline(run)[0],
        sections=(
            legal.policies(run),
            sections.figures(run, sections.run_lines(run)),
            Section(
                "Use over time",
                ahead.in_words(run.reaches, run.account.forecast),
                chart=run,
            ),
            legal.threshold(run),
            sections.attempts(run),
            sections.gaps(run),
            legal.duties(run, duties(run, {}, {})),
            legal.documentation(filled),
            legal.notification(run, filled),
            methods(run),
            legal.open_questions(run),
            sections.timeline(run),
            Section("What is not known", bullets=unknowns(run)),
        ),
    )
