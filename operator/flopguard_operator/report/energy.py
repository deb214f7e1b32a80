"""Add up the energy that the ledger has of each run, and say what is missing.

A figure is of devices, so it is a run's only if they were its pod's alone: a device
that two pods held at one time, or a sidecar that saw other devices than its pod was
given, leaves that pod without a figure rather than count anything twice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction

from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import EnergyNoted
from flopguard_operator.ledger.machines import counted
from flopguard_operator.report.rounding import two_figures

MEGAWATT_HOUR = 3_600_000_000_000  # millijoules


@dataclass(frozen=True)
class Energy:
    """The energy of a run or a program."""

    millijoules: int = 0
    """Of the pods that are measured."""
    pods: int = 0
    measured: int = 0
    """Pods that have a figure."""
    whole: int = 0
    """Of them: from the start of the sidecar to the final record."""
    shared: int = 0
    """Pods without a figure: another pod held a device at the same time."""
    foreign: int = 0
    """Pods without a figure: the devices are not those that the pod was given."""
    imported: int = 0
    """Jobs that were not metered."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing from the figure."""
        return self.pods == self.whole > 0 and not self.imported

    @property
    def amount(self) -> str:
        """The figure as the form asks for it: MWh, two significant figures."""
        return f"{two_figures(Fraction(self.millijoules, MEGAWATT_HOUR))} MWh"


NO_ENERGY = Energy()


def of_runs(accounts: Mapping[str, Account]) -> dict[str, Energy]:
    """Return the energy of each run, by UID.

    Args:
        accounts: all of the ledger: a device may be shared by pods of any two runs.
    """
    parts = {uid: _Part.of(account) for uid, account in accounts.items()}
    notes = (n for part in parts.values() for own in part.own.values() for n in own)
    shared = _shared(notes)
    return {uid: part.energy(shared) for uid, part in parts.items()}


def together(parts: Iterable[Energy], imported: int) -> Energy:
    """Return the energy of a program: the sum over its runs."""
    found = list(parts)
    total = {f.name: sum(getattr(e, f.name) for e in found) for f in fields(Energy)}
    return Energy(**{**total, "imported": imported})


def _shared(notes: Iterable[EnergyNoted]) -> set[str]:
    """Return the streams that held a device while another stream held it.

    The times are of one clock: that of the node which the device is in.
    """
    held: dict[str, list[tuple[int, int, str]]] = {}
    for note in notes:
        for device in note.devices.split(" "):
            held.setdefault(device, []).append((note.since, note.until, note.stream))
    found: set[str] = set()
    for spans in held.values():
        spans.sort()
        _, until, stream = spans[0]
        for since, end, other in spans[1:]:
            if since < until and other != stream:
                found |= {stream, other}
            if end > until:
                until, stream = end, other
    return found


@dataclass(frozen=True)
class _Part:
    """What the pods of one run told."""

    pods: int
    told: int
    """Pods that told anything."""
    own: Mapping[str, list[EnergyNoted]]
    """By stream, of devices that can be the pod's own."""
    devices: Mapping[str, int]
    """How many each stream has, as far as it is known."""

    @classmethod
    def of(cls, account: Account) -> "_Part":
        told: dict[str, list[EnergyNoted]] = {}
        for note in account.energies.values():
            told.setdefault(note.stream, []).append(note)
        given = {one.stream: counted(one.devices)[0] for one in account.attempts}
        devices = {**_seen(account), **{s: n for s, n in given.items() if n}}
        own = {
            stream: notes
            for stream, notes in told.items()
            if all(len(n.devices.split(" ")) <= devices.get(stream, 0) for n in notes)
        }
        pods = len({*account.streams, *given, *told})
        return cls(pods, len(told), own, devices)

    def energy(self, shared: set[str]) -> Energy:
        """Return the sum over the pods that shared no device."""
        found = {s: notes for s, notes in self.own.items() if s not in shared}
        return Energy(
            millijoules=sum(n.millijoules for notes in found.values() for n in notes),
            pods=self.pods,
            measured=len(found),
            whole=sum(_is_whole(ns, self.devices[s]) for s, ns in found.items()),
            shared=len(self.own) - len(found),
            foreign=self.told - len(self.own),
        )


def _is_whole(notes: list[EnergyNoted], devices: int) -> bool:
    one = notes[0]
    told = len(one.devices.split(" "))
    return len(notes) == 1 and one.whole and one.final and told == devices


def _seen(account: Account) -> dict[str, int]:
    """Return how many devices the processes of each stream said that they see."""
    found: dict[str, int] = {}
    for note in account.noted.values():
        machine = account.machines.get(note.digest)
        count = len(machine.gpus) if machine else 0
        found[note.stream] = max(found.get(note.stream, 0), count)
    return found


def in_form(energy: Energy) -> str:
    """Return the form's item; what is not measured is "N/A" with the reason."""
    if energy.is_complete:
        return energy.amount
    if energy.measured:
        pods = f"{energy.measured} of {energy.pods} pod(s)"
        return f"at least {energy.amount}, measured on {pods}"
    if not energy.pods:
        return "N/A. No pod has run yet."
    why = " ".join(_left_out(energy)) or (
        "No pod told the energy counter of its devices: it has none, or its sidecar"
        " does not see them through NVML."
    )
    return f"N/A. {why}"


def methodology(energy: Energy) -> str:
    """Return how the energy was found, in about a hundred words."""
    if not energy.measured:
        return "No methodology: nothing was measured."
    ended = energy.measured - energy.whole
    said = [
        (
            "Measured by the devices themselves: NVML's energy counter of each"
            " accelerator, read every 5 seconds in each pod, from the start of its"
            " sidecar to its end, with the time in which it waited. Processors, memory,"
            " network and cooling are not in it."
        ),
        *_left_out(energy),
    ]
    if ended:
        said.append(
            f"{ended} of the measured pods still run, or have not told all: the figure"
            " is what is known of them."
        )
    if energy.imported:
        said.append(f"Of {energy.imported} imported job(s) no energy is known.")
    return " ".join(said)


def _left_out(energy: Energy) -> list[str]:
    """Return why pods have no figure although their sidecar told one."""
    said = []
    if energy.shared:
        said.append(
            f"{energy.shared} pod(s) shared a device with another pod: what it drew is"
            " left out, since it cannot be told apart."
        )
    if energy.foreign:
        said.append(
            f"The sidecars of {energy.foreign} pod(s) saw other devices than their pod"
            " was given: what these drew is left out."
        )
    return said
