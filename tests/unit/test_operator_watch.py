"""kopf goes on without a watch that has ended; the operator must not."""

import asyncio
from typing import Any

import kopf
import pytest
from kopf._cogs.aiokits import aiotasks  # its own words, whatever version it is
from kopf._core.reactor import orchestration

from flopguard_operator import handlers
from flopguard_operator.cache import Cache


async def refused() -> None:
    """Fail as a list does that the API server refuses for good."""
    message = "Ran out of valid credentials."
    raise RuntimeError(message)


async def ended() -> None:
    """End as no watch does."""


@pytest.mark.parametrize(
    ("watcher", "said"),
    [
        pytest.param(refused, "Ran out of valid credentials", id="it failed"),
        pytest.param(ended, "finished unexpectedly", id="it just ended"),
    ],
)
def test_a_watch_that_ends_ends_the_operator(
    watcher: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that Kubernetes starts it anew, and it lists what there is."""

    async def operator(*, stop_flag: asyncio.Event, **_: Any) -> None:
        task = aiotasks.create_guarded_task(
            name="watcher for finetuneruns.v1alpha1.flopguard.dev@None",
            coro=watcher(),
            logger=orchestration.logger,
            cancellable=True,
        )
        await stop_flag.wait()
        await task

    monkeypatch.setattr(kopf, "operator", operator)

    async def run() -> None:
        async with asyncio.timeout(10):
            await handlers.watch(Cache(), asyncio.Event())

    with pytest.raises(handlers.WatchError, match=said):
        asyncio.run(run())


def test_a_stop_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No error, and no handler is left behind."""

    async def operator(*, stop_flag: asyncio.Event, **_: Any) -> None:
        await stop_flag.wait()

    monkeypatch.setattr(kopf, "operator", operator)

    async def run() -> None:
        stop = asyncio.Event()
        stop.set()
        async with asyncio.timeout(10):
            await handlers.watch(Cache(), stop)

    asyncio.run(run())
