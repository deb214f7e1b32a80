"""Start the operator: the watches, the loop, metrics and health, and stop them."""

import asyncio
import contextlib
import functools
import os
import signal
import time

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from flopguard_operator import handlers, metrics, taking
from flopguard_operator.anchors import (
    Anchor,
    Anchoring,
    ConfigMapAnchor,
    PrometheusAnchor,
    StatusAnchor,
)
from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.cluster import Cluster, ClusterError
from flopguard_operator.cycle import Cycle
from flopguard_operator.leadership import Leadership
from flopguard_operator.ledger.census import program_of
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.publishing import Publisher
from flopguard_operator.serving import Reports
from flopguard_operator.settings import Settings

DEFINITION_SECONDS = 5.0
STALE_CYCLES = 20  # and at least two minutes: then the loop hangs

_log = structlog.get_logger()


def _application(cycle: Cycle, leadership: Leadership) -> web.Application:
    """Return the web application: `GET /metrics`, `/healthz`, `/reports/` if wanted."""
    registry = metrics.registry(cycle.publisher.collector)

    async def show(_: web.Request) -> web.Response:
        cycle.publisher.collector.leads = leadership.leads()
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_: web.Request) -> web.Response:
        if not cycle.ended_at:  # it has not begun: another one leads
            return web.Response(text="standby\n")
        age = time.monotonic() - cycle.ended_at
        patience = max(120.0, STALE_CYCLES * cycle.settings.cycle_seconds)
        if age > patience:
            text = f"no cycle has ended for {age:.0f} s\n"
            return web.Response(status=503, text=text)
        return web.Response(text="ok\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", show), web.get("/healthz", health)])
    if cycle.settings.reports:
        app.add_routes(_reports(cycle).routes())
    return app


def _reports(cycle: Cycle) -> Reports:
    """Return the reports on what the ledger knows."""
    books = cycle.books

    def names() -> list[str]:
        accounts = books.accounts.values()
        refs = (account.ref for account in accounts)
        runs = [f"{ref.namespace}/{ref.name}" for ref in refs if ref.namespace]
        return [*runs, *({program_of(account) for account in accounts} - {""})]

    def size() -> int:
        return books.head.size if books.head is not None else 0

    return Reports(cycle.settings.ledger, names, size, cycle.settings.policies)


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
    """Run the operator until SIGTERM or SIGINT, or until another one leads."""
    if settings.kubeconfig:
        os.environ["KUBECONFIG"] = settings.kubeconfig  # where kopf looks for it
    cluster = await asyncio.to_thread(Cluster, settings.kubeconfig)
    name = taking.holder()
    leadership = Leadership(
        cluster, settings.namespace, settings.lease, name, settings.lease_seconds
    )
    signing = await asyncio.to_thread(taking.signing_keys, cluster, settings)
    cache, collector = Cache(), metrics.Collector()
    anchors = (
        StatusAnchor(cluster),
        ConfigMapAnchor(cluster, settings.namespace),
        PrometheusAnchor(
            settings.prometheus_url, settings.namespace, signing.first.name, collector
        ),
    )
    books = Books(functools.partial(taking.take_over, settings, signing, anchors, name))
    publisher = Publisher(settings, cache, cluster, books, collector)
    cycle = Cycle(settings, cache, cluster, books, publisher, leads=leadership.leads)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(_application(cycle, leadership))
    await runner.setup()
    await web.TCPSite(runner, port=settings.port).start()
    try:
        if await leadership.acquire(stop):
            cycle.ended_at = time.monotonic()
            await _lead(cycle, cluster, leadership, anchors, stop)
    finally:
        stop.set()
        await runner.cleanup()
        await books.close()
        await leadership.release()


async def _lead(
    cycle: Cycle,
    cluster: Cluster,
    leadership: Leadership,
    anchors: tuple[Anchor, ...],
    stop: asyncio.Event,
) -> None:
    """Watch, and turn the loop, until something ends that should not."""
    books = cycle.books
    watching = asyncio.create_task(handlers.watch(cycle.cache, stop))
    looping = asyncio.create_task(cycle.run(stop))
    anchoring = Anchoring(books, anchors, leadership.leads)
    ends = {
        watching,
        looping,
        asyncio.create_task(_replaced(cluster)),
        asyncio.create_task(leadership.keep(stop)),
        asyncio.create_task(books.fenced.wait()),
    }
    beside = {
        asyncio.create_task(taking.check_rest(cycle.settings, books)),
        asyncio.create_task(anchoring.run(stop)),
    }
    try:
        # Whichever ends first without being told to has failed: end the process, so
        # that Kubernetes starts it anew.
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        await asyncio.wait({watching, looping}, timeout=20)
        for task in ends | beside:
            task.cancel()
        for task in (watching, looping):
            if task.done() and not task.cancelled() and task.exception() is not None:
                _log.error("stopped by an error", why=str(task.exception()))
        with contextlib.suppress(LedgerError):
            await anchoring.once()
