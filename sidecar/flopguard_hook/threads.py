"""What the hook knows of one thread of the program. Shell."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Callable

from flopguard_hook.dispatch import Meter, meter_on_stack
from flopguard_hook.windows import Windows

if TYPE_CHECKING:
    from flopguard_hook.replay import Figure

# Whether a module that is called now is a root (OUTSIDE), is part of a window that is
# replayed (INSIDE), or of one that is measured (MEASURED).
OUTSIDE, INSIDE, MEASURED = 0, 1, 2

_MOST_PENDING = 64


class Thread:
    """One thread: its meter, and what happened in it since its last backward.

    Attributes:
        state: OUTSIDE, INSIDE or MEASURED.
        meter: Measures this thread's windows.
        window: The window that is open now.
        glue: Where the stretch between windows began; None within one.
        glue_is_measured: Whether the meter is on the stack for it.
        glue_since: When it began, in seconds.
        pending: Figures of the forwards that the next backward runs through; None for
            one without a signature.
        fed: The figures that fed the last backward.
        ordinal: Backwards since then that no forward has fed.
        trained: Families of the backwards since the last optimizer step.
    """

    __slots__ = (
        "__weakref__",
        "fed",
        "glue",
        "glue_is_measured",
        "glue_since",
        "meter",
        "ordinal",
        "pending",
        "state",
        "trained",
        "window",
    )

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything: after a fork, or when an interrupt cut a window off."""
        self.state = OUTSIDE
        self.window: Any = None
        self.glue: Any = None
        self.glue_is_measured = False
        self.glue_since = 0.0
        self.pending: list[Figure | int | None] = [None]
        self.fed: tuple[Figure | int | None, ...] = (None,)
        self.ordinal = 0
        self.trained: list[Any] = []
        self.meter.windows = Windows()

    def add_pending(self, figure: Figure | int | None) -> None:
        """Note a forward, or the digest of what was counted between windows."""
        if len(self.pending) < _MOST_PENDING:
            self.pending.append(figure)
        else:
            self.pending = [None]

    def take_pending(self) -> tuple[tuple[Figure | int | None, ...], int]:
        """Return what feeds a backward that starts now, and which one it is."""
        if self.pending:
            self.fed = tuple(self.pending)
            self.pending = []
            self.ordinal = 0
        else:
            self.ordinal += 1
        return self.fed, self.ordinal

    def __del__(self) -> None:
        """Take the meter off the stack at the thread's end."""
        # A thread-local is cleared in its own thread while that still holds the GIL.
        # torch would drop the mode later, without it, and could deadlock.
        with contextlib.suppress(Exception):
            if meter_on_stack() is self.meter:
                self.meter.stop()


class Threads(threading.local):
    """The current thread, made when it first needs one.

    Attributes:
        current: Of this thread.
    """

    def __init__(self, make_meter: Callable[[], Meter]) -> None:
        super().__init__()
        self.current = Thread(make_meter())
