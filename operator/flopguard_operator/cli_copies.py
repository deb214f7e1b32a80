"""`flopguard ledger backup` and `restore`: copies, each verified before it counts."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flopguard_operator.cli_files import (
    UnusableError,
    database_option,
    json_option,
    say,
    told,
)
from flopguard_operator.cli_help import epilog
from flopguard_operator.ledger import copies
from flopguard_operator.ledger.custody import KnownHead, parse_head_option
from flopguard_operator.ledger.errors import ForkedError, LedgerError
from flopguard_operator.ledger.note import Head


def heads_given(texts: tuple[str, ...]) -> list[KnownHead]:
    """Return the heads that `--head SIZE:ROOT` names.

    Raises:
        click.UsageError: one of them is none.
    """
    try:
        return [parse_head_option(text) for text in texts]
    except LedgerError as error:
        raise click.UsageError(str(error)) from error


@click.command(
    epilog=epilog(
        "flopguard ledger backup --db ledger.db ledger-2026-11-22.db",
        "flopguard verify ledger-2026-11-22.db",
        "kubectl exec -n flopguard POD -- python3 -m flopguard_operator.cli \\",
        "  ledger backup /tmp/ledger.db && kubectl cp flopguard/POD:/tmp/ledger.db ...",
    )
)
@database_option
@click.argument("target", type=click.Path(path_type=Path), metavar="COPY")
@json_option
def backup(db: Path, target: Path, *, machine: bool) -> None:
    """Copy a ledger.db that may be in use into one new file, and verify the copy.

    The signing key is not in it: back the Secret flopguard-ledger-key up as well, to
    another place.
    """
    with told():
        head = copies.back_up(db, target)
    sentence = f"{target}: {head.size} entries, root hash {head.root_base64}"
    say(sentence, {"copy": str(target), **_head(head)}, machine=machine)


def _head(head: Head) -> dict[str, Any]:
    return {"size": head.size, "root": head.root_base64}


@click.command(
    epilog=epilog(
        "kubectl scale -n flopguard statefulset/flopguard-operator --replicas 0",
        "flopguard ledger restore ledger-2026-11-22.db --db ledger.db",
        "flopguard ledger restore old.db --db ledger.db --head 812:k3V...= --lose",
    )
)
@click.argument("copy", type=click.Path(path_type=Path), metavar="COPY")
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    required=True,
    help="Where the ledger belongs. No operator may be using it.",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="SIZE:ROOT",
    help="A head that was seen elsewhere; the copy has to extend it.",
)
@click.option("--lose", is_flag=True, help="Accept that newer entries are lost.")
@json_option
def restore(
    copy: Path, db: Path, heads: tuple[str, ...], *, lose: bool, machine: bool
) -> None:
    """Put a verified copy in the place of a ledger; the file before it is kept beside.

    A copy that lacks entries of the present file, or of a --head, is refused. With
    --lose it is taken; the operator then goes on only after `ledger recover`.
    """
    known = heads_given(heads)
    with told():
        try:
            done = copies.restore(copy, db, known, datetime.now(UTC), lose=lose)
        except ForkedError as error:
            raise UnusableError(str(error)) from error
    head, kept = done.head, "" if done.kept is None else str(done.kept)
    before = f"The file before is now {kept}.\n" if kept else ""
    sentence = f"{before}{db}: {head.size} entries, root hash {head.root_base64}"
    document = {"ledger": str(db), **_head(head), "kept": kept or None}
    say(sentence, document, machine=machine)
