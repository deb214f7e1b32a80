"""Reading processes and their facts from a tenant's pod, honest or not."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator import facts, processes
from standins.told import STEP_FLOPS, marks_json, page, process
from standins.told import facts as told

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=20,
)
MODEL_KEYS = sorted(told()["models"][0])
CONFIG_KEYS = sorted(told()["models"][0]["architecture"])


def test_a_process_is_read_with_its_facts() -> None:
    """Figures from the page, an opinion from the facts, and the text of both kinds."""
    found = process(3)

    assert (found.stream, found.steps, found.measured) == ("pod-1", 3, 3 * STEP_FLOPS)
    assert found.opinion is not None
    assert found.opinion.exact
    assert found.opinion.estimate.total.expected == 3 * STEP_FLOPS
    assert "batches" not in found.texts.lasting
    assert "batches" in found.texts.growing


def test_processes_with_the_same_facts_have_one_digest() -> None:
    """Rank, process number and what grows are their own."""
    one = process(1, told=told(1, pid=1, rank=0))
    other = process(9, told=told(9, pid=2, rank=1, saves=[{"path": "/x"}]))
    another = process(1, told=told(1, precision="bf16"))

    assert one.texts.digest == other.texts.digest != another.texts.digest


PAGES: dict[str, Any] = {
    "a figure that is no number": {"done": {"forward": "1e3"}},
    "a figure that is too long": {"begun": {"forward": "9" * 45}},
    "steps that are true": {"steps": True},
    "steps below zero": {"steps": -1},
    "a nonce in capitals": {"nonce": "A" * 32},
    "a nonce that is none": {"nonce": "../../etc"},
}


@pytest.mark.parametrize("changes", PAGES.values(), ids=PAGES)
def test_a_page_that_is_none_is_left_out(changes: dict[str, Any]) -> None:
    """The others are read."""
    marks = marks_json(page(1), page(2))
    marks["pages"][0].update(changes)

    assert [p.nonce for p in processes.read(marks, "pod-1")] == [page(2)["nonce"]]


def test_the_largest_processes_are_kept() -> None:
    """A folder holds thousands of pages; what is kept is bounded."""
    pages = [page(n, 1 + n % 7, told={"schema": 2}) for n in range(1, 400)]

    found = processes.read(marks_json(*pages), "pod-1")

    assert len(found) == processes.MOST_PROCESSES
    assert found[0].steps == 7


def test_long_texts_are_shortened_and_say_so() -> None:
    """The digest is of the whole all the same."""
    long = told()
    layer = long["models"][0]["layers"][0]
    long["models"][0]["layers"] = [
        layer | {"name": "x" * 190 + str(n)} for n in range(96)
    ]
    found = process(told=long)

    assert not found.texts.whole
    assert len(found.texts.lasting) <= processes.MOST_TEXT
    assert json.loads(found.texts.lasting)["models"][0]["class"] == "LlamaForCausalLM"
    assert len(found.texts.digest) == 64


def deep(depth: int) -> dict[str, Any]:
    """Return facts that are nested this deeply."""
    nested: dict[str, Any] = {}
    for _ in range(depth):
        nested = {"architecture": nested}
    return told() | {"dataset": nested}


def hostile() -> dict[str, Any]:
    """Return facts that cost as much time as facts can."""
    model = told()["models"][0]
    shapes = [{"shape": [n, n], "calls": n, "grad": True} for n in range(1, 2_000)]
    config = model["architecture"] | {"num_hidden_layers": 10**9, "sliding_window": 3}
    large = model | {"batches": shapes, "architecture": config, "layers": []}
    return told(models=[large | {"checkpointing": "non_reentrant"}] * 40)


def test_hostile_facts_take_no_time() -> None:
    """A pod with as many such processes as the sidecar passes on: 1 MiB of facts."""
    pages = [page(n, told=hostile()) for n in range(1, 9)]
    began = time.process_time()

    processes.read(marks_json(*pages), "pod-1")

    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        "x",
        7,
        {},
        {"schema": "2"},
        {"schema": True},
        {"schema": 3},
        deep(5000),
    ],
    ids=[
        "null",
        "a list",
        "a text",
        "a number",
        "nothing",
        "a schema in quotes",
        "a schema that is true",
        "a later schema",
        "nested too deeply",
    ],
)
def test_facts_that_are_none_cost_the_opinion_alone(said: object) -> None:
    """The process is counted all the same, and its error flags are seen."""
    marks = marks_json(page(1, errors=["unknown_operator", 7, None]))
    marks["pages"][0]["facts"] = said

    (found,) = processes.read(marks, "pod-1")

    assert (found.measured, found.opinion) == (STEP_FLOPS, None)
    assert found.errors == ("unknown_operator",)


@given(st.dictionaries(st.sampled_from(sorted(told())), JSON), JSON)
def test_any_facts_are_read_without_an_error(changes: Any, model: Any) -> None:
    """Whatever stands behind a key."""
    processes.read(marks_json(page(told=told() | changes)), "pod-1")
    processes.read(marks_json(page(told=told(models=[model]))), "pod-1")


@given(st.dictionaries(st.sampled_from(MODEL_KEYS), JSON))
def test_any_model_is_read_without_an_error(changes: Any) -> None:
    """Whatever stands behind a key of a model."""
    model = told()["models"][0] | changes

    processes.read(marks_json(page(told=told(models=[model]))), "pod-1")


@given(
    st.dictionaries(st.sampled_from(sorted(told()["models"][0]["architecture"])), JSON)
)
def test_any_configuration_is_read_without_an_error(changes: Any) -> None:
    """Whatever a configuration says, also without a list of layers to check it by."""
    model = told()["models"][0]
    config = model["architecture"] | changes

    for layers in (model["layers"], list[Any]()):
        odd = model | {"architecture": config, "layers": layers}
        processes.read(marks_json(page(told=told(models=[odd]))), "pod-1")


def test_no_text_of_a_tenant_moves_the_cursor() -> None:
    """Names end up in terminals: one line, no escape sequences, bounded."""
    evil = "a\x1b[2J\n\ud800" + "x" * 999
    found = facts.read(told(unknown_operators=[evil], optimizers=[evil]))

    (operator,) = found.unknown_operators
    assert operator.name.isprintable()
    assert len(operator.name) == facts.MOST_CHARACTERS
    assert found.optimizers == (operator.name,)
