"""`flopguard forecast`: what a fine-tuning will cost, before it runs, on a laptop."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from flopguard_operator.cli_explain import base_figure
from flopguard_operator.cli_files import UnusableError, json_option, told, write_text
from flopguard_operator.cli_help import epilog, optional_count, optional_figure
from flopguard_operator.forecast.architecture import (
    MOST_CONFIG,
    PlanError,
    read_config,
)
from flopguard_operator.forecast.comparing import COMPARED, as_json, compare, in_words
from flopguard_operator.forecast.drawing import page, svg
from flopguard_operator.forecast.plan import METHODS, Plan
from flopguard_operator.models.basis import look_up
from flopguard_operator.models.shipped import catalogue
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.policy.terms import DEFAULT_POLICY, BaseModel
from flopguard_operator.report.escaping import as_line
from flopguard_operator.rulebooks import shipped

_COUNT = click.IntRange(1, 10**12)
_DRAWN = {".svg": svg, ".html": page}


@click.command(
    epilog=epilog(
        "flopguard forecast --config config.json --tokens 2e9 --length 2048 --batch 64",
        "flopguard forecast --config config.json --samples 50000 --epochs 3 \\",
        "  --length 1024 --base meta-llama/Llama-3.1-8B --budget 1e20 -o plot.svg",
        "flopguard forecast --params 8.03e9 --tokens 2e9 --method LoRA --json",
    )
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The model's config.json, as it lies beside its weights.",
)
@click.option(
    "--params",
    metavar="NUMBER",
    callback=optional_count,
    help="Parameters that work on each token, like 8.03e9: a rough forecast where there"
    " is no config.json. Of a mixture of experts: the active ones.",
)
@click.option(
    "--tokens",
    metavar="NUMBER",
    callback=optional_count,
    help="Tokens to train on over all epochs, padding included, like 2e9.",
)
@click.option("--samples", type=_COUNT, help="Samples, where tokens are not known.")
@click.option("--epochs", type=_COUNT, default=1, show_default=True)
@click.option("--length", type=_COUNT, help="Tokens of a sample as the model gets it.")
@click.option(
    "--batch", type=_COUNT, help="Sequences in an optimizer step, over all workers."
)
@click.option("--steps", type=_COUNT, help="Steps of the optimizer.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="Only this method; without it Full, LoRA and QLoRA are compared.",
)
@click.option("--rank", type=click.IntRange(1, 65_536), help="Rank of the adapters.")
@click.option(
    "--targets",
    metavar="NAMES",
    help="Layers that get adapters: q_proj,v_proj; or all-linear.",
)
@click.option(
    "--checkpointing/--no-checkpointing",
    default=None,
    help="Whether activations are computed again.",
)
@click.option("--base", default="", metavar="NAME", help="The base model's name.")
@click.option(
    "--base-flops",
    metavar="FLOPS|unknown",
    callback=base_figure,
    help="FLOPs of its pre-training as its provider disclosed them; without it the"
    " catalogue is asked for the name.",
)
@click.option("--systemic", is_flag=True, help="The base model has systemic risk.")
@click.option(
    "--policy",
    type=click.Choice(list(shipped())),
    default=DEFAULT_POLICY,
    show_default=True,
    help="The rule set that gives the threshold.",
)
@click.option(
    "--budget",
    metavar="FLOPS",
    callback=optional_figure,
    help="A limit of your own, 1e20.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Also write a plot to this file: .svg, or .html with what was assumed.",
)
@json_option
def forecast(
    output: Path | None,
    method: str | None,
    policy: str,
    *,
    machine: bool,
    **given: Any,
) -> None:
    """Say what a fine-tuning will cost in FLOPs: at least, most likely, at most.

    Full fine-tuning, LoRA and QLoRA are compared on the same data, against the legal
    threshold and a budget. What is not given becomes a wider range, and is named. The
    exit code is 0 also where a line is crossed.
    """
    if output is not None and output.suffix not in _DRAWN:
        message = "the plot is written to a file that ends in .svg or .html"
        raise click.BadParameter(message, param_hint="--output")
    base = _base_model(given)
    methods = COMPARED if method is None else (method,)
    try:
        plan = _plan(given)
        found = compare(plan, base, shipped()[policy], given["budget"], methods)
    except (PlanError, PolicyError) as error:
        raise UnusableError(as_line(str(error))) from error
    if output is not None:
        write_text(_DRAWN[output.suffix](found), output)
    if machine:
        click.echo(json.dumps(as_json(found), indent=2))
        return
    click.echo("\n".join(map(as_line, in_words(found).splitlines())))


def _plan(given: Mapping[str, Any]) -> Plan:
    """Return the plan that the options describe.

    Raises:
        PlanError: the configuration is no JSON object.
    """
    targets = (given["targets"] or "").split(",")
    return Plan(
        tokens=given["tokens"],
        samples=given["samples"],
        epochs=given["epochs"],
        length=given["length"],
        batch=given["batch"],
        steps=given["steps"],
        rank=given["rank"],
        targets=tuple(name.strip() for name in targets if name.strip()),
        checkpointing=given["checkpointing"],
        config=_config(given["config"]),
        parameters=given["params"],
    )


def _config(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    with told(), file.open("rb") as stream:
        data = stream.read(MOST_CONFIG + 1)
    return read_config(data.decode("utf-8", "replace"))


def _base_model(given: Mapping[str, Any]) -> BaseModel:
    """Return the base model: as given, else as the catalogue knows it."""
    name, known = as_line(given["base"]), given["base_flops"]
    if known is None:
        return look_up(name, catalogue(), systemic_risk=given["systemic"])
    return BaseModel(name, known.flops, "command line", given["systemic"])
