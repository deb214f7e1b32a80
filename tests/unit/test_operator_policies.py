"""The rule set that governs is noted, a change shows both verdicts, all replays."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flopguard_operator.cli import main
from flopguard_operator.ledger.accounts import totals
from flopguard_operator.ledger.contradiction import POLICIES, TERMS
from flopguard_operator.ledger.entries import (
    Crossing,
    Entry,
    Event,
    HoldProven,
    HoldSet,
    PolicyNoted,
    TermsSet,
)
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.policies import Noted, law
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.policy.canonical import digest, to_json
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.rulebooks import shipped, shipped_laws
from flopguard_operator.ruleshelf import RuleShelf
from standins import objects
from standins.world import World, spent
from unit.story import TERMS as STORY_TERMS
from unit.story import terms_set
from vectors.ledger_story import exported, renumbered

HOUSE = """
name: house-rules
version: "{version}"
title: A share of the base
counts: {{training: [forward, backward]}}
rules:
  - name: share
    when: {{figure: known}}
    fraction: "{share}"
    basis: training
    citation: House rules 1
    explanation: "{{model}}: {{limit}} FLOPs."
  - name: fixed
    limit: "5000"
    basis: training
    citation: House rules 2
    explanation: "{{model}} is not known: {{limit}} FLOPs."
"""
BASE = {"name": "B", "pretrainingFlops": "10000", "source": "model card"}
QUIET = {"onApproach": "Annotate", "warnAtPercent": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder into which the kubelet puts the ConfigMap."""
    made = tmp_path / "policies"
    made.mkdir()
    return made


@pytest.fixture
def world(tmp_path: Path, folder: Path) -> World:
    """Return a run without a budget that nears nothing by itself."""
    made = World(tmp_path)
    made.cycle.rules = RuleShelf(folder)
    made.revise(baseModel=BASE, threshold=QUIET, budget={"maxFlops": "1e20"})
    return made


def write(folder: Path, version: int, share: str) -> None:
    """Write the rule set of one's own, as the kubelet renews a ConfigMap's file."""
    (folder / "new").write_text(HOUSE.format(version=version, share=share))
    (folder / "new").replace(folder / "house.yaml")


def wrong(report: Report) -> dict[str, str]:
    """Return the checks that failed, with what they say."""
    return {c.name: c.message for c in report.checks if c.outcome != "ok"}


def test_the_rule_set_is_noted_once_before_the_terms(world: World) -> None:
    """With its whole text; a second cycle and a restart note nothing more."""
    world.once(spent(10))
    world.once(spent(20))
    world.start()
    world.once(spent(30))
    store = SqliteStore(world.path, world.key)
    kinds = [type(e.event) for e in store.load().entries]
    store.close()
    (note,) = world.recorded(PolicyNoted)
    terms = world.recorded(TermsSet)

    assert kinds.index(PolicyNoted) < kinds.index(TermsSet)
    assert note.name == "eu-ai-act-30-percent"
    assert note.digest == digest(note.text) == terms[0].policy_digest
    assert len(terms) == 1
    assert wrong(world.verified()) == {}


def test_all_verdicts_stand_side_by_side_and_the_governing_one_is_named(
    world: World,
) -> None:
    """In the status: one third of 10,000 is crossed by 3,400 FLOPs, 3.3e22 is not."""
    world.once(spent(3_400))
    status = world.status()
    others = {one["policy"]: one for one in status["otherPolicies"]}

    assert status["threshold"]["policy"] == "eu-ai-act-30-percent"
    assert status["threshold"]["exceeded"] is False
    assert status["threshold"]["counted"] == "3400"
    assert others.keys() == {"commission-guidelines-2025", "strictest"}
    assert others["commission-guidelines-2025"]["limit"] == "10000/3"
    assert others["commission-guidelines-2025"]["exceeded"] is True
    assert others["strictest"]["rule"] == "commission-guidelines-2025: third"
    assert any(
        "several" not in note and "(" in note for note in status["threshold"]["notes"]
    )


def test_metrics_carry_the_verdict_of_each_policy(world: World) -> None:
    """One series a rule set; the label says which one governs."""
    world.once(spent(3_400))
    families = {f.name: f for f in world.cycle.publisher.collector.collect()}
    exceeded = {
        (s.labels["policy"], s.labels["governs"]): s.value
        for s in families["flopguard_run_policy_exceeded"].samples
    }

    assert exceeded == {
        ("eu-ai-act-30-percent", "true"): 0.0,
        ("commission-guidelines-2025", "false"): 1.0,
        ("strictest", "false"): 1.0,
    }


def test_another_policy_shows_the_verdict_before_and_after(world: World) -> None:
    """The entry has both limits and both verdicts, and the crossing follows."""
    world.once(spent(3_400))
    world.revise(policy="commission-guidelines-2025")
    world.once(spent(3_400))
    last = world.recorded(TermsSet)[-1]

    assert (last.limit_before, last.rule_before) == ("33" + "0" * 21, "small-base")
    assert (last.verdict_before, last.verdict) == ("NotExceeded", "Exceeded")
    assert (last.limit, last.rule) == ("10000/3", "third")
    assert len(world.recorded(PolicyNoted)) == 2
    assert "ThresholdExceeded" in {c.reason for c in world.recorded(Crossing)}
    assert wrong(world.verified()) == {}


def test_a_revised_base_figure_shows_the_verdict_before_and_after(world: World) -> None:
    """Back and forth: a figure that was too low is corrected."""
    world.revise(policy="commission-guidelines-2025")
    world.once(spent(3_400))
    world.revise(baseModel={**BASE, "pretrainingFlops": "20000"})
    world.once(spent(3_400))
    last = world.recorded(TermsSet)[-1]

    assert (last.limit_before, last.limit) == ("10000/3", "20000/3")
    assert (last.verdict_before, last.verdict) == ("Exceeded", "NotExceeded")
    assert wrong(world.verified()) == {}


def test_a_change_of_the_budget_alone_shows_no_verdict(world: World) -> None:
    """The law is the same."""
    world.once(spent(10))
    world.revise(budget={"maxFlops": "2e20"})
    world.once(spent(10))
    last = world.recorded(TermsSet)[-1]

    assert (last.limit_before, last.verdict_before, last.verdict) == ("", "", "")


def test_a_rule_set_of_ones_own_that_changes_is_noted_again(
    world: World, folder: Path
) -> None:
    """Its runs are judged anew by it, with the old and the new verdict."""
    write(folder, 1, "1/2")
    world.revise(policy="house-rules")
    world.once(spent(3_400))
    write(folder, 2, "1/4")
    world.once(spent(3_400))
    notes = world.recorded(PolicyNoted)
    last = world.recorded(TermsSet)[-1]

    assert [(n.name, n.version) for n in notes] == [
        ("house-rules", "1"),
        ("house-rules", "2"),
    ]
    assert (last.limit_before, last.limit) == ("5000", "2500")
    assert (last.verdict_before, last.verdict) == ("NotExceeded", "Exceeded")
    assert wrong(world.verified()) == {}


def test_a_broken_rule_set_takes_none_away(world: World, folder: Path) -> None:
    """The last good one goes on, and the shelf says what is the matter."""
    write(folder, 1, "1/2")
    world.revise(policy="house-rules")
    world.once(spent(10))
    (folder / "house.yaml").write_text("name: house-rules\n")
    world.once(spent(20))

    assert world.condition("SpecValid")["status"] == "True"
    assert world.status()["threshold"]["limit"] == "5000"
    assert "house.yaml" in world.cycle.rules.problems[0]


def test_an_unknown_policy_is_refused_with_those_that_there_are(
    world: World, folder: Path
) -> None:
    """Those of one's own among them."""
    write(folder, 1, "1/2")
    world.revise(policy="house-rule")
    world.once(spent(10))
    condition = world.condition("SpecValid")

    assert condition["status"] == "False"
    assert condition["message"] == (
        'there is no policy "house-rule"; choose one of: commission-guidelines-2025,'
        " eu-ai-act-30-percent, house-rules, strictest"
    )


def test_what_does_not_count_holds_nobody_and_the_proof_replays(world: World) -> None:
    """95 % of one third of 10,000 is held at; the overshoot is of what counts."""
    world.revise(policy="commission-guidelines-2025", threshold={"warnAtPercent": []})
    world.once(recomputing(forward=3_000, recompute=5_000, final=False))
    assert world.recorded(HoldSet) == []

    world.once(recomputing(forward=3_400, recompute=5_000))
    world.cache.see_pod("DELETED", recomputing(forward=3_400, recompute=5_000))
    world.once()
    world.once()
    (hold,) = world.recorded(HoldSet)
    (proven,) = world.recorded(HoldProven)

    assert hold.reason == "ThresholdApproached"
    assert (proven.upper, proven.overshoot) == (8_400, 3_400 - 3_333)
    assert wrong(world.verified()) == {}


def recomputing(*, forward: int, recompute: int, final: bool = True) -> dict[str, Any]:
    """Return a pod that checkpoints its activations."""
    body = json.loads(objects.final_record(forward + recompute, final=final))
    body["done"]["forward"] = f"{forward:044d}"
    body["done"]["recompute"] = f"{recompute:044d}"
    return objects.pod("pod-1", words=objects.sealed(body))


def test_a_ledger_from_before_rule_sets_goes_on(world: World) -> None:
    """Its first terms are judged by the built-in rules; then the shipped are noted."""
    world.once(spent(10))
    (now,) = world.recorded(TermsSet)
    world.path.unlink()
    for extra in ("-wal", "-shm"):
        world.path.with_name(world.path.name + extra).unlink(missing_ok=True)
    old = replace(now, policy_digest="", day="")
    store = SqliteStore(world.path, world.key)
    store.commit([old], [], "2026-01-01T00:00:00.000Z")
    store.close()
    world.start()
    world.once(spent(20))
    terms = world.recorded(TermsSet)

    assert [bool(event.policy_digest) for event in terms] == [False, True]
    assert (terms[1].verdict_before, terms[1].verdict) == ("NotExceeded", "NotExceeded")
    assert wrong(world.verified()) == {}


def test_a_pack_with_a_rule_set_of_ones_own_verifies(
    world: World, folder: Path, tmp_path: Path
) -> None:
    """The verifier has never seen it: the ledger holds the law that it is judged by."""
    write(folder, 1, "1/4")
    world.revise(policy="house-rules")
    world.once(spent(3_400))
    pack = tmp_path / "pack.tar"
    run = CliRunner().invoke
    made = run(
        main, ["evidence", "ml/sft", "--ledger", str(world.path), "-o", str(pack)]
    )
    verified = run(main, ["verify", str(pack)])

    assert made.exit_code == 0, made.output
    assert verified.exit_code == 0, verified.output


@pytest.mark.parametrize("form", ["html", "md", "json"])
def test_a_rule_set_of_ones_own_stands_in_each_form_of_the_report(
    world: World, folder: Path, form: str
) -> None:
    """Of its file, or of the ledger where something is judged by it."""
    write(folder, 1, "1/4")
    world.once(spent(3_400))

    def reported(*more: str) -> str:
        words = ["report", "--ledger", str(world.path), "--format", form, *more]
        found = CliRunner().invoke(main, words)
        assert found.exit_code == 0, found.output
        return found.output

    name = "house-rules"
    assert name not in reported().replace("house\\-rules", name)
    given = reported("--rules", str(folder / "house.yaml"))
    assert name in given.replace("house\\-rules", name)

    world.revise(policy="house-rules")
    world.once(spent(3_500))
    world.revise(policy="eu-ai-act-30-percent")
    world.once(spent(3_600))
    assert name in reported().replace("house\\-rules", name)


def test_the_text_that_was_used_last_stands_beside(world: World, folder: Path) -> None:
    """A rule set that was taken back is told as it is now, not as it was noted last."""
    world.revise(policy="house-rules")
    for version, share in ((1, "1/2"), (2, "1/4"), (1, "1/2")):
        write(folder, version, share)
        world.once(spent(10))
    world.revise(policy="eu-ai-act-30-percent")
    world.once(spent(20))
    found = CliRunner().invoke(main, ["report", "--ledger", str(world.path), "--json"])
    (run,) = json.loads(found.output)["runs"]

    assert [p["limit"] for p in run["policies"] if p["policy"] == "house-rules"] == [
        "5000"
    ]


DEFAULT = shipped_laws()["eu-ai-act-30-percent"]
GUIDELINES = shipped_laws()["commission-guidelines-2025"]


def noted_story() -> list[Event]:
    """Return a run by the default, then by the Guidelines."""
    first = replace(
        terms_set(STORY_TERMS), policy_digest=DEFAULT.note.digest, day="2026-11-22"
    )
    theirs = replace(STORY_TERMS, policy="commission-guidelines-2025")
    second = replace(
        first,
        terms=theirs,
        policy_digest=GUIDELINES.note.digest,
        limit=str(8 * 10**24) + "/3",
        rule="third",
        limit_before=first.limit,
        rule_before=first.rule,
        verdict_before="NotExceeded",
        verdict="NotExceeded",
    )
    return [DEFAULT.note, first, GUIDELINES.note, second]


def forged(change: Callable[[list[Event]], list[Event]]) -> dict[str, str]:
    """Return what is wrong with the story once somebody with the key changed it."""
    events = change(noted_story())
    entries = [
        Entry(0, f"2026-11-22T00:00:{second:02d}.000Z", event)
        for second, event in enumerate(events)
    ]
    data = exported(renumbered(entries))
    return wrong(verify_lines(lines_of(io.BytesIO(data)), check_signature))


def test_the_story_of_two_rule_sets_verifies() -> None:
    """Untouched."""
    assert forged(lambda events: events) == {}


def swapped(events: list[Event]) -> list[Event]:
    """Return the story with the Guidelines' text under the default's digest."""
    text = GUIDELINES.note.text
    return [replace(DEFAULT.note, text=text), *events[1:]]


def named(events: list[Event]) -> list[Event]:
    """Return the story with another name on the note."""
    return [replace(DEFAULT.note, name="strictest"), *events[1:]]


def unspelled(events: list[Event]) -> list[Event]:
    """Return the story with a text that is spelled in another way."""
    text = DEFAULT.note.text + " "
    return [replace(DEFAULT.note, text=text, digest=digest(text)), *events[1:]]


def with_last(**fields: str) -> Callable[[list[Event]], list[Event]]:
    """Return a change of the last terms."""
    return lambda events: [*events[:3], replace(events[3], **fields)]  # type: ignore[arg-type] # the last is a TermsSet


FORGERIES: dict[str, tuple[Callable[[list[Event]], list[Event]], str]] = {
    "another text under the digest": (swapped, POLICIES),
    "another name than the text's": (named, POLICIES),
    "another spelling": (unspelled, POLICIES),
    "a rule set that nobody noted": (lambda events: events[1:], TERMS),
    "a note that comes too late": (lambda e: [e[0], e[1], e[3], e[2]], TERMS),
    "another limit": (with_last(limit="5"), TERMS),
    "another limit before": (with_last(limit_before="5"), TERMS),
    "another verdict": (with_last(verdict="Exceeded"), TERMS),
    "another verdict before": (with_last(verdict_before="Exceeded"), TERMS),
    "a change that shows nothing": (
        with_last(limit_before="", rule_before="", verdict_before="", verdict=""),
        TERMS,
    ),
    "terms that name another rule set": (
        with_last(policy_digest=DEFAULT.note.digest),
        TERMS,
    ),
}


@pytest.mark.parametrize(("change", "check"), FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_rule_set_is_found(
    change: Callable[[list[Event]], list[Event]], check: str
) -> None:
    """By the digest of its text, or by the threshold that it does not set."""
    assert check in forged(change)


def test_terms_without_a_note_cannot_be_judged() -> None:
    """A named error, in a sentence."""
    terms = replace(terms_set(STORY_TERMS), policy_digest="0" * 64)
    with pytest.raises(PolicyError, match="never noted"):
        Noted().of(terms)


def test_a_note_is_that_of_its_rule_set() -> None:
    """Name, version and digest; noted once, it is found again."""
    rules = shipped()["strictest"]
    note, noted = law(rules).note, Noted()

    assert noted.take(note) == ""
    assert noted.by_digest[digest(to_json(rules))] == rules
    assert list(noted.missing([], [law(rules)])) == []


def test_totals_stay_those_of_the_run(world: World) -> None:
    """What a policy counts changes no figure of the run itself."""
    world.revise(policy="commission-guidelines-2025")
    world.once(recomputing(forward=30, recompute=50))
    (account,) = world.books.accounts.values()

    assert totals(account).upper == 80
    assert world.status()["usedDisplay"] == "30"
    assert world.status()["limitDisplay"] == "3.33e3"
    assert world.status()["percentDisplay"] == "0.90"
    assert world.status()["flops"]["upper"] == "80"
    assert world.status()["threshold"]["counted"] == "30"
