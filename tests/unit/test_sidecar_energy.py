"""The energy of a pod's devices: only growth counts, and what is missing is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator import energy as operator
from flopguard_sidecar.energy import MOST_WATTS, NO_ENERGY, Energy, Instant
from flopguard_sidecar.final import RECORD_BYTES
from flopguard_sidecar.samples import MAX_DEVICES, GpuReading, GpuSample, reading

Counters = dict[str, float | None]  # UUID → joules
START = 1_700_000_000_000
MOST_WORDS = 4096  # of a termination message


def followed(*counters: Counters, source: str = "nvml") -> Energy:
    """Return the energy after readings that are five seconds apart."""
    found = NO_ENERGY
    for number, told in enumerate(counters):
        samples = [GpuSample(uuid, energy_joules=j) for uuid, j in told.items()]
        instant = Instant(START + 5000 * number, 100.0 + 5.0 * number)
        found = found.after(reading(source, samples), instant)
    return found


STORIES: dict[str, tuple[tuple[Counters, ...], int, bool]] = {
    "one device": (({"a": 5.0}, {"a": 5.5}, {"a": 7.25}), 2_250, True),
    "two devices": (({"a": 5.0, "b": 90.0}, {"a": 6.0, "b": 92.0}), 3_000, True),
    "lost for a while": (({"a": 5.0}, {}, {"a": 9.0}), 4_000, True),
    "its driver was loaded anew": (({"a": 9e6}, {"a": 3.0}, {"a": 4.0}), 1_000, False),
    "a leap": (({"a": 5.0}, {"a": 9e9}, {"a": 9e9 + 1}), 1_000, False),
    "a second without a counter": (({"a": 5.0, "b": None}, {"a": 6.0}), 1_000, False),
    "one that came later": (({"a": 5.0}, {"a": 6.0, "b": 8.0}), 1_000, False),
    "one that stays lost": (({"a": 5.0, "b": 1.0}, {"a": 6.0}), 1_000, False),
}


@pytest.mark.parametrize(
    ("counters", "millijoules", "whole"), STORIES.values(), ids=STORIES
)
def test_what_is_told_is_the_growth_between_samples(
    counters: tuple[Counters, ...], millijoules: int, *, whole: bool
) -> None:
    """Exact in millijoules; never negative, never a leap, and the operator reads it."""
    told = operator.told(followed(*counters).line())

    assert told is not None
    assert (told.millijoules, told.whole) == (millijoules, whole)
    assert told.since == START
    assert told.until == START + 5000 * (len(counters) - 1)


def test_devices_of_the_whole_node_tell_nothing() -> None:
    """dcgm-exporter's are not the pod's alone; without a counter there is no line."""
    assert followed({"a": 5.0}, {"a": 6.0}, source="dcgm").line() == ""
    assert followed({"a": None}).line() == ""
    assert NO_ENERGY.after(GpuReading("none"), Instant(1, 1.0)).line() == ""


joules = st.integers(0, 10**15).map(lambda millijoules: millijoules / 1000)
stories = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.none() | joules, max_size=3), max_size=8
)


@given(stories)
def test_the_sum_only_grows_and_is_never_more_than_devices_can_draw(
    story: list[Counters],
) -> None:
    """Whatever the counters say; and the line never gets shorter."""
    before = followed(*story[:-1])
    after = followed(*story)

    seconds = 6 * max(0, len(story) - 1)
    assert before.millijoules <= after.millijoules
    assert after.millijoules <= 3 * MOST_WATTS * 1000 * seconds
    assert len(before.line()) <= len(after.line())
    assert not after.line() or operator.told(after.line()) is not None


def test_the_line_of_the_most_devices_fits_after_the_final_record() -> None:
    """With names as long as they may be; the kubelet cuts what is longer."""
    names: Counters = {f"{number:080d}": 1.0 for number in range(MAX_DEVICES)}
    line = followed(names).line()

    told = operator.told(line)
    assert told is not None
    assert len(told.devices) == MAX_DEVICES
    assert RECORD_BYTES + len(line) + 1 <= MOST_WORDS


GOOD = followed({"GPU-a": 1.0}, {"GPU-a": 2.0}).line()
FORGED = {
    "nothing": "",
    "cut off": GOOD[:-1],
    "another figure": GOOD.replace("1000 GPU", "2000 GPU"),
    "another version": GOOD.replace("energy/1", "energy/2"),
    "something after it": f"{GOOD} ",
    "digits that are not ASCII": GOOD.replace("0", "\u0660", 1),
    "a line break": f"{GOOD}\n",
}


@pytest.mark.parametrize("line", FORGED.values(), ids=FORGED)
def test_what_is_no_such_line_tells_nothing(line: str) -> None:
    """It comes from a tenant's pod."""
    assert operator.told(GOOD) is not None
    assert operator.told(line) is None
