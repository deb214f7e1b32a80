"""`flopguard explain`: which threshold governs a fine-tuning, before it runs."""

import json

import click

from flopguard_operator.cli_files import epilog
from flopguard_operator.flops import FlopsError, parse
from flopguard_operator.policy.terms import BaseModel
from flopguard_operator.report.escaping import as_line
from flopguard_operator.report.explanation import as_json, in_words
from flopguard_operator.report.explanation import explain as explain_threshold

UNKNOWN = "unknown"


def figure(_: click.Context, option: click.Parameter, text: str) -> int:
    """Return the FLOPs that an option was given, exact."""
    try:
        return parse(text)
    except FlopsError as error:
        raise click.BadParameter(str(error), param=option) from error


def base_figure(
    context: click.Context, option: click.Parameter, text: str
) -> int | None:
    """Return the base model's FLOPs, or None where they are said to be unknown."""
    if text == UNKNOWN:
        return None
    flops = figure(context, option, text)
    if flops == 0:
        message = f'a base model took more than 0 FLOPs; or write "{UNKNOWN}"'
        raise click.BadParameter(message, param=option)
    return flops


@click.command(
    epilog=epilog(
        "flopguard explain --base meta-llama/Llama-3.1-8B --base-flops 7.2e23 \\",
        "  --modification-flops 1e22",
        "flopguard explain --base Mistral-7B --base-flops unknown \\",
        "  --modification-flops 1e22",
    )
)
@click.option("--base", required=True, metavar="NAME", help="The base model's name.")
@click.option(
    "--base-flops",
    required=True,
    callback=base_figure,
    metavar="FLOPS|unknown",
    help="FLOPs of its pre-training as its provider disclosed them, like 7.2e23.",
)
@click.option(
    "--modification-flops",
    required=True,
    callback=figure,
    metavar="FLOPS",
    help="FLOPs of the fine-tuning, all of its runs together, like 1e22.",
)
@click.option("--systemic", is_flag=True, help="The base model has systemic risk.")
@click.option("--json", "machine", is_flag=True, help="Print JSON for other programs.")
def explain(
    base: str,
    base_flops: int | None,
    modification_flops: int,
    *,
    systemic: bool,
    machine: bool,
) -> None:
    """Say which threshold governs a fine-tuning, and why.

    The exit code is 0 also where the criterion is met.
    """
    model = BaseModel(as_line(base), base_flops, "command line", systemic)
    told = explain_threshold(model, modification_flops)
    click.echo(json.dumps(as_json(told), indent=2) if machine else in_words(told))
