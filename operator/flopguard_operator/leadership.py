"""Lead by a Lease (coordination.k8s.io/v1): one operator acts, others stand by.

A Lease alone excludes nobody: a leader that was paused finds out late. What makes that
harmless is the ledger's epoch (`Store.claim`), which every transaction checks; the
Lease keeps a second operator from taking that over while the first one is well.

Times are those of our own monotonic clock: how long ago we saw the record change, never
what a clock elsewhere wrote into it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from flopguard_operator.cluster import Cluster, ClusterError
from flopguard_operator.observed import Raw, at, text

LONGEST = 3600  # seconds that a record may claim for itself

_log = structlog.get_logger()


@dataclass
class Leadership:
    """The hold on a Lease, or the wait for it.

    Args:
        cluster: where the Lease is.
        namespace: of the Lease.
        name: of the Lease.
        holder: who we are. Of one name there is never more than one process.
        seconds: how long others wait after our last renewal; 0: lead without a Lease.
    """

    cluster: Cluster
    namespace: str
    name: str
    holder: str
    seconds: float
    clock: Callable[[], float] = time.monotonic
    _renewed: float | None = None
    _seen: tuple[str, float] = field(default=("", 0.0))  # record, since when

    def leads(self) -> bool:
        """Tell whether nobody else can lead now: the Lease was renewed in time."""
        if not self.seconds:
            return True
        renewed = self._renewed
        return renewed is not None and self.clock() - renewed < self.seconds

    async def acquire(self, stop: asyncio.Event) -> bool:
        """Wait until the Lease is ours; False if `stop` was set before."""
        told = ""
        while not stop.is_set():
            if not self.seconds or await self._try():
                return True
            if self._holder_seen() != told:
                told = self._holder_seen()
                _log.info("standing by", leader=told, lease=self.name)
            await _wait(stop, self.seconds / 5)
        return False

    async def keep(self, stop: asyncio.Event) -> None:
        """Renew the Lease; return once somebody else has it, or `stop` is set.

        While the API server does not answer, `leads` falls to False by itself.
        """
        while not stop.is_set():
            await _wait(stop, self.seconds / 3 if self.seconds else LONGEST)
            if self.seconds and not stop.is_set() and not await self._try():
                other = self._holder_seen()
                if other != self.holder:
                    self._renewed = None
                    _log.error("another operator leads: stopping", leader=other)
                    return

    async def release(self) -> None:
        """Give the Lease up, so that the next leader need not wait."""
        if self.leads() and self.seconds:
            self._renewed = None
            await self._try(give_up=True)

    def _holder_seen(self) -> str:
        return self._seen[0].partition("\n")[0]

    async def _try(self, *, give_up: bool = False) -> bool:
        """Take, renew or give up the Lease; tell whether it is ours now."""
        asked = self.clock()  # the renewal counts from before it was sent
        try:
            lease = await asyncio.to_thread(
                self.cluster.read_lease, self.namespace, self.name
            )
            if lease is not None and not self._free(lease) and not give_up:
                return False
            wanted = self._record(lease, "" if give_up else self.holder)
            if not await asyncio.to_thread(
                self.cluster.write_lease, self.namespace, wanted
            ):
                return False
        except ClusterError as error:
            _log.warning("the Lease cannot be renewed", why=str(error)[:300])
            return False
        self._seen = (f"{self.holder}\n", asked)
        self._renewed = None if give_up else asked
        return not give_up

    def _free(self, lease: Raw) -> bool:
        """Tell whether the Lease is ours, nobody's, or was not renewed in its time."""
        holder = text(lease, "spec", "holderIdentity")
        record = f"{holder}\n{text(lease, 'metadata', 'resourceVersion')}"
        now = self.clock()
        if record != self._seen[0]:
            self._seen = (record, now)
        lasts = at(lease, "spec", "leaseDurationSeconds")
        patience = min(lasts, LONGEST) if type(lasts) is int else self.seconds
        return holder in {"", self.holder} or now - self._seen[1] > patience

    def _record(self, lease: Raw | None, holder: str) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = at(lease, "spec") or {}
        transitions = int(at(lease, "spec", "leaseTransitions") or 0)
        ours = text(lease, "spec", "holderIdentity") == holder
        metadata: dict[str, Any] = {"name": self.name, "namespace": self.namespace}
        if lease is not None:
            metadata["resourceVersion"] = text(lease, "metadata", "resourceVersion")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": max(1, int(self.seconds)),
                "acquireTime": before.get("acquireTime", now) if ours else now,
                "renewTime": now,
                "leaseTransitions": transitions + (not ours and lease is not None),
            },
        }


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
