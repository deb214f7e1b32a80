"""Lets compiled code and higher-order operators run under a mode on older torch. Shell.

Before torch had `ignore_compile_internals`, the guards of compiled code noted whether
any dispatch mode was on the stack: a model compiled while a window was measured would
be compiled again for one that is replayed, and slow down for good after a few such
changes. So here it is the same always: while torch.compile looks at frames, and when it
makes guards, a mode that does nothing is on the stack, and a graph runs without it. It
stays so when the hook has failed, since the guards rely on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _pop_mode, _push_mode

from flopguard_hook.imports import when_imported
from flopguard_hook.wrapping import wrap

if TYPE_CHECKING:
    from types import ModuleType

KNOWS_MODES = hasattr(TorchDispatchMode, "ignore_compile_internals")
_KNOWS_HIGHER_ORDER = hasattr(TorchDispatchMode, "supports_higher_order_operators")

# Called as they are: a frame of torch's own would be shown to torch.compile.
_size = torch._C._len_torch_dispatch_stack
_at = torch._C._get_dispatch_stack_at
_push = getattr(torch._C, "_push_on_torch_dispatch_stack", _push_mode)
_pop = getattr(torch._C, "_pop_torch_dispatch_stack", _pop_mode)


class Underlay(TorchDispatchMode):
    """Does nothing but keep the thread's dispatch keys as compiled code knows them."""

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Let torch.compile compile under this mode: torch 2.6 to 2.8 would not."""
        return True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one operator."""
        return func(*args, **kwargs or {})


_underlay = Underlay()


def attach(counting: type) -> None:
    """Prepare what this torch lacks; nothing for one that lacks nothing.

    Args:
        counting: The class of the modes that count.
    """
    if not _KNOWS_HIGHER_ORDER and hasattr(torch, "_ops"):
        _allow_higher_order(counting)
    if not KNOWS_MODES:
        when_imported("torch._dynamo.eval_frame", _attach_frames)
        when_imported("torch._dynamo.guards", _attach_guards)
        when_imported("torch._inductor.compile_fx", _attach_graphs)


def is_empty() -> bool:
    """Say whether no mode is on this thread's stack, but for the underlay."""
    count = _size()
    return not count or (count == 1 and _at(0) is _underlay)


def _lay() -> bool:
    """Put the underlay on the stack; return whether it was not there."""
    if any(_at(i) is _underlay for i in range(_size())):
        return False
    _push(_underlay)
    return True


def _lift() -> bool:
    """Take it off the stack; return whether it was there."""
    above: list[Any] = []
    if not any(_at(i) is _underlay for i in range(_size())):
        return False
    while _at(_size() - 1) is not _underlay:
        above.append(_pop(None))
    _pop(None)
    for mode in reversed(above):
        _push(mode)
    return True


def _attach_frames(eval_frame: ModuleType) -> None:
    """Lay it while torch.compile looks at frames: to compile, or to run compiled code.

    All ways in and out of that state go through one function.
    """

    def switching(original: Callable[..., Any]) -> Callable[..., Any]:
        def set_eval_frame(callback: Any) -> Any:
            if callback is None:
                prior = original(None)
                _lift()
                return prior
            _lay()
            return original(callback)

        return set_eval_frame

    wrap(eval_frame, "set_eval_frame", switching)


def _attach_guards(guards: ModuleType) -> None:
    """Make guards, and explain why one failed, with the underlay on the stack."""

    def laying(original: Callable[..., Any]) -> Callable[..., Any]:
        def under(*args: Any, **kwargs: Any) -> Any:
            laid = _lay()
            try:
                return original(*args, **kwargs)
            finally:
                if laid:
                    _lift()

        return under

    wrap(guards.__dict__["CheckFunctionManager"], "__init__", laying)
    wrap(guards, "get_guard_fail_reason", laying)


def _attach_graphs(compile_fx: ModuleType) -> None:
    """Run graphs without it: each of their operators would pass through Python."""

    def lifting(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(artefact: Any, inputs: Any) -> Any:
            if not _lift():
                return original(artefact, inputs)
            try:
                return original(artefact, inputs)
            finally:
                _lay()

        return call

    wrap(compile_fx.__dict__["CompiledFxGraph"], "__call__", lifting)


def _allow_higher_order(counting: type) -> None:
    """Give every higher-order operator a rule for our modes, when it first runs."""

    def dispatching(original: Callable[..., Any]) -> Callable[..., Any]:
        def dispatch(operator: Any, /, key: Any, *args: Any, **kwargs: Any) -> Any:
            held = vars(operator)
            rules = held.get("python_key_table", held.get("python_key_mode_table"))
            if rules is not None and Underlay not in rules:

                def run(mode: Any, *args: Any, **kwargs: Any) -> Any:
                    return mode.__torch_dispatch__(operator, (), args, kwargs)

                rules[Underlay] = rules[counting] = run
            return original(operator, key, *args, **kwargs)

        return dispatch

    wrap(torch._ops.HigherOrderOperator, "dispatch", dispatching)
