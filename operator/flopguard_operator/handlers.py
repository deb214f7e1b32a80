"""Feed kopf's watch events into the cache. Nothing is decided here.

The handlers are `on.event` ones: kopf stores nothing on the objects and adds no
finalizer; the cycle is level-triggered and works from the cache alone.
"""

import asyncio
from collections.abc import Callable
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


async def watch(cache: Cache, stop: asyncio.Event) -> None:
    """Run kopf until `stop` is set."""
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
