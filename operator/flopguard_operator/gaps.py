"""Decide what a stream is charged for time that no mark proves. Pure.

A mark proves all work that had begun when its pages were read. From then on a stream
may run at the peak of its devices, so that

    truth <= begun + peak x (now - proven)

whatever failed. While a stream speaks nothing is charged; once it has been silent for
three polls the whole time since its last mark is. The charge grows while the silence
lasts, is closed when the API server proves the containers dead, and later evidence can
only reduce it. All times are milliseconds of the operator's own monotonic clock; a
restart rebuilds them from what the ledger has (`hearing.py`), rather too early.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flopguard_operator.ledger.entries import GapCharged, RunRef

OPENED, GROWN, CLOSED, REDUCED = "Opened", "Grown", "Closed", "Reduced"

SILENT = "Silent"
"""The sidecar was not heard for three polls, neither directly nor by Prometheus."""
NOT_METERED = "NotMetered"
"""Nothing counts in the pod: no sidecar, or a sidecar without a page of the hook."""
NODE_LOST = "NodeLost"
"""The pod's node is gone, or no longer ready."""
ENDED_UNPROVEN = "EndedUnproven"
"""The containers are dead and left no final record that can be accepted."""
REGRESSED = "Regressed"
"""The marks of a sidecar fell: pages were removed. They prove nothing any more."""
HEARD = "Heard"
"""Reduced: the stream spoke again, and its mark covers the silence."""
FINAL_RECORD = "FinalRecord"
"""Reduced: the final record in the pod's status is exact."""
LATE_MARK = "LateMark"
"""Reduced: a later mark of a stream that was closed."""

REASONS = frozenset(
    (
        SILENT,
        NOT_METERED,
        NODE_LOST,
        ENDED_UNPROVEN,
        REGRESSED,
        HEARD,
        FINAL_RECORD,
        LATE_MARK,
    )
)


@dataclass(frozen=True)
class Patience:
    """How long is waited, in milliseconds."""

    poll: int = 15_000  # between two looks; charged on top, to last until the next
    grace: int = 120_000  # until a pod that started has to be metered

    @property
    def silence(self) -> int:
        """How long a stream may be silent: three polls."""
        return 3 * self.poll


@dataclass(frozen=True)
class Stream:
    """What is known of one stream at one instant."""

    stream: str  # pod UID
    pod: str
    node: str
    devices: str
    peak: int  # FLOP/s; 0: nothing is charged
    now: int
    proven: int  # all that had begun by then is in its mark; or when the pod started
    heard: bool = True  # in this life of the operator; False: `proven` was rebuilt
    metered: bool = True  # a page of the hook was seen, or something counted
    node_lost: bool = False
    gone: bool = False  # its pod was deleted
    regressed: int | None = None  # the last read before its marks fell
    ended: int | None = None  # since when its containers are known to be dead
    over: bool = False  # and its sidecar too: no final record will come
    final: bool = False  # an accepted final record
    gain: int = 0  # FLOPs by which `begun` is above what the ledger has settled


def is_open(gap: GapCharged | None, *, closed: bool) -> bool:
    """Say whether a gap goes on: it was opened, and neither closed nor undone."""
    return gap is not None and not closed and gap.flops > 0


def flops(peak: int, milliseconds: int) -> int:
    """Return what devices of `peak` FLOP/s can execute in that time, rounded up."""
    return -(-peak * milliseconds // 1000)


def charge(
    run: RunRef,
    known: Stream,
    before: GapCharged | None,
    patience: Patience,
    *,
    closed: bool,
) -> GapCharged | None:
    """Return the gap of a stream as of now; `before` itself where nothing changed.

    Args:
        run: that the stream is counted for.
        known: the stream.
        before: the newest entry about its gap, None for none.
        patience: how long is waited.
        closed: whether the ledger has closed its gap.
    """
    if known.final and _is_exact(known):
        return _reduced(before, 0, 0, FINAL_RECORD)
    if closed:
        left = before.flops - known.gain if before else 0
        # The newest entry alone tells the next operator that marks fell.
        fell = before is not None and before.reason == REGRESSED
        why = REGRESSED if fell else LATE_MARK
        return _reduced(before, max(0, left), None, why)
    if known.peak == 0:
        return before
    if not _is_due(known, before, patience):
        speaks = known.heard and known.metered and known.regressed is None
        return _reduced(before, 0, 0, HEARD) if speaks else before
    return _charged(run, known, before, patience)


def _is_exact(known: Stream) -> bool:
    """Say whether a final record tells all: not of pages that are gone, or never were.

    A hook that was switched off leaves a record of nothing, as does a pod that failed
    before it computed. Nobody can tell them apart, however soon they ended.
    """
    return known.regressed is None and known.metered


def _is_due(known: Stream, before: GapCharged | None, patience: Patience) -> bool:
    """Say whether the stream has been silent, or unproven, for long enough."""
    if known.over or known.regressed is not None:
        return True
    if known.gone and not known.heard:
        return True  # at once: an operator that dies now leaves no trace of it
    unproven = not known.metered or not known.heard
    waited = known.now - known.proven
    limit = patience.silence
    if unproven and before is None and not known.gone:
        limit = max(limit, patience.grace)
    return waited >= limit


def _charged(
    run: RunRef, known: Stream, before: GapCharged | None, patience: Patience
) -> GapCharged:
    since = known.proven if known.regressed is None else known.regressed
    until = known.now if known.ended is None else known.ended
    milliseconds = max(0, until - since) + patience.poll
    total = flops(known.peak, milliseconds)
    going_on = is_open(before, closed=False)
    change = CLOSED if known.over else GROWN if going_on else OPENED
    if before is not None and going_on and total < before.flops:
        if known.heard and change != CLOSED and known.regressed is None:
            change = REDUCED  # a later mark, though again an old one
        else:
            # Nothing new is proven: what was charged stays charged.
            total, milliseconds = before.flops, before.milliseconds
            known = _as(known, before)
    return GapCharged(
        run=run,
        stream=known.stream,
        pod=known.pod,
        change=change,
        reason=reason(known),
        flops=total,
        peak=known.peak,
        devices=known.devices,
        milliseconds=milliseconds,
        node=known.node,
    )


def _as(known: Stream, before: GapCharged) -> Stream:
    """Return the stream with the devices that were charged before."""
    values = vars(known) | {"peak": before.peak, "devices": before.devices}
    return Stream(**values)


def reason(known: Stream) -> str:
    """Return why a stream is charged, the gravest first."""
    if known.regressed is not None:
        return REGRESSED
    if known.over or known.ended is not None:
        return ENDED_UNPROVEN
    if known.node_lost:
        return NODE_LOST
    return SILENT if known.metered else NOT_METERED


def _reduced(
    before: GapCharged | None, total: int, milliseconds: int | None, why: str
) -> GapCharged | None:
    """Return a gap with less charged; `before` itself where that is not less."""
    if before is None or total >= before.flops:
        return before
    values = vars(before) | {"change": REDUCED, "reason": why, "flops": total}
    if milliseconds is not None:
        values["milliseconds"] = milliseconds
    return GapCharged(**values)


def news(
    now: Mapping[str, GapCharged],
    before: Mapping[str, GapCharged],
    *,
    due: bool,
) -> tuple[GapCharged, ...]:
    """Return the entries to append: all but growth, which waits for a settlement.

    That marks fell does not wait: after a restart only the ledger knows it.

    Args:
        now: the gaps as of now, by stream.
        before: those that the ledger has.
        due: whether a settlement is, or a line was crossed.
    """
    return tuple(
        gap
        for stream, gap in sorted(now.items())
        if gap is not before.get(stream)
        and (due or gap.change != GROWN or _has_fallen(gap, before.get(stream)))
        and not _same(gap, before.get(stream))
    )


def _has_fallen(gap: GapCharged, before: GapCharged | None) -> bool:
    """Say whether it is news that a stream's marks fell: nothing undoes that."""
    return gap.reason == REGRESSED and (before is None or before.reason != REGRESSED)


def _same(gap: GapCharged, before: GapCharged | None) -> bool:
    """Growth of nothing is no news; closing always is."""
    return (
        before is not None
        and gap.change == GROWN
        and (gap.flops, gap.reason) == (before.flops, before.reason)
    )
