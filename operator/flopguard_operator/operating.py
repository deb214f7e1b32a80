"""Start the operator: the watches, the loop, metrics and health, and stop them."""

import asyncio
import base64
import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterable

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from flopguard_operator import handlers, metrics
from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.cluster import Cluster, ClusterError
from flopguard_operator.cycle import Cycle
from flopguard_operator.ledger import keys
from flopguard_operator.ledger.custody import KnownHead
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.observed import Raw, at, text
from flopguard_operator.publishing import Publisher
from flopguard_operator.settings import Settings

KEY_NAME = "ed25519.pem"
DEFINITION_SECONDS = 5.0
STALE_CYCLES = 20  # and at least two minutes: then the loop hangs

_log = structlog.get_logger()


def signing_key(cluster: Cluster, settings: Settings) -> keys.SigningKey:
    """Return the ledger's key from its Secret, which is made if it is absent."""
    origin = f"flopguard.dev/{cluster.cluster_uid()}/ledger"
    namespace, name = settings.namespace, settings.key_secret
    data = cluster.read_secret(namespace, name)
    if data is None:
        made = keys.generate(origin)
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "data": {KEY_NAME: base64.b64encode(made.pem()).decode()},
        }
        if cluster.create_secret(namespace, manifest):
            _log.info("ledger key made", secret=f"{namespace}/{name}")
            return made
        data = cluster.read_secret(namespace, name) or {}
    if KEY_NAME not in data:
        message = f"Secret {namespace}/{name} has no {KEY_NAME}: restore the ledger key"
        raise LedgerError(message)
    pem = _decoded(data[KEY_NAME], f"{KEY_NAME} of Secret {namespace}/{name}")
    return keys.from_pem(origin, pem)


def newest_known(runs: Iterable[Raw]) -> tuple[int, bytes] | None:
    """Return size and root of the newest head that a run's status shows.

    Raises:
        LedgerError: a status shows a head that is none; only the operator may write it.
    """
    heads = []
    for raw in runs:
        size = at(raw, "status", "ledger", "size")
        root = text(raw, "status", "ledger", "rootHash")
        if type(size) is int and root:
            name = "/".join(text(raw, "metadata", key) for key in ("namespace", "name"))
            where = f"status.ledger.rootHash of FineTuneRun {name}"
            heads.append((size, _decoded(root, where)))
    return max(heads, default=None)


def _decoded(encoded: str, where: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:  # binascii.Error is one, and so is what is not ASCII
        message = f"{where} is not base64: restore it"
        raise LedgerError(message) from error


def open_ledger(
    settings: Settings, key: keys.SigningKey, cluster: Cluster
) -> SqliteStore:
    """Open the ledger, unless it is older than what some run's status shows.

    The API server is asked live: a cache that is not complete would let an old copy
    of the file pass. Runs on the ledger's thread.

    Raises:
        LedgerError: the file is not this ledger, was changed, or is older than known.
        LedgerUnavailableError: the API server or the file cannot be read now.
    """
    try:
        newest = newest_known(cluster.all_runs())
        settings.ledger.parent.mkdir(parents=True, exist_ok=True)
    except ClusterError as error:
        message = f"the runs, which show how far it went, cannot be read: {error}"
        raise LedgerUnavailableError(message) from error
    except OSError as error:
        message = f"the folder of {settings.ledger} cannot be made: {error.strerror}"
        raise LedgerUnavailableError(message) from error
    known = [KnownHead(*newest, "the status of a run")] if newest else []
    return SqliteStore(settings.ledger, key, known)


def _application(cycle: Cycle) -> web.Application:
    """Return the web application: `GET /metrics` and `GET /healthz`."""
    registry = metrics.registry(cycle.publisher.collector)

    async def show(_: web.Request) -> web.Response:
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_: web.Request) -> web.Response:
        age = time.monotonic() - cycle.ended_at
        patience = max(120.0, STALE_CYCLES * cycle.settings.cycle_seconds)
        if age > patience:
            text = f"no cycle has ended for {age:.0f} s\n"
            return web.Response(status=503, text=text)
        return web.Response(text="ok\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", show), web.get("/healthz", health)])
    return app


async def _replaced(cluster: Cluster) -> None:
    """Return once the CRD is another one than at the start.

    kopf looks at a CRD when it changes, which is before the API server serves it, and
    not again: it would stay blind to a resource that was deleted and restored.
    """
    known: str | None = None
    while True:
        with contextlib.suppress(ClusterError):  # the API server is away: wait
            now = await asyncio.to_thread(cluster.run_definition)
            if known is None:
                known = now
            elif now and now != known:
                _log.warning("the CRD was replaced: starting anew")
                await asyncio.sleep(DEFINITION_SECONDS)  # until it is served
                return
        await asyncio.sleep(DEFINITION_SECONDS)


async def operate(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    if settings.kubeconfig:
        os.environ["KUBECONFIG"] = settings.kubeconfig  # where kopf looks for it
    cluster = await asyncio.to_thread(Cluster, settings.kubeconfig)
    key = await asyncio.to_thread(signing_key, cluster, settings)
    cache = Cache()

    books = Books(functools.partial(open_ledger, settings, key, cluster))
    publisher = Publisher(settings, cache, cluster, books, metrics.Collector())
    cycle = Cycle(settings, cache, cluster, books, publisher)
    cycle.ended_at = time.monotonic()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(_application(cycle))
    await runner.setup()
    await web.TCPSite(runner, port=settings.port).start()
    watching = asyncio.create_task(handlers.watch(cache, stop))
    looping = asyncio.create_task(cycle.run(stop))
    replaced = asyncio.create_task(_replaced(cluster))
    try:
        # Whichever ends first without being told to has failed: end the process, so
        # that Kubernetes starts it anew.
        ends = {watching, looping, replaced}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        replaced.cancel()
        await asyncio.wait({watching, looping}, timeout=20)
        for task in (watching, looping):
            if task.done() and task.exception() is not None:
                _log.error("stopped by an error", why=str(task.exception()))
        await runner.cleanup()
        await books.close()
