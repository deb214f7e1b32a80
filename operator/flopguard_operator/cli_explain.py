"""`flopguard explain`: which threshold governs a fine-tuning, before it runs."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from flopguard_operator.cli_catalogue import catalogue, private_option
from flopguard_operator.cli_files import UnusableError, json_option
from flopguard_operator.cli_help import epilog, figure
from flopguard_operator.cli_rulebooks import rule_sets, rules_option
from flopguard_operator.models import basis
from flopguard_operator.models.catalogue import Catalogue
from flopguard_operator.policy.evaluation import side_by_side
from flopguard_operator.policy.rules import known
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.policy.terms import DEFAULT_POLICY, BaseModel, Totals
from flopguard_operator.report.escaping import as_line
from flopguard_operator.report.explanation import Explanation, as_json, in_words

UNKNOWN = "unknown"
_SOURCE = "command line"


@dataclass(frozen=True)
class _Figure:
    """What `--base-flops` was given; None in it: said to be unknown."""

    flops: int | None


def base_figure(
    context: click.Context, option: click.Parameter, text: str | None
) -> _Figure | None:
    """Return the base model's FLOPs; None where the option was not given."""
    if text is None:
        return None
    if text == UNKNOWN:
        return _Figure(None)
    flops = figure(context, option, text)
    if flops == 0:
        message = f'a base model took more than 0 FLOPs; or write "{UNKNOWN}"'
        raise click.BadParameter(message, param=option)
    return _Figure(flops)


def today(_: click.Context, option: click.Parameter, text: str | None) -> str:
    """Return the day for which the rules are taken, ISO 8601."""
    if text is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return (
            datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
        )
    except ValueError as error:
        message = "a day is written like 2026-08-02"
        raise click.BadParameter(message, param=option) from error


@click.command(
    epilog=epilog(
        "flopguard explain --base meta-llama/Llama-3.1-8B --modification-flops 1e22",
        "flopguard explain --base-flops 8e22 --modification-flops 1e22 --json",
        "flopguard explain --base-flops 7.2e23 --derived --modification-flops 2e23 \\",
        "  --recompute-flops 5e22",
        "flopguard explain --base Mistral-7B --base-flops unknown \\",
        "  --modification-flops 1e22",
    )
)
@click.option(
    "--base",
    default="",
    metavar="NAME",
    help="The base model's name; looked up in the catalogue without --base-flops.",
)
@click.option(
    "--base-flops",
    callback=base_figure,
    metavar="FLOPS|unknown",
    help="FLOPs of its pre-training, like 7.2e23. Counts as disclosed by its provider.",
)
@click.option(
    "--disclosed/--derived",
    default=True,
    help="Whether its provider disclosed the figure, or others derived it.",
)
@click.option("--systemic", is_flag=True, help="The base model has systemic risk.")
@click.option(
    "--modification-flops",
    required=True,
    callback=figure,
    metavar="FLOPS",
    help="FLOPs of the fine-tuning without recomputation, all runs together: 1e22.",
)
@click.option(
    "--recompute-flops",
    default="0",
    callback=figure,
    metavar="FLOPS",
    help="FLOPs of recomputed activations on top, which some rule sets count.",
)
@click.option(
    "--policy",
    default=DEFAULT_POLICY,
    show_default=True,
    metavar="NAME",
    help="The rule set that governs; all others are told beside it.",
)
@click.option(
    "--date", "day", callback=today, metavar="DAY", help="Of the law; today without it."
)
@rules_option
@private_option
@json_option
def explain(  # noqa: PLR0913 - one argument per option
    *,
    base: str,
    base_flops: _Figure | None,
    modification_flops: int,
    recompute_flops: int,
    policy: str,
    day: str,
    rules: tuple[Path, ...],
    files: tuple[Path, ...],
    disclosed: bool,
    systemic: bool,
    machine: bool,
) -> None:
    """Say what each rule set makes of a fine-tuning, and which threshold governs.

    The exit code is 0 also where the criterion is met.
    """
    if not base and base_flops is None:
        message = "give --base NAME, --base-flops FLOPS, or both"
        raise click.UsageError(message)
    shelf = catalogue(files)
    model = _model(
        as_line(base), base_flops, shelf, disclosed=disclosed, systemic=systemic
    )
    done = {"forward": modification_flops, "recompute": recompute_flops}
    totals = Totals(done, modification_flops + recompute_flops)
    found = rule_sets(rules)
    try:
        known(policy, found)
        verdicts = side_by_side(found.values(), model, totals, day)
    except PolicyError as error:
        raise UnusableError(as_line(str(error))) from error
    told = Explanation(model, totals, policy, verdicts, basis.told(model, shelf))
    click.echo(json.dumps(as_json(told), indent=2) if machine else in_words(told))


def _model(
    name: str,
    given: _Figure | None,
    shelf: Catalogue,
    *,
    disclosed: bool,
    systemic: bool,
) -> BaseModel:
    """Return the base model: as it is given, else as the catalogue knows it."""
    if given is None:
        return basis.look_up(name, shelf, systemic_risk=systemic)
    if given.flops is None:
        return BaseModel(name, systemic_risk=systemic)
    if disclosed:
        return BaseModel(name, given.flops, _SOURCE, systemic)
    return BaseModel(
        name=name,
        source=_SOURCE,
        systemic_risk=systemic,
        estimate_low=given.flops,
        method="derived",
    )
