"""Keeps track of the modules that the program calls itself. Shell."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Callable

import torch
from torch.nn.modules import module as torch_modules
from torch.utils.hooks import RemovableHandle

from flopguard_hook.purpose import of_frames
from flopguard_hook.replay import Owner
from flopguard_hook.signature import ModuleState
from flopguard_hook.wrapping import wrap

if TYPE_CHECKING:
    from types import FrameType

    from flopguard_hook.describing import Describer

# Attributes of modules whose cost depends on chance or on what tensors hold: layers
# dropped at random, experts with a capacity beyond which tokens are dropped.
_BY_CHANCE = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop", "expert_capacity")

_MOST_PARTS = 100_000
_FEWEST_ROOTS = 64
_MOST_DESCRIBED = 64


class Root:
    """A module that the program calls itself.

    Attributes:
        reference: A weak reference to it.
        owner: Whether its windows are replayed.
        is_transparent: Whether it runs the engine or an optimizer within its call: then
            the modules that it calls are the roots.
        state: What it is made of, as last looked at.
        described: The states in which it was described.
    """

    __slots__ = ("described", "is_transparent", "owner", "reference", "state")

    def __init__(self, module: Any) -> None:
        self.reference = weakref.ref(module)
        self.owner = Owner(type(module).__name__)
        self.is_transparent = False
        self.state: ModuleState | None = None
        self.described: set[Any] = set()


class Roots:
    """The root modules of a process, held weakly.

    Attributes:
        describer: Told of them.
    """

    def __init__(self, describer: Describer) -> None:
        self.describer = describer
        self._roots: dict[int, Root] = {}
        self._prune_at = _FEWEST_ROOTS
        self._epoch = 0
        self._parts: set[int] = set()  # ids of the modules that roots are made of
        for register in (
            torch_modules.register_module_module_registration_hook,
            torch_modules.register_module_parameter_registration_hook,
        ):
            register(self._registered)

        wrap(RemovableHandle, "remove", self._removing)
        # `to`, `half`, `cuda`: other dtypes in the same parameters.
        if hasattr(torch.nn.Module, "_apply"):
            wrap(torch.nn.Module, "_apply", self._applying)

    def epoch(self) -> int:
        """Return a number that rises whenever roots may have changed."""
        # Every hook that is added, to whatever, takes the next number of a handle.
        return self._epoch + int(RemovableHandle.next_id)

    def _registered(self, module: Any, _name: str, _part: Any) -> None:
        # Many a forward slices a list of layers, which registers them in a new list.
        if id(module) in self._parts:
            self._epoch += 1

    def _removing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def remove(handle: Any) -> None:
            original(handle)
            self._epoch += 1

        return remove

    def _applying(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def apply(module: Any, *args: Any, **kwargs: Any) -> Any:
            self._epoch += 1
            return original(module, *args, **kwargs)

        return apply

    def of(self, module: Any) -> Root:
        """Return what is known of a module."""
        root = self._roots.get(id(module))
        if root is not None and root.reference() is module:
            return root
        if len(self._roots) >= self._prune_at:
            # Not by callbacks of the references: what a signal handler of the user's
            # raised in one would be lost.
            kept = {k: r for k, r in self._roots.items() if r.reference() is not None}
            self._roots = kept
            self._prune_at = 2 * len(kept) + _FEWEST_ROOTS
        root = self._roots[id(module)] = Root(module)
        return root

    def owners(self) -> list[Owner]:
        """Return whose windows are replayed or not."""
        return [root.owner for root in list(self._roots.values())]

    def state(
        self, root: Root, module: Any
    ) -> tuple[ModuleState, list[dict[str, Any]]]:
        """Return what a root is made of, and the attributes of its modules.

        It is looked at anew if anything was registered or has changed.
        """
        state = root.state
        epoch = self.epoch()
        held = None if state is None else state.held(epoch)
        if state is None or held is None:
            before = None if state is None else state.structure
            state = root.state = ModuleState(module, epoch)
            if len(self._parts) > _MOST_PARTS:
                self._parts.clear()
                self._epoch += 1
            parts = list(module.modules())
            self._parts.update(map(id, parts))
            held = [vars(part) for part in parts]
            if state.structure != before:
                root.owner.off = root.owner.off or _why_measured(module)
        return state, held

    def note(self, root: Root, module: Any, arguments: Any, now: Any) -> None:
        """Describe a root, once for each state that it is called in."""
        if now not in root.described and len(root.described) < _MOST_DESCRIBED:
            root.described.add(now)
            self.describer.describe(module, *arguments)

    def look_at(self, module: Any, args: Any, kwargs: Any) -> None:
        """Look at the padding of a call that is going to be measured."""
        self.describer.sample_padding(module, args, kwargs)

    def purpose(self, module: Any, frame: FrameType | None) -> str:
        """Return what a call without gradients is for."""
        purpose = of_frames(frame, module)
        self.describer.saw_purpose(module, purpose)
        return purpose


def _why_measured(module: Any) -> str:
    """Return why a model is better measured at every call; empty if it is not."""
    for part in module.modules():
        for holder in (part, getattr(part, "config", None)):
            for name in _BY_CHANCE:
                value = getattr(holder, "__dict__", {}).get(name)
                if isinstance(value, (int, float)) and value > 0:
                    return f"{type(part).__name__} has {name}"
    return ""
