"""The command line `flopguard`: what a person asks of a ledger, without a cluster.

It reads files and prints. It never imports kopf, kubernetes or torch, so it starts at
once and installs on an auditor's laptop.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from flopguard_operator.cli_evidence import evidence
from flopguard_operator.cli_explain import explain
from flopguard_operator.cli_files import epilog, ledger_lines, pack_or_lines, told
from flopguard_operator.cli_report import report
from flopguard_operator.evidence.told import PACK_OUTCOMES, dumped
from flopguard_operator.evidence.verify import verify_pack
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import NO_RUN, Entry, Settlement
from flopguard_operator.ledger.export import Leaf, parse
from flopguard_operator.ledger.findings import OK, Report
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.store import export_file
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.report.document import OUTCOMES
from flopguard_operator.report.escaping import as_line
from flopguard_operator.report.timeline import tell

_EXPORT = (
    "kubectl exec -n flopguard POD -- \\",
    "  python3 -m flopguard_operator.cli ledger export > ledger.jsonl",
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog(
        *_EXPORT,
        "flopguard verify ledger.jsonl",
        "flopguard report --ledger ledger.jsonl --format html -o report.html",
        "flopguard evidence support-bot --ledger ledger.db -o pack.tar",
        "flopguard explain --base NAME --base-flops 7.2e23 --modification-flops 1e22",
    ),
)
def main() -> None:
    """Read what flopguard recorded of fine-tuning runs: FLOPs, limits and holds."""


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
            checked = verify_lines(given.lines, check_signature, vkey)
        else:
            checked = verify_pack(given.pack, check_signature, vkey)
        outcomes = OUTCOMES if given.pack is None else PACK_OUTCOMES
    if machine:
        click.echo(dumped(checked))
    else:
        _print(checked, outcomes)
    sys.exit(checked.exit_code)


@main.group()
def ledger() -> None:
    """Export a ledger, or show its entries."""


@ledger.command(epilog=epilog(*_EXPORT))
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    envvar="FLOPGUARD_LEDGER",
    show_envvar=True,
    required=True,
    help="The operator's ledger.db. It is only read, also while the operator runs.",
)
def export(db: Path) -> None:
    """Write a ledger to standard output, to be verified offline."""
    with told():
        export_file(db, sys.stdout.buffer)


@ledger.command(epilog=epilog("flopguard ledger show ledger.jsonl | grep Hold"))
@click.argument("file", metavar="FILE")
def show(file: str) -> None:
    """Print what happened, one line per entry.

    Number, time, kind of entry, run, and what it says.

    FILE is an exported ledger, the operator's ledger.db, or - for standard input.
    Nothing is verified here; `flopguard verify` does that.
    """
    with ledger_lines(file) as lines:
        for part in parse(lines):
            if isinstance(part, Leaf):
                click.echo(as_line(_line(decode(part.data))))


def _print(checked: Report, outcomes: Mapping[str, str]) -> None:
    for check in checked.checks:
        outcome = f"{check.outcome:<10}"
        colour = "green" if check.outcome == OK else "red"
        text = f"  {check.name:<13}  {as_line(check.message)}"
        click.echo(click.style(outcome, fg=colour) + text)
    click.echo(f"{checked.size} entries, root hash {checked.root}")
    click.secho(outcomes[checked.outcome], bold=True)


def _line(entry: Entry) -> str:
    event = entry.event
    moment = tell(entry)
    text = moment.text if moment else ""
    if isinstance(event, Settlement):
        final = ", final" if event.final else ""
        text = (
            f"stream {event.stream}: done {sum(event.done.values())}, begun"
            f" {event.begun} FLOPs, {event.steps} steps, {event.source}{final}"
        )
    of_run = f"{event.run.namespace}/{event.run.name}"
    run = "the ledger" if event.run == NO_RUN else of_run
    return f"{entry.index:>6}  {entry.at}  {type(event).__name__:<13}  {run}  {text}"


main.add_command(report)
main.add_command(evidence)
main.add_command(explain)

if __name__ == "__main__":
    main(prog_name="flopguard")
