"""Arms the hook: waits for the program to import torch, then attaches. Shell."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing itself would cost every Python process milliseconds
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Mapping

FOLDER_VARIABLE = "FLOPGUARD_DIR"
DISABLE_VARIABLE = "FLOPGUARD_DISABLE"


def arm(environment: Mapping[str, str]) -> bool:
    """Arm the hook as the environment says; return whether it was armed.

    Args:
        environment: `FLOPGUARD_DIR` names the folder of pages; without it, or with
            `FLOPGUARD_DISABLE` set to anything but 0, nothing happens.
    """
    folder = environment.get(FOLDER_VARIABLE, "")
    if not folder or environment.get(DISABLE_VARIABLE, "0") not in {"", "0"}:
        return False
    folder = os.path.abspath(folder)  # the program may change its directory
    if "torch" in sys.modules:  # a .pth file may have imported it
        _attach(folder)
    else:
        sys.meta_path.insert(0, _TorchFinder(folder))
    return True


class _TorchFinder:
    """Finds torch as everybody else does, and attaches the hook once it is loaded."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self,
        name: str,
        path: Any = None,
        target: Any = None,
    ) -> Any:
        """Find torch with the other finders; leave every other module to them."""
        if name != "torch":
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                self._watch(spec.loader)
                return spec
        return None

    def _watch(self, loader: Any) -> None:
        """Attach after the loader ran; the loader stays what it was."""
        try:
            run = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                del loader.exec_module
                run(module)  # if it raises, a later import is watched again
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _attach(self._folder)

            loader.exec_module = exec_module
        except Exception as error:
            _say(error)


def _attach(folder: str) -> None:
    """Attach to the torch that is loaded; never raise."""
    try:
        from flopguard_hook.attaching import attach

        attach(folder)
    except Exception as error:
        _say(error)


def _say(error: Exception) -> None:
    sys.stderr.write(f"flopguard: this process is not counted: {error!r}\n")
