"""Whether this torch is one that the hook knows well enough to replay. Core.

What a window's signature says rests on names of torch that are not public, and on how
torch behaved when the hook was written. A torch that lacks one of those, or is newer,
is measured at every step: slower, but nothing is guessed.
"""

import re
from typing import Any

OLDEST, NEWEST = (2, 4), (2, 15)

# They say whether what is called runs as it is called: in the engine, under a trace,
# under a transform, under another mode.
NAMES = (
    "_C._current_graph_task_id",
    "_C._functorch.peek_interpreter_stack",
    "_C._get_dispatch_mode",
    "_C._get_tracing_state",
    "_C._len_torch_function_stack",
    "_C._TorchDispatchModeKey.FAKE",
    "_C._TorchDispatchModeKey.FUNCTIONAL",
    "_C._TorchDispatchModeKey.PROXY",
    "_guards.TracingContext.try_get",
)

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")


def why_unknown(torch: Any) -> str:
    """Return why nothing may be replayed with a torch; empty if it is known.

    Args:
        torch: The module.
    """
    version = str(getattr(torch, "__version__", ""))
    found = _VERSION.match(version)
    if found is None:
        return "torch does not say its version"
    number = int(found[1]), int(found[2])
    if not OLDEST <= number <= NEWEST:
        oldest, newest = ("{}.{}".format(*pair) for pair in (OLDEST, NEWEST))
        return f"torch is {number[0]}.{number[1]}, known are {oldest} to {newest}"
    missing = [name for name in NAMES if not _has(torch, name)]
    return f"this torch has no torch.{missing[0]}" if missing else ""


def _has(owner: Any, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(owner, part):
            return False
        owner = getattr(owner, part)
    return True
