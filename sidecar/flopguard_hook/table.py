"""The whole table of operators: importing this module fills `FORMULAS`. Core."""

from flopguard_hook import attention, convolution  # noqa: F401 # they fill the table
from flopguard_hook.formulas import FORMULAS

__all__ = ["FORMULAS"]
