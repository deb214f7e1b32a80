"""`flopguard report`: a ledger as a page for people, or as JSON."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from flopguard_operator.cli_files import (
    LEDGER_HELP,
    UnusableError,
    epilog,
    ledger_lines,
    told,
    write_text,
)
from flopguard_operator.ledger.accounts import Account, fold
from flopguard_operator.ledger.export import read
from flopguard_operator.ledger.findings import OK, Report
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.verify import verify_lines
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
from flopguard_operator.rulebooks import shipped

_MOST_NAMES = 20  # of runs, in the message that none fits


@click.command(
    epilog=epilog(
        "flopguard report --ledger ledger.jsonl --format html -o report.html",
        "flopguard report --ledger ledger.jsonl --run ml/support-sft",
    )
)
@click.option("--ledger", "file", required=True, metavar="FILE", help=LEDGER_HELP)
@click.option(
    "--run",
    metavar="NS/NAME|UID",
    help="Only this run. A name that was used again gives each of its runs.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "md", "json"]),
    default="md",
    show_default=True,
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write to this file."
)
@click.option(
    "--vkey", default="", metavar="KEY", help="The key that must have signed."
)
def report(
    file: str, run: str | None, form: str, output: Path | None, vkey: str
) -> None:
    """Report on the runs in a ledger: verdict, figures, timeline, law.

    The ledger is verified first. If it does not verify, the report is still written,
    says so at its top, and the exit code is 1.
    """
    facts, checked = made(file, run, vkey)
    write_text(_formatted(facts, form), output)
    if checked.outcome != OK:
        click.echo(f"{OUTCOMES[checked.outcome]} See: flopguard verify", err=True)
    sys.exit(checked.exit_code)


def made(file: str, run: str | None, vkey: str = "") -> tuple[ReportFacts, Report]:
    """Return the facts of a report, and what the verification of its ledger found."""
    with ledger_lines(file) as stream:
        lines = list(stream)
    checked = verify_lines(lines, check_signature, vkey)
    with told():
        entries = read(lines).entries
    accounts = chosen(fold(entries), run)
    beside = tuple(shipped().values())
    return gather(accounts, entries, ledger_facts(checked), beside), checked


def chosen(accounts: Mapping[str, Account], run: str | None) -> dict[str, Account]:
    """Return the accounts of one run, by namespace/name or UID; of all without one."""
    if run is None:
        return dict(accounts)
    found = {
        uid: account
        for uid, account in accounts.items()
        if run in {uid, _name(account)}
    }
    if not found:
        names = sorted({_name(account) for account in accounts.values()})
        known = ", ".join(names[:_MOST_NAMES]) or "none at all"
        more = ", …" if len(names) > _MOST_NAMES else ""
        message = f'the ledger holds no run "{run}"; it holds: {known}{more}'
        raise UnusableError(as_line(message))
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
    document = compose(facts)
    return page(document) if form == "html" else markdown(document)
