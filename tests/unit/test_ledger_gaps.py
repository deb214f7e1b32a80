"""Gaps in the ledger: what a replay accepts, and which share of the time is proven."""

import pytest

from flopguard_operator.ledger import coverage, machines
from flopguard_operator.ledger.accounts import fold, totals
from flopguard_operator.ledger.contradiction import GAPS
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Entry,
    GapCharged,
    RunEvent,
    RunRef,
    Settlement,
)
from flopguard_operator.ledger.machines import Machine
from flopguard_operator.ledger.replay import Replay

RUN = RunRef("uid-a", "ml", "sft")


def gap(change: str, milliseconds: int, flops: int | None = None) -> GapCharged:
    """Return the gap of a device of 1,000 FLOP/s: a millisecond is one FLOP."""
    charged = milliseconds if flops is None else flops
    values = (change, "Silent", charged, 1_000, "2 x X (bf16)", milliseconds)
    return GapCharged(RUN, "pod-1", "train-0", *values)


def entries(*events: RunEvent) -> list[Entry]:
    """Return entries a minute apart."""
    return [
        Entry(index, f"2026-11-22T00:{index:02d}:00.000Z", event)
        for index, event in enumerate(events)
    ]


GOOD = {
    "opened, grown, closed": [gap("Opened", 5), gap("Grown", 9), gap("Closed", 9)],
    "opened and given back, and opened again": [
        gap("Opened", 50),
        gap("Reduced", 0),
        gap("Opened", 7),
    ],
    "closed at once, then reduced by a later mark": [
        gap("Closed", 50),
        gap("Reduced", 50, 20),
    ],
}
BAD = {
    "less than peak times silence": [gap("Opened", 50, 49)],
    "more than peak times silence": [gap("Closed", 50, 51)],
    "nobody opened it": [gap("Grown", 50)],
    "opened twice": [gap("Opened", 5), gap("Opened", 6)],
    "fallen without a reduction": [gap("Opened", 50), gap("Grown", 40)],
    "a reduction that is none": [gap("Opened", 50), gap("Reduced", 50)],
    "a reduction of nothing": [gap("Reduced", 0)],
    "grown after it was closed": [gap("Closed", 50), gap("Grown", 60)],
    "closed twice": [gap("Closed", 50), gap("Closed", 50)],
    "another word": [gap("Forgiven", 50)],
}


@pytest.mark.parametrize("events", GOOD.values(), ids=GOOD.keys())
def test_an_honest_gap_replays(events: list[GapCharged]) -> None:
    """The newest entry of a stream is all that it is charged."""
    replay = Replay()
    told = entries(*events)
    wrong = [w for entry in told for w in replay.step(entry)]

    assert wrong == []
    assert totals(fold(told)[RUN.uid]).gaps == events[-1].flops


@pytest.mark.parametrize("events", BAD.values(), ids=BAD.keys())
def test_a_gap_that_contradicts_itself_is_found(events: list[GapCharged]) -> None:
    """Whoever charges less than the rule, or takes back in silence, is seen."""
    replay = Replay()
    *before, last = entries(*events)
    assert [w for entry in before for w in replay.step(entry)] == []

    found = list(replay.step(last))
    assert found
    assert {each.check for each in found} == {GAPS}


def test_coverage_is_the_share_of_device_seconds_that_marks_prove() -> None:
    """Four devices for two minutes, of which half a minute was silent."""
    opened = AttemptOpened(
        RUN, "pod-1", "train-0", "job", "", "Started", devices="4 x NVIDIA-L4"
    )
    settled = Settlement(RUN, "pod-1", {}, 0, 0, 1, "sidecar", final=True)
    spans = coverage.of_entries(entries(opened, gap("Opened", 30_000), settled))

    assert coverage.parts(spans) == (4 * 90_000, 4 * 120_000)


def test_coverage_of_a_pod_that_was_never_metered_is_nothing() -> None:
    """All that is known of it is what it is charged."""
    spans = coverage.of_entries(entries(gap("Opened", 30_000), gap("Grown", 90_000)))

    assert coverage.parts(spans) == (0, 2 * 90_000)


def test_a_run_without_a_stream_has_no_coverage() -> None:
    """There is nothing to divide by."""
    assert coverage.parts(coverage.of_entries([])) == (0, 0)


@pytest.mark.parametrize(
    "facts",
    ["", "[]", "{", "[" * 100_000, '{"cpu": 5, "gpus": {}}', '{"cpu": {"cores": -1}}'],
)
def test_facts_that_are_none_are_an_empty_machine(facts: str) -> None:
    """They come from a tenant's process."""
    assert machines.read(facts) == Machine()


def test_the_largest_machine_of_a_pods_processes_counts() -> None:
    """Its processes share it; one of them may have been pinned to a core."""
    told = [
        Machine(1, "avx2", 3000),
        Machine(8, "avx2", 3000, ("NVIDIA L4",)),
    ]

    assert machines.largest(told) == Machine(8, "avx2", 3000, ("NVIDIA L4",))


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("8 x NVIDIA-H100-NVL (fp8)", (8, "NVIDIA-H100-NVL (fp8)")),
        ("2 x CPU core avx2 3000 MHz (int8)", (0, "CPU core avx2 3000 MHz (int8)")),
        ("many x NVIDIA", (0, "NVIDIA")),
        ("", (0, "")),
    ],
    ids=["accelerators", "processors", "no number", "nothing"],
)
def test_devices_are_read_back_as_they_were_written(
    devices: str, expected: tuple[int, str]
) -> None:
    """A stream that only its gap tells of is charged by what stands there."""
    assert machines.counted(devices) == expected
