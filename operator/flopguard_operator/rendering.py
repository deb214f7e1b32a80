"""Write one report page, a process of its own: `python -m ... LEDGER SUBJECT [RULES]`.

The operator serves reports, and must not be slowed, filled up or brought down by the
making of one: this process is niced and bounded in memory, time and files, and only
reads the ledger's file.
"""

import os
import resource
import sys
from pathlib import Path

MEMORY = 384 * 2**20  # bytes of address space
FILE = 48 * 2**20  # bytes: less than the pod's /tmp may hold
CPU_SECONDS = 60


def main(ledger: str, subject: str, folder: str = "") -> int:
    """Write the page of a run or a program to standard output; 0 if it was made.

    Args:
        ledger: its file.
        subject: a program's name, or a run's NAMESPACE/NAME.
        folder: of custom rule sets, "" for none.
    """
    os.nice(10)
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    # What reads the ledger is imported under the limits, too.
    from flopguard_operator.cli_report import made  # noqa: PLC0415 - see above
    from flopguard_operator.report.document import compose  # noqa: PLC0415 - see above
    from flopguard_operator.report.html import page  # noqa: PLC0415 - see above
    from flopguard_operator.ruleshelf import RuleShelf  # noqa: PLC0415 - see above

    laws = RuleShelf(Path(folder) if folder else None).laws()
    known = {name: one.rules for name, one in laws.items()}
    facts, _ = made(ledger, subject, known)
    sys.stdout.write(page(compose(facts)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
