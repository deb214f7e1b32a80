"""`flopguard run`: meter a command on this machine, and stop it at a limit."""

import json
import math
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flopguard_operator.cli_help import optional_figure
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.report.escaping import as_line

if TYPE_CHECKING:
    from flopguard_operator.local.running import Runner

_MISSPELT, _SPENT, _FAILED, _CANNOT_RUN, _NOT_FOUND = 2, 123, 125, 126, 127
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_MOST_PERCENT = 1_000_000
_EPILOG = """
\b
Examples:
  flopguard run --max-flops 1e15 --program support-bot -- python train.py
  flopguard run --program support-bot --base meta-llama/Llama-3.1-8B \\
    --base-flops 7.2e23 --base-source "model card" -- torchrun train.py
  flopguard status
  flopguard report --ledger ~/.local/state/flopguard/ledger.db

\b
Exit codes:
  the command's own; 128 + N if signal N ended it
  2    an option is misspelt, or contradicts an earlier start
  123  not started: the program has reached a limit already
  124  stopped: the program has reached a limit
  125  not started: flopguard could not do its part
  126  the command cannot be executed
  127  the command is not there
"""

state_option = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="Where ledger, key and pages are kept, on a local disk.  [default:"
    " $FLOPGUARD_STATE, else ~/.local/state/flopguard]",
)


def program_name(_: click.Context, option: click.Parameter, name: str) -> str:
    """Return a program's name, which a cluster would take too."""
    if not _NAME.fullmatch(name):
        message = "up to 63 lower-case letters, digits and inner hyphens"
        raise click.BadParameter(message, param=option)
    return name


def _budget(
    context: click.Context, option: click.Parameter, text: str | None
) -> int | None:
    flops = optional_figure(context, option, text)
    if flops == 0:
        message = "a budget is above 0"
        raise click.BadParameter(message, param=option)
    return flops


def _seconds(_: click.Context, option: click.Parameter, number: float) -> float:
    if math.isnan(number):  # which no range refuses
        message = "a number of seconds"
        raise click.BadParameter(message, param=option)
    return number


def _percents(
    _: click.Context, option: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        message = "whole percentages with commas between them, like 50,80,95"
        raise click.BadParameter(message, param=option)
    found = tuple(int(part) for part in parts)
    if not all(0 < each <= 100 for each in found):  # noqa: PLR2004 - percent
        message = "percentages from 1 to 100"
        raise click.BadParameter(message, param=option)
    return found


@click.command(epilog=_EPILOG, context_settings={"allow_interspersed_args": False})
@click.option(
    "--program",
    required=True,
    callback=program_name,
    metavar="NAME",
    help="What the command adapts. All starts of one program share its total.",
)
@click.option(
    "--max-flops",
    callback=_budget,
    metavar="FLOPS",
    help="Stop when the program has spent this much, like 1e15.",
)
@click.option(
    "--warn-at",
    callback=_percents,
    metavar="PERCENTS",
    help="Warn at these percentages of --max-flops.  [default: 50,80,95]",
)
@click.option("--base", metavar="NAME", help="The model that is fine-tuned.")
@click.option(
    "--base-flops",
    metavar="FLOPS|unknown",
    help="What its pre-training took, as its provider disclosed it.",
)
@click.option("--base-source", metavar="TEXT", help="Where that figure stands.")
@click.option(
    "--systemic/--not-systemic", default=None, help="Whether it has systemic risk."
)
@click.option("--policy", metavar="NAME", help="The rule set that governs.")
@click.option(
    "--hold-at-percent",
    type=click.IntRange(1, _MOST_PERCENT),
    help="Stop at this percentage of the legal threshold.  [default: 95]",
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 86_400),
    callback=_seconds,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="From SIGTERM to SIGKILL, when the command is stopped at a limit.",
)
@click.option(
    "--pages",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Make the folder of pages in here: a folder that all nodes of a job share.",
)
@state_option
@click.option(
    "--interval",
    type=click.FloatRange(0.02, 60),
    callback=_seconds,
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks at the count.",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "machine", is_flag=True, help="Say everything as JSON lines.")
@click.argument("command", nargs=-1, required=True, metavar="COMMAND...")
def run(command: tuple[str, ...], **given: Any) -> None:
    """Meter a command that fine-tunes a model, and stop it at a limit. No cluster.

    What is left out of an earlier start of the program, such as its base model or its
    budget, stays as it was. FLOPs, warnings and stops go to standard error.
    """
    if os.environ.get("FLOPGUARD_DIR"):
        sentence = "this process is metered already: FLOPGUARD_DIR is set"
        sys.exit(_said(_FAILED, sentence, given))
    if shutil.which(command[0]) is None:
        code = _CANNOT_RUN if Path(command[0]).exists() else _NOT_FOUND
        sys.exit(_said(code, f"{command[0]} is not there, or not executable", given))
    sys.exit(_started(command, given))


def _started(command: tuple[str, ...], given: dict[str, Any]) -> int:
    """Start, and return the exit code; what goes wrong becomes a sentence."""
    # Here: it is for POSIX only, and the other commands work without it.
    from flopguard_operator.local import running, sidecar  # noqa: PLC0415 - see above

    try:
        return _runner(command, given).run()
    except running.SpentError as error:
        return _said(_SPENT, str(error), given)
    except PolicyError as error:
        return _said(_MISSPELT, str(error), given)
    except (LedgerError, LedgerUnavailableError, sidecar.SidecarError) as error:
        return _said(_FAILED, str(error), given)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _said(_FAILED, f"{where}{error.strerror or error}", given)


def _runner(command: tuple[str, ...], given: dict[str, Any]) -> "Runner":
    from flopguard_operator.local import (  # noqa: PLC0415 - see above
        asking,
        running,
        saying,
        state,
    )

    wishes = asking.Wishes(
        max_flops=given["max_flops"],
        warn_at=given["warn_at"],
        hold_at=given["hold_at_percent"],
        policy=given["policy"],
        base=None if given["base"] is None else as_line(given["base"]),
        base_flops=given["base_flops"],
        base_source=given["base_source"],
        systemic=given["systemic"],
    )
    options = running.Options(
        program=given["program"],
        arguments=command,
        wishes=wishes,
        state=given["state"] or state.default_folder(os.environ),
        pages=given["pages"],
        grace_seconds=given["grace"],
        interval_seconds=given["interval"],
    )
    sayer = saying.Sayer(given["program"], given["quiet"], given["machine"])
    return running.Runner(options, sayer)


def _said(code: int, sentence: str, given: dict[str, Any]) -> int:
    line = as_line(sentence)
    if given["machine"]:
        told = {"event": "not_started", "program": given["program"], "message": line}
        click.echo(json.dumps(told), err=True)
    else:
        click.echo(f"flopguard: not started: {line}", err=True)
    return code
