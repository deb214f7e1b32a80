"""An operator on the real ledger store, in a world of stand-in Kubernetes objects."""

import asyncio
import copy
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.cycle import Cycle
from flopguard_operator.ledger import keys
from flopguard_operator.ledger.errors import LedgerUnavailableError
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.store import SqliteStore, export_file
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.metrics import Collector
from flopguard_operator.publishing import Publisher
from flopguard_operator.settings import Settings
from standins import objects


class World:
    """An operator on a ledger in a folder, with a stand-in cluster around it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.key = keys.from_raw("flopguard.dev/test/ledger", b"k" * 32)
        self.cache = Cache()
        self.cluster = objects.StandInCluster(self.cache)
        self.fails = False
        self.start()
        self.cache.see_run("ADDED", objects.run())
        self.cache.see_job("ADDED", objects.job())

    def start(self) -> None:
        """Start an operator that remembers nothing but the ledger."""
        settings = Settings(ledger=self.path, settle_seconds=0, cycle_seconds=0)
        cluster: Any = self.cluster
        self.books = Books(self._open)
        parts = (settings, self.cache, cluster, self.books)
        self.cycle = Cycle(*parts, Publisher(*parts, Collector()))

    def _open(self) -> SqliteStore:
        if self.fails:
            message = "the disk is full: make room on the ledger's volume"
            raise LedgerUnavailableError(message)
        return SqliteStore(self.path, self.key)

    def once(self, *pods: dict[str, Any], gone: bool = False) -> None:
        """Let the watch deliver pods, then run one cycle."""
        for raw in pods:
            self.cache.see_pod("DELETED" if gone else "MODIFIED", raw)
        asyncio.run(self.cycle.once())

    def run(self, what: str, until: Callable[[], bool]) -> None:
        """Run the loop itself until `what` is seen, for at most 10 seconds."""
        asyncio.run(self._run(what, until))

    async def _run(self, what: str, until: Callable[[], bool]) -> None:
        self.cache.wake = asyncio.Event()  # the one before is of another event loop
        self.cache.complete.set()
        stop = asyncio.Event()
        looping = asyncio.create_task(self.cycle.run(stop))
        deadline = time.monotonic() + 10
        while not until():
            assert time.monotonic() < deadline, f"10 s without {what}"
            await asyncio.sleep(0.01)
        stop.set()
        await looping

    def status(self) -> dict[str, Any]:
        """Return the run's status."""
        (uid,) = self.cache.runs
        return self.status_of(uid)

    def status_of(self, uid: str) -> dict[str, Any]:
        """Return the status of one of several runs."""
        status: dict[str, Any] = self.cache.runs[uid]["status"]
        return status

    def condition(self, kind: str) -> dict[str, str]:
        """Return one condition of the run."""
        (uid,) = self.cache.runs
        return self.condition_of(uid, kind)

    def condition_of(self, uid: str, kind: str) -> dict[str, str]:
        """Return one condition of one of several runs."""
        found = {one["type"]: one for one in self.status_of(uid)["conditions"]}
        condition: dict[str, str] = found[kind]
        return condition

    def revise(self, **spec: Any) -> None:
        """Change the run's spec, as its owner would."""
        (raw,) = self.cache.runs.values()
        changed = copy.deepcopy(dict(raw))
        changed["spec"].update(spec)
        changed["metadata"]["generation"] += 1
        self.cache.see_run("MODIFIED", changed)

    def recorded(self, kind: type) -> list[Any]:
        """Return the ledger's events of one kind, read from the file."""
        store = SqliteStore(self.path, self.key)
        found = [e.event for e in store.load().entries if isinstance(e.event, kind)]
        store.close()
        return found

    def exported(self) -> bytes:
        """Return the ledger as `flopguard ledger export` writes it."""
        out = io.BytesIO()
        export_file(self.path, out)
        return out.getvalue()

    def verified(self) -> Report:
        """Return what `flopguard verify` says of the ledger."""
        return verify_lines(lines_of(io.BytesIO(self.exported())), check_signature)


def spent(flops: int, uid: str = "pod-1", **more: Any) -> dict[str, Any]:
    """Return a pod whose sidecar has said that `flops` were executed."""
    return objects.pod(uid, words=objects.final_record(flops), **more)
