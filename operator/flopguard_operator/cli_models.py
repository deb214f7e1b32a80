"""`flopguard models`: what is known of base models, and what a disclosure is worth."""

import json
from collections.abc import Iterable
from pathlib import Path

import click

from flopguard_operator.cli_catalogue import catalogue, private_option
from flopguard_operator.cli_files import UnusableError, json_option
from flopguard_operator.cli_gaps import gaps
from flopguard_operator.cli_help import epilog
from flopguard_operator.models import shipped
from flopguard_operator.models.basis import listed
from flopguard_operator.models.entries import DISCLOSED, ESTIMATE, UNUSABLE, Entry
from flopguard_operator.models.told import card, document, row, verdict
from flopguard_operator.report.escaping import as_line

_STANDINGS = {"disclosed": DISCLOSED, "estimate": ESTIMATE, "unknown": UNUSABLE}
_SOURCE = "Most figures: Epoch AI, Data on AI Models (CC BY 4.0)."


@click.group(
    epilog=epilog(
        "flopguard models show meta-llama/Llama-3.1-8B",
        "flopguard models search qwen 7b",
        "flopguard models gaps --ledger ledger.jsonl --requests letters",
    )
)
def models() -> None:
    """Look base models up, and find those whose compute nobody disclosed."""


@models.command(
    "list",
    epilog=epilog(
        "flopguard models list --standing disclosed",
        "flopguard models list --json > models.json",
    ),
)
@click.option(
    "--standing",
    type=click.Choice(list(_STANDINGS)),
    help="Only models whose best figure is of this standing.",
)
@private_option
@json_option
def list_models(
    standing: str | None, files: tuple[Path, ...], *, machine: bool
) -> None:
    """List the base models of the catalogue, with the figure that is used."""
    wanted = _STANDINGS.get(standing or "")
    found = [
        entry
        for entry in catalogue(files).entries
        if wanted is None or entry.standing == wanted
    ]
    _print(found, machine=machine)


@models.command(epilog=epilog("flopguard models search qwen 7b"))
@click.argument("words", nargs=-1, required=True)
@private_option
@json_option
def search(words: tuple[str, ...], files: tuple[Path, ...], *, machine: bool) -> None:
    """List the base models whose name or provider holds all WORDS."""
    _print(catalogue(files).search(" ".join(words)), machine=machine)


@models.command(
    epilog=epilog(
        "flopguard models show meta-llama/Llama-3.1-8B",
        "flopguard models show llama-3.1-8b --json > private.yaml",
    )
)
@click.argument("name")
@private_option
@json_option
def show(name: str, files: tuple[Path, ...], *, machine: bool) -> None:
    """Print every figure of a base model with its source, and the one that is used.

    NAME is a Hugging Face id, an alias or the model's name, in any case. What --json
    prints is a private entry that can be edited and given to the operator.
    """
    known = catalogue(files)
    entry = known.find(name)
    if entry is None:
        near = known.suggest(name)
        hint = f"; did you mean {listed(near)}?" if near else ". Try: models search"
        message = f'the catalogue has no "{name}"{hint}'
        raise UnusableError(as_line(message))
    if machine:
        click.echo(json.dumps(document([entry]), indent=2))
        return
    for line in card(entry):
        click.echo(as_line(line) if line.strip() else "")
    click.echo(as_line(verdict(entry)))
    click.echo(_SOURCE)


@models.command(epilog=epilog("flopguard models template intake-form > intake.md"))
@click.argument("name", type=click.Choice(shipped.TEMPLATES))
def template(name: str) -> None:
    """Print a template: a disclosure request, an intake form, a contract clause."""
    click.echo(shipped.template(name), nl=False)


def _print(found: Iterable[Entry], *, machine: bool) -> None:
    entries = list(found)
    if machine:
        click.echo(json.dumps(document(entries), indent=2))
        return
    for entry in entries:
        click.echo(as_line(row(entry)))
    click.echo(f"{len(entries)} base models. {_SOURCE}")


models.add_command(gaps)
