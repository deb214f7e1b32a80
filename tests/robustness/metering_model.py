"""The metering protocol as a model: page, sidecar, final record, operator, ledger.

One pod, whose program is killed and started anew. A step of it is one unit of FLOPs and
takes at least one tick of the clock; the peak of its device is one unit a tick. Reads
of the sidecar arrive at any time, in any order, any number of times, or never.

Invariants (the numbers are those of the design's reliability reference):

I1  what the ledger measures was done
I2  what was executed is at most the upper bound, of a live and of a closed stream
I3  a stream that was closed by its final record is exact
I5  high-water marks never fall
I6  what is shown outside was committed before
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from robustness.checking import Model

RUNNING, ENDED, LOST = "running", "ended", "lost"


@dataclass(frozen=True)
class Bounds:
    """How much may happen.

    Attributes:
        ticks: Of the clock.
        starts: Of the program.
        steps: Of all its processes together.
        reads: Different reads of the sidecar that are on their way.
        sidecar_stops: Deaths of the sidecar, by either signal.
        crashes: Of the operator, between a decision and its commit.
    """

    ticks: int = 3
    starts: int = 2
    steps: int = 3
    reads: int = 2
    sidecar_stops: int = 1
    crashes: int = 1


class Read(NamedTuple):
    """The sum of the pages at one time."""

    done: int
    begun: int
    at: int


class Record(NamedTuple):
    """The final record, as the kubelet finds it."""

    read: Read
    final: bool
    after_mains: bool  # the sidecar ended no earlier than the main containers


class Mark(NamedTuple):
    """What the ledger holds of the stream."""

    done: int = 0
    begun: int = 0
    heard: int = 0  # when the newest read was taken
    gap: int = 0
    closed_at: int = -1  # -1: open
    is_exact: bool = False  # closed by a final record


class State(NamedTuple):
    """Everything that matters at one time."""

    now: int = 0
    pages: tuple[tuple[int, int], ...] = ((0, 0),)  # (done, begun) of each process
    starts: int = 1
    alive: bool = True
    in_flight: bool = False
    has_run: bool = False  # the step in flight was executed
    done: int = 0  # truth
    executed: int = 0  # truth
    begun: int = 0  # truth
    pod: str = RUNNING
    sidecar: bool = True
    sidecar_stops: int = 0
    record: Record | None = None
    reads: frozenset[Read] = frozenset()
    durable: Mark = Mark()
    staged: Mark | None = None
    shown: int = 0  # measured, outside of the operator
    crashes: int = 0
    forgot: bool = False  # of a planted bug: what was known was in memory only


BUGS = {
    "no-begun": "the page does not say what was begun",
    "pages-wiped": "a program that starts anew removes the pages of the one before",
    "page-by-pid": "a program that starts anew goes on in the page of the one before",
    "deltas": "reads are added up instead of merged",
    "marks-in-memory": "high-water marks do not survive a crash of the operator",
    "no-gap": "a stream that ends unproven is closed without a gap",
    "gap-of-one-poll": "a gap is charged for one poll, not back to the last mark",
    "gap-on-done": "a gap begins at what is done, not at what was begun",
    "stale-record": "a record that is not final closes a stream",
    "early-final": "a final record counts though the sidecar ended before the program",
    "no-merge": "the newest read replaces the mark",
    "evidence-ends-gap": "any late read takes a gap away whole",
    "shown-first": "totals are published before they are committed",
    "final-while-running": "a final record closes a stream whose program runs",
}


def model(bounds: Bounds, bug: str = "") -> Model[State]:
    """Return the protocol's model, with one of `BUGS` planted if named."""
    parts = (_program, _pod, _sidecar, _operator)

    def steps(state: State) -> Iterator[tuple[str, State]]:
        for part in parts:
            yield from part(state, bounds, bug)

    return Model(f"metering {bug}".strip(), State(), steps, _wrong)


Part = Callable[[State, Bounds, str], Iterator[tuple[str, State]]]


def _program(s: State, bounds: Bounds, bug: str) -> Iterator[tuple[str, State]]:
    if s.pod != RUNNING:
        return
    *older, (done, begun) = s.pages
    if not s.alive:
        if s.starts < bounds.starts:
            kept = () if bug == "pages-wiped" else s.pages
            kept = tuple(older) if bug == "page-by-pid" else kept
            pages = (*kept, (0, 0))
            yield "start", s._replace(alive=True, pages=pages, starts=s.starts + 1)
        return
    yield "kill", s._replace(alive=False, in_flight=False)
    if not s.in_flight and s.begun < bounds.steps:
        page = (done, begun if bug == "no-begun" else begun + 1)
        yield (
            "begin",
            s._replace(
                pages=(*older, page), in_flight=True, has_run=False, begun=s.begun + 1
            ),
        )
    if s.in_flight and s.has_run:
        page = (done + 1, max(begun, done + 1))
        yield (
            "finish",
            s._replace(pages=(*older, page), in_flight=False, done=s.done + 1),
        )


def _pod(s: State, bounds: Bounds, _bug: str) -> Iterator[tuple[str, State]]:
    if s.now < bounds.ticks:
        runs = s.in_flight and not s.has_run
        yield (
            "tick",
            s._replace(
                now=s.now + 1,
                has_run=s.has_run or s.in_flight,
                executed=s.executed + int(runs),
            ),
        )
    if s.pod != RUNNING:
        return
    ended = s._replace(pod=ENDED, alive=False, in_flight=False)
    if s.sidecar:  # the kubelet stops it after the program
        record = Record(_scan(s), final=True, after_mains=True)
        yield "end", ended._replace(record=record, sidecar=False)
    else:
        yield "end without sidecar", ended
    lost = s._replace(pod=LOST, alive=False, in_flight=False, sidecar=False)
    yield "node lost", lost._replace(record=None)


def _scan(s: State) -> Read:
    done, begun = map(sum, zip(*s.pages, strict=True))
    return Read(done, begun, s.now)


def _sidecar(s: State, bounds: Bounds, _bug: str) -> Iterator[tuple[str, State]]:
    if s.pod != RUNNING:
        return
    if not s.sidecar:
        yield "sidecar starts", s._replace(sidecar=True, record=None)
        return
    read = _scan(s)
    said = s._replace(record=Record(read, final=False, after_mains=False))
    if read in s.reads or len(s.reads) < bounds.reads:
        said = said._replace(reads=s.reads | {read})
    yield "scan", said
    if s.sidecar_stops < bounds.sidecar_stops:
        stopped = s._replace(sidecar=False, sidecar_stops=s.sidecar_stops + 1)
        yield "sidecar killed", stopped
        record = Record(read, final=True, after_mains=False)
        yield "sidecar told to stop", stopped._replace(record=record)


def _operator(s: State, bounds: Bounds, bug: str) -> Iterator[tuple[str, State]]:
    if s.staged is not None:
        shown = max(s.shown, s.staged.done)
        yield "commit", s._replace(durable=s.staged, staged=None, shown=shown)
        if s.crashes < bounds.crashes:
            crashed = s._replace(staged=None, crashes=s.crashes + 1)
            yield "crash", crashed._replace(forgot=bug == "marks-in-memory")
        return
    for read in s.reads:
        merged = _merged(s.durable, read, bug, forgot=s.forgot)
        if merged != s.durable:
            yield "hear", _stage(s, merged, bug)
    closes = s.pod != RUNNING or (bug == "final-while-running" and s.record is not None)
    if closes and s.durable.closed_at < 0:
        yield "close", _stage(s, _closed(s, bug), bug)


def _stage(s: State, mark: Mark, bug: str) -> State:
    shown = max(s.shown, mark.done) if bug == "shown-first" else s.shown
    return s._replace(staged=mark, shown=shown, forgot=False)


def _merged(mark: Mark, read: Read, bug: str, *, forgot: bool = False) -> Mark:
    if bug == "no-merge":
        return mark._replace(done=read.done, begun=read.begun, heard=read.at)
    done, begun = max(mark.done, read.done), max(mark.begun, read.begun)
    if bug == "deltas" or forgot:
        done, begun = mark.done + read.done, mark.begun + read.begun
    heard = max(mark.heard, read.at)
    gap = mark.gap
    if mark.closed_at >= 0 and not mark.is_exact:
        gap = min(gap, mark.closed_at - heard)
        if bug == "evidence-ends-gap":
            gap = 0
    return mark._replace(done=done, begun=begun, heard=heard, gap=gap)


def _closed(s: State, bug: str) -> Mark:
    mark, record = s.durable, s.record
    if record is not None:
        mark = _merged(mark, record.read, bug)
    proven = record is not None and (
        (record.final or bug == "stale-record")
        and (record.after_mains or bug in {"early-final", "stale-record"})
    )
    if proven or (bug == "final-while-running" and record is not None):
        return mark._replace(closed_at=s.now, gap=0, is_exact=True)
    gap = s.now - mark.heard
    if bug == "no-gap":
        gap = 0
    if bug == "gap-of-one-poll":
        gap = min(gap, 1)
    if bug == "gap-on-done":
        gap -= mark.begun - mark.done
    return mark._replace(closed_at=s.now, gap=gap)


def _wrong(before: State, s: State) -> str:
    mark = s.durable
    silence = mark.gap if mark.closed_at >= 0 else s.now - mark.heard
    if mark.done > s.done:
        return "I1: the ledger measures more than was done"
    if s.executed > mark.begun + silence:
        return "I2: more was executed than the upper bound"
    if mark.is_exact and (mark.done != s.done or mark.gap):
        return "I3: a stream that its final record closed is not exact"
    if mark.done < before.durable.done or mark.begun < before.durable.begun:
        return "I5: a high-water mark fell"
    if s.shown > mark.done:
        return "I6: a total was shown that was not committed"
    return ""
