"""Run the operator's real code on a virtual clock for ten minutes, and let it all fail.

One seed is one run: it draws the faults, and when each strikes. The operator is that of
`operating`: cycle, publisher, gathering, acting, auditing, books, store. Around it are
stand-ins for the API server, the pods and Prometheus. It dies at API writes, at commits
and anywhere it waits, and starts anew on the same file and objects; the one before may
wake up beside the next one.

`python -m robustness --only simulation --seed 17` runs seed 17 again.
"""

import asyncio
import contextlib
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from structlog.testing import capture_logs

from flopguard_operator import allocation, cycle, prometheus, sidecars
from flopguard_operator.anchors import StatusAnchor, known_heads
from flopguard_operator.books import Books, utc_now
from flopguard_operator.cache import Cache
from flopguard_operator.cycle import Cycle
from flopguard_operator.ledger import keys
from flopguard_operator.ledger.accounts import Account, totals
from flopguard_operator.metrics import Collector
from flopguard_operator.publishing import Publisher
from flopguard_operator.settings import Settings
from robustness import judging
from robustness.chaos import FAULTS, RELEASE, Fleet, budget
from robustness.rows import Row
from standins import apiserver
from standins.apiserver import Api
from standins.clock import Clock
from standins.faults import AFTER, BEFORE, FULL, NONE, UNSURE, Crash, FaultyStore
from standins.fleet import PRODUCT
from standins.virtual import VirtualLoop, slowly

FOLDER = Path("/dev/shm")  # noqa: S108 - disks have a layer of their own
KEY = keys.from_raw("flopguard.dev/test/ledger", b"k" * 32)
CHAOS_SECONDS, CALM_SECONDS = 240, 330
COMMITS = {
    "the operator dies before a commit": BEFORE,
    "the operator dies after a commit": AFTER,
    "a commit fails": FULL,
    "a commit takes place and seems to have failed": UNSURE,
}
DIES, SLEEPS = (
    "the operator is killed anywhere",
    "an operator sleeps, and wakes up late",
)
CALLS = {
    **dict.fromkeys(apiserver.REFUSALS.values(), 0.1),
    apiserver.UNTOLD: 0.1,
    apiserver.DIES_BEFORE: 0.03,
    apiserver.DIES_AFTER: 0.03,
    apiserver.DUPLICATE: 0.3,
    apiserver.STALE: 0.3,
}
SOMETIMES = {"nobody injects a pod": 0.2, "a hook is switched off": 0.2}
RATES = {
    **dict.fromkeys(FAULTS, 0.02),
    **dict.fromkeys(COMMITS, 0.1),
    **CALLS,
    **SOMETIMES,
    RELEASE: 0.1,
    DIES: 0.01,
    SLEEPS: 0.7,
}


def seeds(numbers: range) -> Iterator[Row]:
    """Run the simulation of each seed.

    Raises:
        AssertionError: something does not hold; the seed is in the message.
    """
    for seed in numbers:
        with capture_logs():
            rows = one(seed)
        yield from rows


def one(seed: int) -> list[Row]:
    """Run one seed, and return a row for each fault that struck.

    Raises:
        AssertionError: as `seeds`.
    """
    root = FOLDER if FOLDER.is_dir() else None
    with tempfile.TemporaryDirectory(dir=root) as folder:
        world = World(Path(folder), seed)
        try:
            found = world.play()
        except Exception as error:
            struck = ", ".join(world.api.struck)
            message = f"simulation seed {seed} ({struck}): {error!r}"
            raise AssertionError(message) from error
    faults = list(world.api.struck) or ["nothing fails"]
    return [Row(name, "simulation", 1, *found) for name in faults]


class World:
    """One seed: the cluster, the pods, and one life of the operator after the other."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = rng = random.Random(seed)  # noqa: S311 - a seed
        self.clock = Clock(1_000_000)
        drawn = rng.sample(sorted(RATES), rng.randint(1, 9))
        if SLEEPS in drawn:
            drawn.append(DIES)
        self.api = Api(rng, {name: RATES[name] for name in drawn})
        self.fleet = Fleet(rng, self.clock, self.api)
        self.fleet.known = self._known
        self.path = folder / "ledger.db"
        url = "http://prometheus" if rng.random() < 0.5 else ""
        self.settings = Settings(
            ledger=self.path, prometheus_url=url, cycle_seconds=15, settle_seconds=60
        )
        self.api.run["spec"]["budget"] = budget(self.fleet.budget)
        self.api.on_suspend, self.api.on_status = self._suspended, self._told
        self.judge = judging.Judge(self.fleet, self.path)
        self.life: Life
        self.held_when_suspended: list[tuple[str, int]] = []

    def play(self) -> tuple[int, int, int]:
        """Run everything; return FLOPs lost and declared, and runs counted twice."""
        loop = VirtualLoop(self.clock)
        slow = slowly(lambda: self.rng.choice((0.004, 0.05, 0.4)))
        patches = (
            self.clock.installed(slow),
            mock.patch.object(sidecars, "read", self.fleet.read),
            mock.patch.object(sidecars, "listen", self.fleet.read),
            mock.patch.object(prometheus, "query", self.fleet.prometheus.query),
            mock.patch.object(cycle, "COMPARE_SECONDS", 60.0),
        )
        with contextlib.ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch)
            try:
                loop.run_until_complete(self._play())
            finally:
                left = asyncio.all_tasks(loop)
                for task in left:
                    task.cancel()
                loop.run_until_complete(_all(left))
                loop.close()
            return self.judge.end(self.life.books, self.api)

    async def _play(self) -> None:
        self.life = Life(self)
        self.api.calm = False
        await self._live(CHAOS_SECONDS)
        self.fleet.end_all()
        await self._live(CALM_SECONDS)
        self.life.stop.set()
        await self.life.task
        await self.life.books.close()

    async def _live(self, seconds: int) -> None:
        """Let time pass, and start the operator anew whenever it has died."""
        end = self.clock.now + seconds * 1000
        while self.clock.now < end:
            self.fleet.tick()
            self.fleet.strike()
            if self.api.strikes(DIES):
                self.life.task.cancel()
            await asyncio.wait({self.life.task}, timeout=2.0)
            if self.life.task.done():
                await self._next_life()

    async def _next_life(self) -> None:
        before, self.api.cache = self.life, None
        if not before.task.cancelled():
            error = before.task.exception()
            if not isinstance(error, Crash):
                raise AssertionError(repr(error)) from error
        await asyncio.sleep(self.rng.choice((0.5, 5.0, 60.0)))
        self.life = Life(self)
        if self.api.strikes(SLEEPS):
            await before.wake_up()
        elif before.books._store is not None:  # noqa: SLF001 - a dead process closes it
            before.books._store.close()  # noqa: SLF001 - see above

    def fault(self) -> str:
        """Return the fault of a commit."""
        for name, kind in COMMITS.items():
            if self.api.strikes(name):
                return kind
        return NONE

    def _known(self) -> set[str]:
        accounts = self.life.books.accounts.values()
        opened = [a for account in accounts for a in account.attempts]
        found = {a.stream for a in opened if PRODUCT in a.devices}
        return found | {uid for account in accounts for uid in account.gaps}

    def _account(self) -> Account | None:
        return self.life.books.accounts.get(self.api.run["metadata"]["uid"])

    def _suspended(self) -> None:
        accounts = self.life.books.accounts.values()
        held = [account for account in accounts if account.hold is not None]
        assert held, "suspended without a hold in the ledger"
        holds = held[-1].ref.uid, held[-1].releases
        assert holds not in self.held_when_suspended, "suspended twice for one hold"
        self.held_when_suspended.append(holds)

    def _told(self, status: dict[str, Any]) -> None:
        """Check that what the status says is durable."""
        account = self._account()
        held = account is not None and account.hold is not None
        assert bool(status.get("holds")) == held, "the status and the ledger differ"
        size = (status.get("ledger") or {}).get("size", 0)
        head = self.life.books.head
        assert head is not None
        assert size <= head.size, "the status is ahead of the ledger"
        if account is not None and "flops" in status:
            assert int(status["flops"]["measured"]) >= totals(account).measured


async def _all(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait for the end of tasks, however they end."""
    await asyncio.gather(*tasks, return_exceptions=True)


class Life:
    """One process of the operator, from its start to its death."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cache = world.api.cache = Cache()
        world.api.list_all()
        self.cache.complete.set()
        self.books = Books(self._open)
        api: Any = world.api
        parts = (world.settings, self.cache, api, self.books)
        self.cycle = Looking(*parts, Publisher(*parts, Collector()))
        self.cycle.judge = world.judge
        self.cycle._compared_at = world.clock.seconds()  # noqa: SLF001 - of the real clock
        self.stop = asyncio.Event()
        self.task = asyncio.ensure_future(self.cycle.run(self.stop))

    def _open(self) -> FaultyStore:
        api: Any = self.world.api
        known = known_heads((StatusAnchor(api),))
        store = FaultyStore(self.world.path, KEY, known, fault=self.world.fault)
        store.claim("operator", "test", utc_now())
        return store

    async def wake_up(self) -> None:
        """Go on after another one has taken over: nothing may come of it."""
        await asyncio.sleep(30.0)  # the next one has claimed the ledger
        self.cycle.leads = lambda: False  # the Lease is long over
        store: Any = self.books._store  # noqa: SLF001 - to see what it does
        if store is None:
            return  # it died before it had opened the ledger
        commit = store.commit

        def watched(*args: Any) -> None:
            commit(*args)
            message = "an operator that was followed has written"
            raise AssertionError(message)

        store.commit = watched
        calm, self.world.api.calm = self.world.api.calm, True
        self.books.distrust("")
        await self.cycle.once()
        self.world.api.calm = calm


class Looking(Cycle):
    """The cycle, looked at after each turn."""

    judge: judging.Judge

    async def once(self) -> bool:
        """Turn once, then check what must hold."""
        known = self.cache.pods.items()  # others may never have run, for all it knows
        pods = {uid for uid, pod in known if allocation.has_started(pod.raw)}
        has_run = bool(self.cache.runs)  # else nobody may be there to charge
        whole = await super().once()
        # A run that went while this cycle began, before any other, was never looked at.
        has_run &= any(each.terms_set for each in self.books.accounts.values())
        self.judge.look(self, pods if has_run else set())
        return whole
