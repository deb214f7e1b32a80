"""The table of acts: what a random program can do with its stage."""

from collections.abc import Callable
from typing import Any, NamedTuple

Play = Callable[[Any], None]


class Act(NamedTuple):
    """One thing that programs do.

    Attributes:
        play: Does it, on a `fuzz.stage.Stage`.
        steady: Whether its cost depends on shapes and flags alone, so that a replayed
            count has to equal the always-on count.
        once: Categories in which it multiplies outside of any module, once, where the
            program was quiet before: not counted, says ADR 4, so their count may be
            less than the always-on count; never more.
        language: Whether it needs a model of transformers.
    """

    play: Play
    steady: bool
    once: tuple[str, ...]
    language: bool


ACTS: dict[str, Act] = {}


def act(
    *, steady: bool = True, once: tuple[str, ...] = (), language: bool = False
) -> Callable[[Play], Play]:
    """Register an act under its function's name."""

    def register(play: Play) -> Play:
        ACTS[play.__name__] = Act(play, steady, once, language)
        return play

    return register
