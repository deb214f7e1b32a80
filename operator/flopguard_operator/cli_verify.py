"""`flopguard verify`: check what somebody handed over, offline."""

import sys

import click

from flopguard_operator.cli_files import json_option, pack_or_lines, vkey_option
from flopguard_operator.cli_help import epilog
from flopguard_operator.cli_show import print_checks
from flopguard_operator.evidence.told import PACK_OUTCOMES
from flopguard_operator.evidence.verify import verify_pack
from flopguard_operator.ledger.crew import digesting
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.report.sections import OUTCOMES


@click.command(
    epilog=epilog(
        "flopguard verify pack.tar",
        'flopguard verify ledger.jsonl --vkey "$(cat ledger.vkey)"',
    )
)
@click.argument("file", metavar="FILE")
@json_option
@vkey_option(
    "The key that must have signed, from a source that you trust. Without it the"
    " file's own key is taken: that shows that the file is whole, not who made it."
)
def verify(file: str, vkey: str, *, machine: bool) -> None:
    """Check an evidence pack or a ledger offline: signature, hashes, every verdict.

    FILE is an evidence pack, an exported ledger, the operator's ledger.db, or - for
    standard input.
    """
    with pack_or_lines(file) as given:
        if given.pack is None:
            with digesting(given.size) as digest:
                checked = verify_lines(given.lines, check_signature, vkey, digest)
        else:
            checked = verify_pack(given.pack, check_signature, vkey)
        outcomes = OUTCOMES if given.pack is None else PACK_OUTCOMES
    print_checks(checked, outcomes, machine=machine)
    sys.exit(checked.exit_code)
