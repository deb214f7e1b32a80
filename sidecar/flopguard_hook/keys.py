"""Finds the figure of a window by its signature. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from flopguard_hook.batches import batch_of
from flopguard_hook.interrupts import raise_users
from flopguard_hook.places import place, site
from flopguard_hook.polynomials import CACHE, DIMENSION
from flopguard_hook.replay import Figure, Owner
from flopguard_hook.signature import Signature, UnsignableError, ambient

if TYPE_CHECKING:
    from types import FrameType

    from flopguard_hook.replay import Replay
    from flopguard_hook.roots import Root, Roots
    from flopguard_hook.threads import Thread

_INPUTS_AT = 4  # of the engine's positional arguments
_CALLERS = 3
_CALLERS_OF_ENGINE = 4  # two of them are torch's


class About(NamedTuple):
    """What is known of a family of root calls.

    Attributes:
        module: A weak reference to the root.
        grad: Whether gradients were recorded.
        purpose: Of a call without gradients; else empty.
    """

    module: Any
    grad: bool
    purpose: str


class Keys:
    """Makes signatures and looks up what is known of them."""

    def __init__(self, replay: Replay, roots: Roots) -> None:
        self._replay = replay
        self._roots = roots

    def of_call(
        self,
        root: Root,
        module: Any,
        arguments: tuple[Any, Any],
        frame: FrameType | None,
        *,
        grad: bool,
    ) -> Figure | None:
        """Return the figure of a root's call; None if it cannot be told by a signature.

        Args:
            root: What is known of the module.
            module: The module.
            arguments: Positional and keyword arguments.
            frame: The caller's.
            grad: Whether gradients are recorded.
        """
        signature = Signature()
        try:
            state, held = self._roots.state(root, module)
            now = state.now(held, grad=grad)
            signature.add(arguments[0])
            signature.add(arguments[1])
        except UnsignableError:
            return None
        except Exception as error:  # lazy, scripted and other things without a shape
            raise_users(error)
            return None
        # Calls without gradients are told apart by what they are for.
        caller = None if grad else site("", frame, _CALLERS)
        parts = tuple(signature.structure)
        structure = (root, state.structure, now, ambient(), caller, parts)
        family = self._replay.family(structure)
        if family is None:
            why = "" if grad else self._roots.purpose(module, frame)
            described = (state.structure, now[1:], grad)
            self._roots.note(root, module, arguments, described)
            about = About(root.reference, grad, why)
            kinds = "".join(signature.kinds)
            family = self._replay.add_family(structure, root.owner, kinds, about)
        figure = self._replay.figure(family, tuple(signature.sizes))
        if figure.about is None:
            lengths = [n for n, k in zip(figure.sizes, family.kinds) if k == CACHE]
            figure.about = batch_of(module, *arguments, max(lengths, default=0))
        return figure

    def of_backward(
        self, thread: Thread, args: Any, kwargs: Any, frame: FrameType | None
    ) -> Figure | None:
        """Return the figure of a run of the engine, by the forwards that feed it.

        Args:
            thread: Where it runs, and those ran.
            args: Of the engine: outputs, their gradients, whether to keep the graph,
                whether to make one of the gradients, inputs, ...
            kwargs: Likewise.
            frame: The caller's.
        """
        feeds, ordinal = thread.take_pending()
        sizes: list[int] = []
        structure: list[Any] = [ordinal, args[2:4], *kwargs.items()]
        kinds = []
        for feed in feeds:
            if isinstance(feed, Figure) and not feed.family.owner.off:
                structure.append(feed.family)
                sizes += feed.sizes
                kinds.append(feed.family.kinds)
            elif isinstance(feed, int):
                structure.append(feed)
            else:
                return None
        for output, gradient in zip(args[0], args[1]):
            # Pipelines give edges of the graph, which have no shape, and gradients.
            tensor = output if isinstance(output, torch.Tensor) else gradient
            if tensor is None:
                return None
            structure += (type(output), tensor.dtype, tensor.ndim)
            sizes += tensor.shape
            kinds.append(DIMENSION * tensor.ndim)
        for wanted in args[_INPUTS_AT] if len(args) > _INPUTS_AT else ():
            if not isinstance(wanted, torch.Tensor):
                return None
            structure.append(id(wanted) if wanted.is_leaf else tuple(wanted.shape))
        caller = site("", frame, _CALLERS_OF_ENGINE)
        key = (caller, ambient(), tuple(structure))
        family = self._replay.family(key)
        if family is None:
            owner = Owner(f"backward {place(frame)}")
            family = self._replay.add_family(key, owner, "".join(kinds))
        return self._replay.figure(family, tuple(sizes))
