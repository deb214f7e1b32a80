"""Ask the API server for what the watches do not tell: strange pods, and nodes.

Shell. The watches see labelled pods only; a pod that nobody injected is found by
listing the namespaces that have runs, from the API server's cache. Nodes are asked for
one by one: those that a run's devices are on, and again while a stream on them is
silent. What cannot be asked is taken as it was last known, so that nothing is proven.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from flopguard_operator import allocation, binding, watching
from flopguard_operator.allocation import Node
from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.cluster import Cluster, ClusterError
from flopguard_operator.gaps import Patience
from flopguard_operator.gathering import Reading
from flopguard_operator.hearing import Hearing
from flopguard_operator.ledger import machines
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.machines import Machine
from flopguard_operator.listening import Listener
from flopguard_operator.marks import Mark
from flopguard_operator.observed import Pod, pod, text
from flopguard_operator.settings import Settings
from flopguard_operator.settling import RunView
from flopguard_operator.sidecars import Heard
from flopguard_operator.watching import Sight, Subject, counts

GOVERNED_SECONDS = 60.0

_log = structlog.get_logger()


def milliseconds() -> int:
    """Return the operator's monotonic clock, rounded down."""
    return time.monotonic_ns() // 1_000_000


def patience(settings: Settings) -> Patience:
    """Return how long is waited, from the settings."""
    poll = max(1000, int(settings.cycle_seconds * 1000))
    return Patience(poll, max(3 * poll, int(settings.grace_seconds * 1000)))


@dataclass
class Auditor:
    """What is remembered of streams and nodes between two cycles."""

    settings: Settings
    cluster: Cluster
    hearing: Hearing = field(default_factory=Hearing)
    nodes: dict[str, Node] = field(default_factory=dict)
    _before: tuple[dict[str, int], set[str]] | None = None
    """What was remembered before marks were heard that are not durable yet."""
    _strays: dict[str, list[Pod]] = field(default_factory=dict)  # by namespace
    _governed: dict[str, tuple[float, bool]] = field(default_factory=dict)

    async def strays(
        self, views: list[RunView], cache: Cache, owner: Mapping[str, str]
    ) -> list[RunView]:
        """Return the views with the pods that no watch tells of.

        A pod without a stream belongs to the run that claims it; one that asks for
        accelerators and belongs to none, to the namespace's oldest run. Views of runs
        that are gone get none but those that were theirs before.
        """
        claims = binding.Claims(cache.runs.values())
        departed = {view.ref.uid for view in views} - cache.runs.keys()
        of_run: dict[str, list[Pod]] = {}
        namespaces = sorted({view.ref.namespace for view in views})
        for namespace in namespaces:
            for each in await self._listed(namespace):
                if each.uid in cache.pods:
                    continue
                claimed = owner.get(each.uid, "")
                claimed = claimed or text(claims.of_pod(each.raw), "metadata", "uid")
                place = self.hearing.places.get(each.uid)
                if not claimed and place is not None and place.run in departed:
                    claimed = place.run
                if not claimed and await self._is_charged(each):
                    claimed = _oldest(views, namespace, cache)
                of_run.setdefault(claimed, []).append(each)
        for namespace in self._strays.keys() - set(namespaces):
            del self._strays[namespace]
        return [
            replace(view, strays=tuple(of_run.get(view.ref.uid, ()))) for view in views
        ]

    async def _listed(self, namespace: str) -> list[Pod]:
        try:
            raws = await asyncio.to_thread(self.cluster.pods_of, namespace)
        except ClusterError as error:
            _log.warning("cannot list pods", namespace=namespace, why=str(error))
            return self._strays.get(namespace, [])
        self._strays[namespace] = [pod(raw) for raw in raws]
        return self._strays[namespace]

    async def _is_charged(self, each: Pod) -> bool:
        """Say whether a pod without a run is somebody's all the same."""
        if not allocation.of_pod(each.raw).has_accelerators:
            return False
        now = time.monotonic()
        since, governed = self._governed.get(each.namespace, (-1e9, True))
        if now - since >= GOVERNED_SECONDS:
            try:
                governed = await asyncio.to_thread(
                    self.cluster.governed, each.namespace
                )
            except ClusterError as error:
                _log.warning("cannot read a namespace", why=str(error))
            self._governed[each.namespace] = (now, governed)
        return governed

    async def look(
        self,
        view: RunView,
        books: Books,
        listener: Listener,
        marks: Mapping[str, Mark],
    ) -> RunView:
        """Return the view with its streams as of now."""
        account, uid = books.account(view.ref), view.ref.uid
        pods = {
            each.uid: each
            for each in (*view.strays, *view.pods)
            if books.owner.get(each.uid, uid) == uid
        }
        found = watching.subjects(pods, account, self.hearing)
        sight = replace(
            self._sight(books),
            machines=_machines(found, account, listener),
            charge_cpu=view.charge_cpu,
        )
        needed = watching.nodes_needed(found, account, self.hearing, sight)
        await self._ask(needed)
        seen = watching.watched(found, account, marks, self.hearing, sight)
        given = {
            one.stream: watching.given(
                one.place.allocation, self.nodes, charge_cpu=view.charge_cpu
            )
            for one in found
        }
        return replace(view, watched=seen, given=given, patience=sight.patience)

    async def _ask(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            try:
                raw = await asyncio.to_thread(self.cluster.node, name)
            except ClusterError as error:
                _log.warning("cannot read a node", node=name, why=str(error))
                if name in self.nodes:  # else it is asked for again, until it is known
                    known = self.nodes[name]
                    self.nodes[name] = replace(known, ready=False)  # nothing is proven
                continue
            now, before = allocation.node(name, raw), self.nodes.get(name)
            if before is not None and not now.product:
                now = replace(now, product=before.product)  # of a node that is gone
            self.nodes[name] = now

    def hear(
        self,
        read: Reading,
        heard: Mapping[str, Heard],
        found: Mapping[str, Mark],
        books: Books,
    ) -> None:
        """Take in what was heard in this cycle.

        Args:
            read: the newest marks, and when the pods were asked for them.
            heard: what pods told that were asked for their facts after that.
            found: all marks together.
            books: what the ledger knew before.
        """
        if self._before is not None:
            self.hearing.recall(self._before)
        self._before = self.hearing.memory()
        sight = self._sight(books)
        known = {}
        for uid in {*read.proven, *heard} & books.owner.keys():
            account = books.accounts.get(books.owner[uid])
            mark = books.of_run(books.owner[uid]).get(uid)
            if account is not None:
                watching.rebuild(uid, account, self.hearing, sight)
            if mark is not None:
                known[uid] = mark
        proven = dict(read.proven)
        for uid, told in heard.items():
            proven[uid] = max(told.proven, proven.get(uid, told.proven))
        for answers in (read.direct, heard):
            self.hearing.compare(answers, known)
        # A mark without a page proves nothing: the hook may not be there at all.
        self.hearing.take({u: t for u, t in proven.items() if counts(found.get(u))})

    def unhear(self, streams: Iterable[str]) -> None:
        """Take back that streams were heard whose marks this cycle does not settle.

        Such as those of a run of which it is not known whether it is still there.
        """
        if self._before is not None:
            self.hearing.unhear(streams, self._before)

    def settled(self) -> None:
        """Take in that all marks that were heard are durable.

        Without it they are unheard at the next `hear`: a stream would count as proven
        up to a mark that no ledger has.
        """
        self._before = None

    def _sight(self, books: Books) -> Sight:
        """Return what is known beside a run, as of now."""
        return Sight(
            now=milliseconds(),
            wall=datetime.now(UTC).isoformat(),
            patience=patience(self.settings),
            nodes=self.nodes,
            told=books.told,
        )

    def keep(self, runs: Collection[str], pods: Iterable[str]) -> None:
        """Forget the streams of all runs but these, and all nodes without a stream.

        Args:
            runs: UIDs of the runs that are there.
            pods: UIDs of the pods that are there, whatever they belong to.
        """
        places = self.hearing.places.items()
        streams = {*pods, *(s for s, place in places if place.run in runs)}
        self.hearing.keep(streams)
        used = {place.allocation.node for place in self.hearing.places.values()}
        for name in self.nodes.keys() - used:
            del self.nodes[name]


def _oldest(views: Iterable[RunView], namespace: str, cache: Cache) -> str:
    """Return the UID of the namespace's oldest run that is there."""
    ages = [
        (text(cache.runs[view.ref.uid], "metadata", "creationTimestamp"), view)
        for view in views
        if view.ref.namespace == namespace and view.ref.uid in cache.runs
    ]
    return min(((age, view.ref.uid) for age, view in ages), default=("", ""))[1]


def _machines(
    found: list[Subject], account: Account, listener: Listener
) -> dict[str, Machine]:
    """Return what each stream runs on, as its processes said: the most of them all.

    Of a pod in which nothing counts the sidecar tells at least of its node's processor;
    of one that ended before it was asked, another pod of the run on the same node does.
    """
    told: dict[str, list[Machine]] = {}
    for noted in account.noted.values():
        if noted.digest in account.machines:
            told.setdefault(noted.stream, []).append(account.machines[noted.digest])
    streams = [one.stream for one in found]
    for process in listener.of(streams):
        if process.texts.lasting:
            known = machines.read(process.texts.lasting)
            told.setdefault(process.stream, []).append(known)
    heard = {s: listener.machines[s] for s in streams if s in listener.machines}
    spoken = heard | {s: machines.largest(each) for s, each in told.items()}
    return _of_the_same_node(found, spoken) | spoken


def _of_the_same_node(
    found: list[Subject], known: Mapping[str, Machine]
) -> dict[str, Machine]:
    """Return the processors of streams by what others said on the same node."""
    by_node: dict[str, list[Machine]] = {}
    for one in found:
        if one.stream in known and one.place.allocation.node:
            by_node.setdefault(one.place.allocation.node, []).append(known[one.stream])
    return {
        one.stream: replace(machines.largest(by_node[node]), gpus=())
        for one in found
        if (node := one.place.allocation.node) in by_node
    }
