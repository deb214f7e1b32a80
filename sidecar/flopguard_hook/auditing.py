"""Finds layers that multiply out of torch's sight. Shell.

A kernel that is no operator of torch (TransformerEngine, a ctypes binding) shows in no
dispatch mode. But a layer that looks linear and dispatched nothing that was counted has
done its work somewhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from flopguard_hook.formulas import linear_estimate

if TYPE_CHECKING:
    from flopguard_hook.dispatch import Meter, Operators


class Audit:
    """A layer's call within a measured window."""

    __slots__ = ("_counted", "_input", "_meter", "_module")

    def __init__(self, meter: Meter, module: Any, data: Any) -> None:
        self._meter = meter
        self._module = module
        self._input = tuple(data.shape)
        self._counted = meter.counted

    def end(self, operators: Operators) -> None:
        """Name the layer if nothing was counted in it."""
        if self._meter.counted != self._counted:
            return
        held = vars(self._module)
        shape = (int(held["out_features"]), int(held["in_features"]))
        estimate = linear_estimate(shape, self._input)
        if estimate:
            kind = type(self._module)
            unknown = operators.note_unknown(f"{kind.__module__}.{kind.__qualname__}")
            unknown.calls += 1
            unknown.estimate += estimate
            self._meter.counted += 1  # what contains the layer is not named as well


def audit(meter: Meter, module: Any, args: Any) -> Audit | None:
    """Return an audit of a call, if the module looks like a linear layer."""
    held = vars(module)
    if "in_features" not in held or "out_features" not in held or meter.muted:
        return None
    if torch._C._get_tracing_state() is not None:
        return None  # reading a shape would become part of the trace
    if not args or not isinstance(args[0], torch.Tensor) or not args[0].numel():
        return None
    return None if args[0].is_meta else Audit(meter, module, args[0])
