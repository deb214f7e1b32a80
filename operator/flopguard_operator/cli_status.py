"""`flopguard status`: where each program of this machine stands."""

import json
import os
from pathlib import Path

import click

from flopguard_operator.cli_files import json_option, told
from flopguard_operator.cli_help import epilog
from flopguard_operator.cli_run import state_option
from flopguard_operator.report.escaping import as_line


@click.command(
    epilog=epilog(
        "flopguard status",
        "flopguard status --json | jq '.programs[] | {program, upper, state}'",
    )
)
@state_option
@json_option
def status(state: Path | None, *, machine: bool) -> None:
    """List the programs that `flopguard run` has metered on this machine.

    The states: Running; Unattended, where a command goes on whose flopguard was killed;
    Unsettled, where it has ended since, and the next start of the program settles it;
    Held at a limit; Idle. Programs of a cluster: kubectl get ftp,ftr -A
    """
    # Here: it is for POSIX only, and the other commands work without it.
    from flopguard_operator.local import standing  # noqa: PLC0415 - see above
    from flopguard_operator.local.state import (  # noqa: PLC0415 - see above
        State,
        default_folder,
    )

    folder = state or default_folder(os.environ)
    with told():
        found = standing.standings(State(folder)) if folder.exists() else []
    if machine:
        documents = [each.document for each in found]
        click.echo(json.dumps({"programs": documents}, indent=2))
        return
    rows = [standing.COLUMNS, *(each.cells for each in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True))
        click.echo(as_line("  ".join(cells).rstrip()))
