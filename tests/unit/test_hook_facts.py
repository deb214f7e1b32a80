"""Facts are JSON of bounded size whatever was noted; changes and calls add up."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopguard_hook.batches import Batch, of_calls
from flopguard_hook.changes import Moment, differences, with_events
from flopguard_hook.facts import bounded, short
from flopguard_hook.methods import precision_of
from flopguard_hook.parallel import Kind, data_workers
from flopguard_hook.versions import cores, fastest, vector


class Odd:
    """A value that JSON cannot say."""


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=300),
    st.builds(Odd),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=9), inner)
    ),
    max_leaves=40,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=9), TREES), st.integers(200, 4_000))
def test_any_facts_become_small_json(facts: dict[str, Any], most: int) -> None:
    """No value of a tenant's makes the file unreadable or too long."""
    text = json.dumps(bounded(facts, most), allow_nan=False)

    assert len(text) < max(most, 2_000)
    assert isinstance(json.loads(text), dict)


def model(layers: int, batches: int) -> dict[str, Any]:
    """Return a described model of many layers and batches."""
    return {
        "class": "M",
        "parameters": {"total": 1},
        "layers": [
            {"name": f"layer {i} {'x' * 60}", "weight": [i, i]} for i in range(layers)
        ],
        "batches": [{"shape": [i, i], "calls": 1} for i in range(batches)],
    }


def test_small_facts_stay_as_they_are() -> None:
    """Nothing is left out that fits."""
    facts = {"schema": 2, "models": [model(3, 3)], "saves": [{"path": "/a"}]}

    assert bounded(facts) == facts


def test_what_is_least_needed_goes_first() -> None:
    """Batches are cut before layers, layers before models; that it was cut is said."""
    facts = {"schema": 2, "models": [model(90, 400) for _ in range(8)]}
    cut = bounded(facts)

    assert len(json.dumps(cut)) < 60_000
    assert "models[].batches" in cut["left_out"]
    assert len(cut["models"]) == 8
    assert len(cut["models"][0]["layers"]) == 24


def test_newest_saves_survive_a_cut() -> None:
    """The last weights are the ones that a paused run resumes from."""
    saves = [{"path": f"/{i}/{'x' * 150}", "step": i} for i in range(64)]
    cut = bounded({"saves": saves}, 3_000)

    assert cut["saves"][-1]["step"] == 63
    assert "saves" in cut["left_out"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (math.nan, None),
        (math.inf, None),
        (2**62, 2**62),
        (2**64, str(2**64)),
        (10**100_000, None),
        ("x" * 999, "x" * 200),
        (Odd(), "Odd"),
        ((1, 2), [1, 2]),
    ],
    ids=[
        "not a number is left out",
        "infinity is left out",
        "a large number stays one",
        "one above 63 bits becomes text",
        "one that takes long to write is left out",
        "a long string is cut",
        "an object becomes its class",
        "a tuple becomes a list",
    ],
)
def test_values(value: object, kept: object) -> None:
    """Each kind of value has one plain form."""
    assert bounded({"a": value})["a"] == kept


def test_facts_that_contain_themselves_end() -> None:
    """A list in itself is followed to a bound."""
    endless: list[Any] = []
    endless.append(endless)

    assert "a" in json.loads(json.dumps(bounded({"a": endless})))


def test_short_never_raises_on_surrogates() -> None:
    """Half a character from a file name is still a string."""
    assert json.loads(json.dumps(short("\udc80"))) == "\udc80"


def test_change_is_told_with_its_moment() -> None:
    """Of an object only what differs is told."""
    before = {"adapter": {"rank": 8, "type": "LORA"}, "checkpointing": "none"}
    after = {"adapter": {"rank": 16, "type": "LORA"}, "checkpointing": "none"}
    changed = differences("models[0].", before, after, ["adapter", "checkpointing"])

    assert with_events([], changed, Moment(7, 10**30)) == [
        {
            "fact": "models[0].adapter",
            "before": {"rank": 8},
            "after": {"rank": 16},
            "step": 7,
            "flops": str(10**30),
        }
    ]


def test_what_was_not_known_did_not_change() -> None:
    """The first sight of a fact is no event."""
    assert differences("", {}, {"world_size": 2}, ["world_size"]) == []


def test_of_many_events_the_first_and_the_newest_stay() -> None:
    """How it began and what happened last; 64 at most."""
    events: list[dict[str, Any]] = []
    for i in range(200):
        change = {"fact": "x", "before": i, "after": i + 1}
        events = with_events(events, [change], Moment(i, i))

    assert len(events) == 64
    assert [e["before"] for e in events[:16]] == list(range(16))
    assert events[-1]["before"] == 199


def test_calls_add_up_over_sizes() -> None:
    """Tokens are exact; cached positions are summed, for decoding is linear in them."""
    text = Batch((2, 16), "input_ids", 32)
    token = Batch((2, 1), "input_ids", 2)
    counted = {
        (text, True): 40,
        (text, False): 3,
        (token._replace(past=16), False): 1,
        (token._replace(past=17), False): 2,
    }

    assert of_calls(counted, "input_ids") == {
        "calls": {"training": 40, "no_grad": 6},
        "tokens": {"training": 1280, "no_grad": 102},
        "lengths": {"16": 40},
        "batches": [
            {"shape": [2, 16], "grad": True, "calls": 40},
            {"shape": [2, 16], "grad": False, "calls": 3},
            {"shape": [2, 1], "grad": False, "calls": 3, "past": 50},
        ],
    }


def test_rare_sizes_are_counted_together() -> None:
    """48 sizes are listed; of the rest the number of calls is kept."""
    counted = {(Batch((1, n), "input_ids", n), True): 100 - n for n in range(1, 61)}
    found = of_calls(counted, "input_ids")

    assert len(found["batches"]) == 48
    assert found["batches_left_out"] == sum(100 - n for n in range(49, 61))
    assert found["tokens"]["training"] == sum(n * (100 - n) for n in range(1, 61))


@pytest.mark.parametrize(
    ("dtypes", "autocast", "flags", "precision"),
    [
        ({"bfloat16": 9}, "", {}, "bf16"),
        ({"float32": 9}, "bf16", {}, "bf16-mixed"),
        ({"float32": 9}, "float16", {}, "fp16-mixed"),
        ({"bfloat16": 9}, "bf16", {}, "bf16"),
        ({"nf4": 90, "bfloat16": 9}, "", {}, "bf16"),
        ({"float32": 9}, "", {"tf32": True}, "tf32"),
        ({"bfloat16": 9}, "", {"fp8": True}, "fp8"),
        ({}, "", {}, ""),
    ],
    ids=[
        "weights in bf16",
        "autocast over fp32 weights",
        "autocast to fp16, by torch's name",
        "autocast to what the weights are in",
        "packed weights compute in the others' format",
        "tensor cores on fp32",
        "8-bit layers",
        "no weights",
    ],
)
def test_precision(
    dtypes: dict[str, int], autocast: str, flags: dict[str, bool], precision: str
) -> None:
    """What products are computed in."""
    assert precision_of(dtypes, autocast, **flags) == precision


@pytest.mark.parametrize(
    ("kinds", "workers"),
    [
        ([], 8),
        ([Kind("FSDP2", 8)], 8),
        ([Kind("TP", 2), Kind("FSDP2", 4)], 4),
        ([Kind("TP", 2), Kind("PP", 2)], 2),
        ([Kind("PP", 0)], 8),
    ],
    ids=[
        "copies",
        "shards have rows of their own",
        "tensor parallel ranks share theirs",
        "so do stages",
        "stages of unknown number",
    ],
)
def test_data_workers(kinds: list[Kind], workers: int) -> None:
    """Of eight processes."""
    assert data_workers(kinds, 8) == workers


def test_cores_are_those_that_may_be_used() -> None:
    """The smaller of affinity and quota, rounded up."""
    assert cores(64, [(150_000, 100_000)]) == 2
    assert cores(1, [(800_000, 100_000)]) == 1
    assert cores(4, []) == 4
    assert cores(4, [(1_000, 100_000), (5, 0)]) == 1


def test_vector_unit_and_clock() -> None:
    """The widest unit and the fastest clock that the kernel shows."""
    assert vector(["fpu", "sse2", "avx", "avx2", "avx512f"]) == "avx512"
    assert vector(["asimd"]) == "neon"
    assert vector([]) == ""
    assert fastest("cpu MHz\t\t: 2600.1\ncpu MHz : 3100.9\n") == 3100
    assert fastest("") == 0
