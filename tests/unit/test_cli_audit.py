"""`flopguard audit`: what of a program is there, and what is missing?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flopguard_operator.checklist import formula
from flopguard_operator.checklist.runs import Ledger, imported, run
from flopguard_operator.cli import main
from flopguard_operator.ledger.accounts import fold
from flopguard_operator.ledger.entries import Entry, FactsNoted, Imported, RunRef
from flopguard_operator.ledger.policies import Noted
from standins import objects
from standins.told import STEP_FLOPS, facts, marks_json, page, process
from standins.world import World
from unit.story import RUN, TERMS, entries, terms_set, whole_events
from unit.test_operator_facts import Told, save, told
from unit.test_operator_programs import BASE, LIMIT, REVIEW, decide, pod, program, world

__all__ = ["told", "world"]

OWNED = {
    "owners": {"compliance": "counsel", "model": "scientist", "product": "lead"},
    "rollbackPlan": "the weights of May",
    "baseModel": BASE,
}
JOB = {
    "name": "march",
    "method": "GpuHours",
    "low": "100",
    "flops": "200",
    "high": "400",
    "digest": "ab" * 32,
}
OLD = Imported(
    run=RunRef("p", "", "bot"),
    name="march",
    method="gpu-hours",
    low=70,
    flops=100,
    high=130,
    period="2026-03-01/2026-03-04",
    evidence="ab" * 32,
    decision="d",
    reason="before metering",
    by="dana",
)


def audit(world: World, name: str, *more: str) -> Result:
    """Audit a program or run of a world."""
    command = ["audit", name, "--db", str(world.path), *more]
    return CliRunner().invoke(main, command)


def items(world: World, name: str) -> dict[str, dict[str, Any]]:
    """Return the items of all that was looked at, by its name and theirs."""
    result = audit(world, name, "--json")
    found = json.loads(result.output)
    assert found["complete"] == (result.exit_code == 0)
    return {
        one["name"]: {item["name"]: item for item in one["items"]}
        for one in found["audited"]
    }


def test_a_program_is_walked_with_its_runs_and_imported_jobs(world: World) -> None:
    """A total at its review is not covered, and a job without a period is not whole."""
    program(world, **OWNED)
    decide(world, "Import", imported=JOB)
    world.once(pod("first", REVIEW, ended=True), pod("second", 1, ended=True))
    world.once()
    found = items(world, "support-bot")

    assert list(found) == ["support-bot", "ml/first", "ml/second", "march"]
    assert found["support-bot"]["proceed"]["state"] == "missing"
    assert found["support-bot"]["owners"]["state"] == "ok"
    assert found["support-bot"]["policy eu-ai-act-30-percent"]["state"] == "ok"
    assert "its program is held" in found["ml/first"]["proceed"]["message"]
    assert found["march"]["period"]["state"] == "missing"
    assert "100 % above" in found["march"]["margin"]["message"]
    assert audit(world, "support-bot").exit_code == 2


def test_a_decision_that_expired_is_told_and_covers_nothing(world: World) -> None:
    """What it allowed is due again."""
    program(world, **OWNED)
    decide(world, "Proceed", toFlops=str(LIMIT), expires="2026-11-22T02:00:00Z")
    world.once(pod("first", REVIEW, ended=True))
    found = items(world, "support-bot")["support-bot"]

    assert found["proceed"]["state"] == "missing"
    assert "expired 2026-11-22T02:00:00" in found["expired"]["message"]


def test_a_valid_decision_covers_the_total(world: World) -> None:
    """It is named, with who made it."""
    program(world, **OWNED)
    decide(world, "Proceed", toFlops=str(LIMIT))
    world.once(pod("first", REVIEW, ended=True))
    found = items(world, "support-bot")["support-bot"]

    assert found["proceed"]["state"] == "ok"
    assert found["proceed"]["message"].startswith("counsel@example.org (decision-1)")


def test_a_base_that_nobody_knows_is_said_and_is_not_missing(world: World) -> None:
    """The law has a rule for it; a missing name is another thing."""
    program(world, baseModel={"name": "acme/x1"})
    world.once(pod("first", 5, ended=True))
    found = items(world, "support-bot")["support-bot"]

    assert found["base figure"]["state"] == "note"
    assert found["base model"]["state"] == "ok"
    assert found["owners"]["state"] == "missing"


def test_a_run_with_all_of_it_is_complete(tmp_path: Path, told: Told) -> None:
    """Base, count, formula, comparison, documents, weights: exit code 0."""
    one = World(tmp_path)
    one.revise(baseModel=BASE, budget=None)
    done = facts(10, saves=[save(5)])
    told.marks["pod-1"] = marks_json(page(1, 10, told=done))
    one.once(objects.pod())
    one.once()
    result = audit(one, "ml/sft")
    found = items(one, "ml/sft")["ml/sft"]

    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "ml/sft: complete, of 1 looked at."
    assert "for 1 process(es); the hook counted" in found["formula"]["message"]
    assert "/out/5.pt at step 5" in found["saved weights"]["message"]
    assert result.output.startswith("run ml/sft, running")


def test_a_run_of_which_little_is_known_lacks_it(tmp_path: Path) -> None:
    """Each sentence says what."""
    one = World(tmp_path)
    one.once(objects.pod(words=objects.final_record(7), ended=True))
    found = items(one, "ml/sft")["ml/sft"]
    lacking = {name for name, item in found.items() if item["state"] == "missing"}

    assert lacking == {"base model", "formula", "saved weights"}


def test_a_program_of_one_machine_has_neither_manifests_nor_counts() -> None:
    """That is said, and is not missing."""
    terms = replace(terms_set(TERMS), workload="local/process/support-sft")
    story = entries([terms, *whole_events()[1:4]])
    account = fold(story)[RUN.uid]
    found = run(account, story, Ledger(Noted(), ()))

    assert {item.name for item in found.missing} == {"formula", "saved weights"}
    assert {i.state for i in found.items if i.topic == "evidence"} == {
        "note",
        "missing",
    }


def noted(made: int, measured: int) -> Entry:
    """Return what the ledger notes of a process that made so many steps."""
    texts = process(made).texts
    event = FactsNoted(
        RUN,
        "pod-1",
        "n",
        texts.digest,
        texts.whole,
        texts.lasting,
        texts.growing,
        measured,
        made,
    )
    return Entry(0, "2026-11-22T00:00:00.000Z", event)


@pytest.mark.parametrize(
    ("measured", "state"),
    [(10 * STEP_FLOPS, "ok"), (8 * STEP_FLOPS, "missing"), (20 * STEP_FLOPS, "ok")],
    ids=["as much", "less than a formula allows", "more: work that it does not know"],
)
def test_the_formula_is_taken_from_the_ledger_alone(measured: int, state: str) -> None:
    """A count below it has to be explained."""
    entry = noted(10, measured)
    (item,) = formula.second_opinion(formula.processes([entry]))

    assert item.state == state


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 9}', "[" * 100_000])
def test_facts_that_cannot_be_read_are_no_facts(text: str) -> None:
    """They come from a tenant's process."""
    event = FactsNoted(RUN, "pod-1", "n", "d", True, text, text, 1, 1)  # noqa: FBT003 - positional as above
    entry = Entry(0, "2026-11-22T00:00:00.000Z", event)

    assert formula.processes([entry]) == ()


def test_an_imported_job_with_all_of_it_is_complete() -> None:
    """Within the margin, with its period, its file and its reason."""
    found = imported(OLD)

    assert found.missing == ()
    assert {item.name for item in found.items} == {
        "imported",
        "period",
        "reason",
        "file",
    }


def test_a_name_that_is_not_there_is_told(world: World) -> None:
    """With what is."""
    program(world, **OWNED)
    world.once()
    result = audit(world, "ml/third")

    assert result.exit_code == 2
    assert "it holds: support-bot, ml/first" in result.output


def test_what_does_not_verify_is_not_complete(world: World, tmp_path: Path) -> None:
    """Exit code 1, whatever is there."""
    file = tmp_path / "ledger.jsonl"
    program(world, **OWNED)
    world.once(pod("first", 5, ended=True))
    export = ["ledger", "export", "--db", str(world.path)]
    lines = CliRunner().invoke(main, export).output.splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if "Settlement" in line)
    file.write_text("".join([*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]))
    command = ["audit", "support-bot", "--ledger", str(file)]

    assert CliRunner().invoke(main, command).exit_code == 1
