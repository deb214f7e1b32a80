"""One case: a program with the hook and without, and a verdict."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fuzz import fresh, programs
from fuzz.forking import Place, place, run_forked, settle
from fuzz.outcome import Outcome, differences
from fuzz.pages import HOOK, Counted, miscounted, read

FRESH_EVERY = 10  # one seed in ten starts interpreters of its own
# What no program may bring about, unless it breaks the folder of pages itself.
_FAILURES = {"hook_failed", "formula_failed", "page_write_failed"}
_ATTEMPTS = 4  # to see that a program differs from itself
_REPLAYS = (HOOK / "replay.py").exists()

Run = Callable[[str, "Path | None", dict[str, str]], tuple[Outcome, Place]]


class Verdict(NamedTuple):
    """What came of one case.

    Attributes:
        seed: Its number.
        kind: "fresh" or "forked".
        words: The program, in words.
        found: Everything in which the hooked run differed, or the pages were wrong.
        unsteady: How the program differs from itself, without any hook.
        miscounts: How a replayed count differs from the always-on count.
        guesses: The same, where the cost depends on data, or the program multiplies
            outside of any module once: allowed, and counted.
        flops: FLOPs that the pages show.
        errors: Error flags of the pages.
        seconds: How long the case took.
    """

    seed: int
    kind: str
    words: str
    found: list[str]
    unsteady: list[str]
    miscounts: list[str]
    guesses: list[str]
    flops: int
    errors: list[str]
    seconds: float


def is_fresh(seed: int) -> bool:
    """Say whether a seed is of a case in fresh interpreters."""
    return seed % FRESH_EVERY == FRESH_EVERY - 1


def judge(seed: int, hook: Path) -> Verdict:
    """Run the case of a seed.

    Args:
        seed: Its number.
        hook: A folder with the hook.
    """
    started = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="flopguard-fuzz-"))
    try:
        verdict = (_fresh if is_fresh(seed) else _forked)(seed, hook, root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return verdict._replace(seconds=round(time.monotonic() - started, 3))


def _forked(seed: int, hook: Path, root: Path) -> Verdict:
    program = programs.draw(seed)
    if programs.needs_language(program):
        _import_languages()

    def run(name: str, armed: Path | None, more: dict[str, str]) -> Any:
        where = place(root / name)
        done = run_forked(
            lambda folder: programs.perform(program, folder),
            where,
            hook=armed,
            finalize=program.finalize,
            **more,
        )
        return done, where

    words = f"{program.family}: {', '.join(program.acts)}; {program.ending}"
    blank = Verdict(seed, "forked", words, [], [], [], [], 0, [], 0.0)
    once = program.once if program.steady else None
    return _compare(blank, run, hook, once=once, broken=False)


def _fresh(seed: int, hook: Path, root: Path) -> Verdict:
    case = fresh.draw(seed)

    def run(name: str, armed: Path | None, more: dict[str, str]) -> Any:
        where = place(root / name)
        return fresh.run(case, where, armed, more), where

    blank = Verdict(seed, "fresh", case.words, [], [], [], [], 0, [], 0.0)
    return _compare(blank, run, hook, once=None, broken=case.breaks_pages)


def _compare(
    blank: Verdict, run: Run, hook: Path, *, once: frozenset[str] | None, broken: bool
) -> Verdict:
    """Run without, with, and if need be again; return the verdict, filled in.

    Args:
        blank: What is known before.
        run: Runs the program.
        hook: The hook's folder.
        once: Categories whose count may be less than the always-on count; None if the
            cost depends on data, so that no count need be equal.
        broken: Whether the program breaks the folder of pages.
    """
    plain, _ = run("plain", None, {})
    hooked, where = run("hooked", hook, {})
    counted = read(where.pages)
    found = differences(plain, hooked)
    if not broken:
        found += counted.faults + [
            f"flag {e}" for e in counted.errors if e in _FAILURES
        ]
        found += [f"the hook said: {line}" for line in hooked.said]
    unsteady = _unsteady(run, plain) if differences(plain, hooked) else []
    wrong: list[str] = []
    guesses: list[str] = []
    if _REPLAYS and blank.kind == "forked":
        always, beside = run("always", hook, {"FLOPGUARD_REPLAY": "Off"})
        guesses = miscounted(counted, read(beside.pages))
        wrong = miscounted(counted, read(beside.pages), once or frozenset())
        if once is not None and differences(hooked, always) and not found:
            found += ["FLOPGUARD_REPLAY=Off: " + s for s in differences(hooked, always)]
    return blank._replace(
        found=[] if unsteady else found,
        unsteady=unsteady,
        miscounts=wrong if once is not None else [],
        guesses=guesses if once is None or not wrong else [],
        flops=_total(counted),
        errors=list(counted.errors),
    )


def _unsteady(run: Run, plain: Outcome) -> list[str]:
    """Return how a program differs from itself; nothing if it never does."""
    for attempt in range(_ATTEMPTS):
        again, _ = run(f"again-{attempt}", None, {})
        differs = differences(plain, again)
        if differs:
            return differs
    return []


def _total(counted: Counted) -> int:
    return sum(counted.done.values())


def _import_languages() -> None:
    """Import transformers and peft in the parent, once, without what they drag in."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import peft  # noqa: F401 # for the children
    import transformers  # noqa: F401 # for the children
    from transformers import LlamaForCausalLM  # noqa: F401 # loads it

    settle()
