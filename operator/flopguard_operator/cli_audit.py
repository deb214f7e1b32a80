"""`flopguard audit`: every job of a program through one checklist."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from flopguard_operator.checklist.items import MISSING, OK, TOPICS, Audited, Item
from flopguard_operator.checklist.programs import NotFoundError, audit
from flopguard_operator.cli_files import (
    LEDGER_HELP,
    UnusableError,
    entries_of,
    json_option,
    verified,
    vkey_option,
)
from flopguard_operator.cli_help import epilog
from flopguard_operator.cli_rulebooks import beside, rule_sets, rules_option
from flopguard_operator.ledger import findings
from flopguard_operator.ledger.findings import Report
from flopguard_operator.report.escaping import as_line
from flopguard_operator.report.sections import OUTCOMES

_COMPLETE, _INCOMPLETE = 0, 2
_MARKS = {OK: "ok     ", MISSING: "MISSING"}


@click.command(
    "audit",
    epilog=epilog(
        "flopguard audit support-bot --ledger ledger.jsonl",
        "flopguard audit ml/support-sft --ledger ledger.db --json",
        "flopguard audit local/support-bot --ledger ~/.local/state/flopguard/ledger.db",
    ),
)
@click.argument("name", metavar="PROGRAM|RUN")
@click.option(
    "--ledger",
    "--db",
    "file",
    required=True,
    envvar="FLOPGUARD_LEDGER",
    show_envvar=True,
    metavar="FILE",
    help=LEDGER_HELP,
)
@vkey_option("The key that must have signed.")
@rules_option
@json_option
def audit_jobs(
    name: str, file: str, vkey: str, rules: tuple[Path, ...], *, machine: bool
) -> None:
    """Walk past, running and imported jobs through one checklist, say what is missing.

    Reference, estimate, comparison, decision, evidence. A RUN is namespace/name or a
    UID. Exit code 0: complete; 2: something is missing; 1: the ledger does not verify.
    """
    lines, checked = verified(file, vkey)
    entries = entries_of(lines)
    try:
        found = audit(name, entries, beside(entries, rule_sets(rules)))
    except NotFoundError as error:
        raise UnusableError(as_line(str(error))) from error
    if machine:
        click.echo(json.dumps(_document(name, found, checked), indent=2))
    else:
        _tell(name, found, checked)
    complete = not any(one.missing for one in found)
    sys.exit(checked.exit_code or (_COMPLETE if complete else _INCOMPLETE))


def _document(
    name: str, found: Sequence[Audited], checked: Report
) -> dict[str, object]:
    missing = sum(len(one.missing) for one in found)
    return {
        "schema": 1,
        "subject": name,
        "ledger": checked.outcome,
        "complete": not missing and checked.outcome == findings.OK,
        "missing": missing,
        "audited": [
            {
                "kind": one.kind,
                "name": one.name,
                "state": one.state or None,
                "missing": len(one.missing),
                "items": [
                    {
                        "topic": item.topic,
                        "name": item.name,
                        "state": item.state,
                        "message": as_line(item.message),
                    }
                    for item in _sorted(one.items)
                ],
            }
            for one in found
        ],
    }


def _tell(name: str, found: Sequence[Audited], checked: Report) -> None:
    for one in found:
        state = f", {one.state}" if one.state else ""
        click.echo(as_line(f"{one.kind} {one.name}{state}"))
        for item in _sorted(one.items):
            mark = _MARKS.get(item.state, "       ")
            line = f"  {mark}  {item.topic}: {item.name}: {item.message}"
            click.echo(as_line(line))
    missing = sum(len(one.missing) for one in found)
    end = f"{missing} missing" if missing else "complete"
    click.echo(as_line(f"{name}: {end}, of {len(found)} looked at."))
    if checked.outcome != findings.OK:
        click.echo(f"{OUTCOMES[checked.outcome]} See: flopguard verify", err=True)


def _sorted(items: Sequence[Item]) -> list[Item]:
    return sorted(items, key=lambda item: TOPICS.index(item.topic))
