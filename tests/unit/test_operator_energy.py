"""Energy on its way through the operator: heard, entered, added up, reported."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import energy, finalrecord, sidecars
from flopguard_operator.energy import MOST_LIVES, Told, news
from flopguard_operator.heard import Heard
from flopguard_operator.ledger.accounts import Account, apply
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    EnergyNoted,
    Event,
    Imported,
    RunRef,
)
from flopguard_operator.observed import Pod
from flopguard_operator.report import energy as report
from flopguard_operator.report.energy import Energy
from flopguard_sidecar.energy import NO_ENERGY, Instant
from flopguard_sidecar.samples import GpuSample, reading
from standins import objects
from standins.told import marks_json, page
from standins.world import World

RUN = RunRef("run-1", "ml", "sft")
OTHER = RunRef("run-2", "ml", "dpo")
START = 1_700_000_000_000
GOOD = Told("nvml", True, START, START + 5000, 1000, ("GPU-a",))  # noqa: FBT003 - whole


def noted(account: Account, *lines: Told, due: bool = True) -> list[EnergyNoted]:
    """Return what is entered of these lines of pod-1."""
    return list(news(RUN, account, {"pod-1": lines}, due=due))


def taken(ref: RunRef, *events: Event) -> Account:
    """Return the account of a run after these events."""
    account = Account(ref)
    for event in events:
        account = apply(account, event)
    return account


def test_a_line_is_entered_when_it_says_much_more_and_at_its_end() -> None:
    """A twentieth more, at a settlement; the end in any case, and once."""
    (first,) = noted(Account(RUN), GOOD)
    account = taken(RUN, first)
    more = replace(GOOD, millijoules=1051, until=START + 6000)
    last = replace(GOOD, millijoules=1001, until=START + 6000, final=True)

    assert noted(Account(RUN), GOOD, due=False) == []
    assert noted(account, GOOD, replace(GOOD, millijoules=1050)) == []
    assert [e.millijoules for e in noted(account, more)] == [1051]
    (end,) = noted(account, last, due=False)
    assert (end.millijoules, end.final) == (1001, True)
    assert noted(taken(RUN, first, end), last, more) == []


def test_a_line_that_is_not_whole_any_more_is_entered_once() -> None:
    """Else a pod that vanishes would stand as measured without a gap."""
    account = taken(RUN, *noted(Account(RUN), GOOD))
    torn = replace(GOOD, millijoules=1001, until=START + 6000, whole=False)
    (entry,) = noted(account, torn)
    later = taken(RUN, *account.energies.values(), entry)

    assert (entry.millijoules, entry.whole) == (1001, False)
    assert noted(account, torn, due=False) == []
    assert noted(later, replace(torn, until=START + 7000)) == []
    assert noted(later, replace(torn, until=START + 7000, whole=True)) == []


def test_late_and_repeated_lines_change_nothing() -> None:
    """As marks, they only grow; what falls is not entered."""
    newer = replace(GOOD, millijoules=3000, until=START + 9000)

    assert [e.millijoules for e in noted(Account(RUN), newer, GOOD, newer)] == [3000]
    assert noted(taken(RUN, *noted(Account(RUN), newer)), GOOD) == []


def test_a_restarted_sidecar_adds_to_what_the_one_before_told() -> None:
    """Each life by itself, and no more of them than are bearable."""
    lives = [replace(GOOD, since=START + n, until=START + 9000) for n in range(20)]
    account = taken(RUN, *noted(Account(RUN), *lives))

    assert len(account.energies) == MOST_LIVES
    assert noted(account, *lives) == []


class Sidecars:
    """A stand-in for the sidecars: what pod-1 tells next."""

    def __init__(self) -> None:
        self.energy: energy.Told | None = None

    async def listen(self, pods: Iterable[Pod]) -> Mapping[str, Heard]:
        """Answer as `sidecars.listen` does."""
        heard = sidecars.parse_whole(marks_json(page(1, 3)), "pod-1")
        assert heard is not None
        told = replace(heard, energy=self.energy)
        return {pod.uid: told for pod in pods if pod.uid == "pod-1"}


def line(millijoules: int) -> str:
    """Return the sidecar's own line of an hour."""
    found = NO_ENERGY
    for at, drawn in ((0, 0), (3600, millijoules)):
        sample = GpuSample("GPU-a", energy_joules=drawn / 1000)
        found = found.after(
            reading("nvml", [sample]), Instant(START + 1000 * at, float(at))
        )
    return found.line()


def test_energy_reaches_the_ledger_and_it_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live, then from the pod's status; an operator that starts anew adds nothing."""
    told, world = Sidecars(), World(tmp_path)
    monkeypatch.setattr(sidecars, "listen", told.listen)
    told.energy = energy.told(line(1_000_000))
    world.once(objects.gpu_pod())
    end = objects.final_record(10**9) + line(2_000_000) + "\n"
    world.once(objects.gpu_pod(words=end, ended=True))
    world.start()
    world.once()

    live, last = world.recorded(EnergyNoted)
    assert (live.millijoules, live.final) == (1_000_000, False)
    assert (last.millijoules, last.final) == (2_000_000, True)
    assert world.verified().outcome == "ok"
    (drawn,) = report.of_runs(
        {uid: a for uid, a in world.books.accounts.items() if a.attempts}
    ).values()
    assert drawn == Energy(2_000_000, pods=1, measured=1, whole=1)


def test_a_record_with_a_torn_line_of_energy_is_a_record(tmp_path: Path) -> None:
    """The mark counts all the same."""
    world = World(tmp_path)
    words = objects.final_record(10**9) + line(5)[:-3]
    world.once(objects.gpu_pod(words=words, ended=True))

    assert world.recorded(EnergyNoted) == []
    assert world.status()["flops"]["measured"] == str(10**9)


def test_a_record_whose_line_of_energy_was_cut_is_a_record() -> None:
    """The kubelet cuts a long message of a pod with many containers, anywhere."""
    record = objects.final_record(10**9)

    for length in range(len(line(5)) + 1):
        mark = finalrecord.decode(record + line(5)[:length], "pod-1")
        assert mark is not None, f"cut after {length} characters of the second line"
        assert mark.measured == 10**9
    assert finalrecord.decode(record + "enigma", "pod-1") is None


def pod(stream: str, run: RunRef = RUN, devices: str = "1 x H100") -> AttemptOpened:
    """Return the entry of a pod that started."""
    return AttemptOpened(run, stream, stream, "job", "", "Started", devices=devices)


def drew(stream: str, run: RunRef = RUN, **more: Any) -> EnergyNoted:
    """Return the last word on a pod: a kilojoule in the first hour."""
    entry = EnergyNoted(
        run=run,
        stream=stream,
        source="nvml",
        since=START,
        until=START + 3_600_000,
        millijoules=1_000_000,
        devices=f"GPU-{stream}",
        whole=True,
        final=True,
    )
    return replace(entry, **more)


LATER: dict[str, Any] = {"since": START + 3_600_000, "until": START + 7_200_000}
SAME: dict[str, Any] = {"devices": "GPU-a"}
STORIES: dict[str, tuple[tuple[Event, ...], Energy, str]] = {
    "nothing ran": ((), Energy(), "N/A. No pod has run yet."),
    "a pod that tells nothing": (
        (pod("a"),),
        Energy(pods=1),
        "N/A. No pod told the energy counter of its devices",
    ),
    "all of it": (
        (pod("a"), drew("a"), pod("b"), drew("b")),
        Energy(2_000_000, pods=2, measured=2, whole=2),
        "5.6x10^-7 MWh",
    ),
    "one of two pods": (
        (pod("a"), drew("a"), pod("b")),
        Energy(1_000_000, pods=2, measured=1, whole=1),
        "at least 2.8x10^-7 MWh, measured on 1 of 2 pod(s)",
    ),
    "a pod that still runs": (
        (pod("a"), drew("a", final=False)),
        Energy(1_000_000, pods=1, measured=1),
        "at least 2.8x10^-7 MWh, measured on 1 of 1 pod(s)",
    ),
    "a sidecar that was restarted": (
        (pod("a"), drew("a", final=False), drew("a", **LATER)),
        Energy(2_000_000, pods=1, measured=1),
        "at least 5.6x10^-7 MWh",
    ),
    "two pods at once on one device": (
        (pod("a"), drew("a"), pod("b"), drew("b", **SAME)),
        Energy(pods=2, shared=2),
        "N/A. 2 pod(s) shared a device with another pod",
    ),
    "one after the other on one device": (
        (pod("a"), drew("a"), pod("b"), drew("b", **SAME, **LATER)),
        Energy(2_000_000, pods=2, measured=2, whole=2),
        "5.6x10^-7 MWh",
    ),
    "a sidecar that sees all devices of the node": (
        (pod("a"), drew("a", devices="GPU-a GPU-b")),
        Energy(pods=1, foreign=1),
        "N/A. The sidecars of 1 pod(s) saw other devices",
    ),
    "another pod's sidecar sees this pod's device too": (
        (pod("a"), drew("a"), pod("b"), drew("b", devices="GPU-a GPU-b")),
        Energy(1_000_000, pods=2, measured=1, whole=1, foreign=1),
        "at least 2.8x10^-7 MWh",
    ),
    "a pod that was given no device": (
        (pod("a", devices=""), drew("a")),
        Energy(pods=1, foreign=1),
        "N/A. The sidecars of 1 pod(s) saw other devices",
    ),
    "one device of two": (
        (pod("a", devices="2 x H100"), drew("a")),
        Energy(1_000_000, pods=1, measured=1),
        "at least 2.8x10^-7 MWh",
    ),
}


@pytest.mark.parametrize(("events", "right", "text"), STORIES.values(), ids=STORIES)
def test_energy_of_a_run_says_what_is_missing(
    events: tuple[Event, ...], right: Energy, text: str
) -> None:
    """No device counts twice, and no figure claims more than was measured."""
    found = report.of_runs({RUN.uid: taken(RUN, *events)})[RUN.uid]

    assert found == right
    assert report.in_form(found).startswith(text)
    assert len(report.methodology(found).split()) < 130


def test_a_device_that_pods_of_two_runs_hold_counts_for_neither() -> None:
    """Also of two programs: what it drew cannot be told apart."""
    one = taken(RUN, pod("a"), drew("a"))
    two = taken(OTHER, pod("b", OTHER), drew("b", OTHER, **SAME))

    found = report.of_runs({RUN.uid: one, OTHER.uid: two})
    assert {e.shared for e in found.values()} == {1}
    assert sum(e.millijoules for e in found.values()) == 0


def test_a_program_is_the_sum_of_its_runs_and_of_no_import() -> None:
    """Of an imported job no energy is known, so the figure is a lower bound."""
    parts = [Energy(5, pods=1, measured=1, whole=1), Energy(7, 2, 1, 1)]
    whole = report.together(parts, imported=0)
    job = Imported(RUN, "old", "facts", 1, 2, 3, "", "", "", "", "")
    mixed = report.together(parts[:1], imported=len([job]))

    assert whole == Energy(12, pods=3, measured=2, whole=2)
    assert report.in_form(mixed).startswith("at least")
    assert "Of 1 imported job(s)" in report.methodology(mixed)
