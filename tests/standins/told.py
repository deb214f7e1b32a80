"""What a sidecar tells of a pod's processes, for tests: pages with facts."""

import copy
import json
from pathlib import Path
from typing import Any

from flopguard_operator import processes
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.processes import Process

_FILE = Path(__file__).parents[1] / "vectors" / "processes.jsonl"
_LLAMA = json.loads(_FILE.read_text().splitlines()[0])
STEP = {name: int(flops) for name, flops in _LLAMA["done"].items()}
"""FLOPs of one step of the recorded Llama, by category."""
STEP_FLOPS = sum(STEP.values())


def facts(made: int = 1, **changes: Any) -> dict[str, Any]:
    """Return the facts of a tiny Llama in full fine-tuning, with so many steps made."""
    found: dict[str, Any] = copy.deepcopy(_LLAMA["facts"])
    model = found["models"][0]
    model["calls"]["training"] = model["batches"][0]["calls"] = made
    return found | {"steps": made} | changes


def page(
    number: int = 1, made: int = 1, told: object = None, **changes: Any
) -> dict[str, Any]:
    """Return a page of the marks JSON: so many whole steps were counted."""
    done = {name: str(flops * made) for name, flops in STEP.items()}
    return {
        "nonce": f"{number:032x}",
        "done": done,
        "begun": dict(done),
        "steps": made,
        "closed": False,
        "errors": [],
        "facts": facts(made) if told is None else told,
        **changes,
    }


def marks_json(*pages: dict[str, Any]) -> dict[str, Any]:
    """Return the marks JSON of a pod with these pages."""

    def total(key: str) -> dict[str, str]:
        return {c: str(sum(int(each[key][c]) for each in pages)) for c in CATEGORIES}

    return {
        "schema": 1,
        "done": total("done"),
        "begun": total("begun"),
        "steps": sum(each["steps"] for each in pages),
        "pages": list(pages),
    }


def process(made: int = 1, stream: str = "pod-1", **changes: Any) -> Process:
    """Return one process as the operator reads it."""
    (found,) = processes.read(marks_json(page(1, made, **changes)), stream)
    return found
