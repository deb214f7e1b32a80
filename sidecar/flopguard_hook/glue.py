"""Measures what lies between windows, until it is known to count nothing. Shell.

Glue is a loss, a sampler, an optimizer's step. Its cost has no signature: where
something was counted once it is measured every time, and its operators become part of
the signature of the next backward.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from flopguard_hook.page import CELLS
from flopguard_hook.replay import Sites

if TYPE_CHECKING:
    from flopguard_hook.replay import Replay
    from flopguard_hook.session import Charges, Session
    from flopguard_hook.threads import Thread

_EVERY = 64  # a quiet stretch is measured again so often

_FORWARD_CELLS = frozenset(
    index for index, (category, _) in enumerate(CELLS) if category == "forward"
)


def is_forward(charges: Charges) -> bool:
    """Say whether a backward may run through what was charged."""
    return any(index in _FORWARD_CELLS for index, _ in charges)


class Glue:
    """The stretches between windows, of all threads.

    Attributes:
        sites: Where they begin, and whether something was counted there.
    """

    def __init__(self, session: Session, replay: Replay) -> None:
        self.sites = Sites()
        self._session = session
        self._replay = replay

    def enter(self, thread: Thread, site: Any, every: int = _EVERY) -> None:
        """Measure from here to the next window, unless it is known to be quiet."""
        thread.glue = site
        thread.glue_since = perf_counter()
        thread.glue_is_measured = not (
            self._replay.on and self.sites.is_skipped(site, every)
        )
        if thread.glue_is_measured:
            thread.meter.start(live=True)

    def leave(self, thread: Thread) -> None:
        """End that, if it is going on."""
        site = thread.glue
        if site is None:
            return
        thread.glue = None
        seconds = perf_counter() - thread.glue_since
        if not thread.glue_is_measured:
            self.sites.skipped(site, seconds)
            return
        meter = thread.meter
        charges = meter.stop()
        if is_forward(charges):
            thread.add_pending(meter.digest)
        if self.sites.learn(site, seconds, quiet=not meter.counted):
            self._session.flag("replay_drift")
