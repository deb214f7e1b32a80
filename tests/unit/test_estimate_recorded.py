"""The estimate equals what the hook counted, model family by model family.

`vectors/processes.jsonl` was recorded from tiny models of Transformers and PEFT: one
step each, with the facts of the process and the hook's exact count by category.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import facts
from flopguard_operator.estimate.process import of_process

FILE = Path(__file__).parents[1] / "vectors" / "processes.jsonl"
RECORDED = [json.loads(line) for line in FILE.read_text().splitlines()]


@pytest.mark.parametrize(
    "recorded", RECORDED, ids=[recorded["case"] for recorded in RECORDED]
)
def test_the_formula_gives_what_the_hook_counted(recorded: dict[str, Any]) -> None:
    """Category by category, to the last FLOP, from the facts alone."""
    opinion = of_process(facts.read(recorded["facts"]), steps=1)
    expected = {n: each.expected for n, each in opinion.estimate.flops.items()}
    counted = {name: int(flops) for name, flops in recorded["done"].items()}

    assert opinion.exact, opinion.why_not
    assert {name: expected.get(name, 0) for name in counted} == counted


@pytest.mark.parametrize(
    "recorded", RECORDED, ids=[recorded["case"] for recorded in RECORDED]
)
def test_a_variant_of_a_known_family_is_not_taken_for_it(
    recorded: dict[str, Any],
) -> None:
    """One linear layer more in the blocks, and there is no formula: no false alarm."""
    varied = json.loads(json.dumps(recorded["facts"]))
    added = {"name": "model.layers.*.more", "class": "Linear", "count": 3}
    varied["models"][0]["layers"].append(added | {"weight": [64, 64]})

    opinion = of_process(facts.read(varied), steps=1)

    assert not opinion.exact
    assert "layers are not those" in opinion.why_not
