"""Arms the hook: waits for the program to import torch, then attaches. Shell.

Loaded into every armed Python process: imports nothing that Python itself has not.
"""

import os

from flopguard_hook.imports import say, when_imported

TYPE_CHECKING = False  # typing itself would cost every Python process milliseconds
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Callable, Mapping

FOLDER_VARIABLE = "FLOPGUARD_DIR"
DISABLE_VARIABLE = "FLOPGUARD_DISABLE"


def arm(environment: "Mapping[str, str]") -> bool:
    """Arm the hook as the environment says; return whether it was armed.

    Args:
        environment: `FLOPGUARD_DIR` names the folder of pages; without it, or with
            `FLOPGUARD_DISABLE` set to anything but 0, nothing happens.
    """
    folder = environment.get(FOLDER_VARIABLE, "")
    if not folder or environment.get(DISABLE_VARIABLE, "0") not in {"", "0"}:
        return False
    folder = os.path.abspath(folder)  # the program may change its directory
    when_imported("torch", _attaching(folder))  # a .pth file may have imported it
    return True


def _attaching(folder: str) -> "Callable[[ModuleType], None]":
    """Return what attaches to a loaded torch, once; it raises nothing of its own."""
    attached: "list[bool]" = []

    def attach_once(_torch: "ModuleType") -> None:
        if attached:  # reloaded: what was attached to is still in place
            return
        attached.append(True)
        try:
            from flopguard_hook.attaching import attach

            attach(folder)
        except Exception as error:
            _raise_users(error)
            say(f"this process is not counted: {error!r}")

    return attach_once


def _raise_users(error: Exception) -> None:
    """Raise what a signal handler raised meanwhile, unless that cannot be told."""
    try:
        from flopguard_hook.interrupts import raise_users
    except Exception:
        return
    raise_users(error)
