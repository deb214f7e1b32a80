"""Visit every state of the protocol's models, and find every bug planted in them.

    python -m robustness.modelcheck [--small]

Prints the bounds, the number of states, and for each planted bug the shortest way to
what it breaks. Exit code 1 if an invariant is broken, or a bug is not found.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from robustness import metering_model, writers_model
from robustness.checking import Explored, Model, explore
from robustness.rows import Row


class Checked(NamedTuple):
    """One search.

    Attributes:
        model: Its name.
        bug: What was planted, "" for the protocol itself.
        found: What the search found.
        seconds: How long it took.
    """

    model: str
    bug: str
    found: Explored
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether the protocol is sound, or the bug was found."""
        return bool(self.found.broken) == bool(self.bug)


class Subject(NamedTuple):
    """A model with its bounds."""

    name: str
    bounds: Any
    make: Callable[[Any, str], Model[Any]]
    bugs: dict[str, str]


WHOLE = (
    Subject(
        "metering",
        metering_model.Bounds(),
        metering_model.model,
        metering_model.BUGS,
    ),
    Subject("writers", writers_model.Bounds(), writers_model.model, writers_model.BUGS),
)
SMALL = (
    Subject(
        "metering",
        metering_model.Bounds(ticks=2, steps=2, reads=1),
        metering_model.model,
        metering_model.BUGS,
    ),
    Subject(
        "writers",
        writers_model.Bounds(ticks=2, appends=2, crashes=1),
        writers_model.model,
        writers_model.BUGS,
    ),
)


def check(subjects: tuple[Subject, ...]) -> Iterator[Checked]:
    """Search the protocol, then each planted bug."""
    for subject in subjects:
        for bug in ("", *subject.bugs):
            began = time.monotonic()
            found = explore(subject.make(subject.bounds, bug))
            yield Checked(subject.name, bug, found, time.monotonic() - began)


def rows(searches: list[Checked]) -> list[Row]:
    """Return a row per model; a trial is a state in which all invariants hold."""
    return [
        Row(
            fault=f"every state of the {one.model} model",
            layer="model",
            trials=one.found.states,
            undetected=int(not one.is_right),
        )
        for one in searches
        if not one.bug
    ]


def tell(one: Checked, subject: Subject) -> str:
    """Return what a search found, as a line for people."""
    size = f"{one.found.states:,} states, {one.found.transitions:,} steps"
    if not one.bug:
        verdict = one.found.broken or "no invariant is broken"
        return f"{one.model}: {subject.bounds}: {size}, {one.seconds:.1f} s: {verdict}"
    verdict = one.found.broken or "NOT FOUND"
    way = " > ".join(one.found.trace)
    return f"  {one.bug}: {subject.bugs[one.bug]}\n    {verdict} ({size})\n    {way}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="robustness.modelcheck", description=__doc__)
    parser.add_argument("--small", action="store_true", help="smaller bounds, seconds")
    subjects = SMALL if parser.parse_args(arguments).small else WHOLE
    by_name = {subject.name: subject for subject in subjects}
    right = True
    for one in check(subjects):
        sys.stdout.write(f"{tell(one, by_name[one.model])}\n")
        sys.stdout.flush()
        right &= one.is_right
    sys.stdout.write("sound, and every planted bug was found\n" if right else "WRONG\n")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
