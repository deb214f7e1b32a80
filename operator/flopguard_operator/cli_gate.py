"""`flopguard gate` and `flopguard decide`: the release asks, a person answers."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from flopguard_operator.cli_files import (
    LEDGER_HELP,
    MismatchError,
    UnusableError,
    entries_of,
    json_option,
    verified,
    vkey_option,
)
from flopguard_operator.cli_help import epilog, optional_figure
from flopguard_operator.cli_rulebooks import beside, rule_sets, rules_option
from flopguard_operator.ledger import gating, standing
from flopguard_operator.ledger.accounts import Account, fold
from flopguard_operator.ledger.findings import OK
from flopguard_operator.ledger.policies import Noted, noted_in
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.report.escaping import as_line

_KINDS = (
    "Proceed",
    "Stop",
    "Exclude",
    "Move",
    "Classify",
    "AcceptGap",
    "Fulfil",
)
_TIME = re.compile(
    r"[0-9-]{10}T[0-9:]{8}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)  # RFC 3339, narrower than what Python reads
_OF_A_RUN = {"Exclude", "Move", "AcceptGap"}
_NEEDS = {
    "Proceed": ("to_flops", "toFlops", "--to-flops"),
    "Move": ("to_program", "toProgram", "--to-program"),
    "Classify": ("classification", "classification", "--as"),
    "AcceptGap": ("stream", "stream", "--stream"),
    "Fulfil": ("duty", "duty", "--duty"),
}


@click.command(
    epilog=epilog(
        "flopguard gate support-bot --ledger ledger.jsonl",
        "flopguard gate support-bot --ledger ledger.db --json",
    )
)
@click.argument("program")
@click.option("--ledger", "file", required=True, metavar="FILE", help=LEDGER_HELP)
@vkey_option("The key that must have signed.")
@rules_option
@json_option
def gate(
    program: str, file: str, vkey: str, rules: tuple[Path, ...], *, machine: bool
) -> None:
    """Say whether what PROGRAM made may be released; exit 0 only if it may.

    The ledger has to verify; nothing may be held; a valid decision has to cover the
    total where one is due; owners are named, gaps accepted, and once the criterion of
    the policy that governs is met its duties are recorded as done. Those of other
    policies are told (note), and decide nothing. Exit code 1: something is open.
    """
    lines, checked = verified(file, vkey)
    if checked.outcome != OK:
        wrong = [c.message for c in checked.checks if c.outcome != OK]
        message = f"the ledger does not verify: {' '.join(wrong)}"
        raise MismatchError(as_line(message))
    entries = entries_of(lines)
    noted = noted_in(entries)
    accounts = fold(entries)
    laws = beside(entries, rule_sets(rules))
    try:
        found = _found(program, accounts, noted)
        answers = _worded(found, gating.answers(found, noted, laws))
    except PolicyError as error:
        raise MismatchError(as_line(str(error))) from error
    _tell(program, answers, machine=machine)
    sys.exit(1 if _opened(answers) else 0)


def _found(
    program: str, accounts: Mapping[str, Account], noted: Noted
) -> standing.Standing:
    """Return where a program stands, of a cluster or of one machine."""
    programs = standing.by_name(accounts)
    if program in programs:
        runs = standing.members(program, accounts.values())
        return standing.of(programs[program], runs, noted)
    found = standing.of_machine(program, accounts.values(), noted)
    if found is None:
        local = [a.ref.name for a in accounts.values() if standing.is_of_machine(a)]
        known = ", ".join(sorted({*programs, *local})) or "none"
        message = f'the ledger holds no program "{program}"; it holds: {known}'
        raise UnusableError(as_line(message))
    return found


def _worded(
    found: standing.Standing, answers: tuple[gating.Answer, ...]
) -> tuple[gating.Answer, ...]:
    """Return answers in the words of `flopguard run` where that made the program."""
    if not standing.is_of_machine(found.account):
        return answers
    # Here: a release in a cluster needs none of it.
    from flopguard_operator.local.asking import in_options  # noqa: PLC0415 - see above

    return tuple(replace(one, message=in_options(one.message)) for one in answers)


def _opened(answers: tuple[gating.Answer, ...]) -> list[gating.Answer]:
    return [answer for answer in answers if answer.governs and not answer.ok]


def _tell(program: str, answers: tuple[gating.Answer, ...], *, machine: bool) -> None:
    opened = _opened(answers)
    if machine:
        rows = [
            {
                "name": a.name,
                "ok": a.ok,
                "governs": a.governs,
                "message": as_line(a.message),
            }
            for a in answers
        ]
        said = {"program": program, "open": len(opened), "answers": rows}
        click.echo(json.dumps(said, indent=2))
        return
    for answer in answers:
        mark = "ok  " if answer.ok else "OPEN" if answer.governs else "note"
        click.echo(f"{mark}  {answer.name}: {as_line(answer.message)}")
    end = "may be released" if not opened else f"may not: {len(opened)} open"
    click.echo(f"{as_line(program)}: {end}")


@click.command(
    epilog=epilog(
        "flopguard decide Proceed support-bot --to-flops 9e22 --by dana \\",
        "  --reason 'reviewed with legal' --expires 2027-01-31T00:00:00Z \\",
        "  | kubectl create -f -",
        "flopguard decide Exclude ml/broken-run --by dana --reason 'aborted at once'",
    )
)
@click.argument("kind", type=click.Choice(_KINDS), metavar="KIND")
@click.argument("subject", metavar="PROGRAM|NAMESPACE/RUN")
@click.option("--by", required=True, metavar="USER", help="Your user name there.")
@click.option("--reason", required=True, help="Why, in words for an auditor.")
@click.option("--evidence", metavar="URL", help="A link to the evidence.")
@click.option("--expires", metavar="TIME", help="When it ends: 2027-01-31T00:00:00Z.")
@click.option(
    "--to-flops",
    metavar="FLOPS",
    callback=optional_figure,
    help="Proceed: up to which total.",
)
@click.option("--to-program", metavar="PROGRAM", help="Move: where to.")
@click.option(
    "--as",
    "classification",
    type=click.Choice(["DownstreamUser", "Provider"]),
    help="Classify: what the organisation takes itself for.",
)
@click.option("--stream", metavar="UID", help="AcceptGap: the pod's UID.")
@click.option("--duty", metavar="NAME", help="Fulfil: the duty, as the gate names it.")
def decide(kind: str, subject: str, by: str, reason: str, **more: Any) -> None:
    """Write the manifest of a decision: the API server takes it from you alone.

    KIND is one of Proceed, Stop, Exclude, Move, Classify, AcceptGap and Fulfil. It is
    printed as JSON, which kubectl takes; it cannot be changed once it is created.
    """
    spec = {"subject": _subject(kind, subject), "decision": kind}
    for needing, (option, name, flag) in _NEEDS.items():
        value = more[option]
        if kind == needing and value is None:
            message = f"{kind} needs {flag}"
            raise click.UsageError(message)
        if kind != needing and value is not None:
            message = f"{flag} goes with {needing}, not with {kind}"
            raise click.UsageError(message)
        if value is not None:
            spec[name] = str(value)
    if kind == "Fulfil" and not more["evidence"]:
        message = "Fulfil needs --evidence: a link to what shows it"
        raise click.UsageError(message)
    spec |= {"reason": reason, "decidedBy": by}
    spec |= {n: more[n] for n in ("evidence", "expires") if more[n]}
    _check(spec)
    name = subject.replace("/", "-").lower()[:40].rstrip("-.")
    manifest = {
        "apiVersion": "flopguard.dev/v1alpha1",
        "kind": "ThresholdDecision",
        "metadata": {"generateName": f"{kind.lower()}-{name}-"},
        "spec": spec,
    }
    click.echo(json.dumps(manifest, indent=2))


def _check(spec: dict[str, Any]) -> None:
    """Refuse here what the API server would refuse later.

    Raises:
        click.UsageError: a name, a text or a time is none that it takes.
    """
    # The other commands of this module work where there is no pydantic.
    from flopguard_operator.api.decision import DecisionSpec  # noqa: PLC0415 - see above
    from flopguard_operator.api.fields import SpecError, read  # noqa: PLC0415 - see above

    if "expires" in spec and not _is_time(spec["expires"]):
        message = "--expires is a time in UTC, like 2027-01-31T00:00:00Z"
        raise click.UsageError(message)
    try:
        read(DecisionSpec, spec, "spec")
    except SpecError as error:
        raise click.UsageError(as_line(str(error))) from error


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return _TIME.fullmatch(text) is not None


def _subject(kind: str, subject: str) -> dict[str, str]:
    """Return the subject of a decision: a program, or a run by namespace and name."""
    space, slash, name = subject.partition("/")
    if not slash:
        if kind in _OF_A_RUN:
            message = f"{kind} is decided of a run: give NAMESPACE/RUN"
            raise click.UsageError(message)
        return {"kind": "FineTuneProgram", "name": subject}
    return {"kind": "FineTuneRun", "name": name, "namespace": space}
