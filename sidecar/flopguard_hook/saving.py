"""Notes what weights a process saves, and after how many FLOPs. Shell.

Wraps the functions that save, once the program has imported them; what they write,
return and raise is theirs.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable

from flopguard_hook.imports import when_imported
from flopguard_hook.interrupts import raise_users

if TYPE_CHECKING:
    from types import ModuleType

    from flopguard_hook.session import Session

# Returns the path that a call saves weights to, empty for none.
Target = Callable[["tuple[Any, ...]", "dict[str, Any]"], str]

_WRAPPED = "_flopguard_saves"
_local = threading.local()


def attach(session: Session) -> None:
    """Note every save of weights from now on; imports none of the libraries."""
    torch_saves = _Saving(session, "torch", _target_of_torch)
    files = _Saving(session, "safetensors", _target_of_safetensors)
    shards = _Saving(session, "distributed", _target_of_distributed)
    when_imported("torch.serialization", torch_saves.replace("save", "torch"))
    for name in ("safetensors.torch", "safetensors.numpy"):
        for function in ("save_file", "save_model"):
            when_imported(name, files.replace(function))
    package = "torch.distributed.checkpoint"
    for function in ("save", "async_save", "save_state_dict"):
        replace = shards.replace(function, package)
        when_imported(package + ".state_dict_saver", replace)


class _Saving:
    """Wraps the functions of one library that save."""

    def __init__(self, session: Session, how: str, target: Target) -> None:
        self._session = session
        self._how = how
        self._target = target
        self._begun: dict[str, int] = {}

    def _carries_out(self, name: str) -> bool:
        """Say whether this thread writes what `async_save` began in another."""
        return self._begun.pop(name, threading.get_ident()) != threading.get_ident()

    def replace(self, name: str, also_in: str = "") -> "Callable[[ModuleType], None]":
        """Return a callback that wraps a module's function.

        Args:
            name: Of the function.
            also_in: A module that may have taken it from there already.
        """

        def replace(module: ModuleType) -> None:
            original = getattr(module, name, None)
            if original is None or hasattr(original, _WRAPPED):
                return
            wrapped = self._wrap(original)
            setattr(module, name, wrapped)
            other = sys.modules.get(also_in)
            if getattr(other, name, None) is original:
                setattr(other, name, wrapped)

        return replace

    def _wrap(self, original: "Callable[..., Any]") -> "Callable[..., Any]":
        @functools.wraps(original)
        def save(*args: Any, **kwargs: Any) -> Any:
            noted = _entered(self, original.__name__, args, kwargs)
            try:
                result = original(*args, **kwargs)
            finally:
                if noted is not None:
                    _local.saving = False
            if noted:
                _note(*noted)
            return result

        setattr(save, _WRAPPED, True)
        return save

    def target(self, function: str, args: Any, kwargs: Any) -> "tuple[Any, ...]":
        """Return what to note once a call has returned; empty for no weights."""
        from flopguard_hook import saves
        from flopguard_hook.describing import moment_of

        path = self._target(args, kwargs)
        name = saves.name_of(_absolute(path)) if path else ""
        if not name or not self._session.armed or self._carries_out(name):
            return ()
        if function == "async_save" and len(self._begun) < saves.MOST_SAVES:
            self._begun[name] = threading.get_ident()
        has_trainer = "transformers.trainer" in sys.modules
        kind = saves.kind_of(name, self._how, has_trainer=has_trainer)
        return self._session, name, kind, moment_of(self._session)


def _entered(saving: _Saving, function: str, args: Any, kwargs: Any) -> Any:
    """Note that a save begins; None if it is part of another. Raises nothing."""
    try:
        if getattr(_local, "saving", False):
            return None
        target = saving.target(function, args, kwargs)
        _local.saving = True
    except Exception as error:
        raise_users(error)
        return None
    return target


def _note(session: Any, name: str, kind: str, moment: Any) -> None:
    """Note a save that succeeded; raises nothing."""
    try:
        from flopguard_hook import saves

        known = [_looked_at(save) for save in session.noted("saves", [])]
        save = {"path": name, "step": moment.step, "kind": kind}
        save["flops"] = str(moment.flops)
        session.note("saves", saves.with_save(known, save))
        # At once: a run that is paused before the next step can name these weights.
        write = getattr(session, "write_facts", None)
        if write is not None:
            write()
    except Exception as error:
        raise_users(error)


def _looked_at(save: "dict[str, Any]") -> "dict[str, Any]":
    """Return an earlier save, marked if its file is gone: trainers rotate theirs."""
    path = save["path"]
    if save.get("gone") or "://" in path or not path.startswith("/"):
        return save
    return save if os.path.lexists(path) else {**save, "gone": True}


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _path_of(place: Any) -> str:
    """Return the path of what is written to; empty for what has none."""
    name = (
        place if isinstance(place, (str, os.PathLike)) else getattr(place, "name", "")
    )
    path = os.fspath(name) if isinstance(name, (str, os.PathLike)) else ""
    return path if isinstance(path, str) else os.fsdecode(path)


def _target_of_torch(args: Any, kwargs: Any) -> str:
    from flopguard_hook import saves

    saved = args[0] if args else kwargs.get("obj")
    place = args[1] if len(args) > 1 else kwargs.get("f")
    return _path_of(place) if saves.holds_weights(saved) else ""


def _target_of_safetensors(args: Any, kwargs: Any) -> str:
    return _path_of(args[1] if len(args) > 1 else kwargs.get("filename"))


def _target_of_distributed(args: Any, kwargs: Any) -> str:
    from flopguard_hook import saves

    saved = args[0] if args else kwargs.get("state_dict")
    writer = kwargs.get("storage_writer", args[1] if len(args) > 1 else None)
    place = kwargs.get("checkpoint_id") or getattr(writer, "path", None)
    is_weights = isinstance(saved, dict) and saves.holds_weights(_states(saved))
    return _path_of(place) if is_weights else ""


def _states(saved: "dict[str, Any]") -> "dict[str, Any]":
    """Return a state without what belongs to its optimizer by name."""
    return {key: value for key, value in saved.items() if "optim" not in str(key)}
