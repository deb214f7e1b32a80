"""A clock that only moves when it is told to, in place of the operator's own."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, tzinfo
from types import SimpleNamespace
from typing import Any
from unittest import mock

from flopguard_operator import (
    anchors,
    auditing,
    books,
    cycle,
    documents,
    gathering,
    leadership,
    listening,
    publishing,
    sidecars,
)
from flopguard_operator.books import Books
from flopguard_operator.ledger.errors import FencedError
from standins.fleet import EPOCH

_MODULES = (
    anchors,
    auditing,
    books,
    cycle,
    documents,
    gathering,
    leadership,
    listening,
    publishing,
    sidecars,
)


class Clock:
    """Milliseconds since `fleet.EPOCH`: the monotonic clock and the wall are one."""

    def __init__(self, now: int = 0) -> None:
        self.nanoseconds = now * 1_000_000

    @property
    def now(self) -> int:
        """Milliseconds."""
        return self.nanoseconds // 1_000_000

    @now.setter
    def now(self, milliseconds: int) -> None:
        """Set the time."""
        self.nanoseconds = milliseconds * 1_000_000

    def seconds(self) -> float:
        """Return the time as `time.monotonic` does."""
        return self.nanoseconds / 1e9

    def wall(self, zone: tzinfo | None = None) -> datetime:
        """Return the time as `datetime.now` does."""
        time = EPOCH + timedelta(microseconds=self.nanoseconds // 1000)
        return time.astimezone(zone)

    @contextmanager
    def installed(self, to_thread: Callable[..., Any] | None = None) -> Iterator[None]:
        """Let the operator's modules read this clock and no other.

        Args:
            to_thread: takes the place of asyncio's; without it calls take no time.
        """
        time = SimpleNamespace(
            monotonic=self.seconds, monotonic_ns=lambda: self.nanoseconds
        )
        clock = self

        class Wall(datetime):
            """`datetime`, but for `now`."""

            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                """Return the time of the clock."""
                return clock.wall(tz)

        with ExitStack() as stack:
            for module in _MODULES:
                for name, stand_in in (("time", time), ("datetime", Wall)):
                    if hasattr(module, name):
                        patch = mock.patch.object(module, name, stand_in)
                        stack.enter_context(patch)
            stack.enter_context(
                mock.patch.object(asyncio, "to_thread", to_thread or _here)
            )
            stack.enter_context(mock.patch.object(Books, "_in_thread", _by_itself))
            yield


async def _by_itself(keeper: Books, function: Callable[..., Any], *args: Any) -> None:
    """Do the store's work at once, as `Books` does on its thread."""
    try:
        function(*args)
    except FencedError:
        keeper.fenced.set()
        raise


async def _here(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function at once, where `asyncio.to_thread` would take a thread."""
    return function(*args)


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    message = "it waits"
    raise AssertionError(message)
