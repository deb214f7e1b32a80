"""Completes what inductor keeps on disk of a process without the hook. Shell.

Such an entry has no figure, and where AOTAutograd kept its own part as well the graph
is not traced again either. Here the entry passes for missing while no graph is at hand:
AOTAutograd traces, inductor finds the entry, nothing is compiled, and the figure of
the graph is written into the entry, where the next process finds it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import threading
from typing import Any, Callable, Iterator

from flopguard_hook.graphcost import schema
from flopguard_hook.interrupts import raise_users

FIGURE = "_flopguard_figure"


class StoredGraphs:
    """Looks after the entries that are read, in each thread that compiles."""

    def __init__(self) -> None:
        self._at_hand = threading.local()

    @contextlib.contextmanager
    def reading(self, figure: tuple[Any, ...] | None) -> Iterator[None]:
        """Note that the graph of the entries that are read is at hand.

        Args:
            figure: Of that graph; None if it is not known.
        """
        before = getattr(self._at_hand, "figures", ())
        self._at_hand.figures = (*before, figure)
        try:
            yield
        finally:
            self._at_hand.figures = before

    def attach(self, codecache: Any) -> None:
        """Wrap what finds an entry."""
        cache: Any = getattr(codecache, "FxGraphCache", None)
        found_by = getattr(cache, "find_guarded_entry", None)
        if found_by is None:  # before torch 2.6 each graph is traced
            return

        def finds(key: str, *args: Any, **kwargs: Any) -> Any:
            found = found_by(key, *args, **kwargs)
            try:
                return self._completed(codecache, key, *found)
            except Exception as error:
                raise_users(error)
                return found

        cache.find_guarded_entry = staticmethod(finds)

    def _completed(self, codecache: Any, key: str, entry: Any, *rest: Any) -> Any:
        """Return what was found, with a figure, or nothing."""
        figure = getattr(entry, FIGURE, None)
        if entry is None or (figure and figure[0] == schema()):
            return (entry, *rest)
        figures = getattr(self._at_hand, "figures", ())
        if not figures:
            return (entry, *rest) if _must_be_found() else (None, None, *rest[1:])
        if figures[-1] is None:
            return (entry, *rest)
        setattr(entry, FIGURE, figures[-1])
        content = pickle.dumps(entry)
        with contextlib.suppress(OSError):  # it may not be ours to write
            _replace(codecache, key, rest[0], content)
        return (entry, content, *rest[1:])


def _must_be_found() -> bool:
    """Say whether the program has torch raise where an entry is missing."""
    aot = sys.modules.get("torch._functorch.config")
    dynamo = sys.modules.get("torch._dynamo.config")
    return bool(
        getattr(aot, "strict_autograd_cache", False)
        or getattr(dynamo, "strict_precompile", False)
    )


def _replace(codecache: Any, key: str, before: bytes, content: bytes) -> None:
    """Write an entry in the place of the one without a figure, if that is on disk."""
    folder: Callable[[str], str] = codecache.FxGraphCache._get_tmp_dir_for_key
    path = os.path.join(folder(key), codecache.sha256_hash(before))
    if os.path.exists(path):
        codecache.write_atomic(path, content)
