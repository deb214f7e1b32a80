"""`flopguard report`: a ledger as a page for people, or as JSON or CSV."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from flopguard_operator.cli_files import (
    LEDGER_HELP,
    UnusableError,
    entries_of,
    verified,
    vkey_option,
    write_text,
)
from flopguard_operator.cli_help import epilog
from flopguard_operator.cli_rulebooks import beside, rule_sets, rules_option
from flopguard_operator.ledger.accounts import Account, fold
from flopguard_operator.ledger.census import program_of
from flopguard_operator.ledger.findings import OK, Report
from flopguard_operator.policy.rulesets import RuleSet
from flopguard_operator.report.as_csv import as_csv
from flopguard_operator.report.as_json import as_json
from flopguard_operator.report.document import compose
from flopguard_operator.report.escaping import as_line
from flopguard_operator.report.facts import (
    CheckFact,
    LedgerFacts,
    ReportFacts,
)
from flopguard_operator.report.gathering import gather
from flopguard_operator.report.html import page
from flopguard_operator.report.markdown import markdown
from flopguard_operator.report.sections import OUTCOMES

_MOST_NAMES = 20  # of runs, in the message that none fits


@click.command(
    epilog=epilog(
        "flopguard report support-bot --ledger ledger.jsonl --format html -o out.html",
        "flopguard report ml/support-sft --ledger ledger.jsonl",
        "flopguard report --ledger ledger.jsonl --format csv -o ledger.csv",
    )
)
@click.argument("subject", metavar="[PROGRAM|RUN]", required=False)
@click.option("--ledger", "file", required=True, metavar="FILE", help=LEDGER_HELP)
@click.option(
    "--run",
    metavar="NS/NAME|UID",
    help="Only this run; the same as to name it without the option.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "md", "json", "csv"]),
    default="md",
    show_default=True,
)
@click.option("--json", "machine", is_flag=True, help="The same as --format json.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write to this file."
)
@vkey_option("The key that must have signed.")
@rules_option
def report(  # noqa: PLR0913 - one parameter per option
    *,
    subject: str | None,
    file: str,
    run: str | None,
    form: str,
    machine: bool,
    output: Path | None,
    vkey: str,
    rules: tuple[Path, ...],
) -> None:
    """Report on programs and runs: verdict, figures, timeline, law, duties.

    PROGRAM is a program's name, RUN is NAMESPACE/NAME or a UID; a name that was used
    again gives each of its runs. A program is followed by its runs. Without either the
    report is on everything in the ledger.

    The ledger is verified first. If it does not verify, the report is still written,
    says so at its top, and the exit code is 1.
    """
    if subject is not None and run is not None:
        message = "name the program or run once: as an argument, or with --run"
        raise click.UsageError(message)
    known = rule_sets(rules)
    facts, checked = made(file, subject if run is None else run, known, vkey)
    write_text(_formatted(facts, "json" if machine else form), output)
    if checked.outcome != OK:
        click.echo(f"{OUTCOMES[checked.outcome]} See: flopguard verify", err=True)
    sys.exit(checked.exit_code)


def made(
    file: str, subject: str | None, known: Mapping[str, RuleSet], vkey: str = ""
) -> tuple[ReportFacts, Report]:
    """Return the facts of a report, and what the verification of its ledger found.

    Args:
        file: the ledger.
        subject: a program's name, a run's NAMESPACE/NAME or UID; None for everything.
        known: rule sets by name, that stand beside those of the ledger.
        vkey: of the key that must have signed, "" for any.
    """
    lines, checked = verified(file, vkey)
    entries = entries_of(lines)
    accounts = fold(entries)
    only = None if subject is None else chosen(accounts, subject)
    laws = beside(entries, known)
    return gather(accounts, entries, ledger_facts(checked), laws, only), checked


def chosen(accounts: Mapping[str, Account], subject: str) -> set[str]:
    """Return the UIDs of one run, or the name of one program."""
    runs = {u: a for u, a in accounts.items() if a.program_set is None}
    found = {uid for uid, one in runs.items() if subject in {uid, _name(one)}}
    programs = {program_of(account) for account in accounts.values()} - {""}
    if subject in programs:
        found.add(subject)
    if not found:
        names = sorted({*map(_name, runs.values()), *programs})
        known = ", ".join(names[:_MOST_NAMES]) or "none at all"
        more = ", …" if len(names) > _MOST_NAMES else ""
        message = f'the ledger holds no program or run "{subject}"; it holds: {known}'
        raise UnusableError(as_line(message + more))
    return found


def ledger_facts(checked: Report) -> LedgerFacts:
    """Return what the verification found, as the report tells it."""
    return LedgerFacts(
        size=checked.size,
        root=checked.root,
        key=checked.vkey,
        outcome=checked.outcome,
        checks=tuple(
            CheckFact(check.name, check.outcome, check.message)
            for check in checked.checks
        ),
    )


def _name(account: Account) -> str:
    return f"{account.ref.namespace}/{account.ref.name}"


def _formatted(facts: ReportFacts, form: str) -> str:
    if form == "json":
        return json.dumps(as_json(facts), indent=2) + "\n"
    if form == "csv":
        return as_csv(facts)
    document = compose(facts)
    return page(document) if form == "html" else markdown(document)
