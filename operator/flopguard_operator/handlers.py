"""Feed kopf's watch events into the cache. Nothing is decided here.

The handlers are `on.event` ones: kopf stores nothing on the objects and adds no
finalizer; the cycle is level-triggered and works from the cache alone.
"""

import asyncio
from typing import Any

import kopf

from flopguard_operator import naming
from flopguard_operator.cache import Cache

RUNS = (naming.GROUP, naming.VERSION, naming.RUN_PLURAL)
PROGRAMS = (naming.GROUP, naming.VERSION, naming.PROGRAM_PLURAL)


def registry(cache: Cache) -> kopf.OperatorRegistry:
    """Return kopf's registry with one event handler per watched resource."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.event(*RUNS, registry=handlers)
    def run_seen(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
        cache.see_run(type, dict(body))

    @kopf.on.event(*PROGRAMS, registry=handlers)
    def program_seen(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
        cache.see_program(type, dict(body))

    @kopf.on.event("batch", "v1", "jobs", registry=handlers)
    def job_seen(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
        cache.see_job(type, dict(body))

    @kopf.on.event(
        "", "v1", "pods", labels={naming.RUN_LABEL: kopf.PRESENT}, registry=handlers
    )
    def pod_seen(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
        cache.see_pod(type, dict(body))

    return handlers


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: only our pods are watched, and silence is noticed."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False  # Events are written by the cycle, one per verdict
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 310
    chosen.watching.connect_timeout = 30
    chosen.watching.label_selectors["", "v1", "pods"] = naming.RUN_LABEL
    return chosen


async def watch(cache: Cache, stop: asyncio.Event, ready: asyncio.Event) -> None:
    """Run kopf until `stop` is set."""
    await kopf.operator(
        registry=registry(cache),
        settings=settings(),
        clusterwide=True,
        standalone=True,
        stop_flag=stop,
        ready_flag=ready,
    )
