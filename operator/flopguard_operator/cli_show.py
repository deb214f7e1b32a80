"""Print entries and checks of a ledger for people, or checks as JSON."""

from collections.abc import Mapping

import click

from flopguard_operator.evidence.told import dumped
from flopguard_operator.ledger.entries import (
    NO_RUN,
    Entry,
    EpochOpened,
    Event,
    KeyRotated,
    LedgerRecovered,
    PolicyNoted,
    RetentionSet,
    Settlement,
)
from flopguard_operator.ledger.findings import OK, Report
from flopguard_operator.report.escaping import as_line
from flopguard_operator.report.sections import OUTCOMES
from flopguard_operator.report.timeline import tell


def print_checks(
    checked: Report, outcomes: Mapping[str, str] = OUTCOMES, *, machine: bool = False
) -> None:
    """Print what a verification found, for people or for programs."""
    if machine:
        click.echo(dumped(checked))
        return
    for check in checked.checks:
        outcome = f"{check.outcome:<10}"
        colour = "green" if check.outcome == OK else "red"
        text = f"  {check.name:<15}  {as_line(check.message)}"
        click.echo(click.style(outcome, fg=colour) + text)
    click.echo(f"{checked.size} entries, root hash {checked.root}")
    click.secho(outcomes[checked.outcome], bold=True)


def line_of(entry: Entry) -> str:
    """Return an entry as one line: number, time, kind, run, and what it says."""
    event = entry.event
    moment = tell(entry)
    text = moment.text if moment else _own(event)
    if isinstance(event, Settlement):
        final = ", final" if event.final else ""
        text = (
            f"stream {event.stream}: done {sum(event.done.values())}, begun"
            f" {event.begun} FLOPs, {event.steps} steps, {event.source}{final}"
        )
    of_run = f"{event.run.namespace}/{event.run.name}"
    run = "the ledger" if event.run == NO_RUN else of_run
    return f"{entry.index:>6}  {entry.at}  {type(event).__name__:<13}  {run}  {text}"


def _own(event: Event) -> str:
    """Return what an entry about the ledger itself says."""
    match event:
        case PolicyNoted():
            return f"rule set {event.name}, version {event.version}"
        case EpochOpened():
            return f"epoch {event.epoch}: {event.holder}, flopguard {event.version}"
        case KeyRotated():
            return f"{event.before} is followed by {event.after}: {event.reason}"
        case LedgerRecovered():
            lost = f"the head of {event.size} entries, {event.root},"
            return f"{event.by} gave {lost} up: {event.reason}"
        case RetentionSet():
            return f"{event.by}: kept for {event.years} years: {event.reason}"
    return ""
