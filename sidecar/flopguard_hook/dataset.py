"""Notes what data a process trains on, where the library can name it. Shell.

Looked at once per epoch, when a `DataLoader` starts to be read. No element is read and
no method of a user's class is called.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, Callable

from flopguard_hook.facts import short
from flopguard_hook.imports import when_imported
from flopguard_hook.interrupts import raise_users

if TYPE_CHECKING:
    from types import FrameType, ModuleType

    from flopguard_hook.session import Session

_WRAPPED = "_flopguard_reads"
_MOST_FRAMES = 16
_MOST_WRAPPERS = 6
_EVALUATES = frozenset(
    {"evaluate", "evaluation_loop", "prediction_loop", "predict", "validate"}
)


def attach(session: Session) -> None:
    """Note the data sets that are trained on from now on."""

    def replace(module: ModuleType) -> None:
        loader = getattr(module, "DataLoader", None)
        original = getattr(loader, "__iter__", None)
        if loader is not None and not hasattr(original, _WRAPPED):
            loader.__iter__ = _reading(session, original)

    when_imported("torch.utils.data.dataloader", replace)


def _reading(session: Session, original: Any) -> "Callable[[Any], Any]":
    @functools.wraps(original)
    def __iter__(self: Any) -> Any:  # noqa: N807 # it takes this method's place
        _note(session, self)
        return original(self)

    setattr(__iter__, _WRAPPED, True)
    return __iter__


def _note(session: Session, loader: Any) -> None:
    """Note what a loader reads, unless it is read for evaluation; raises nothing."""
    try:
        import torch

        if not session.armed or not torch.is_grad_enabled():
            return
        if not _is_evaluated(sys._getframe(2)):
            session.note("dataset", described(loader.dataset))
    except Exception as error:
        raise_users(error)


def _is_evaluated(frame: "FrameType | None") -> bool:
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return False
        if frame.f_code.co_name in _EVALUATES:
            return True
        frame = frame.f_back
    return False


def described(dataset: Any) -> "dict[str, Any]":
    """Return a data set's name, split, rows and fingerprint, as far as it has them.

    Of a class that no library is known for, only its name: asking it for its length
    would run the user's code.
    """
    rows: int | None = None
    for _ in range(_MOST_WRAPPERS):
        kind = type(dataset)
        origin = kind.__module__.split(".")[0]
        if origin == "datasets":
            return _of_datasets(dataset, rows)
        inner = vars(dataset).get("dataset") if hasattr(dataset, "__dict__") else None
        if origin == "torch" and kind.__name__ == "Subset":
            rows = len(dataset.indices) if rows is None else rows
        if inner is None or isinstance(inner, str):
            break
        dataset = inner
    if rows is None and type(dataset).__module__ == "torch.utils.data.dataset":
        tensors = getattr(dataset, "tensors", ())
        rows = int(tensors[0].shape[0]) if tensors else None
    found: dict[str, Any] = {"class": short(type(dataset).__name__)}
    return found if rows is None else {**found, "rows": rows}


def _of_datasets(dataset: Any, rows: "int | None") -> "dict[str, Any]":
    info = getattr(dataset, "_info", None)
    named = {
        "name": getattr(info, "dataset_name", None),
        "config": getattr(info, "config_name", None),
        "split": getattr(dataset, "_split", None),
        "fingerprint": getattr(dataset, "_fingerprint", None),
    }
    found: dict[str, Any] = {"class": short(type(dataset).__name__)}
    found.update({k: short(v) for k, v in named.items() if v is not None})
    count = getattr(dataset, "num_rows", None) if rows is None else rows
    return {**found, "rows": count} if isinstance(count, int) else found
