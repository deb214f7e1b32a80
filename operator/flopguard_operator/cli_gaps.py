"""`flopguard models gaps`: the programs whose base figure nobody disclosed."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from flopguard_operator.cli_catalogue import catalogue, private_option
from flopguard_operator.cli_files import LEDGER_HELP, json_option, ledger_lines, told
from flopguard_operator.cli_help import epilog, figure
from flopguard_operator.ledger.accounts import fold
from flopguard_operator.ledger.entries import Entry
from flopguard_operator.ledger.export import read
from flopguard_operator.ledger.policies import noted_in
from flopguard_operator.models import shipped
from flopguard_operator.models.catalogue import Catalogue
from flopguard_operator.models.gaps import Gap, Policies, find
from flopguard_operator.models.requests import disclosure_request
from flopguard_operator.models.told import gap_lines, gaps_document
from flopguard_operator.report.escaping import as_line
from flopguard_operator.rulebooks import shipped as shipped_rules

_FILE_NAME = re.compile(r"[^a-z0-9.]+")
_LONGEST = 80


def _figures(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> tuple[int, ...]:
    """Return the FLOPs that an option was given, each above zero."""
    found = tuple(figure(context, option, text) for text in texts)
    if 0 in found:
        message = "a base model took more than 0 FLOPs"
        raise click.BadParameter(message, param=option)
    return found


@click.command(
    epilog=epilog(
        "flopguard models gaps --ledger ledger.jsonl",
        "flopguard models gaps --ledger ledger.db --disclosure 1e24 --json",
        "flopguard models gaps --ledger ledger.db --requests letters",
    )
)
@click.option("--ledger", "file", required=True, metavar="FILE", help=LEDGER_HELP)
@click.option(
    "--disclosure",
    "disclosures",
    multiple=True,
    metavar="FLOPS",
    callback=_figures,
    help="Say what a disclosure of this figure would give. May be repeated; else the"
    " estimates of others are tried, or 1e23, 1e24 and 1e25.",
)
@click.option(
    "--requests",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write a disclosure request for each base model into this folder.",
)
@private_option
@json_option
def gaps(
    file: str,
    disclosures: tuple[int, ...],
    requests: Path | None,
    files: tuple[Path, ...],
    *,
    machine: bool,
) -> None:
    """List programs whose base figure is not disclosed, and what a disclosure gives.

    For each policy: the limit and what is left of it, now and after a disclosure. The
    ledger is not verified here; `flopguard verify` does that.
    """
    known = catalogue(files)
    with ledger_lines(file) as lines:
        entries = read(lines).entries
    today = datetime.now(UTC).date().isoformat()
    judges = policies(entries, today)
    found = find(fold(entries).values(), known, judges, disclosures)
    if machine:
        click.echo(json.dumps(gaps_document(found), indent=2))
    else:
        _tell(found)
    if requests is not None:
        _write(requests, found, known)


def policies(entries: Iterable[Entry], day: str) -> Policies:
    """Return the policies that ship, and those that a ledger notes in their place."""
    own = {rules.name: rules for rules in noted_in(entries).by_digest.values()}
    return Policies(tuple({**shipped_rules(), **own}.values()), day)


def _tell(found: Sequence[Gap]) -> None:
    for gap in found:
        for line in gap_lines(gap):
            click.echo(as_line(line))
    if not found:
        click.echo("Every program's base figure is disclosed, or given with a source.")


def _write(folder: Path, found: Sequence[Gap], known: Catalogue) -> None:
    """Write one letter for each base model that is named."""
    text = shipped.template("disclosure-request")
    letters = {gap.base.name: gap.base for gap in found if gap.base.name}
    with told():
        folder.mkdir(parents=True, exist_ok=True)
        for number, (name, base) in enumerate(sorted(letters.items()), 1):
            path = folder / f"{number:03d}-{_file_name(name)}.md"
            letter = disclosure_request(text, base, known.find(name))
            path.write_text(letter, encoding="utf-8")
            click.echo(f"written: {path}", err=True)


def _file_name(name: str) -> str:
    """Return a harmless file name: the name is a tenant's."""
    plain = _FILE_NAME.sub("-", name.casefold()).strip("-.")
    return plain[:_LONGEST] or "model"
