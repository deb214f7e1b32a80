"""`flopguard ledger`: look at a ledger, check it, compare it, prove what is in it."""

import json
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flopguard_operator.cli_copies import backup, restore
from flopguard_operator.cli_files import (
    MismatchError,
    database_option,
    json_option,
    ledger_lines,
    say,
    told,
    vkey_option,
)
from flopguard_operator.cli_help import EXPORT, epilog
from flopguard_operator.cli_keeping import recover, retain, rotate_key
from flopguard_operator.cli_show import line_of, print_checks
from flopguard_operator.ledger import proofs
from flopguard_operator.ledger.checking import check_file
from flopguard_operator.ledger.comparing import compare, sentences
from flopguard_operator.ledger.crew import digesting
from flopguard_operator.ledger.encoding import decode, encode
from flopguard_operator.ledger.export import Header, Leaf, Rotation, SignedHead, parse
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.store import export_file
from flopguard_operator.ledger.tree import leaf_hash
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.report.escaping import as_line


@click.group(
    epilog=epilog(
        "flopguard ledger check --db ledger.db",
        "flopguard ledger backup --db ledger.db ledger-2026-11-22.db",
        "flopguard ledger diff ledger-2026-11-22.db ledger.db",
        "flopguard ledger prove ledger.db --entry 41 > entry-41.proof",
    )
)
def ledger() -> None:
    """Export, check, compare, back up, restore or go on with a ledger."""


@ledger.command(epilog=epilog(*EXPORT))
@database_option
def export(db: Path) -> None:
    """Write a ledger to standard output, to be verified offline."""
    with told():
        export_file(db, sys.stdout.buffer)


@ledger.command(epilog=epilog("flopguard ledger show ledger.jsonl | grep Hold"))
@click.argument("file", metavar="FILE")
@json_option
def show(file: str, *, machine: bool) -> None:
    """Print what happened, one line per entry.

    Number, time, kind of entry, run, and what it says; with --json all of the entry.

    FILE is an exported ledger, the operator's ledger.db, or - for standard input.
    Nothing is verified here; `flopguard verify` does that.
    """
    with ledger_lines(file) as lines:
        for part in parse(lines):
            if isinstance(part, Leaf):
                line = as_line(line_of(decode(part.data)))
                click.echo(json.dumps(json.loads(part.data)) if machine else line)


@ledger.command(
    epilog=epilog(
        "flopguard ledger check --db ledger.db",
        "flopguard ledger check --db ledger.db --json | jq .outcome",
    )
)
@database_option
@json_option
@vkey_option("The key that you trust.")
def check(db: Path, vkey: str, *, machine: bool) -> None:
    """Check a whole ledger.db: file, tree, every head, every verdict, retention.

    The operator's start checks the tail of a large ledger, and all of a small one; this
    checks all of it, while the operator goes on writing.
    """
    with told():
        beside = check_file(db, datetime.now(UTC))
    with ledger_lines(str(db)) as lines, digesting(db.stat().st_size) as digest:
        found = verify_lines(lines, check_signature, vkey, digest)
    whole = Report((*found.checks, *beside), found.size, found.root, found.vkey)
    print_checks(whole, machine=machine)
    sys.exit(whole.exit_code)


@ledger.command(
    epilog=epilog(
        "flopguard ledger diff backup.db ledger.db",
        "flopguard ledger diff a.jsonl b.jsonl --json",
    )
)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@json_option
def diff(first: str, second: str, *, machine: bool) -> None:
    """Say how far two ledgers are the same, and show where they part.

    A and B are exported ledgers or ledger.db files. Exit code 0: the same, or one goes
    on where the other ends; 1: they part.
    """
    with ExitStack() as stack:
        lines = [stack.enter_context(ledger_lines(file)) for file in (first, second)]
        found = compare(parse(lines[0]), parse(lines[1]))
    if machine:
        document = {
            "schema": 1,
            "common": found.common,
            "sizes": list(found.sizes),
            "forked": found.forked,
        }
        click.echo(json.dumps(document, indent=2))
    else:
        for sentence in sentences(found, (first, second)):
            click.echo(as_line(sentence))
        for name, data in zip((first, second), found.differing or (), strict=False):
            with told():
                click.echo(as_line(f"{name}: {line_of(decode(data))}"))
    sys.exit(int(found.forked))


@ledger.command(
    epilog=epilog(
        "flopguard ledger prove ledger.db --entry 41 > entry-41.proof",
        "flopguard ledger prove ledger.db --since 40 > growth.proof",
        'flopguard ledger prove --check entry-41.proof --vkey "$(cat ledger.vkey)"',
    )
)
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--entry", type=click.IntRange(0), help="Prove that this entry is in it.")
@click.option(
    "--since", type=click.IntRange(0), help="Prove that it goes on from this size."
)
@click.option(
    "--check", "proof", type=click.Path(path_type=Path), help="Check a proof instead."
)
@vkey_option("With --check: who must sign.")
@json_option
def prove(  # noqa: PLR0913 - one parameter per option
    file: str | None,
    entry: int | None,
    since: int | None,
    proof: Path | None,
    vkey: str,
    *,
    machine: bool,
) -> None:
    """Print a proof of one entry, or of growth, that a stranger can check alone.

    The proof of an entry is in the format of c2sp.org/tlog-proof, with the entry's own
    bytes as its extra data; it shows nothing of other entries. --json is for --check.
    """
    if proof is not None:
        _check(proof, vkey, machine=machine)
        return
    if file is None or (entry is None) == (since is None):
        message = "give a FILE with either --entry or --since, or --check PROOF"
        raise click.UsageError(message)
    hashes, wanted, signed, _ = _read(file, entry)
    size = entry if entry is not None else since or 0
    if size > len(hashes) or (entry is not None and wanted is None):
        message = f"the ledger has {len(hashes)} entries"
        raise MismatchError(message)
    if wanted is not None and entry is not None:
        text = proofs.inclusion(wanted, hashes, entry, signed)
    else:
        text = proofs.growth(hashes, size, signed)
    click.echo(text, nl=False)


def _read(file: str, entry: int | None) -> tuple[list[bytes], bytes | None, str, str]:
    """Return all leaf hashes, the bytes of one entry, the signed head and the key."""
    hashes: list[bytes] = []
    wanted, signed, vkey = None, "", ""
    with ledger_lines(file) as lines:
        for part in parse(lines):
            match part:
                case Header():
                    vkey = part.vkey
                case Leaf():
                    wanted = part.data if len(hashes) == entry else wanted
                    hashes.append(leaf_hash(part.data))
                case SignedHead():
                    signed = part.note
                case Rotation():
                    pass
    return hashes, wanted, signed, vkey


def _check(proof: Path, vkey: str, *, machine: bool) -> None:
    if not vkey:
        message = "a proof is checked with --vkey, from a source that you trust"
        raise click.UsageError(message)
    with told():
        data = proof.read_bytes()[: proofs.MAX_PROOF_BYTES + 1]
        found = proofs.check(data.decode(errors="replace"), vkey, check_signature)
    size = found.head.size
    document: dict[str, Any] = {"size": size, "vkey": vkey}
    if found.entry is not None:
        document["entry"] = json.loads(encode(found.entry))
        told_ = as_line(line_of(found.entry))
        whole = f"This entry is in the ledger of {size} entries that {vkey} signed."
        say(f"{told_}\n{whole}", document, machine=machine)
    elif found.old is not None:
        old, root = found.old
        document["since"] = {"size": old, "root": root}
        sentence = (
            f"The ledger of {size} entries that {vkey} signed goes on from the one of"
            f" {old} entries with root {root}."
        )
        say(sentence, document, machine=machine)


for command in (backup, restore, recover, rotate_key, retain):
    ledger.add_command(command)
