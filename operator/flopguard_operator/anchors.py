"""Keep the ledger's newest head outside of the ledger, and ask for it at the start.

Whoever can replace the file and sign anew can rewrite history unnoticed, unless a head
of it was seen where he cannot write. Each anchor is such a place. Three are here; a
witness or a time-stamping service is one more class with the same two methods.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from flopguard_operator import prometheus
from flopguard_operator.books import Books
from flopguard_operator.cluster import Cluster, ClusterError
from flopguard_operator.ledger.custody import KnownHead
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.ledger.note import Head
from flopguard_operator.metrics import ROOT_BYTES, Collector
from flopguard_operator.observed import Raw, at, text

CONFIG_MAP = "flopguard-ledger-head"
LEAST_SECONDS = 5.0  # between two writes of one anchor

_log = structlog.get_logger()


class Anchor(Protocol):
    """A place outside of the ledger's file that remembers its newest head."""

    name: str

    def known(self) -> Iterable[KnownHead]:
        """Return the heads that the place remembers, none if it is new.

        Raises:
            LedgerUnavailableError: it cannot be asked now, and nothing is to be
                appended before it was.
            LedgerError: what it remembers is no head.
        """

    def publish(self, head: Head, vkey: str) -> None:
        """Take a newer head; called after its commit, and not for every one.

        Raises:
            LedgerUnavailableError: it cannot be written now; it is tried again.
        """


@dataclass
class StatusAnchor:
    """The status of every run: `publishing` writes it with the run's own figures."""

    cluster: Cluster
    name: str = "the status of the runs"

    def known(self) -> Iterator[KnownHead]:
        """See `Anchor.known`. The API server is asked live: a cache may lack some."""
        for raw in _asked(self.cluster.all_runs):
            size = at(raw, "status", "ledger", "size")
            root = text(raw, "status", "ledger", "rootHash")
            run = "/".join(text(raw, "metadata", key) for key in ("namespace", "name"))
            if type(size) is int and root:
                where = f"status.ledger.rootHash of FineTuneRun {run}"
                yield KnownHead(size, decoded(root, where), where)

    def publish(self, head: Head, vkey: str) -> None:
        """Do nothing: each cycle publishes the status of its runs."""


@dataclass
class ConfigMapAnchor:
    """A ConfigMap in the operator's namespace."""

    cluster: Cluster
    namespace: str
    name: str = CONFIG_MAP

    def known(self) -> Iterator[KnownHead]:
        """See `Anchor.known`."""
        yield from self._in(
            _asked(lambda: self.cluster.read_config_map(self.namespace, self.name))
        )

    def _in(self, raw: Raw | None) -> Iterator[KnownHead]:
        size, root = text(raw, "data", "size"), text(raw, "data", "rootHash")
        where = f"ConfigMap {self.namespace}/{self.name}"
        if not size and not root:
            return
        if not (size.isascii() and size.isdigit() and len(size) < 20):  # noqa: PLR2004 - the digits of 2**63
            message = f"the size in {where} is no number: restore it"
            raise LedgerError(message)
        yield KnownHead(int(size), decoded(root, where), where)

    def publish(self, head: Head, vkey: str) -> None:
        """See `Anchor.publish`. A larger head stays: it may be the one that is lost."""
        raw = _asked(lambda: self.cluster.read_config_map(self.namespace, self.name))
        if max((known.size for known in self._in(raw)), default=0) > head.size:
            return
        metadata: dict[str, Any] = {"name": self.name, "namespace": self.namespace}
        if raw is not None:
            metadata["resourceVersion"] = text(raw, "metadata", "resourceVersion")
        config_map = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {
                "origin": head.origin,
                "size": str(head.size),
                "rootHash": head.root_base64,
                "key": vkey,
            },
        }
        if not _asked(
            lambda: self.cluster.write_config_map(self.namespace, config_map)
        ):
            message = f"somebody else wrote to ConfigMap {self.namespace}/{self.name}"
            raise LedgerUnavailableError(message)


@dataclass
class PrometheusAnchor:
    """Two gauges that Prometheus scrapes: the size, and the first bytes of the root.

    Prometheus is a witness only: where it does not answer, the start goes on.
    """

    url: str
    namespace: str
    origin: str
    collector: Collector
    name: str = "Prometheus"

    def known(self) -> Iterator[KnownHead]:
        """See `Anchor.known`; the newest samples of the last thirty days."""
        if not self.url:
            return
        try:
            query = prometheus.heads_query(self.namespace, self.origin)
            series = asyncio.run(prometheus.query(self.url, query))
        except prometheus.PrometheusError as error:
            _log.warning("no head is known from Prometheus", why=str(error))
            return
        for size, root in prometheus.heads(series):
            yield KnownHead(size, root.to_bytes(ROOT_BYTES, "big"), self.name)

    def publish(self, head: Head, vkey: str) -> None:  # noqa: ARG002 - of the protocol
        """See `Anchor.publish`."""
        self.collector.head = head


@dataclass
class Anchoring:
    """Publish each newer head to all anchors, not too often, as long as we lead."""

    books: Books
    anchors: tuple[Anchor, ...]
    leads: Callable[[], bool] = lambda: True
    _published: dict[str, tuple[Head, float]] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Repeat until `stop` is set, and once more then."""
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), LEAST_SECONDS)
            except TimeoutError:
                await self.once()
        await self.once()

    async def once(self) -> None:
        """Publish the head where it is news."""
        head, vkey = self.books.head, self.books.vkey
        if head is None or not self.leads():
            return
        for anchor in self.anchors:
            if self._published.get(anchor.name, (None, 0.0))[0] == head:
                continue
            try:
                await asyncio.to_thread(anchor.publish, head, vkey)
            except LedgerUnavailableError as error:
                _log.warning("head not anchored", anchor=anchor.name, why=str(error))
                continue
            self._published[anchor.name] = (head, time.monotonic())


def known_heads(anchors: Iterable[Anchor]) -> list[KnownHead]:
    """Return what all anchors remember, each head once.

    Raises:
        LedgerError, LedgerUnavailableError: see `Anchor.known`.
    """
    found: dict[tuple[int, bytes], KnownHead] = {}
    for anchor in anchors:
        for head in anchor.known():
            found.setdefault((head.size, head.root), head)
    return list(found.values())


def decoded(encoded: str, where: str) -> bytes:
    """Return the bytes of a base64 text.

    Raises:
        LedgerError: it is not base64, or nothing.
    """
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError as error:  # binascii.Error is one, and so is what is not ASCII
        message = f"{where} is not base64: restore it"
        raise LedgerError(message) from error
    if not data:
        message = f"{where} is not base64: restore it"
        raise LedgerError(message)
    return data


def _asked(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ClusterError as error:
        message = f"where the ledger's head is anchored cannot be reached: {error}"
        raise LedgerUnavailableError(message) from error
