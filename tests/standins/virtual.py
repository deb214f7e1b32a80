"""An event loop whose time is a `Clock`: nobody waits, the next timer is always due."""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

from standins.clock import Clock


class _Jump(selectors.SelectSelector):
    """Waits for nothing but the time, and makes that pass at once."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass until the next timer."""
        if timeout is None:
            message = "nothing is left that could happen"
            raise RuntimeError(message)
        if timeout > 0:  # rounded up, else the timer would not be due yet
            self._clock.nanoseconds += int(timeout * 1e9) + 1000
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on a clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(_Jump(clock))
        self._clock = clock

    def time(self) -> float:
        """Return the seconds of the clock."""
        return self._clock.seconds()

    def _write_to_self(self) -> None:
        """Wake nobody: there are no threads."""


def slowly(latency: Callable[[], float]) -> Callable[..., Any]:
    """Return a stand-in for `asyncio.to_thread` that takes its time, then calls."""

    async def call(function: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(latency())
        return function(*args)

    return call
