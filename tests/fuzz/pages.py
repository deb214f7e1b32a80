"""What the pages of a run must be, whatever the run was.

The page format is loaded by path: the process that forks must not have the hook's
package in it.
"""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

HOOK = Path(__file__).resolve().parents[2] / "sidecar" / "flopguard_hook"
Counts = dict[str, int]


class Counted(NamedTuple):
    """What a run's pages say, summed.

    Attributes:
        done: FLOPs by "category format".
        errors: Every error flag that is set in one of them.
        faults: What is wrong with the pages themselves.
        facts: The facts files.
    """

    done: Counts
    errors: tuple[str, ...]
    faults: list[str]
    facts: list[dict[str, Any]]


def _format() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_page", HOOK / "page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_PAGE = _format()


def read(folder: Path) -> Counted:
    """Read every page of a folder; `read_page` itself asserts begun >= done."""
    done: Counts = {}
    errors: set[str] = set()
    faults, facts = [], []
    for path in sorted(folder.glob("*.page")):
        try:
            page = _PAGE.read_page(path.read_bytes())
        except _PAGE.PageError as error:
            faults.append(f"{path.name}: {error}")
            continue
        errors.update(page.errors)
        for category, by_format in page.done.items():
            for name, flops in by_format.items():
                if flops:
                    key = f"{category} {name}"
                    done[key] = done.get(key, 0) + flops
        try:
            facts.append(json.loads(path.with_suffix(".json").read_text()))
        except (OSError, ValueError) as error:
            faults.append(f"{path.name}: facts: {error}")
    return Counted(done, tuple(sorted(errors)), faults, facts)


def miscounted(
    replayed: Counted, always: Counted, once: frozenset[str] = frozenset()
) -> list[str]:
    """Return how a replayed count differs from the always-on count.

    Args:
        replayed: The one.
        always: The other.
        once: Categories in which it may be less, as ADR 4 says.
    """
    found = []
    for key in sorted(replayed.done.keys() | always.done.keys()):
        here, there = replayed.done.get(key, 0), always.done.get(key, 0)
        allowed = here <= there and key.split()[0] in once
        if here != there and not allowed:
            found.append(f"{key}: {here} instead of {there}")
    return found
