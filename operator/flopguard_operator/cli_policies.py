"""`flopguard policies`: the rule sets that judge, and a check of one's own."""

import json
from pathlib import Path
from typing import Any

import click

from flopguard_operator.cli_files import (
    MismatchError,
    UnusableError,
    json_option,
    told,
)
from flopguard_operator.cli_help import epilog
from flopguard_operator.cli_rulebooks import rule_sets, rules_option
from flopguard_operator.flops import display
from flopguard_operator.policy.canonical import digest, to_json
from flopguard_operator.policy.rules import known
from flopguard_operator.policy.rulesets import PolicyError, Rule, RuleSet, When
from flopguard_operator.report.escaping import as_line
from flopguard_operator.rulebooks import shipped


@click.group(
    epilog=epilog(
        "flopguard policies list",
        "flopguard policies show commission-guidelines-2025",
        "flopguard policies validate house-rules.yaml",
    )
)
def policies() -> None:
    """See the rule sets that fine-tunings are judged by, and check your own."""


@policies.command("list", epilog=epilog("flopguard policies list --json"))
@rules_option
@json_option
def list_policies(rules: tuple[Path, ...], *, machine: bool) -> None:
    """List the rule sets: the shipped ones, and those of --rules."""
    found = rule_sets(rules)
    if machine:
        click.echo(
            json.dumps({"policies": [_row(one) for one in found.values()]}, indent=2)
        )
        return
    for one in found.values():
        click.echo(as_line(f"{one.name} (version {one.version}): {one.title}"))


@policies.command(
    epilog=epilog(
        "flopguard policies show strictest",
        "flopguard policies show eu-ai-act-30-percent --json",
    )
)
@click.argument("name")
@rules_option
@json_option
def show(name: str, rules: tuple[Path, ...], *, machine: bool) -> None:
    """Print a rule set: its rules, lines, open questions, duties, dates and fines.

    --json prints the canonical text that a ledger notes, and its digest.
    """
    try:
        found = known(name, rule_sets(rules))
    except PolicyError as error:
        raise UnusableError(as_line(str(error))) from error
    if machine:
        text = to_json(found)
        told_ = {"digest": digest(text), "rule_set": json.loads(text)}
        click.echo(json.dumps(told_, indent=2))
        return
    for line in _card(found):
        click.echo(as_line(line))


@policies.command(epilog=epilog("flopguard policies validate house-rules.yaml"))
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def validate(file: Path, *, machine: bool) -> None:
    """Check a rule set in YAML before it goes into the operator's ConfigMap.

    The exit code is 1 where something is wrong with it. The form is docs/policies.md
    and docs/policies.schema.json.
    """
    # An auditor's laptop, which has no pydantic, writes no rule sets.
    from flopguard_operator.api.rulesets import load  # noqa: PLC0415 - see above
    from flopguard_operator.ruleshelf import read_text  # noqa: PLC0415 - see above

    with told():
        text = read_text(file)
    try:
        (found,) = load([text], shipped()).values()
    except ValueError as error:  # SpecError
        if machine:
            click.echo(json.dumps({"valid": False, "error": str(error)}, indent=2))
        raise MismatchError(as_line(str(error))) from error
    if machine:
        click.echo(json.dumps({"valid": True, **_row(found)}, indent=2))
    else:
        click.echo(as_line(f"{found.name} (version {found.version}) can be used."))


def _row(one: RuleSet) -> dict[str, Any]:
    return {
        "name": one.name,
        "version": one.version,
        "title": one.title,
        "summary": one.summary or None,
        "effective": one.effective or None,
        "combines": [member.name for member in one.combines],
        "digest": digest(to_json(one)),
    }


def _card(one: RuleSet) -> list[str]:
    """Return a rule set as lines for people."""
    lines = [f"{one.name} (version {one.version}): {one.title}"]
    lines += [one.summary] if one.summary else []
    if one.effective:
        lines.append(f"In force since {one.effective}.")
    over = "strictly above" if one.strict else "at or above"
    lines.append(f"The threshold is crossed {over} it.")
    counted = "counts" if one.estimates_count else "is shown and does not count"
    lines.append(f"An estimate of the base that others derived {counted}.")
    lines += [f"Counts on {basis}: {', '.join(c)}" for basis, c in one.counts.items()]
    lines += [
        f"Combines {member.name}: the smallest limit and the largest count govern."
        for member in one.combines
    ]
    lines += [f"Rule {_rule(rule)}" for rule in one.rules]
    lines += [
        f"Line {line.name}: {line.subject} above {display(line.limit)} FLOPs"
        f"{_when(line.when)} ({line.citation})"
        for line in one.lines
    ]
    # A question that two rule sets answer differently stands in both of them.
    lines += dict.fromkeys(f"Open: {note.text} ({note.source})" for note in one.notes)
    lines += [
        f"Duty {d.name}{_when(d.when)}: {d.text} ({d.article})" for d in one.duties
    ]
    lines += [f"Date {date.day}: {date.text} ({date.article})" for date in one.dates]
    return lines + [f"Fine: {fine.text} ({fine.article})" for fine in one.fines]


def _rule(rule: Rule) -> str:
    limits = [] if rule.fraction is None else [f"{rule.fraction} of the base"]
    limits += [] if rule.limit is None else [f"{display(rule.limit)} FLOPs"]
    how = " or ".join(limits) + (", the smaller" if len(limits) > 1 else "")
    return f"{rule.name}{_when(rule.when)}: {how}, on {rule.basis} ({rule.citation})"


def _when(when: When) -> str:
    """Return the condition of a row in words; "" where it holds always."""
    said = []
    if when.systemic is not None:
        said.append("with systemic risk" if when.systemic else "without systemic risk")
    if when.figure != "any":
        said.append(f"base {when.figure}")
    if when.at_least is not None:
        said.append(f"base at least {display(when.at_least)}")
    if when.below is not None:
        said.append(f"base below {display(when.below)}")
    if when.estimate is not None:
        said.append("estimated by others" if when.estimate else "estimated by nobody")
    return f" [{', '.join(said)}]" if said else ""
