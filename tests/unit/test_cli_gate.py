"""May it be released? What is still open, and who has to say something?"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from flopguard_operator.api.decision import DecisionSpec
from flopguard_operator.api.fields import read
from flopguard_operator.cli import main
from standins import objects
from standins.world import World
from unit.test_operator_programs import (
    BASE,
    LIMIT,
    REVIEW,
    decide,
    pod,
    program,
    world,
)

__all__ = ["world"]

OWNED = {
    "owners": {"compliance": "counsel", "model": "scientist", "product": "lead"},
    "rollbackPlan": "the weights of May",
    "baseModel": BASE,
}


def gate(world: World, tmp_path: Path, *more: str) -> Result:
    """Ask for the program of a world."""
    file = tmp_path / "ledger.jsonl"
    file.write_bytes(world.exported())
    command = ["gate", "support-bot", "--ledger", str(file), *more]
    return CliRunner().invoke(main, command)


def test_before_and_after_a_decision(world: World, tmp_path: Path) -> None:
    """Held at its review: not released; covered by a decision: released."""
    program(world, **OWNED)
    world.once(pod("first", REVIEW, ended=True), pod("second", 1, ended=True))
    before = gate(world, tmp_path)
    decide(world, "Proceed", toFlops=str(LIMIT))
    world.once()
    world.once()
    after = gate(world, tmp_path)

    assert before.exit_code == 1
    assert "OPEN  decision: A decision is due" in before.output
    assert "OPEN  holds: The program is held" in before.output
    assert (after.exit_code, after.output.splitlines()[-1]) == (
        0,
        "support-bot: may be released",
    ), after.output
    assert "counsel@example.org (decision-1) decided to proceed" in after.output


def test_a_met_criterion_opens_its_duties(world: World, tmp_path: Path) -> None:
    """Each has to be recorded as done, with its evidence."""
    program(world, **OWNED)
    decide(world, "Proceed", toFlops="1e25")
    world.once(pod("first", LIMIT + 1, ended=True))
    rows = json.loads(gate(world, tmp_path, "--json").output)["answers"]
    duties = [row["name"] for row in rows if not row["ok"]]
    assert duties
    assert all(name.startswith("duty ") for name in duties)

    for name in duties:
        uid = name.replace(" ", "-")
        evidence = "https://example.org/file"
        duty = name.removeprefix("duty ")
        decide(world, "Fulfil", uid, duty=duty, evidence=evidence)
    world.once()

    assert gate(world, tmp_path).exit_code == 0


def test_duties_of_other_policies_are_told_and_decide_nothing(
    world: World, tmp_path: Path
) -> None:
    """30 % of the base is passed, one third of it is not: the third governs."""
    program(world, **{**OWNED, "policy": "commission-guidelines-2025"})
    decide(world, "Proceed", toFlops="3.2e22")
    world.once(pod("first", LIMIT + 1, ended=True))
    found = gate(world, tmp_path)
    rows = json.loads(gate(world, tmp_path, "--json").output)["answers"]
    duties = [row for row in rows if row["name"].startswith("duty ")]

    assert found.exit_code == 0, found.output
    assert "criterion of commission-guidelines-2025 is not met: no" in found.output
    assert "note  duty technical-documentation: " in found.output
    assert "of eu-ai-act-30-percent, strictest is met, which does not" in found.output
    assert duties
    assert not any(row["ok"] or row["governs"] for row in duties)


def test_a_duty_of_the_policy_that_governs_and_of_others_is_asked_for_once(
    world: World, tmp_path: Path
) -> None:
    """It governs: it has to be done, whoever else brings it."""
    program(world, **OWNED)
    decide(world, "Proceed", toFlops="1e25")
    world.once(pod("first", 2 * LIMIT, ended=True))
    rows = json.loads(gate(world, tmp_path, "--json").output)["answers"]
    duties = [row for row in rows if row["name"].startswith("duty ")]

    assert len({row["name"] for row in duties}) == len(duties) > 0
    assert all(row["governs"] for row in duties)


def test_a_rule_set_of_ones_own_stands_beside(world: World, tmp_path: Path) -> None:
    """Its duties are told, and say nothing about the release."""
    (tmp_path / "house.yaml").write_text(HOUSE)
    program(world, **OWNED)
    world.once(pod("first", 10, ended=True))
    found = gate(world, tmp_path, "--rules", str(tmp_path / "house.yaml"))

    assert found.exit_code == 0, found.output
    assert "note  duty copyright-policy: " in found.output
    assert "the indicative criterion of house-rules is met" in found.output


HOUSE = """
name: house-rules
version: "1"
title: Nothing is allowed
law: eu-ai-act
counts: {training: [forward], cumulative: [forward]}
rules:
  - name: fixed
    limit: "5"
    basis: training
    citation: House rules 1
    explanation: "{model}: {limit} FLOPs."
"""


def recomputed(flops: int) -> objects.Raw:
    """Return a pod that recomputed its activations and did nothing else."""
    made = pod("first", 1, ended=True)
    (said,) = made["status"]["initContainerStatuses"]
    body = json.loads(objects.final_record(flops))
    body["done"] |= {"forward": f"{0:044d}", "recompute": f"{flops:044d}"}
    said["state"]["terminated"]["message"] = objects.sealed(body)
    return made


BESIDE: dict[str, tuple[objects.Raw, objects.Raw]] = {
    "a budget counts what the policy does not": (
        {"policy": "commission-guidelines-2025", "budget": {"maxFlops": "1e23"}},
        recomputed(6 * 10**22),
    ),
    "a further line counts the base too": (
        {"baseModel": {**BASE, "pretrainingFlops": "9.9e22"}},
        pod("first", 2 * 10**21, ended=True),
    ),
}


@pytest.mark.parametrize(("spec", "first"), BESIDE.values(), ids=BESIDE.keys())
def test_no_decision_is_due_for_what_another_line_counts(
    world: World, tmp_path: Path, spec: objects.Raw, first: objects.Raw
) -> None:
    """Where the operator warns, and holds nothing, the gate asks for no decision."""
    program(world, **{**OWNED, **spec})
    world.once(first)
    found = gate(world, tmp_path)

    assert world.cache.programs["support-bot"]["status"]["state"] == "Warning"
    assert "ok    decision: No decision is due" in found.output
    assert found.exit_code == 0, found.output


def packed(world: World, tmp_path: Path, name: str) -> Result:
    """Make a pack of a program or a run, and verify it."""
    file = str(tmp_path / "pack.tar")
    made = ["evidence", name, "--ledger", str(world.path), "-o", file]
    found = CliRunner().invoke(main, made)
    assert found.exit_code == 0, found.output
    return CliRunner().invoke(main, ["verify", file])


def test_a_pack_of_the_program_is_whole(world: World, tmp_path: Path) -> None:
    """With its terms, its decisions, and holds for its sake, all of them judged."""
    program(world, **OWNED)
    world.once(pod("first", REVIEW, ended=True), pod("second", 1, ended=True))
    decide(world, "Proceed", toFlops=str(LIMIT))
    world.once()
    world.once(pod("second", 2, ended=True), gone=True)

    found = packed(world, tmp_path, "support-bot")

    assert found.exit_code == 0, found.output


def test_a_pack_of_one_run_says_what_cannot_be_judged(
    world: World, tmp_path: Path
) -> None:
    """It was held for its siblings' sake, and they are not in the pack."""
    program(world, **OWNED)
    world.once(pod("first", 1), pod("second", REVIEW))

    found = packed(world, tmp_path, "ml/first")

    assert found.exit_code == 2, found.output
    assert "the entries of the program are not here" in found.output


def test_missing_owners_are_open(world: World, tmp_path: Path) -> None:
    """The names of the fields are said."""
    program(world, baseModel=BASE)
    world.once(pod("first", 10, ended=True))

    found = gate(world, tmp_path)

    assert found.exit_code == 1
    assert "spec.owners.compliance" in found.output


def test_a_program_that_the_ledger_does_not_hold(world: World, tmp_path: Path) -> None:
    """Exit code 2, and which there are."""
    world.once(pod("first", 10))
    found = gate(world, tmp_path)

    assert found.exit_code == 2
    assert 'no program "support-bot"; it holds: none' in found.output


def test_a_changed_ledger_releases_nothing(world: World, tmp_path: Path) -> None:
    """The gate verifies before it answers."""
    program(world, **OWNED)
    world.once(pod("first", REVIEW, ended=True))
    assert gate(world, tmp_path).exit_code == 1
    file = tmp_path / "ledger.jsonl"
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"threshold', b'"thresh0ld', 1))
    lines = text.splitlines(keepends=True)
    file.write_bytes(b"".join(line for line in lines if b'"Crossing"' not in line))

    found = CliRunner().invoke(main, ["gate", "support-bot", "--ledger", str(file)])

    assert found.exit_code == 1
    assert "does not verify" in found.output


DECISIONS: dict[str, list[str]] = {
    "a program may proceed": ["Proceed", "support-bot", "--to-flops", "9e22"],
    "a run is excluded": ["Exclude", "ml/first"],
    "a run is moved": ["Move", "ml/first", "--to-program", "other"],
    "a gap is accepted": ["AcceptGap", "ml/first", "--stream", "abc"],
    "a role is recorded": ["Classify", "support-bot", "--as", "Provider"],
    "a duty is done": [
        "Fulfil",
        "support-bot",
        "--duty",
        "technical-documentation",
        "--evidence",
        "https://example.org",
    ],
    "a program is stopped": ["Stop", "support-bot"],
}


@pytest.mark.parametrize("words", DECISIONS.values(), ids=DECISIONS.keys())
def test_a_decision_is_a_manifest_that_the_api_takes(words: list[str]) -> None:
    """Every kind can be read by the model that makes the CRD."""
    more = ["--by", "dana", "--reason", "agreed", "--expires", "2027-01-31T00:00:00Z"]
    found = CliRunner().invoke(main, ["decide", *words, *more])

    assert found.exit_code == 0, found.output
    manifest: dict[str, Any] = yaml.safe_load(found.output)
    spec = read(DecisionSpec, manifest["spec"], "spec")
    assert spec.decision == words[0]
    assert manifest["metadata"]["generateName"].startswith(words[0].lower())


WRONG: dict[str, tuple[list[str], str]] = {
    "nothing to proceed to": (["Proceed", "p"], "Proceed needs --to-flops"),
    "a program cannot be excluded": (["Exclude", "p"], "give NAMESPACE/RUN"),
    "an option of another kind": (
        ["Stop", "p", "--to-flops", "1e22"],
        "--to-flops goes with Proceed",
    ),
    "a duty without evidence": (["Fulfil", "p", "--duty", "x"], "needs --evidence"),
    "a name that is none": (["Stop", "Support Bot"], "spec.subject.name"),
    "more than a run": (["Stop", "ml/first/third"], "spec.subject.name"),
    "a day": (["Stop", "p", "--expires", "2027-01-31"], "2027-01-31T00:00:00Z"),
    "no time": (["Stop", "p", "--expires", "tomorrow"], "2027-01-31T00:00:00Z"),
    "nobody": (["Stop", "p", "--by", ""], "spec.decidedBy"),
    "no reason": (["Stop", "p", "--reason", ""], "spec.reason"),
    "nothing allowed": (["Proceed", "p", "--to-flops", "0"], "spec.toFlops"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_decided_says_why(words: list[str], message: str) -> None:
    """Before the API server has to."""
    more = ["--by", "dana", "--reason", "agreed"]
    found = CliRunner().invoke(main, ["decide", *more, *words])

    assert found.exit_code == 2
    assert message in found.output
