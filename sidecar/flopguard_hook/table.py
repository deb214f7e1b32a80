"""The whole table of operators: importing this module fills `FORMULAS`. Core."""

from flopguard_hook import (  # noqa: F401 # they fill the table
    attention,
    convolution,
    encoder,
    linear_algebra,
    matrices,
    packed,
    quantized,
    recurrent,
)
from flopguard_hook.formulas import FORMULAS, find

__all__ = ["FORMULAS", "find"]
