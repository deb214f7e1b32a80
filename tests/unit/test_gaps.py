"""Gaps: when a stream's silence is charged, for how long, and when that ends."""

from dataclasses import replace

import pytest

from flopguard_operator import gaps
from flopguard_operator.gaps import Patience, Stream
from flopguard_operator.ledger.entries import GapCharged, RunRef

RUN = RunRef("run-1", "ml", "sft")
PATIENCE = Patience(poll=10_000, grace=120_000)
AT = 1_000_000
SPEAKS = Stream(
    stream="pod-1",
    pod="train-0",
    node="node-1",
    devices="1 x X (bf16)",
    peak=1_000,
    now=AT,
    proven=AT,
)


def gap(change: str, flops: int, milliseconds: int = 0, **more: str) -> GapCharged:
    """Return an entry that the ledger has already."""
    why = more.get("reason", gaps.SILENT)
    values = (change, why, flops, 1_000, "1 x X (bf16)", milliseconds, "node-1")
    return GapCharged(RUN, "pod-1", "train-0", *values)


OPEN = gap("Opened", 40_000, 40_000)
CASES = {
    "speaks: nothing": (SPEAKS, None, None),
    "silent for less than three polls: nothing": (
        replace(SPEAKS, now=AT + 29_999),
        None,
        None,
    ),
    "silent for three polls: from the mark on, and a poll more": (
        replace(SPEAKS, now=AT + 30_000),
        None,
        ("Opened", "Silent", 40_000),
    ),
    "still silent: it grows": (
        replace(SPEAKS, now=AT + 60_000),
        OPEN,
        ("Grown", "Silent", 70_000),
    ),
    "speaks again: nothing is left": (SPEAKS, OPEN, ("Reduced", "Heard", 0)),
    "a later mark, and silent since: less is left": (
        replace(SPEAKS, now=AT + 80_000, proven=AT + 50_000),
        gap("Grown", 90_000, 90_000),
        ("Reduced", "Silent", 40_000),
    ),
    "silent after a reduction to nothing: opened anew": (
        replace(SPEAKS, now=AT + 30_000),
        gap("Reduced", 0, reason=gaps.HEARD),
        ("Opened", "Silent", 40_000),
    ),
    "never heard, within the grace time: nothing": (
        replace(SPEAKS, now=AT + 119_999, heard=False, metered=False),
        None,
        None,
    ),
    "never heard, grace over: from its start": (
        replace(SPEAKS, now=AT + 120_000, heard=False, metered=False),
        None,
        ("Opened", "NotMetered", 130_000),
    ),
    "heard before a restart: it was charged, and stays so": (
        replace(SPEAKS, now=AT + 10_000, heard=False),
        OPEN,
        ("Opened", "Silent", 40_000),
    ),
    "its node is not ready: that is why": (
        replace(SPEAKS, now=AT + 30_000, node_lost=True),
        None,
        ("Opened", "NodeLost", 40_000),
    ),
    "ended a second after its mark, no record yet: nothing": (
        replace(SPEAKS, now=AT + 9_000, ended=AT + 1_000),
        None,
        None,
    ),
    "ended and over without a record: closed at its end": (
        replace(SPEAKS, now=AT + 99_000, ended=AT + 1_000, over=True),
        None,
        ("Closed", "EndedUnproven", 11_000),
    ),
    "an accepted final record: nothing": (
        replace(SPEAKS, now=AT + 99_000, ended=AT, over=True, final=True),
        None,
        None,
    ),
    "an accepted final record after a gap: nothing is left": (
        replace(SPEAKS, now=AT + 99_000, ended=AT, over=True, final=True),
        OPEN,
        ("Reduced", "FinalRecord", 0),
    ),
    "its marks fell: charged though it speaks": (
        replace(SPEAKS, now=AT + 5_000, proven=AT + 5_000, regressed=AT),
        None,
        ("Opened", "Regressed", 15_000),
    ),
    "its marks fell: no final record is believed": (
        replace(SPEAKS, now=AT + 5_000, regressed=AT, ended=AT, over=True, final=True),
        None,
        ("Closed", "Regressed", 10_000),
    ),
    "no accelerator, and nobody asked for it: nothing": (
        replace(SPEAKS, now=AT + 900_000, peak=0),
        None,
        None,
    ),
}


@pytest.mark.parametrize(
    ("known", "before", "expected"), CASES.values(), ids=CASES.keys()
)
def test_what_a_stream_is_charged(
    known: Stream, before: GapCharged | None, expected: tuple[str, str, int] | None
) -> None:
    """At 1,000 FLOP/s a millisecond is one FLOP."""
    found = gaps.charge(RUN, known, before, PATIENCE, closed=False)

    told = None if found is None else (found.change, found.reason, found.flops)
    assert told == expected


@pytest.mark.parametrize(
    ("gain", "left"),
    [(0, 40_000), (15_000, 25_000), (90_000, 0)],
    ids=["nothing new", "a later mark", "a mark above the charge"],
)
def test_a_closed_gap_only_falls(gain: int, left: int) -> None:
    """By what the stream's mark rose since: the sum of both stays a bound."""
    late = replace(SPEAKS, now=AT + 10**9, over=True, ended=AT, gain=gain)
    found = gaps.charge(RUN, late, gap("Closed", 40_000), PATIENCE, closed=True)

    assert found is not None
    assert found.flops == left


def test_a_part_of_a_flop_counts_as_a_whole() -> None:
    """Rounding down would break the bound."""
    assert gaps.flops(1_001, 1) == 2


def test_growth_waits_for_a_settlement() -> None:
    """A silent stream must not fill the ledger; everything else is told at once."""
    grown = replace(OPEN, change="Grown", flops=50_000)

    assert gaps.news({"pod-1": grown}, {"pod-1": OPEN}, due=False) == ()
    assert gaps.news({"pod-1": grown}, {"pod-1": OPEN}, due=True) == (grown,)
    assert gaps.news({"pod-1": OPEN}, {}, due=False) == (OPEN,)


def test_that_marks_fell_is_told_at_once_and_once() -> None:
    """An operator that starts anew has nothing but the ledger to know it from."""
    fell = replace(OPEN, change="Grown", reason="Regressed")
    grown = replace(fell, flops=50_000)

    assert gaps.news({"pod-1": fell}, {"pod-1": OPEN}, due=False) == (fell,)
    assert gaps.news({"pod-1": grown}, {"pod-1": fell}, due=False) == ()
