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

# Where the exceptions are at home that the hook's own code may meet.
_HOMES_OF_OURS = {
    "builtins",
    "flopguard_hook",
    "json",
    "struct",
    "torch",
}


def raise_users(error: BaseException) -> None:
    """Raise an error again if it is the user's; otherwise do nothing.

    It is if a signal handler raised it, or if its class is one that the hook cannot
    have raised: other threads may throw exceptions into this one.
    """
    home = type(error).__module__.split(".", maxsplit=1)[0]
    if home not in _HOMES_OF_OURS:
        raise error
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
