"""Feed kopf's watch events into the cache. Nothing is decided here.

The handlers are `on.event` ones: kopf stores nothing on the objects and adds no
finalizer; the cycle is level-triggered and works from the cache alone.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import kopf

from flopguard_operator import naming
from flopguard_operator.cache import Cache
from flopguard_operator.observed import Raw

RUNS = (naming.GROUP, naming.VERSION, naming.RUN_PLURAL)
PROGRAMS = (naming.GROUP, naming.VERSION, naming.PROGRAM_PLURAL)
DECISIONS = (naming.GROUP, naming.VERSION, naming.DECISION_PLURAL)
JOBS = ("batch", "v1", "jobs")
PODS = ("", "v1", "pods")
STOP_SECONDS = 5.0
_ENDED = re.compile(r"Watcher for .*has (failed|finished unexpectedly)", re.DOTALL)


def registry(cache: Cache) -> kopf.OperatorRegistry:
    """Return kopf's registry: each watched resource feeds its part of the cache.

    Each is an index as well as an event handler: kopf runs the indexes over the first
    listing of all resources before it calls any handler, so the first handler call
    tells that the cache is complete.
    """
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(_login)
    for resource, see in (
        (RUNS, cache.see_run),
        (PROGRAMS, cache.see_program),
        (DECISIONS, cache.see_decision),
        (JOBS, cache.see_job),
        (PODS, cache.see_pod),
    ):
        listed, changed = _feed(cache, see)
        index = resource[-1]
        kopf.index(*resource, id=index, registry=handlers)(listed)
        kopf.on.event(*resource, registry=handlers)(changed)
    return handlers


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Log in as the `kubernetes` client does: service account, else kubeconfig."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(
        **kwargs
    )


def _feed(
    cache: Cache, see: Callable[[str | None, Raw], None]
) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return the index function and the event handler of one resource."""

    def listed(body: kopf.Body, **_: Any) -> None:
        see(None, dict(body))

    def changed(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
        see(type, dict(body))
        cache.complete.set()

    return listed, changed


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: only our pods are watched, and silence is noticed."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False  # Events are written by the cycle, one per verdict
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 310
    chosen.watching.connect_timeout = 30
    chosen.watching.label_selectors[PODS] = naming.RUN_LABEL
    return chosen


class WatchError(Exception):
    """A watch has ended for good: what happens from here on would not be seen."""


class _Failures(logging.Handler):
    """Hears of a watch that has ended: kopf logs it, and goes on without it.

    It does so when the API server refuses the list or the watch, as one that comes up
    may for a moment (401 before it knows its service accounts).
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def emit(self, record: logging.LogRecord) -> None:
        """Take in what kopf says; it does so on the event loop."""
        said = record.getMessage()
        if _ENDED.match(said) and not self.failed.done():
            self.failed.set_result(said)


@contextlib.contextmanager
def _hearing() -> Iterator[asyncio.Future[str]]:
    """Give what is done once one of kopf's watches has ended."""
    handler, logger = _Failures(), logging.getLogger("kopf")
    logger.addHandler(handler)
    try:
        yield handler.failed
    finally:
        logger.removeHandler(handler)


async def watch(cache: Cache, stop: asyncio.Event) -> None:
    """Run kopf until `stop` is set.

    Raises:
        WatchError: one of its watches has ended; only a new start sees all again.
    """
    with _hearing() as failed:
        running = asyncio.ensure_future(_kopf(cache, stop))
        first: set[asyncio.Future[Any]] = {running, failed}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            running.cancel()
            await asyncio.wait({running}, timeout=STOP_SECONDS)
            raise WatchError(failed.result())
        await running


async def _kopf(cache: Cache, stop: asyncio.Event) -> None:
    # kopf's default asks for the name of the user, which a container's UID has not.
    identity: Any = naming.MANAGER
    await kopf.operator(
        identity=identity,
        registry=registry(cache),
        settings=settings(),
        clusterwide=True,
        standalone=True,
        stop_flag=stop,
    )
