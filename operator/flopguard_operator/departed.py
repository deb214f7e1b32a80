"""Follow what still runs of the runs that the API server has no more.

A FineTuneRun can go while its pods train on: by `onDelete: Release`, without a hold, or
because somebody took its finalizer away. What its pods execute stays in its account,
which stands in the ledger with all that is needed to go on: the terms that it was
judged by, and the streams that nothing has closed. So such a run is settled until every
stream is, after a restart too. It has no status, and nothing holds it any more.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

import structlog

from flopguard_operator import gaps, gathering
from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.cluster import Cluster, ClusterError
from flopguard_operator.gathering import Refused
from flopguard_operator.hearing import Hearing
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.machines import is_processor
from flopguard_operator.marks import Mark
from flopguard_operator.observed import Pod
from flopguard_operator.settling import RunView
from flopguard_operator.watching import counts

RUN_GONE = "RunGone"
"""A hold ends because its FineTuneRun was removed without the hold's finalizer."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class Claimed:
    """The runs that a cycle has found, and the pods that they claim.

    One of them may be gone by now: then its turn comes with the next cycle.
    """

    runs: frozenset[str]
    pods: frozenset[str]


def claimed(views: Iterable[RunView], refused: Iterable[Refused]) -> Claimed:
    """Return what a cycle has found."""
    found = [(view.ref.uid, view.pods) for view in views]
    found += [(gathering.reference(one.raw).uid, one.pods) for one in refused]
    return Claimed(
        runs=frozenset(uid for uid, _ in found),
        pods=frozenset(pod.uid for _, pods in found for pod in pods),
    )


@dataclass
class Departures:
    """Which runs are gone, and what of them is finished. Short memory only."""

    cluster: Cluster
    followed: set[str] = field(default_factory=set)
    """UIDs of the runs without an object of which a stream is open, or a hold."""
    _gone: set[str] = field(default_factory=set)  # runs; the API server said so
    _over: set[str] = field(default_factory=set)  # runs without an open stream
    _spent: set[str] = field(default_factory=set)  # streams that nothing can change

    async def views(
        self, cache: Cache, books: Books, hearing: Hearing, claimed: Claimed
    ) -> list[RunView]:
        """Return the departed runs that have an open stream, as the ledger knows them.

        Args:
            cache: what the watches tell.
            books: what the ledger tells.
            hearing: what is remembered of streams.
            claimed: what this cycle looks at already.
        """
        pods = _pods_by_run(cache, books, hearing, claimed.pods)
        away = books.accounts.keys() - cache.runs.keys() - claimed.runs
        self.followed = {
            uid
            for uid in away
            if (uid in pods or uid not in self._over)
            and self._is_followed(uid, books, hearing, pods.get(uid, {}))
        }
        self._over = away - self.followed
        views = []
        for uid in sorted(self.followed & await self._departed(cache, books)):
            try:
                views.append(_view(books, uid, pods.get(uid, {}).values()))
            except Exception:  # noqa: BLE001 - one run's terms must not stop the others
                _log.exception("departed run cannot be followed", uid=uid)
        return views

    def settled(self, views: Iterable[RunView], hearing: Hearing) -> None:
        """Take in that a cycle is durable: what it found finished is looked at no more.

        Args:
            views: runs with what was seen of their streams.
            hearing: what is remembered of streams.
        """
        for view in views:
            if view.ref.uid in self.followed:
                self._spent |= set(_spent(view, hearing))

    def _is_followed(
        self, uid: str, books: Books, hearing: Hearing, pods: dict[str, Pod]
    ) -> bool:
        account, marks = books.accounts[uid], books.of_run(uid)
        if account.terms_set is None:
            return False
        if account.hold is not None:
            return True  # for the last time: it ends now
        streams = {
            *(attempt.stream for attempt in account.attempts),
            *account.gaps,
            *marks,
            *hearing.of_run(uid),
            *pods,
        }
        return any(
            is_open(stream, account, marks.get(stream, Mark(stream)), pods.get(stream))
            for stream in streams
            if stream not in self._spent or _runs(pods.get(stream))
        )

    async def _departed(self, cache: Cache, books: Books) -> set[str]:
        """Return the runs that the API server has no more: a watch may be late.

        Nor is a run judged whose pods the watch has yet to tell of, after a start.
        """
        unsure = self.followed - self._gone
        if not unsure:
            return self._gone
        try:
            present = await asyncio.to_thread(self.cluster.existing)
            running = await asyncio.to_thread(self.cluster.injected_pods)
        except ClusterError as error:
            _log.warning("cannot list what exists", why=str(error))
            return self._gone
        untold = {books.owner.get(pod) for pod in running if pod not in cache.pods}
        self._gone |= unsure - present - untold
        return self._gone


def is_open(stream: str, account: Account, mark: Mark, pod: Pod | None) -> bool:
    """Say whether anything may still change what a stream has cost.

    Args:
        stream: one of the run's.
        account: of the run.
        mark: the high-water mark of the stream.
        pod: its pod, None where the API server has none.
    """
    if _runs(pod):
        return True
    settled = account.streams.get(stream, Mark(stream))
    if (mark.done, mark.begun) != (settled.done, settled.begun):
        return True
    if stream in account.closed:
        return False
    gap = account.gaps.get(stream)
    exact = settled.final and counts(settled)
    return not exact or gaps.is_open(gap, closed=False)


def _runs(pod: Pod | None) -> bool:
    return pod is not None and not (pod.over or pod.gone)


def _pods_by_run(
    cache: Cache, books: Books, hearing: Hearing, claimed: Collection[str]
) -> dict[str, dict[str, Pod]]:
    """Return the pods of the runs that have no object, by run and pod UID.

    A pod belongs to the run that counted it first. One that nobody has heard, and that
    was injected, belongs to the newest run of the name that its label has.
    """
    found: dict[str, dict[str, Pod]] = {}
    for pod in sorted(cache.pods.values(), key=lambda pod: (pod.created, pod.uid)):
        uid = books.owner.get(pod.uid, "")
        if not uid and pod.uid not in claimed:
            place = hearing.places.get(pod.uid)
            namesakes = books.named.get((pod.namespace, pod.run_label), [])
            newest = namesakes[-1] if namesakes and pod.injected else ""
            uid = place.run if place else newest
        if uid in books.accounts and uid not in cache.runs:
            found.setdefault(uid, {})[pod.uid] = pod
    return found


def _view(books: Books, uid: str, pods: Iterable[Pod]) -> RunView:
    """Return a run without an object, by the terms that it was judged by last.

    Raises:
        PolicyError: no rule set has the name in its terms.
    """
    account, own = books.accounts[uid], tuple(pods)
    named = [a.devices for a in account.attempts]
    named += [gap.devices for gap in account.gaps.values()]
    return replace(
        gathering.recorded(account, books.noted, own, jobs=(), because=RUN_GONE),
        charge_cpu=any(is_processor(devices) for devices in named),
    )


def _spent(view: RunView, hearing: Hearing) -> Iterator[str]:
    """Yield the streams of a view that no pod and no charge can change any more."""
    watched = {known.stream: known for known in view.watched.streams}
    running = {pod.uid for pod in (*view.pods, *view.strays) if _runs(pod)}
    for stream in view.given.keys() - running:
        known, place = watched.get(stream), hearing.places.get(stream)
        charged = view.charge_cpu or (
            place is not None and place.allocation.has_accelerators
        )
        if known is None or (not known.peak and (known.over or not charged)):
            yield stream
