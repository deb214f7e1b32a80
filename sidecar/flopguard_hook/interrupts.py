"""Tells the user's exceptions from the hook's own. Shell.

Python runs signal handlers between any two instructions of the main thread, also of the
hook. What such a handler raises (a timeout, a preemption) is for the user's program.
"""

from __future__ import annotations

import signal
from types import CodeType
from typing import TYPE_CHECKING, Any, Iterator

if TYPE_CHECKING:
    from types import TracebackType


def raise_users(error: BaseException) -> None:
    """Raise an error again if a signal handler raised it; otherwise do nothing."""
    handlers = set(_codes_of_handlers())
    if any(code in handlers for code in _codes_of_traceback(error.__traceback__)):
        raise error


def _codes_of_traceback(entry: TracebackType | None) -> Iterator[CodeType]:
    while entry is not None:
        yield entry.tb_frame.f_code
        entry = entry.tb_next


def _codes_of_handlers() -> Iterator[CodeType]:
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while hasattr(handler, "func"):  # functools.partial
            handler = handler.func
        if callable(handler) and not hasattr(handler, "__code__"):
            handler = getattr(handler, "__func__", type(handler).__call__)
        code = getattr(handler, "__code__", None)
        if isinstance(code, CodeType):
            yield code
