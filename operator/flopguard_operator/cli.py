"""The command line `flopguard`: what a person asks of a ledger, without a cluster.

It reads files and prints; `run` meters a command here. It never imports kopf,
torch, nor kubernetes before `inventory` asks a cluster, so it starts at once and
installs on an auditor's laptop.
"""

import sys

import click

from flopguard_operator.cli_audit import audit_jobs
from flopguard_operator.cli_evidence import evidence
from flopguard_operator.cli_explain import explain
from flopguard_operator.cli_files import epilog, pack_or_lines
from flopguard_operator.cli_forecast import forecast
from flopguard_operator.cli_gate import decide, gate
from flopguard_operator.cli_import import import_job
from flopguard_operator.cli_inventory import inventory
from flopguard_operator.cli_ledger import EXPORT, ledger
from flopguard_operator.cli_models import models
from flopguard_operator.cli_policies import policies
from flopguard_operator.cli_report import report
from flopguard_operator.cli_run import run
from flopguard_operator.cli_show import print_checks
from flopguard_operator.cli_status import status
from flopguard_operator.evidence.told import PACK_OUTCOMES
from flopguard_operator.evidence.verify import verify_pack
from flopguard_operator.ledger.crew import digesting
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.report.sections import OUTCOMES


@click.group(
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


@main.command(
    epilog=epilog(
        "flopguard verify pack.tar",
        'flopguard verify ledger.jsonl --vkey "$(cat ledger.vkey)"',
    )
)
@click.argument("file", metavar="FILE")
@click.option("--json", "machine", is_flag=True, help="Print JSON for other programs.")
@click.option(
    "--vkey",
    default="",
    metavar="KEY",
    help="The key that must have signed, from a source that you trust. Without it the"
    " file's own key is taken: that shows that the file is whole, not who made it.",
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


main.add_command(run)
main.add_command(status)
main.add_command(report)
main.add_command(evidence)
main.add_command(explain)
main.add_command(forecast)
main.add_command(ledger)
main.add_command(gate)
main.add_command(decide)
main.add_command(policies)
main.add_command(models)
main.add_command(import_job)
main.add_command(audit_jobs)
main.add_command(inventory)

if __name__ == "__main__":
    main(prog_name="flopguard")
