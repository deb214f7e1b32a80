"""Draws a whole program from a seed, and plays it."""

import os
import signal
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple, NoReturn

ENDINGS = (
    *["return"] * 10,
    "raise",
    "sys.exit",
    "sys.exit with words",
    "os._exit",
    "SIGTERM",
    "KeyboardInterrupt",
)
_MOST_ACTS = 4
_FINALIZED_SHARE = 0.01  # with torch loaded it takes most of a second
_LANGUAGE_SHARE = 0.06


class Program(NamedTuple):
    """What a seed stands for.

    Attributes:
        seed: The seed.
        family: Name of the model's family.
        acts: Names of what is done with it, in order.
        ending: How the process ends.
        finalize: Whether the interpreter is finalized then.
        steady: Whether its cost depends on shapes alone.
        once: Categories whose count may be less than the always-on count.
    """

    seed: int
    family: str
    acts: tuple[str, ...]
    ending: str
    finalize: bool
    steady: bool
    once: frozenset[str]


class EndError(Exception):
    """Ends a program without being caught."""


def draw(seed: int) -> Program:
    """Return the program of a seed."""
    from fuzz import (  # noqa: F401 # they fill the tables
        autograd_acts,
        failing_acts,
        language_acts,
        lifetime_acts,
        mode_acts,
        module_acts,
        thread_acts,
        training_acts,
    )
    from fuzz.acts import ACTS
    from fuzz.languages import LANGUAGES
    from fuzz.models import FAMILIES

    dice = Random(seed)  # noqa: S311 # dice, not secrets
    language = dice.random() < _LANGUAGE_SHARE
    family = dice.choice(sorted(LANGUAGES if language else FAMILIES))
    plain = [name for name in sorted(ACTS) if not ACTS[name].language]
    own = [name for name in sorted(ACTS) if ACTS[name].language]
    acts = dice.choices(plain, k=dice.randint(1, _MOST_ACTS))
    if language:
        acts = dice.choices(own, k=dice.randint(1, 2)) + acts[:1]
    ending = dice.choice(ENDINGS)
    steady = all(ACTS[name].steady for name in acts)
    once = frozenset(category for name in acts for category in ACTS[name].once)
    finalize = dice.random() < _FINALIZED_SHARE
    return Program(seed, family, tuple(acts), ending, finalize, steady, once)


def needs_language(program: Program) -> bool:
    """Say whether a program needs transformers."""
    from fuzz.languages import LANGUAGES

    return program.family in LANGUAGES


def perform(program: Program, folder: Path) -> None:
    """Play a program in this process, to its end."""
    import torch

    from fuzz.acts import ACTS
    from fuzz.languages import LANGUAGES
    from fuzz.models import FAMILIES
    from fuzz.stage import Stage

    torch.manual_seed(program.seed)
    make = {**FAMILIES, **LANGUAGES}[program.family]
    dice = Random(program.seed + 1)  # noqa: S311 # dice, not secrets
    stage = Stage(program.seed, make(dice), folder)
    for name in program.acts:
        stage.say("act", name)
        try:
            ACTS[name].play(stage)
        except Exception as error:  # noqa: BLE001 # not every act fits every model
            stage.say("unfit")
            stage.raised(error)
        stage.state()
    end(program.ending)


def end(ending: str) -> None:
    """End the process in one of the ways that processes end."""
    sys.stdout.flush()
    if ending == "raise":
        _raise()
    if ending == "sys.exit":
        sys.exit(3)
    if ending == "sys.exit with words":
        sys.exit("these words")
    if ending == "os._exit":
        os._exit(5)
    if ending == "SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    if ending == "KeyboardInterrupt":
        raise KeyboardInterrupt


def _raise() -> NoReturn:
    msg = "the end"
    raise EndError(msg)
