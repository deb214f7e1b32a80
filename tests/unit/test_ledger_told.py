"""What processes tell, in the ledger: facts, changes and saved weights."""

import hashlib
import io
from dataclasses import replace
from typing import Any

import pytest

from flopguard_operator.ledger.entries import (
    EnergyNoted,
    Event,
    FactsNoted,
    WeightsSaved,
)
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.verify import verify_lines
from vectors.ledger_story import A, Commit, entries, exported, renumbered, story


def verified(*told: Event) -> Report:
    """Verify the story with these events after it."""
    after = entries([Commit(59, told)]) if told else []
    data = exported(renumbered([*entries(story()), *after]))
    return verify_lines(lines_of(io.BytesIO(data)), check_signature)


def facts_noted(**fields: Any) -> FactsNoted:
    """Return the facts of a process, with the digest of two braces."""
    entry = FactsNoted(
        run=A,
        stream="pod-1",
        process="a" * 32,
        digest=hashlib.sha256(b"{}").hexdigest(),
        whole=True,
        facts="{}",
        counters="{}",
        measured=7,
        steps=1,
    )
    return replace(entry, **fields)


def weights_saved(**fields: Any) -> WeightsSaved:
    """Return weights that a process saved."""
    entry = WeightsSaved(A, "pod-1", "a" * 32, "/out", "torch", 1, flops=7, upper=9)
    return replace(entry, **fields)


def drew(**fields: Any) -> EnergyNoted:
    """Return the energy of a pod's first second."""
    entry = EnergyNoted(
        A, "pod-1", "nvml", 1000, 2000, 10**16, "GPU-a", whole=True, final=False
    )
    return replace(entry, **fields)


def test_a_ledger_from_before_facts_verifies() -> None:
    """The story's root is the one that the version before this kind of entry made."""
    report = verified()

    assert report.root == "EAyrt5eGrVraQ7sjzWVHNPF5W7GhvRdU9IMgii5fxJI="
    assert report.outcome == "ok"


def test_what_processes_tell_contradicts_nothing() -> None:
    """Facts, the same again by their digest, shortened ones, and weights in order."""
    shortened = facts_noted(whole=False, digest="0" * 64)
    told = (facts_noted(), facts_noted(facts=""), shortened, weights_saved())
    energy = drew(), drew(until=3000, final=True), drew(since=3001, until=4000)

    assert verified(*told, *energy).outcome == "ok"


CONTRADICTIONS: dict[str, tuple[tuple[Event, ...], str]] = {
    "facts are others than their digest": ((facts_noted(digest="0" * 64),), "facts"),
    "facts refer to none that were noted": ((facts_noted(facts=""),), "facts"),
    "energy is less than before": ((drew(), drew(millijoules=1)), "energy"),
    "energy ends earlier than before": ((drew(), drew(until=1500)), "energy"),
    "energy goes on after its end": ((drew(final=True), drew(until=3000)), "energy"),
    "energy ends before it begins": ((drew(until=999),), "energy"),
    "saved weights cost more than the run": (
        (weights_saved(flops=9, upper=8),),
        "saved weights",
    ),
    "saved weights became cheaper": (
        (weights_saved(flops=9), weights_saved(flops=8)),
        "saved weights",
    ),
}


@pytest.mark.parametrize(("told", "check"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_forger_contradicts_himself(told: tuple[Event, ...], check: str) -> None:
    """With bytes, tree and signature in order, the replay still finds what is wrong."""
    found = [each.name for each in verified(*told).checks if each.outcome != "ok"]

    assert found == [check]
