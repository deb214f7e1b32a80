"""What a check expects of the hook's page, and where the page differs. Core."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Flops = dict[str, int]


class UnavailableError(Exception):
    """This machine lacks what the check needs; the message says what."""


class Expected(NamedTuple):
    """What the page and the facts should say after a program.

    Attributes:
        flops: FLOPs of each category that is compared; by arithmetic, not by counting.
        formats: Formats that all work in those categories may have; empty: any.
        uncounted: Parts of operators' names; for each, an operator that holds it must
            be named in the facts, and the page flagged.
        note: Figures that were seen on the way, for the table.
    """

    flops: Flops = {}  # noqa: RUF012 # never changed
    formats: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()
    note: str = ""


class Check(NamedTuple):
    """One question that a machine answers by running a program under the hook.

    Attributes:
        program: Gets the device's name, returns what it expects.
        on_cpu: Whether the CPU can answer it in part.
        devices: CUDA devices that it needs.
        limit_s: Seconds until it counts as failed.
    """

    program: Callable[[str], Expected]
    on_cpu: bool = False
    devices: int = 1
    limit_s: int = 300

    @property
    def name(self) -> str:
        """Return the program's name."""
        return self.program.__name__

    @property
    def question(self) -> str:
        """Return the first line of the program's docstring."""
        return (self.program.__doc__ or "").split("\n", maxsplit=1)[0]


class Told(NamedTuple):
    """What the pages of all processes of a check say, together.

    Attributes:
        done: Category → format → FLOPs.
        begun: Likewise.
        errors: Flags that are set in any page.
        uncounted: Names of operators without a formula.
    """

    done: Mapping[str, Mapping[str, int]]
    begun: Mapping[str, Mapping[str, int]]
    errors: Sequence[str]
    uncounted: Sequence[str]


_BROKEN = {"hook_failed", "page_write_failed", "formula_failed", "replay_drift"}


def complaints(expected: Expected, told: Told) -> list[str]:
    """Return every difference as a sentence; none if the hook is right."""
    found = [f"flag {name}" for name in told.errors if name in _BROKEN]
    for category, flops in expected.flops.items():
        of = told.done[category]
        if sum(of.values()) != flops:
            ratio = f", {sum(of.values()) / flops:.4f} times" if flops else ""
            found.append(f"{category}: {sum(of.values())} instead of {flops}{ratio}")
        odd = [f for f, n in of.items() if n and f not in expected.formats]
        if expected.formats and odd:
            found.append(f"{category} is of format {', '.join(odd)}")
    found += [
        f"no operator named like {part!r} is in the facts"
        for part in expected.uncounted
        if not any(part in name for name in told.uncounted)
    ]
    if expected.uncounted and "unknown_operator" not in told.errors:
        found.append("flag unknown_operator is not set")
    if not expected.uncounted and told.uncounted:
        found.append(f"no formula for {', '.join(told.uncounted)}")
    return found


def names(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names under `unknown_operators`, of either schema of the facts."""
    return [
        str(each["operator"]) if isinstance(each, dict) else str(each)
        for of in facts
        for each in of.get("unknown_operators", [])
    ]
