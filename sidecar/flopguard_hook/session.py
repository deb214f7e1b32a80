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
from typing import Any, Callable, Sequence

from flopguard_hook import __version__, facts
from flopguard_hook.imports import say
from flopguard_hook.interrupts import raise_users
from flopguard_hook.page import CELLS, Slot, cell, flags_of
from flopguard_hook.writer import FolderFullError, PageWriter

# (cell, FLOPs) that were or are about to be executed. What lies beyond the page's cells
# is kept beside it: how much of the attention's work a causal mask hides.
Charges = Sequence["tuple[int, int]"]
MASKED = len(CELLS)

_FACTS_EVERY = 256  # steps, after those that are powers of two


def charge(category: str, numeric_format: str, flops: int) -> tuple[int, int]:
    """Return FLOPs of one category and numeric format, for `Session.begin`."""
    return cell(category, numeric_format), flops


class Session:
    """The counters of this process, kept in its page.

    `begin` raises the counters of what is about to run and writes them, `finish` those
    of what has returned. A charge may be one operator or a whole window.

    Attributes:
        armed: Whether anything is counted; once False it stays so.
        steps: Optimizer steps that returned.
        masked: FLOPs counted that a causal kernel may have skipped.
        before_facts: Called before the facts are written; adds what changes often.
    """

    def __init__(self, folder: str) -> None:
        self.armed = True
        self.before_facts: list[Callable[[], None]] = []
        self._folder = folder
        self._reset()

    def _reset(self) -> None:
        # Re-entrant: a signal handler may run operators while an update is under way.
        self._lock = threading.RLock()
        self._nonce = os.urandom(16).hex()
        self._slot = Slot(self._nonce)
        self._generation = 0
        self._done = [0] * (MASKED + 1)
        self._begun = [0] * (MASKED + 1)
        self.steps = 0
        self._anything = False
        self._closed = False
        self._backwards = 0
        self._accumulation = 0
        self._flags: set[str] = set()
        self._flag_bits = 0
        self._writer: PageWriter | None = None
        self._facts: dict[str, Any] = {
            "schema": facts.SCHEMA,
            "hook": __version__,
            "python": sys.version.split()[0],
            "pid": os.getpid(),
            **facts.of_launch(os.environ),
        }
        self._facts_changed = True

    @property
    def masked(self) -> int:
        """FLOPs counted that a causal kernel may have skipped."""
        return self._done[MASKED]

    def total_done(self) -> int:
        """Return the FLOPs of all work that returned."""
        return sum(self._done[:MASKED])

    def trained(self) -> int:
        """Return the FLOPs of forward and backward that returned."""
        return sum(
            flops
            for (category, _), flops in zip(CELLS, self._done)
            if category in {"forward", "backward"}
        )

    def products(self) -> int:
        """Return the FLOPs of all work that returned, but for the optimizer's."""
        return sum(
            flops
            for (category, _), flops in zip(CELLS, self._done)
            if category != "optimizer"
        )

    def begin(self, charges: Charges) -> None:
        """Raise `begun` before the work is dispatched."""
        if not charges:
            return
        with self._lock:
            self._anything = True
            begun = self._begun
            for index, flops in charges:
                begun[index] += flops
                if index < MASKED:
                    self._slot.put_begun(index, begun[index])
            self._write()

    def finish(self, charges: Charges) -> None:
        """Raise `done` after the work returned."""
        with self._lock:
            done = self._done
            for index, flops in charges:
                done[index] += flops
                if index < MASKED:
                    self._slot.put_done(index, done[index])
            self._write()

    def count_backward(self) -> None:
        """Note that the engine ran, for the number of backwards per step."""
        self._backwards += 1

    def finish_step(self, charges: Charges, *, outermost: bool) -> None:
        """Raise `done` by an optimizer step; count it unless it is part of another."""
        with self._lock:
            self.steps += int(outermost)
            if self._backwards > self._accumulation:
                self._accumulation = self._backwards
                self.note("accumulation", self._accumulation)
            self._backwards = 0
            self.finish(charges)
            if self._facts_changed or _is_due(self.steps):
                self.write_facts()

    def flag(self, name: str) -> None:
        """Set one of ERROR_FLAGS; it shows from the next write on, or at the end."""
        self._flags.add(name)
        self._flag_bits = flags_of(self._flags, closed=self._closed)
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
        if self.armed:  # what is open still closes, and may fail as well
            say(f"the hook failed and counts no more: {error!r}")
        self.armed = False
        with contextlib.suppress(Exception), self._lock:
            self.flag("hook_failed")
            self._write()

    def close(self) -> None:
        """Note that the process exits cleanly."""
        with contextlib.suppress(Exception), self._lock:
            self._closed = True
            self._flag_bits = flags_of(self._flags, closed=True)
            self._write()
            self.write_facts()

    def start_anew(self) -> None:
        """Begin with zero counters and a page to come: in a forked child."""
        with contextlib.suppress(Exception):
            inherited = self._writer
            self._reset()
            if inherited is not None:
                inherited.abandon()

    def write_facts(self) -> None:
        """Replace the facts file by what is known now."""
        with self._lock:
            if self._writer is None:
                return
            for add in self.before_facts:
                add()
            if not self._facts_changed:
                return
            self._facts["steps"] = self.steps
            try:
                self._writer.write_facts(self._facts)
            except OSError as error:
                raise_users(error)
                say(f"the facts could not be written: {error}")
            self._facts_changed = False

    def _write(self) -> None:
        if self._writer is None:
            if self._anything:
                self._open()
            return
        self._generation += 1
        try:
            slot = self._slot.seal(self._generation, self.steps, self._flag_bits)
            self._writer.write(slot, self._generation)
        except OSError as error:
            raise_users(error)
            self._missed(str(error))

    def _open(self) -> None:
        """Make the page; a folder that takes none disarms the hook."""
        try:
            slot = self._slot.seal(self._generation, self.steps, self._flag_bits)
            self._writer = PageWriter(self._folder, self._nonce, slot)
        except (FolderFullError, OSError) as error:
            raise_users(error)
            self.armed = False
            say(f"this process is not counted: {error}")
            return
        if self._writer.is_empty:
            self._missed("the volume is full")
        if self._writer.fills_folder:
            self.flag("too_many_pages")
            self._write()
        self.write_facts()

    def _missed(self, why: str) -> None:
        """Take in that the page is behind: the next write that succeeds makes up."""
        if "page_write_failed" not in self._flags:
            say(f"a page could not be written: {why}")
        self.flag("page_write_failed")


def _is_due(steps: int) -> bool:
    """Say whether the facts are written after so many steps."""
    return steps & (steps - 1) == 0 or steps % _FACTS_EVERY == 0
