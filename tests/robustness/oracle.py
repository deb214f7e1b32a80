"""What a process that counts says of itself outside of its page: the truth.

Each step has one FLOP more than the one before, so a sum tells how many it is of.
"""

import struct

ORACLE = struct.Struct("<QQ")  # steps that were begun, steps that were finished


def total(first: int, steps: int) -> int:
    """Return the FLOPs of so many steps of a process whose first one has `first`."""
    return steps * first + steps * (steps - 1) // 2
