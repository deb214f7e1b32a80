"""Replaces functions of other modules by what wraps them. Shell."""

from __future__ import annotations

import functools
from typing import Any, Callable


def wrap(
    owner: Any,
    name: str,
    wrapper: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> None:
    """Replace a function of a module or class by what wraps it."""
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(wrapper(original)))
