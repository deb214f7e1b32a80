"""`flopguard evidence`: one file with which a stranger checks what some runs spent."""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

import click

from flopguard_operator.cli_files import UnusableError, json_option, told
from flopguard_operator.cli_help import epilog
from flopguard_operator.evidence import audit, pack, zipped
from flopguard_operator.evidence.pack import Made, Request, UnknownError
from flopguard_operator.evidence.source import opened
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.report.escaping import as_line

_PATH = click.Path(path_type=Path)


def _write_verifier(
    context: click.Context, _parameter: click.Parameter, path: Path | None
) -> None:
    if path is not None:
        with told():
            path.write_bytes(zipped.build())
        context.exit()


@click.command(
    epilog=epilog(
        "flopguard evidence support-bot --ledger ledger.db -o pack.tar",
        "flopguard evidence ml/support-sft --ledger ledger.jsonl -o pack.tar",
        "flopguard verify pack.tar",
        "flopguard evidence --verifier verify.pyz",
    )
)
@click.argument("name", metavar="[PROGRAM|RUN]", default="")
@click.option(
    "--ledger",
    "file",
    type=_PATH,
    envvar="FLOPGUARD_LEDGER",
    show_envvar=True,
    help="The operator's ledger.db (only read, also while it runs), or an export; an"
    " export has neither documents nor earlier heads.",
)
@click.option("-o", "--output", type=_PATH, help="Write the pack here; - is allowed.")
@click.option(
    "--audit-log",
    type=_PATH,
    help="An audit log of the API server. Lines about the runs' objects go in without"
    " their bodies, and marked as not in the ledger.",
)
@click.option(
    "--newest",
    is_flag=True,
    help="End at the ledger's newest head, though it cannot be shown any more that no"
    " entry was left out.",
)
@click.option(
    "--verifier",
    type=_PATH,
    is_eager=True,
    expose_value=False,
    callback=_write_verifier,
    help="Write only verify.pyz, to this file.",
)
@json_option
def evidence(  # noqa: PLR0913 - one parameter per option
    name: str,
    file: Path | None,
    output: Path | None,
    audit_log: Path | None,
    *,
    newest: bool,
    machine: bool,
) -> None:
    """Make an archive of the evidence on a program or a run.

    A RUN is namespace/name or a UID. The archive holds the run's entries with proofs,
    the signed head, all documents that the entries note, and a verifier. One ledger
    gives one archive, to the byte.
    """
    if not name or file is None or output is None:
        message = "say what the pack is about, and give --ledger and --output"
        raise click.UsageError(message)

    def extract(accounts: Mapping[str, Account]) -> bytes:
        with Path(str(audit_log)).open("rb") as log:
            return audit.extract(log, accounts)

    request = Request(
        name=name,
        version=_version(),
        verifier=zipped.build(),
        audit=extract if audit_log else None,
        newest=newest,
    )
    made = _made(file, request, output)
    # Beside a pack on standard output, which is no place for anything else.
    text = _as_json(made, output) if machine else _told(made)
    click.echo(text, err=not machine or str(output) == "-")


def _made(file: Path, request: Request, output: Path) -> Made:
    """Make the pack beside its place, so that no half of one ever has its name."""
    with told(), tempfile.TemporaryFile() as spool:
        try:
            with opened(file) as source:
                made = pack.make(source, request, spool)
        except UnknownError as error:
            raise UnusableError(as_line(str(error))) from error
        spool.seek(0)
        if str(output) == "-":
            shutil.copyfileobj(spool, sys.stdout.buffer)
        else:
            _replace(output, spool)
    return made


def _replace(output: Path, spool: BinaryIO) -> None:
    part = output.with_name(f"{output.name}.part")
    with part.open("wb") as out:
        shutil.copyfileobj(spool, out)
    part.replace(output)


def _as_json(made: Made, output: Path) -> str:
    found = asdict(made)
    del found["about"]
    return json.dumps({"pack": str(output), **found}, indent=2)


def _told(made: Made) -> str:
    """Return what was made, in a sentence or two."""
    whole = f"{made.entries} entries of {made.runs} runs"
    said = [f"{whole}, up to entry {made.size - 1} of the ledger."]
    if made.later:
        said.append(f"{made.later} later ones wait for the ledger's next count.")
    if not made.complete:
        said.append("It cannot be shown that no entry is missing.")
    if made.lacking:
        said.append(f"{made.lacking} documents were not found.")
    return " ".join(said)


def _version() -> str:
    try:
        return version("flopguard")
    except PackageNotFoundError:
        return "unknown"
