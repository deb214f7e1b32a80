"""A stand-in for the hook's session: what was noted, at steps and FLOPs that are set.

The real session counts by itself; a test that says "after 10 steps and 500 FLOPs" needs
one that does not.
"""

from typing import Any


class Notes:
    """Notes facts as `flopguard_hook.session.Session` does, and counts nothing."""

    def __init__(self) -> None:
        self.armed = True
        self.steps = 0
        self.flops = 0
        self.facts: dict[str, Any] = {}

    def note(self, key: str, value: Any) -> None:
        """Set a fact."""
        self.facts[key] = value

    def noted(self, key: str, default: Any = None) -> Any:
        """Return a fact."""
        return self.facts.get(key, default)

    def total_done(self) -> int:
        """Return the FLOPs that were set."""
        return self.flops
