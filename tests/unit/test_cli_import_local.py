"""Past jobs in a program of one machine: entered, counted, seen by all readers."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flopguard_operator.cli import main
from flopguard_operator.ledger.entries import Crossing, HoldSet, Imported
from flopguard_operator.policy.terms import Totals
from standins.local_runs import Laptop

HOURS = ("--gpu-hours", "2", "--gpu", "H100", "--utilisation", "0.5")
WHY = ("--reason", "pilot of March, before metering")


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    """Return a machine that has never run anything."""
    return Laptop(tmp_path / "state")


def bring(laptop: Laptop, *more: str) -> Result:
    """Run `flopguard import local/p`."""
    command = ["import", "local/p", "--state", str(laptop.state), *HOURS, *more]
    return CliRunner().invoke(main, command)


def status(laptop: Laptop) -> dict[str, Any]:
    """Return what `flopguard status` says of the program."""
    command = ["status", "--state", str(laptop.state), "--json"]
    (found,) = json.loads(CliRunner().invoke(main, command).output)["programs"]
    return dict(found)


def asked(laptop: Laptop, *command: str) -> Result:
    """Run a command that reads the ledger."""
    ledger = str(laptop.state / "ledger.db")
    return CliRunner().invoke(main, [*command, "--ledger", ledger])


def totals(laptop: Laptop) -> Totals:
    """Return what status says, as figures."""
    found = status(laptop)
    return Totals({"forward": int(found["measured"])}, imported=int(found["imported"]))


def test_a_job_counts_from_its_entry_on_by_its_high_estimate(laptop: Laptop) -> None:
    """Before anything was started: with method, bounds, evidence and who; it verifies.

    What is measured stays what was measured: nothing.
    """
    result = bring(laptop, *WHY, "--decided-by", "dana", "--name", "pilot")

    (job,) = [e.event for e in laptop.entries() if isinstance(e.event, Imported)]
    assert result.exit_code == 0, result.output
    assert (job.name, job.method, job.by) == ("pilot", "gpu-hours", "dana")
    assert 0 < job.low < job.flops < job.high
    assert job.reason.startswith("pilot of March, before metering. Estimate: ")
    assert len(job.evidence) == 64
    assert totals(laptop) == Totals({"forward": 0}, imported=job.high)
    assert status(laptop)["upper"] == str(job.high)


def test_the_same_job_is_entered_once(laptop: Laptop) -> None:
    """By accident it would count twice."""
    bring(laptop, *WHY)
    before = status(laptop)
    again = bring(laptop, *WHY)

    assert again.exit_code == 1
    assert "was imported already" in again.output
    assert status(laptop) == before


def test_without_a_reason_nothing_is_entered(laptop: Laptop) -> None:
    """The estimate is shown all the same."""
    shown, machine = bring(laptop), bring(laptop, "--json")

    assert shown.exit_code == 2
    assert "nothing is entered without --reason" in shown.output
    assert json.loads(machine.output)["entered"] is False
    assert not (laptop.state / "ledger.db").exists()


def test_a_local_program_takes_no_manifest(laptop: Laptop, tmp_path: Path) -> None:
    """So `--output` is refused before anything is entered."""
    refused = bring(laptop, *WHY, "--output", str(tmp_path / "job.yaml"))

    assert refused.exit_code == 2
    assert "--output" in refused.output
    assert not (laptop.state / "ledger.db").exists()


def test_a_job_above_the_budget_holds_the_program(laptop: Laptop) -> None:
    """With the warnings that were due; the next start is refused."""
    started = laptop.run("--max-flops", "1e15", then=["true"])
    result = bring(laptop, *WHY)
    refused = laptop.run(then=["true"])

    assert started.returncode == 0
    assert "held: " in result.output
    assert "--max-flops above" in result.output
    events = [entry.event for entry in laptop.entries()]
    lines = sorted(e.percent for e in events if isinstance(e, Crossing))
    assert lines == [50, 80, 95, 100]
    assert sum(isinstance(e, HoldSet) for e in events) == 1
    assert refused.returncode == 123
    assert status(laptop)["state"] == "Held"
    gate = asked(laptop, "gate", "p")
    assert gate.exit_code == 1
    assert "Start again with --max-flops above" in gate.output


def test_report_gate_and_audit_see_it(laptop: Laptop) -> None:
    """Apart from what was measured; the gate has no owners to ask for."""
    bring(laptop, *WHY, "--name", "pilot")
    high = status(laptop)["imported"]
    report = json.loads(asked(laptop, "report", "local/p", "--json").output)
    both = json.loads(asked(laptop, "report", "p", "--json").output)
    gate = asked(laptop, "gate", "local/p")
    audit = asked(laptop, "audit", "p")

    (run,), (program,) = report["runs"], both["programs"]
    assert (run["measured"], run["upper"]) == ("0", high)
    assert program["imported"][0]["high"] == program["upper"] == high
    assert [m["kind"] for m in program["timeline"]].count("Import") == 1
    assert "ok    runs: 1 run(s) and 1 imported job(s)" in gate.output
    assert "note  owners: A program of one machine names no owners" in gate.output
    assert gate.output.endswith("local/p: may be released\n")
    assert gate.exit_code == 0
    assert "imported pilot" in audit.output


def test_the_gate_says_that_a_decision_takes_a_cluster(laptop: Laptop) -> None:
    """Nobody's identity is checked on one machine."""
    command = ["import", "local/p", "--state", str(laptop.state), *WHY]
    hours = ("--gpu-hours", "999999999", "--gpu", "H100")
    CliRunner().invoke(main, [*command, *hours])
    gate = asked(laptop, "gate", "p")

    assert gate.exit_code == 1
    assert "bring the program into one" in gate.output
    assert "OPEN  duty " in gate.output
    assert "flopguard decide" not in gate.output  # no ledger of a machine takes it
    assert "OPEN  holds: The program is held" in gate.output
