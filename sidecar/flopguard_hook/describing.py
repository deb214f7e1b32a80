"""Notes what the root modules are and what they were called with. Shell.

Facts are welcome, never needed: what cannot be described is counted all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Sequence

import torch

from flopguard_hook import facts
from flopguard_hook.interrupts import raise_users

if TYPE_CHECKING:
    from flopguard_hook.session import Session

_MOST_MODELS = 8


class Describer:
    """Describes the first root modules of a process, each once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._described: set[int] = set()

    def describe(
        self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """Note a root module at its first call; raises nothing of its own."""
        if id(module) in self._described or len(self._described) >= _MOST_MODELS:
            return
        if _is_traced():
            return
        self._described.add(id(module))
        try:
            self._note(module, args, kwargs)
        except Exception as error:  # lazy, scripted or nested things have no shape
            raise_users(error)

    def _note(
        self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        session = self._session
        model = {
            **facts.of_module(module),
            "inputs": facts.of_inputs(
                [a if isinstance(a, torch.Tensor) else None for a in args],
                {k: v for k, v in kwargs.items() if isinstance(v, torch.Tensor)},
            ),
        }
        session.note("models", [*session.noted("models", []), model])
        if torch.cuda.is_initialized():
            count = range(torch.cuda.device_count())
            session.note(
                "gpus", [facts.short(torch.cuda.get_device_name(i)) for i in count]
            )


def _is_traced() -> bool:
    """Say whether reading a shape would be recorded, in the user's graph or guards."""
    return (
        torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() > 1  # the meter is one
    )
