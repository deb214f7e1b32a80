"""The duties in the status are those of the report, with state and date."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from flopguard_operator.api.fields import read
from flopguard_operator.api.program import ProgramStatus
from flopguard_operator.api.runstatus import RunStatus
from flopguard_operator.cli import main
from standins.objects import Raw
from standins.world import World
from unit.test_operator_programs import (
    BASE,
    LIMIT,
    decide,
    pod,
    program,
    verified,
    world,
)

__all__ = ["world"]

SYSTEMIC = {**BASE, "systemicRisk": True}
ALL = ["eu-ai-act-30-percent", "commission-guidelines-2025", "strictest"]


def statuses(world: World) -> list[Raw]:
    """Return the statuses of the program and of its first run."""
    return [
        world.cache.programs["support-bot"]["status"],
        world.status_of("run-first"),
    ]


def reported(world: World, tmp_path: Path) -> list[list[Any]]:
    """Return what the report says of the duties of program and first run."""
    file = tmp_path / "ledger.jsonl"
    file.write_bytes(world.exported())
    words = ["report", "--ledger", str(file), "--json"]
    told = json.loads(CliRunner().invoke(main, words).output)
    (whole,) = told["programs"]
    (first,) = (run for run in told["runs"] if run["name"] == "first")
    return [
        [
            (one["name"], one["state"].split()[0].title(), one["policies"], one["due"])
            for one in (subject["duties"] or {"duties": []})["duties"]
        ]
        for subject in (whole, first)
    ]


def shown(status: Raw) -> list[Any]:
    """Return the same of a status."""
    return [
        (one["name"], one["state"], one["policies"], one.get("dueAt", "")[:10] or None)
        for one in status["duties"]
    ]


def test_no_duty_stands_there_before_a_criterion_is_met(world: World) -> None:
    """The list is empty, not absent: nothing was forgotten."""
    program(world, baseModel=SYSTEMIC)
    world.once(pod("first", 10))

    assert [status["duties"] for status in statuses(world)] == [[], []]


def test_status_and_report_list_the_same_duties(world: World, tmp_path: Path) -> None:
    """With the same state and day; closed by a decision, also after a restart."""
    program(world, baseModel=SYSTEMIC)
    world.once(pod("first", 2 * LIMIT, ended=True), pod("second", 1))
    evidence = "https://example.org/annex-xi"
    duty = "technical-documentation"
    decide(world, "Fulfil", duty=duty, evidence=evidence)
    world.once()
    world.once()
    found = [shown(status) for status in statuses(world)]

    assert found == reported(world, tmp_path)
    assert found[0] == found[1]
    states = {name: (state, due) for name, state, _, due in found[0]}
    assert states[duty] == ("Fulfilled", None)
    assert states["systemic-risk"] == ("Open", None)
    assert states["notification"][0] == "Open"
    assert states["notification"][1]

    world.start()
    world.once()
    assert [shown(status) for status in statuses(world)] == found
    assert verified(world) == []


def test_status_of_a_program_tells_all_policies_by_what_they_count(
    world: World,
) -> None:
    """Side by side, as that of a run, and within the bounds of the CRD."""
    program(world, baseModel=BASE)
    world.once(pod("first", LIMIT - 10), pod("second", 20))
    found, run = statuses(world)
    beside = [one["policy"] for one in found["otherPolicies"]]

    assert [found["threshold"]["policy"], *beside] == ALL
    assert found["threshold"]["counted"] == str(LIMIT + 10)
    assert found["percentOfThreshold"] == "100.00"
    assert found["threshold"]["exceeded"] is True
    assert run["threshold"]["exceeded"] is False
    assert {one["state"] for one in found["duties"]} == {"Open"}
    assert read(ProgramStatus, found, "status").wire() == found
    assert len(read(RunStatus, run, "status").duties) == 0


def test_a_duty_that_only_another_policy_brings_names_it(world: World) -> None:
    """30 % is passed, one third governs: it is shown with whose it is."""
    program(world, baseModel=BASE, policy="commission-guidelines-2025")
    world.once(pod("first", LIMIT + 1))

    assert {tuple(one["policies"]) for one in statuses(world)[0]["duties"]} == {
        ("eu-ai-act-30-percent", "strictest")
    }
