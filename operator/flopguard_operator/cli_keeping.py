"""`flopguard ledger recover`, `rotate-key`, `retain`: signed decisions of a person.

Each appends an entry, so each needs the ledger's private key; an operator that is
running is fenced off by it and starts anew.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flopguard_operator.cli_copies import heads_given
from flopguard_operator.cli_files import json_option, say, told
from flopguard_operator.cli_help import epilog
from flopguard_operator.ledger import keys, note, reading
from flopguard_operator.ledger.entries import LedgerRecovered, RetentionSet
from flopguard_operator.ledger.store import SqliteStore

_KEY = (
    "kubectl get secret -n flopguard flopguard-ledger-key \\",
    "  -o jsonpath='{.data.ed25519\\.pem}' | base64 -d > key.pem",
)
Command = Callable[..., Any]


def _options(command: Command) -> Command:
    """Add what every signed decision needs."""
    for option in (
        json_option,
        click.option(
            "--reason", required=True, help="Why, in a sentence; it is recorded."
        ),
        click.option(
            "--by",
            required=True,
            metavar="WHO",
            help="Who decided it: a name or an e-mail address; it is recorded.",
        ),
        click.option(
            "--key",
            "key_file",
            required=True,
            metavar="PEM",
            help="The ledger's private key, or - for standard input.",
        ),
        click.option(
            "--db",
            type=click.Path(path_type=Path, exists=True),
            envvar="FLOPGUARD_LEDGER",
            show_envvar=True,
            required=True,
            help="The ledger.db that is to go on.",
        ),
    ):
        command = option(command)
    return command


@click.command(
    epilog=epilog(
        *_KEY,
        "flopguard ledger recover --db ledger.db --key key.pem --by ana@example.com \\",
        "  --head 812:k3V...= --reason 'the volume was lost; restored from a backup'",
    )
)
@_options
@click.option(
    "--head",
    "heads",
    multiple=True,
    required=True,
    metavar="SIZE:ROOT",
    help="A head that is given up, as the operator's message has it; repeatable.",
)
def recover(  # noqa: PLR0913 - one parameter per option
    db: Path,
    key_file: str,
    by: str,
    reason: str,
    heads: tuple[str, ...],
    *,
    machine: bool,
) -> None:
    """Accept, in a signed entry, that entries were lost, so that the ledger goes on.

    The operator refuses to append to a ledger that is older than a head it knows. If no
    newer copy exists, this says so for ever, in the ledger itself.
    """
    given = heads_given(heads)
    with _opened(db, key_file) as store:
        events = []
        for head in given:
            size, _, root = head.text.partition(":")
            events.append(LedgerRecovered(int(size), root, by, reason))
        store.commit(events, [], _now())
        entry = store.head.size - 1
        sentence = f"{len(events)} heads were given up in entry {entry}."
        document = {"entry": entry, "heads": [head.text for head in given]}
        say(sentence, document, machine=machine)


@click.command(
    epilog=epilog(
        "openssl genpkey -algorithm ed25519 -out next.pem",
        *_KEY,
        "flopguard ledger rotate-key --db ledger.db --key key.pem --next next.pem \\",
        "  --by ana@example.com --reason 'yearly'",
    )
)
@_options
@click.option(
    "--next",
    "next_file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PEM",
    help="The private key that is to follow.",
)
def rotate_key(  # noqa: PLR0913 - one parameter per option
    db: Path, key_file: str, by: str, reason: str, next_file: Path, *, machine: bool
) -> None:
    """Let another key follow, in an entry whose head both keys sign.

    In a cluster it is easier: put the next key into the Secret flopguard-ledger-key as
    ed25519.next.pem and restart the operator.
    """
    with _opened(db, key_file) as store:
        successor = keys.from_pem(store.head.origin, next_file.read_bytes())
        store.rotate(successor, f"{reason} ({by})", _now())
        sentence = f"From now on the ledger is signed by {store.vkey}"
        say(sentence, {"vkey": store.vkey}, machine=machine)


@click.command(
    epilog=epilog(
        *_KEY,
        "flopguard ledger retain --db ledger.db --key key.pem --years 15 \\",
        "  --by legal@example.com --reason 'sector rule'",
    )
)
@_options
@click.option("--years", required=True, type=click.IntRange(1, 1000))
def retain(  # noqa: PLR0913 - one parameter per option
    db: Path, key_file: str, by: str, reason: str, years: int, *, machine: bool
) -> None:
    """Decide for how many years the ledger is kept; `ledger check` holds it to that."""
    with _opened(db, key_file) as store:
        store.commit([RetentionSet(years, by, reason)], [], _now())
        entry = store.head.size - 1
        sentence = f"Entry {entry}: kept for {years} years."
        say(sentence, {"entry": entry, "years": years}, machine=machine)


@contextmanager
def _opened(db: Path, key_file: str) -> Iterator[SqliteStore]:
    """Open a ledger to write a decision into it, as its only writer."""
    with told():
        pem = (
            sys.stdin.buffer.read() if key_file == "-" else Path(key_file).read_bytes()
        )
        with reading.opened_to_read(db) as connection:
            vkey = reading.custody_of(connection).vkey
        key = keys.from_pem(note.parse_vkey(vkey).name, pem)
        with closing(SqliteStore(db, key)) as store:
            store.claim("flopguard ledger", "command line", _now())
            yield store


def _now() -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return now.replace("+00:00", "Z")
