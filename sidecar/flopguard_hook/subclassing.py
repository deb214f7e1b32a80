"""Lets a tensor become one of a subclass while a window is measured. Shell.

On older torch `as_subclass` raises under any dispatch mode, and with it every operator
on a tensor of a subclass, such as torchvision's and fastai's. There it runs with the
hook's own modes off the stack: it multiplies nothing, and calls no code of the user's.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch.utils._python_dispatch import _pop_mode, _push_mode

from flopguard_hook.underlay import Underlay
from flopguard_hook.wrapping import wrap

_size = torch._C._len_torch_dispatch_stack
_at = torch._C._get_dispatch_stack_at


def attach(counting: type) -> None:
    """Wrap what this torch cannot do under a mode; nothing for one that can.

    Args:
        counting: The class of the modes that count.
    """
    if not hasattr(torch.Tensor, "as_subclass") or _works_under_a_mode():
        return
    ours = (counting, Underlay)

    def unwatched(original: Callable[..., Any]) -> Callable[..., Any]:
        def as_subclass(self: Any, *args: Any, **kwargs: Any) -> Any:
            lowest = _lowest(ours)
            if lowest is None:
                return original(self, *args, **kwargs)
            taken = _taken_off(lowest)
            _put_back([mode for mode in taken if type(mode) not in ours])
            try:
                return original(self, *args, **kwargs)
            finally:
                _taken_off(lowest)
                _put_back(taken)

        return as_subclass

    wrap(torch.Tensor, "as_subclass", unwatched)


def _works_under_a_mode() -> bool:
    mode = Underlay()  # the stack does not own it
    _push_mode(mode)
    try:
        torch.empty(0).as_subclass(torch.nn.Parameter)
    except RuntimeError:
        return False
    finally:
        _pop_mode()
    return True


def _lowest(ours: tuple[type, ...]) -> int | None:
    """Return the place of the lowest of these modes on this thread's stack."""
    return next((i for i in range(_size()) if type(_at(i)) in ours), None)


def _taken_off(down_to: int) -> list[Any]:
    """Take the modes from a place upwards off the stack; return the top first."""
    return [_pop_mode() for _ in range(_size() - down_to)]


def _put_back(modes: list[Any]) -> None:
    for mode in reversed(modes):
        _push_mode(mode)
