"""Decode the sidecar's final record from a pod's status (docs/formats.md).

The kubelet delivers the record even when the operator, Prometheus and the network were
down while the pod ended. It comes from a tenant's pod, so everything is checked.
"""

import re
import zlib
from dataclasses import replace

from flopguard_operator import energy as energies
from flopguard_operator.marks import Mark, merge
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.observed import Pod

_COUNTERS = ",".join(rf'"{name}":"(?P<{name}>[0-9]{{44}})"' for name in CATEGORIES)
_FORM = re.compile(
    r'(?P<covered>\{"flopguard":"final/1","final":(?P<final>[01]),'
    r'"sequence":"[0-9]{20}","done":\{' + _COUNTERS + r"\},"
    r'"begun":"(?P<begun>[0-9]{44})","steps":"(?P<steps>[0-9]{24})",'
    r'"pages":"(?P<pages>[0-9]{4})","errors":"[0-9]{6}","digest":"[0-9a-f]{64}")'
    r',"crc32":"(?P<crc>[0-9a-f]{8})"\}'
)


def decode(message: str, stream: str) -> Mark | None:
    """Return the mark in a termination message; None if it holds no valid record.

    A second line, of energy, is `energy`'s; anything else after it is none of ours.
    """
    record, _, rest = message.partition("\n")
    found = _FORM.fullmatch(record)
    if found is None or not record.isascii():
        return None
    # The kubelet cuts a message that is too long, anywhere.
    if rest[: len(energies.PREFIX)] != energies.PREFIX[: len(rest)]:
        return None
    if zlib.crc32(found["covered"].encode()) != int(found["crc"], 16):
        return None
    done = {name: int(found[name]) for name in CATEGORIES}
    begun = int(found["begun"])
    if sum(done.values()) > begun:
        return None
    return Mark(
        stream=stream,
        done=done,
        begun=begun,
        steps=int(found["steps"]),
        pages=int(found["pages"]),
        source="pod-status",
        final=found["final"] == "1",
    )


def mark(pod: Pod) -> Mark | None:
    """Return the last mark in a pod's status; final only if its main containers ended.

    And that before the sidecar did: one that was told to stop while the trainer still
    ran cannot know the end (`early-final` in tests/robustness/metering_model.py).
    """
    found = decode(pod.last_words, pod.uid)
    if found is None or not found.final or (pod.ended and pod.spoke_last):
        return found
    return replace(found, final=False)


def energy(pod: Pod) -> energies.Told | None:
    """Return the energy in a pod's status; final where its mark is; None for none."""
    last = mark(pod)
    if last is None:
        return None
    line = pod.last_words.partition("\n")[2].removesuffix("\n")
    return energies.told(line, final=last.final)


def merged(known: Mark | None, last: Mark) -> Mark:
    """Return a pod's mark, given what live sources say and the one of its status.

    A final mark is exact and stands alone: Prometheus' samples of the same counters
    are rounded. More done than in the end means that pages were removed; that stays.
    """
    if known is None:
        return last
    both = merge(known, last)
    return last if last.final and both.done == last.done else both
