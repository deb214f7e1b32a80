"""Remember when each stream was heard last, on the operator's monotonic clock.

A restart loses that clock. What the ledger tells of a stream then stands in: it was
heard no later than the time of its last entry, less the silence that the entry charges,
or the grace time. That is earlier than the truth, so it charges more, until the stream
speaks. If the wall clock was set back meanwhile the time between is taken for none.
Times are given in, in milliseconds: nothing here reads a clock.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flopguard_operator.allocation import Allocation
from flopguard_operator.gaps import REGRESSED
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Event,
    GapCharged,
    Settlement,
)
from flopguard_operator.marks import Mark, merge
from flopguard_operator.naming import CATEGORIES


class Heard(Protocol):
    """What a sidecar told: a mark, and until when it proves all that had begun."""

    @property
    def mark(self) -> Mark:
        """The mark of its stream."""

    @property
    def proven(self) -> int:
        """Milliseconds."""


@dataclass(frozen=True)
class Place:
    """Where a stream runs, kept when its pod is gone from the API server."""

    pod: str
    allocation: Allocation
    gone: bool = False  # the API server has no such pod any more
    run: str = ""  # UID of the run that it is counted for


@dataclass
class Hearing:
    """The short memory of one operator about its streams, by pod UID."""

    proven: dict[str, int] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)  # in this life of the operator
    regressed: dict[str, int] = field(default_factory=dict)
    said: dict[str, Mark] = field(default_factory=dict)
    """What a sidecar said in the read from which on it is charged for its fall."""
    ended: dict[str, int] = field(default_factory=dict)
    reaping: dict[str, int] = field(default_factory=dict)
    """Since when the node of a deleted pod was seen ready, without a break."""
    places: dict[str, Place] = field(default_factory=dict)
    _direct: dict[str, Heard] = field(default_factory=dict)

    def take(self, proven: Mapping[str, int]) -> None:
        """Take in that everything of these streams is marked that had begun by then."""
        for stream, when in proven.items():
            known = self.proven.get(stream)
            if stream not in self.heard or known is None or known < when:
                self.proven[stream] = max(when, known) if known is not None else when
            self.heard.add(stream)

    def memory(self) -> tuple[dict[str, int], set[str]]:
        """Return what `take` changes, for `recall`."""
        return dict(self.proven), set(self.heard)

    def recall(self, memory: tuple[dict[str, int], set[str]]) -> None:
        """Unhear all since: the marks that were heard have not become durable."""
        self.proven, self.heard = dict(memory[0]), set(memory[1])

    def unhear(
        self, streams: Iterable[str], memory: tuple[dict[str, int], set[str]]
    ) -> None:
        """Unhear these streams since: nobody makes their marks durable."""
        proven, heard = memory
        for stream in streams:
            if stream not in heard:
                self.heard.discard(stream)
            if stream in proven:
                self.proven[stream] = proven[stream]
            else:
                self.proven.pop(stream, None)

    def compare(self, told: Mapping[str, Heard], known: Mapping[str, Mark]) -> None:
        """Compare marks that sidecars tell directly with what was known before.

        After a restart that is the high-water mark. Nothing that Prometheus says is
        ever taken for a fall: only a direct read can be too low.

        Args:
            told: by stream; later than all that was given before.
            known: the high-water marks, as of before.
        """
        for stream, now in told.items():
            before = self._direct.get(stream)
            if before is not None and fell(before.mark, now.mark):
                self.regressed.setdefault(stream, before.proven)
                self.said.setdefault(stream, before.mark)
            if stream in known and _is_below(now.mark, known[stream]):
                since = self.proven.get(stream, now.proven)
                self.regressed.setdefault(stream, since)
            self._direct[stream] = now

    def with_said(self, found: Mapping[str, Mark]) -> dict[str, Mark]:
        """Return marks with what streams said before they fell.

        The charge starts at that read, so that its mark has to count; the cycle that
        read it may have failed to write it.
        """
        whole = dict(found)
        for stream, mark in self.said.items():
            whole[stream] = merge(whole.get(stream, mark), mark)
        return whole

    def rebuild(
        self, stream: str, since: int, gap: GapCharged | None, slack: int
    ) -> None:
        """Stand in for what was heard before a restart.

        Args:
            stream: of which nothing was heard yet.
            since: when the ledger's last entry about it was written.
            gap: charged in that entry, or before.
            slack: how long it may have been silent without a gap.
        """
        if stream in self.proven:
            return
        charged = gap is not None and gap.flops > 0
        silent = gap.milliseconds if gap is not None and charged else slack
        self.proven[stream] = since - silent
        if gap is not None and charged and gap.reason == REGRESSED:
            self.regressed.setdefault(stream, since - silent)

    def start(self, stream: str, when: int) -> None:
        """Take in when a pod of which nothing was ever heard has started."""
        self.proven.setdefault(stream, when)

    def end(self, stream: str, now: int, *, dead: bool) -> None:
        """Take in whether the containers of a stream are known to be dead."""
        if dead:
            self.ended.setdefault(stream, now)
        else:
            self.ended.pop(stream, None)

    def reap(self, stream: str, now: int, *, ready: bool) -> int:
        """Take in how the node of a deleted pod is; return for how long it was ready.

        A node that was cut off and comes back has yet to stop the containers.
        """
        if not ready:
            self.reaping.pop(stream, None)
            return 0
        return now - self.reaping.setdefault(stream, now)

    def of_run(self, run: str) -> list[str]:
        """Return the streams that are remembered of a run."""
        return [s for s, place in self.places.items() if place.run == run]

    def forget(self, stream: str) -> None:
        """Forget where a stream ran: nothing more can come of it."""
        self.places.pop(stream, None)

    def keep(self, streams: Collection[str]) -> None:
        """Forget all streams but these."""
        kept = set(streams)
        self.heard &= kept
        for memory in (
            self.proven,
            self.regressed,
            self.said,
            self.ended,
            self.reaping,
            self.places,
            self._direct,
        ):
            for stream in memory.keys() - kept:
                del memory[stream]


def dated(event: Event, account: Account) -> str:
    """Return the stream that an entry says the time of, "" for none.

    While a gap is open only its own entries do: their silence counts up to them.

    Args:
        event: of the entry.
        account: of its run, with the entry.
    """
    if isinstance(event, GapCharged):
        return event.stream
    if not isinstance(event, AttemptOpened | Settlement):
        return ""
    gap = account.gaps.get(event.stream)
    return "" if gap is not None and gap.flops else event.stream


def fell(before: Mark, after: Mark) -> bool:
    """Say whether a counter of a stream is lower than the same sidecar said before."""
    return _is_below(after, before) or after.begun < before.begun


def _is_below(mark: Mark, known: Mark) -> bool:
    """Say whether less is done. Of samples, `done` is rounded down and `begun` up."""
    return any(mark.done.get(c, 0) < known.done.get(c, 0) for c in CATEGORIES)
