"""Two operators, one ledger, one hold: as a model.

Both want the Lease; one may be paused at any point and go on later, or crash. The
ledger's epoch is taken when it is opened, and checked in the transaction that appends.
The holder of the ledger holds a run whose total has crossed its limit; a person may
raise the limit and release it, once.

Invariants:

I9   nothing is appended under an epoch that is not the newest; no two writers have one
I11  a workload is suspended only for a hold that is committed, and a crossing is
     recorded once
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from robustness.checking import Model


@dataclass(frozen=True)
class Bounds:
    """How much may happen.

    Attributes:
        ticks: Of the clock; a Lease lasts one.
        appends: Settlements in all.
        crashes: Of either operator.
    """

    ticks: int = 3
    appends: int = 3
    crashes: int = 2


class Writer(NamedTuple):
    """One operator.

    Attributes:
        leads: Whether it believes that it holds the Lease.
        epoch: Of its open ledger; 0 while it has none.
        checked: Whether the epoch was looked at for the next transaction: only with a
            planted bug is that apart from the transaction.
        knows_hold: Whether its memory says that the run is held.
        crossings: That its memory has recorded.
    """

    leads: bool = False
    epoch: int = 0
    checked: bool = False
    knows_hold: bool = False
    crossings: int = 0


class State(NamedTuple):
    """Everything that matters at one time."""

    now: int = 0
    holder: int = -1  # of the Lease
    until: int = 0
    writers: tuple[Writer, Writer] = (Writer(), Writer())
    epoch: int = 0  # durable
    appended: tuple[int, ...] = ()  # epochs of the settlements
    crossed: bool = False  # truth: the total is above the limit
    crossings: int = 0  # durable
    held: bool = False  # durable
    suspended: bool = False
    released: bool = False
    crashes: int = 0
    stale: bool = False  # something was appended under an old epoch
    twice: bool = False  # two writers had one epoch


BUGS = {
    "lease-alone": "the ledger has no epoch: the Lease alone keeps writers apart",
    "epoch-kept": "a writer that opens the ledger does not raise the epoch",
    "check-outside": "the epoch is checked before the transaction, not within it",
    "act-first": "the workload is suspended before the hold is committed",
    "crossing-forgotten": "recorded crossings are forgotten in a crash",
}


def model(bounds: Bounds, bug: str = "") -> Model[State]:
    """Return the model, with one of `BUGS` planted if named."""

    def steps(state: State) -> Iterator[tuple[str, State]]:
        yield from _world(state, bounds)
        for who in (0, 1):
            for what, after in _operator(state, who, bounds, bug):
                yield f"{'AB'[who]} {what}", after

    return Model(f"writers {bug}".strip(), State(), steps, _wrong)


def _world(s: State, bounds: Bounds) -> Iterator[tuple[str, State]]:
    if s.now < bounds.ticks:
        yield "tick", s._replace(now=s.now + 1)
    if not s.crossed and not s.released:
        yield "the total crosses", s._replace(crossed=True)
    if s.held and s.crossed:
        yield "a person raises the limit", s._replace(crossed=False, released=True)


def _with(s: State, who: int, writer: Writer) -> State:
    pair = (writer, s.writers[1]) if who == 0 else (s.writers[0], writer)
    return s._replace(writers=pair)


def _operator(
    s: State, who: int, bounds: Bounds, bug: str
) -> Iterator[tuple[str, State]]:
    me = s.writers[who]
    yield from _lease(s, who)
    if s.crashes < bounds.crashes and me != Writer():
        yield "crashes", _with(s, who, Writer())._replace(crashes=s.crashes + 1)
    if not me.leads:
        return
    if not me.epoch:
        yield "opens the ledger", _opened(s, who, bug)
    elif bug == "check-outside" and not me.checked:
        if me.epoch == s.epoch:
            yield "looks at the epoch", _with(s, who, me._replace(checked=True))
    else:
        yield from _transactions(s, who, bounds, bug)
        yield from _acts(s, me, bug)


def _lease(s: State, who: int) -> Iterator[tuple[str, State]]:
    if s.holder not in {-1, who} and s.now <= s.until:
        return
    got = s._replace(holder=who, until=s.now + 1)
    if not s.writers[who].leads or s.holder != who:
        yield "leads", _with(got, who, Writer(leads=True))
    elif s.until < s.now + 1:
        yield "renews", got


def _acts(s: State, me: Writer, bug: str) -> Iterator[tuple[str, State]]:
    if me.knows_hold and s.held and not s.suspended:
        yield "suspends", s._replace(suspended=True)
    if bug == "act-first" and s.crossed and not s.suspended:
        yield "suspends at once", s._replace(suspended=True)


def _opened(s: State, who: int, bug: str) -> State:
    epoch = s.epoch if bug == "epoch-kept" and s.epoch else s.epoch + 1
    crossings = 0 if bug == "crossing-forgotten" else s.crossings
    writer = s.writers[who]._replace(
        epoch=epoch, knows_hold=s.held, crossings=crossings
    )
    same = s.writers[1 - who].epoch == epoch
    return _with(s, who, writer)._replace(epoch=epoch, twice=s.twice or same)


def _transactions(
    s: State, who: int, bounds: Bounds, bug: str
) -> Iterator[tuple[str, State]]:
    """Append what is due; a transaction whose epoch is not the newest is refused.

    A writer may be paused before any of these for as long as it likes: that it still
    believes to lead is all that it knows.
    """
    me = s.writers[who]._replace(checked=False)
    if me.epoch != s.epoch and bug not in {"lease-alone", "check-outside"}:
        yield "is fenced off", _with(s, who, Writer())
        return
    stale = s.stale or me.epoch != s.epoch
    if len(s.appended) < bounds.appends:
        grown = s._replace(appended=(*s.appended, me.epoch), stale=stale)
        yield "settles", _with(grown, who, me)
    if s.crossed and not me.crossings:
        writer = me._replace(knows_hold=True, crossings=1)
        held = s._replace(held=True, crossings=s.crossings + 1, stale=stale)
        yield "records crossing and hold", _with(held, who, writer)
    if s.released and me.knows_hold:
        freed = s._replace(held=False, suspended=False, stale=stale)
        yield "releases", _with(freed, who, me._replace(knows_hold=False))


def _wrong(_before: State, s: State) -> str:
    if s.stale:
        return "I9: something was appended under an old epoch"
    if s.twice:
        return "I9: two writers have one epoch"
    if s.suspended and not s.held:
        return "I11: a workload was suspended for a hold that is not committed"
    if s.crossings > 1:
        return "I11: one crossing was recorded twice"
    return ""
