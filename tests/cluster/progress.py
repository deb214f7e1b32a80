"""Progress lines with the time each step took."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK_SECONDS = 15.0

_started = time.monotonic()


def say(text: str) -> None:
    """Write one line to standard error, after the seconds since the start."""
    elapsed = time.monotonic() - _started
    sys.stderr.write(f"[{elapsed:6.1f} s] {text}\n")
    sys.stderr.flush()


@contextmanager
def step(title: str) -> Iterator[None]:
    """Report a step that may be long: a line every 15 s, and one when it is over."""
    begun = time.monotonic()
    over = threading.Event()

    def tick() -> None:
        while not over.wait(TICK_SECONDS):
            say(f"{title} … {time.monotonic() - begun:.0f} s")

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
        say(f"{title}: {time.monotonic() - begun:.1f} s")
    finally:
        over.set()
        ticker.join()
