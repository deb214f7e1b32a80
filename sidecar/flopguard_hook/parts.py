"""What a root is made of: its modules, their `forward`, their hooks. Shell.

Most of it changes through calls that the hook hears of. What a program writes where no
call is heard is looked at here at each call of the root: microseconds for a small one.
"""

from __future__ import annotations

import weakref
from types import FunctionType
from typing import Any, Iterable, Sequence

from torch.nn.modules import module as torch_modules

from flopguard_hook.interrupts import raise_users

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)
_OF_PARAMETERS = ("_backward_hooks", "_post_accumulate_grad_hooks")
FEWEST_NUMBERED = 1024


class Numbers:
    """A number for each function, code or other object; held weakly, never given again.

    The `id` of a function that a program has dropped is soon that of its next one.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int]] = {}
        self._last = 0
        self._prune_at = FEWEST_NUMBERED

    def of(self, value: Any) -> int:
        """Return the number of an object."""
        known = self._known.get(id(value))
        if known is not None and known[0]() is value:
            return known[1]
        try:
            reference = weakref.ref(value)
        except TypeError as error:
            raise_users(error)
            return id(value)
        if len(self._known) >= self._prune_at:
            kept = {k: one for k, one in self._known.items() if one[0]() is not None}
            self._known = kept
            self._prune_at = 2 * len(kept) + FEWEST_NUMBERED
        self._last += 1
        self._known[id(value)] = reference, -self._last  # no `id` is negative
        return -self._last


_number = Numbers().of


class Parts:
    """The modules of a root as they were when it was looked at, all held weakly.

    Attributes:
        structure: Of their classes, hooks and patched `forward`.

    Args:
        modules: All of them, the root's own included.
    """

    def __init__(self, modules: Sequence[Any]) -> None:
        self._modules = [_weakly(module) for module in modules]
        self._types = [id(type(module)) for module in modules]
        self._parents = [
            index
            for index, module in enumerate(modules)
            if isinstance(vars(module).get("_modules"), dict) and module._modules
        ]
        self._children = self._children_of([vars(module) for module in modules])
        self._are_patched = ["forward" in vars(module) for module in modules]
        self._patched = [_weakly(m) for m in modules if "forward" in vars(m)]
        self._patches = self._patches_now()
        self._hooked = [
            (_weakly(module), name)
            for module in modules
            for name in _HOOKS
            if vars(module).get(name)
        ]
        self._hooks = self._hooks_now()
        forwards = {kind: _forward_of(kind) for kind in {*map(type, modules)}}
        plain = [(k, f) for k, f in forwards.items() if isinstance(f, FunctionType)]
        self._classes = [_weakly(kind) for kind, _ in plain]
        self._forwards = [_weakly(forward) for _, forward in plain]
        numbers = {k: (_number(k), _number(f)) for k, f in forwards.items()}
        self.structure = (
            tuple([numbers[type(module)] for module in modules]),
            tuple(zip(self._are_patched, [_hooks_of(module) for module in modules])),
            tuple(self._patches),
            tuple(
                [_codes(getattr(torch_modules, f"_global{n}", None)) for n in _HOOKS]
            ),
        )

    def now(self) -> list[dict[str, Any]] | None:
        """Return the attributes of all modules; None if any part has changed."""
        modules = [module() for module in self._modules]
        try:
            held = [module.__dict__ for module in modules]
            same = (
                ["forward" in attributes for attributes in held] == self._are_patched
                and list(map(id, map(type, modules))) == self._types
                and self._children_of(held) == self._children
                and [kind().forward for kind in self._classes]
                == [forward() for forward in self._forwards]
                and self._patches_now() == self._patches
                and self._hooks_now() == self._hooks
            )
        except (AttributeError, KeyError, TypeError) as error:  # one has died
            raise_users(error)
            return None
        return held if same else None

    def _children_of(self, held: list[dict[str, Any]]) -> list[int]:
        return [
            id(child)
            for index in self._parents
            for child in held[index]["_modules"].values()
        ]

    def _patches_now(self) -> list[int]:
        return [_number(module().forward) for module in self._patched]

    def _hooks_now(self) -> list[int]:
        return [len(getattr(module(), name)) for module, name in self._hooked]


def _weakly(value: Any) -> Any:
    return weakref.ref(value)


def _forward_of(kind: type) -> Any:
    """Return the `forward` of a class, as it stands there."""
    for base in kind.__mro__:
        if "forward" in vars(base):
            return vars(base)["forward"]
    return None


def _hooks_of(module: Any) -> tuple[Any, ...]:
    held = vars(module)
    return tuple([_codes(held.get(name)) for name in _HOOKS])


def of_parameters(parameters: Iterable[Any]) -> tuple[Any, ...]:
    """Return what parameters are: shapes, dtypes, and the codes of their hooks."""
    return tuple(
        [
            (
                tuple(p.shape),
                p.dtype,
                *[_codes(getattr(p, n, None)) for n in _OF_PARAMETERS],
            )
            for p in parameters
        ]
    )


def _codes(hooks: Any) -> tuple[int, ...]:
    """Return numbers of what hooks run; a closure made anew each time is the same."""
    if not hooks:
        return ()
    codes = []
    for hook in hooks.values():
        function = hook
        while hasattr(function, "func"):  # functools.partial
            function = function.func
        function = getattr(function, "__func__", function)
        codes.append(_number(getattr(function, "__code__", type(function))))
    return tuple(codes)
