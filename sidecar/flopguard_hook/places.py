"""Where in the program something happens, told by the stack. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_OF_TORCH = "/torch/"


def site(kind: str, frame: FrameType | None, depth: int) -> tuple[Any, ...]:
    """Return a key for a place: so many frames, outwards.

    Args:
        kind: What happens there.
        frame: The innermost frame.
        depth: How many frames make the place.
    """
    parts: list[Any] = [kind]
    while frame is not None and depth:
        # The hash of a code object reads all of it, its id does not.
        parts += (id(frame.f_code), frame.f_lasti)
        frame = frame.f_back
        depth -= 1
    return tuple(parts)


def place(frame: FrameType | None) -> str:
    """Return the nearest place outside of torch, for people."""
    while frame is not None and _OF_TORCH in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return "somewhere"
    name = frame.f_code.co_filename.rsplit("/", maxsplit=1)[-1]
    return f"at {name}:{frame.f_lineno}"
