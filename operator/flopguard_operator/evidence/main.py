"""Verify a pack or an export from the command line: the entrance of verify.pyz.

It needs Python and `cryptography`, nothing else; `flopguard verify` does the same.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flopguard_operator.evidence import told
from flopguard_operator.evidence.archive import BLOCK, is_archive
from flopguard_operator.evidence.verify import verify_pack
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.verify import verify_lines

UNREADABLE = 2
_EPILOG = "exit codes: 0 everything holds, 1 something does not, 2 not all was checked"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is found; return the exit code."""
    given = _parser().parse_args(arguments)
    try:
        checked = verify_file(given.file, given.vkey)
    except OSError as error:
        print(f"cannot read {given.file}: {error.strerror}", file=sys.stderr)  # noqa: T201 - this is a command
        return UNREADABLE
    print(told.dumped(checked) if given.json else "\n".join(told.as_lines(checked)))  # noqa: T201 - the same
    return checked.exit_code


def verify_file(path: Path, vkey: str) -> Report:
    """Verify an evidence pack or an exported ledger.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        packed = is_archive(stream.read(BLOCK))
        stream.seek(0)
        if packed:
            return verify_pack(stream, check_signature, vkey)
        return verify_lines(lines_of(stream), check_signature, vkey)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verify.pyz",
        description="Check an evidence pack, or an exported ledger, offline.",
        epilog=_EPILOG,
    )
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.add_argument(
        "--vkey",
        default="",
        metavar="KEY",
        help="a key of the ledger, from a source that you trust",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
