"""One process's meter: its counters, its page, its facts. Shell.

Everything the hook does to the user's process goes through here, so that a failure of
the hook ends here: it is noted in the page, said once on stderr, and nothing is counted
any more.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any, NamedTuple, Sequence

from flopguard_hook import __version__, facts
from flopguard_hook.interrupts import raise_users
from flopguard_hook.page import ERROR_FLAGS, Page, zero_counters
from flopguard_hook.writer import FolderFullError, PageWriter


class Charge(NamedTuple):
    """FLOPs that were or are about to be executed.

    Attributes:
        category: One of `page.CATEGORIES`.
        format: One of `page.FORMATS`.
        flops: How many.
    """

    category: str
    format: str
    flops: int


class Session:
    """The counters of this process, kept in its page.

    `begin` raises the counters of what is about to run and writes them, `finish` those
    of what has returned. A charge may be one operator or a whole pass.

    Attributes:
        armed: Whether anything is counted; once False it stays so.
        backwards: Runs of the engine since the last step.
    """

    def __init__(self, folder: str) -> None:
        self.armed = True
        self._folder = folder
        self._reset()

    def _reset(self) -> None:
        # Re-entrant: a signal handler may run operators while an update is under way.
        self._lock = threading.RLock()
        self._nonce = os.urandom(16).hex()
        self._generation = 0
        self._done = zero_counters()
        self._begun = zero_counters()
        self._steps = 0
        self._anything = False
        self._closed = False
        self.backwards = 0
        self._flags: set[str] = set()
        self._writer: PageWriter | None = None
        self._facts: dict[str, Any] = {
            "schema": facts.SCHEMA,
            "hook": __version__,
            "python": sys.version.split()[0],
            "pid": os.getpid(),
            **facts.of_launch(os.environ),
        }
        self._facts_changed = True

    def begin(self, charges: Sequence[Charge]) -> None:
        """Raise `begun` before the work is dispatched."""
        if not charges:
            return
        with self._lock:
            self._anything = True
            for charge in charges:
                self._begun[charge.category][charge.format] += charge.flops
            self._write()

    def finish(self, charges: Sequence[Charge]) -> None:
        """Raise `done` after the work returned."""
        with self._lock:
            for charge in charges:
                self._done[charge.category][charge.format] += charge.flops
            self._write()

    def finish_step(self, charges: Sequence[Charge], *, outermost: bool) -> None:
        """Raise `done` by an optimizer step; count it unless it is part of another."""
        with self._lock:
            self._steps += int(outermost)
            accumulated = max(self.backwards, self.noted("accumulation", 0))
            self.note("accumulation", accumulated)
            self.backwards = 0
            self.finish(charges)
            self._write_facts()

    def flag(self, name: str) -> None:
        """Set one of ERROR_FLAGS; it shows from the next write on, or at the end."""
        self._flags.add(name)
        self._anything = True

    def note(self, key: str, value: Any) -> None:
        """Set a fact; it is written with the next step, or at the end."""
        if self._facts.get(key) != value:
            self._facts[key] = value
            self._facts_changed = True

    def noted(self, key: str, default: Any = None) -> Any:
        """Return a fact."""
        return self._facts.get(key, default)

    def fail(self, error: BaseException) -> None:
        """Count no more because the hook itself failed; the user's code goes on.

        What a signal handler of the user's raised within the hook is raised again.
        """
        raise_users(error)
        self.armed = False
        self._say(f"the hook failed and counts no more: {error!r}")
        with contextlib.suppress(Exception), self._lock:
            self.flag("hook_failed")
            self._write()

    def close(self) -> None:
        """Note that the process exits cleanly."""
        with contextlib.suppress(Exception), self._lock:
            self._closed = True
            self._write()
            self._write_facts()

    def start_anew(self) -> None:
        """Begin with zero counters and a page to come: in a forked child."""
        with contextlib.suppress(Exception):
            inherited = self._writer
            self._reset()
            if inherited is not None:
                inherited.abandon()

    def _page(self) -> Page:
        errors = tuple(name for name in ERROR_FLAGS if name in self._flags)
        return Page(
            self._nonce,
            self._generation,
            self._done,
            self._begun,
            self._steps,
            self._closed,
            errors,
        )

    def _write(self) -> None:
        if not self._anything:
            return
        if self._writer is None:
            self._open()
            return
        self._generation += 1
        try:
            self._writer.write(self._page())
        except OSError as error:
            raise_users(error)
            # The counters are cumulative: the next write that succeeds makes up for it.
            if "page_write_failed" not in self._flags:
                self._say(f"a page could not be written: {error}")
            self.flag("page_write_failed")

    def _open(self) -> None:
        """Make the page; a folder that takes none disarms the hook."""
        try:
            self._writer = PageWriter(self._folder, self._page())
        except (FolderFullError, OSError) as error:
            raise_users(error)
            self.armed = False
            self._say(f"this process is not counted: {error}")
            return
        if self._writer.fills_folder:
            self.flag("too_many_pages")
            self._write()
        self._write_facts()

    def _write_facts(self) -> None:
        if self._writer is None or not self._facts_changed:
            return
        try:
            self._writer.write_facts(self._facts)
            self._facts_changed = False
        except OSError as error:
            raise_users(error)
            self._say(f"the facts could not be written: {error}")
            self._facts_changed = False

    def _say(self, sentence: str) -> None:
        with contextlib.suppress(Exception):
            sys.stderr.write(f"flopguard: {sentence}\n")
