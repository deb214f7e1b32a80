"""The command line `flopguard`: what a person asks of a ledger, without a cluster.

It reads files and prints; `run` meters a command here. It never imports kopf,
torch, nor kubernetes before `inventory` asks a cluster, so it installs on an auditor's
laptop; and of its commands only the one that is asked for, so it starts at once.
"""

import importlib
import sys
from typing import Any

import click

from flopguard_operator.cli_help import EXPORT, epilog

# Command → module and name of what implements it.
_COMMANDS = {
    "audit": ("cli_audit", "audit_jobs"),
    "decide": ("cli_gate", "decide"),
    "evidence": ("cli_evidence", "evidence"),
    "explain": ("cli_explain", "explain"),
    "forecast": ("cli_forecast", "forecast"),
    "gate": ("cli_gate", "gate"),
    "import": ("cli_import", "import_job"),
    "inventory": ("cli_inventory", "inventory"),
    "ledger": ("cli_ledger", "ledger"),
    "models": ("cli_models", "models"),
    "policies": ("cli_policies", "policies"),
    "report": ("cli_report", "report"),
    "run": ("cli_run", "run"),
    "status": ("cli_status", "status"),
    "verify": ("cli_verify", "verify"),
}


class _Group(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(_COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        """Return a command; None if there is none of that name."""
        if name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[name]
        found = importlib.import_module(f"flopguard_operator.{module}")
        command: click.Command = getattr(found, attribute)
        return command

    def main(self, *args: Any, **more: Any) -> Any:
        """Run a command; output that cannot be written ends in a sentence, too."""
        try:
            return super().main(*args, **more)
        except OSError as error:
            click.echo(f"Error: cannot use the output: {error.strerror}", err=True)
            sys.exit(2)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog(
        *EXPORT,
        "flopguard verify ledger.jsonl",
        "flopguard report --ledger ledger.jsonl --format html -o report.html",
        "flopguard evidence support-bot --ledger ledger.db -o pack.tar",
        "flopguard explain --base NAME --base-flops 7.2e23 --modification-flops 1e22",
        "flopguard run --max-flops 1e15 --program support-bot -- python train.py",
        "flopguard forecast --config config.json --tokens 2e9 --length 2048",
    ),
)
def main() -> None:
    """Meter fine-tuning runs, and read what was recorded: FLOPs, limits and holds."""


if __name__ == "__main__":
    main(prog_name="flopguard")
