"""What an optimizer step costs per trained element: the textbook's operations."""

from collections.abc import Mapping
from typing import Any

# torch.optim.AdamW: first moment 3; second 4; root, division, eps 3; update 3.
_ADAM = 13
_NAMES = {"Adam", "AdamW"}


def per_element(name: str, options: Mapping[str, Any]) -> int:
    """Return the FLOPs per element of an optimizer's step.

    Args:
        name: The optimizer's class.
        options: Its parameter group; AdamW's decay is one product more.

    Raises:
        KeyError: The cells use no other optimizer.
    """
    if name == "AcceleratedOptimizer":  # it only calls the real one
        return 0
    if name not in _NAMES:
        raise KeyError(name)
    decay = 1 if name == "AdamW" else 2
    return _ADAM + (decay if options["weight_decay"] else 0)
