"""What a program notes while it runs: the counters at the end of each optimizer step.

Under the hook it only copies the page that the hook has written, as a reader outside
would; it imports nothing of flopguard. Otherwise it notes what the reference counted.
"""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

PAGE_BYTES = 4096


class Journal:
    """The notes of one process, written into a folder.

    Attributes:
        facts: What else the program found out, by name.
        rank: The process's place among the cell's workers.
    """

    def __init__(self, folder: Path) -> None:
        self.facts: dict[str, Any] = {}
        self.rank = int(os.environ.get("RANK", "0"))
        self._folder = folder

    def step(self) -> None:
        """Note that a step has ended."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count within the block; note every step of an optimizer, and the end."""
        from torch.optim.optimizer import register_optimizer_step_post_hook

        def left(optimizer: Any, _args: Any, _kwargs: Any) -> None:
            if type(optimizer).__name__ != "AcceleratedOptimizer":
                self.step()

        handle = register_optimizer_step_post_hook(left)
        try:
            with self._counting():
                yield
        finally:
            handle.remove()
        self.step()

    def close(self) -> None:
        """Write the notes."""
        self._write(f"facts-{self.rank}.json", json.dumps(self.facts).encode())

    def _counting(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_bytes(content)


class PageJournal(Journal):
    """Copies this process's page, once it has one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._page: Path | None = None
        self._copies: list[bytes] = []

    def step(self) -> None:
        """Copy the page."""
        self._page = self._page or _own_page(Path(os.environ["FLOPGUARD_DIR"]))
        if self._page is not None:
            self._copies.append(self._page.read_bytes())

    def close(self) -> None:
        """Write the notes and the copies."""
        super().close()
        self._write(f"pages-{self.rank}.bin", b"".join(self._copies))


def _own_page(folder: Path) -> Path | None:
    for facts in folder.glob("*.json"):
        if json.loads(facts.read_text())["pid"] == os.getpid():
            return facts.with_suffix(".page")
    return None


class ExactJournal(Journal):
    """Notes what the reference of tests/truth counts, and the calls it saw."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from truth.always_on import AlwaysOn

        self._reference = AlwaysOn()
        self._steps: list[dict[str, int]] = []

    def step(self) -> None:
        """Note the sums so far."""
        self._steps.append(dict(self._reference.flops))

    def close(self) -> None:
        """Write what was counted."""
        self.facts |= {
            "steps": self._steps,
            "calls": self._reference.calls,
            "alarms": sorted(self._reference.alarms),
        }
        super().close()

    def _counting(self) -> AbstractContextManager[Any]:
        return self._reference.watching()


class FlopCounterJournal(PageJournal):
    """Notes what torch's FlopCounterMode counts; the hook may be armed beside it."""

    @contextmanager
    def _counting(self) -> Iterator[None]:
        from torch.utils.flop_counter import FlopCounterMode

        counter = FlopCounterMode(display=False)
        with counter:
            yield
        self.facts["flop_counter"] = counter.get_total_flops()


JOURNALS: dict[str, type[Journal]] = {
    "hook": PageJournal,
    "exact": ExactJournal,
    "flop_counter": FlopCounterJournal,
}
