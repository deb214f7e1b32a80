"""Open what the command line is given, and end with a sentence and an exit code.

A ledger may come from a stranger: what is printed of it cannot move a cursor, and no
way in which a file can be wrong ends in a traceback.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from flopguard_operator.evidence.archive import BLOCK, PackError, is_archive
from flopguard_operator.ledger import database
from flopguard_operator.ledger.entries import Entry
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.ledger.export import TruncatedError, lines_of, read
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.note import parse_vkey
from flopguard_operator.ledger.store import export_file
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.report.escaping import as_line

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

database_option = click.option(
    "--db",
    type=click.Path(path_type=Path),
    envvar="FLOPGUARD_LEDGER",
    show_envvar=True,
    required=True,
    help="The operator's ledger.db. It is only read, also while the operator runs.",
)
json_option = click.option(
    "--json", "machine", is_flag=True, help="Print JSON for other programs."
)


def _trusted(_: click.Context, option: click.Parameter, text: str | None) -> str:
    """Return the key that has to have signed, "" for any.

    An empty one is refused: `--vkey "$(cat FILE)"` without the file trusts nobody.
    """
    if text is None:
        return ""
    try:
        return parse_vkey(text.strip()).text
    except LedgerError as error:
        message = f"{error}; it is in ledger.vkey, one line" if text.strip() else _EMPTY
        raise click.BadParameter(message, param=option) from error


def vkey_option(sentence: str) -> Callable[[Decorated], Decorated]:
    """Return the option `--vkey` with a help text."""
    return click.option("--vkey", callback=_trusted, metavar="KEY", help=sentence)


_EMPTY = "it is empty: was there no file to read it from?"
LEDGER_HELP = "An exported ledger, the operator's ledger.db, or - for standard input."


class MismatchError(click.ClickException):
    """A file is not what it should be: exit code 1."""


class UnusableError(click.ClickException):
    """Something could not be read or found: exit code 2."""

    exit_code = 2


@contextmanager
def told() -> Iterator[None]:
    """Turn what can go wrong with a ledger or a file into a sentence and a code."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads has enough, as `head` does: click ends without a word
    except OSError as error:
        message = f"cannot use {error.filename or 'the file'}: {error.strerror}"
        raise UnusableError(as_line(message)) from error
    except (LedgerUnavailableError, TruncatedError) as error:
        raise UnusableError(as_line(str(error))) from error
    except (LedgerError, PackError) as error:
        raise MismatchError(as_line(str(error))) from error


@contextmanager
def ledger_lines(file: str) -> Iterator[Iterator[bytes]]:
    """Give the lines of an exported ledger, bounded in length; export one if need be.

    Args:
        file: path of an export or of the operator's database, "-" for standard input.
    """
    with told():
        if file == "-":
            yield lines_of(sys.stdin.buffer)
            return
        with Path(file).open("rb") as stream:
            if not database.is_database(stream.read(database.BEGINNING)):
                stream.seek(0)
                yield lines_of(stream)
                return
        with _exported(Path(file)) as stream:
            yield lines_of(stream)


def verified(file: str, vkey: str) -> tuple[list[bytes], Report]:
    """Return the lines of a ledger, and what their verification found.

    Args:
        file: as `ledger_lines` takes it.
        vkey: of the key that must have signed, "" for any.
    """
    with ledger_lines(file) as stream:
        lines = list(stream)
    return lines, verify_lines(lines, check_signature, vkey)


def entries_of(lines: Iterable[bytes]) -> Sequence[Entry]:
    """Return the entries of an exported ledger, or end with a sentence."""
    with told():
        return read(lines).entries


@dataclass(frozen=True)
class Given:
    """What a file turned out to be."""

    pack: BinaryIO | None  # an evidence pack, which seeks
    lines: Iterable[bytes] = ()  # of a ledger, if it is no pack
    size: int = 0  # bytes of the file


@contextmanager
def pack_or_lines(file: str) -> Iterator[Given]:
    """Give an evidence pack, or else the lines of a ledger.

    Args:
        file: path of a pack, an export or a database, "-" for standard input.
    """
    with told(), ExitStack() as stack:
        if file == "-":
            stream = stack.enter_context(_spooled(sys.stdin.buffer))
        else:
            stream = stack.enter_context(Path(file).open("rb"))
        packed = is_archive(stream.read(BLOCK))
        stream.seek(0)
        if packed:
            yield Given(stream)
        elif file == "-":
            yield Given(None, lines_of(stream))
        else:
            size = Path(file).stat().st_size
            yield Given(None, stack.enter_context(ledger_lines(file)), size)


def say(sentence: str, document: Mapping[str, Any], *, machine: bool) -> None:
    """Print what was done, for people or for programs."""
    click.echo(json.dumps(document, indent=2) if machine else sentence)


def write_text(text: str, output: Path | None) -> None:
    """Write to a file, or to standard output without one."""
    if output is None:
        click.echo(text, nl=False)
        return
    with told():
        output.write_text(text, encoding="utf-8")


@contextmanager
def _spooled(source: BinaryIO) -> Iterator[BinaryIO]:
    """Give standard input as a file that can be read twice."""
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(source, spool)
        spool.seek(0)
        yield spool


@contextmanager
def _exported(database: Path) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as spool:
        export_file(database, spool)
        spool.seek(0)
        yield spool
