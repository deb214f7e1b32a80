"""Looks operators up before two threads can do so at once, on older torch. Shell.

The first time that an operator meets a dispatch mode, torch looks its Python name up
and remembers it. If that has to run Python code, another thread can come in between
with the same operator, and torch up to 2.14 or so raises an internal error of it. Where
all names have been looked up, no such code is run.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

# The oldest torch that was seen to bear it: nothing in Python tells.
_BEARS_IT = (2, 15)

_lock = threading.RLock()
_looked_up: list[Any] = []  # the torch of which all operators have been


def is_needed(torch: Any) -> bool:
    """Say whether this torch may raise. The stand-in of a test may have no names."""
    numbers = str(torch.__version__).split(".")[:2]
    names = getattr(torch._C, "_dispatch_get_all_op_names", None)
    return bool(
        names
        and all(number.isdecimal() for number in numbers)
        and tuple(map(int, numbers)) < _BEARS_IT
    )


def look_up_once(torch: Any) -> None:
    """Look every registered operator up, if that is not done; others wait for it."""
    with _lock:
        if not _looked_up:
            _looked_up.append(torch)
            # A child has no thread that would let go of it.
            os.register_at_fork(
                before=_lock.acquire,
                after_in_parent=_lock.release,
                after_in_child=_lock.release,
            )
            look_up_all(torch)


def look_up_all(torch: Any) -> None:
    """Look every registered operator up: about 3,000 in a tenth of a second."""
    for name in torch._C._dispatch_get_all_op_names():
        namespace, _, rest = name.partition("::")
        packet, _, overload = rest.partition(".")
        with contextlib.suppress(AttributeError, RuntimeError):
            operators = getattr(torch.ops, namespace)
            getattr(getattr(operators, packet), overload or "default")
