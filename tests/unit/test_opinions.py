"""Second opinions: when they agree, when they do not, and when they say nothing."""

from typing import Any

import pytest

from flopguard_operator import opinions
from flopguard_operator.conditions import Condition
from flopguard_operator.processes import Process
from standins.told import STEP, STEP_FLOPS, facts, page, process


def disagree(*found: Process) -> Condition:
    """Return the condition EstimatesDisagree of a run with these processes."""
    return opinions.conditions(found)[0]


def coverage(*found: Process) -> Condition:
    """Return the condition CoverageIncomplete of a run with these processes."""
    return opinions.conditions(found)[1]


def counted(percent: int, steps: int = 100, **changes: Any) -> Process:
    """Return a process that counted this much of what the formula says."""
    done = {name: str(f * steps * percent // 100) for name, f in STEP.items()}
    return process(steps, done=done, begun=done, **changes)


@pytest.mark.parametrize(
    ("percent", "status"),
    [(100, "False"), (96, "False"), (104, "False"), (90, "True"), (110, "True")],
)
def test_more_than_five_percent_is_said(percent: int, status: str) -> None:
    """On both sides, and not below it."""
    assert disagree(counted(percent)).status == status


def test_the_message_says_how_much_and_why() -> None:
    """Both figures, their ratio, and what is charged."""
    said = disagree(counted(50))

    assert said.reason == "CauseUnknown"
    assert " 50.0 % of what the formula says" in said.message
    assert "packed or padded" in said.message
    assert "What is charged is the hook's count." in said.message


def checkpointed() -> dict[str, Any]:
    """Return facts of a model with checkpointing."""
    told = facts(100)
    told["models"][0]["checkpointing"] = "non_reentrant"
    return told


def with_other_calls() -> dict[str, Any]:
    """Return facts of a model that is also called without a gradient."""
    told = facts(100)
    told["models"][0]["calls"]["no_grad"] = 7
    return told


CAUSES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown operator": ({"errors": ["unknown_operator"]}, "UnknownOperators"),
    "a formula that failed": ({"errors": ["formula_failed"]}, "UnknownOperators"),
    "a drift of replay": (
        {"told": facts(100, replay={"drift": [{"window": "Llama#1"}]})},
        "ReplayDrift",
    ),
    "data that decides": (
        {"told": facts(100, replay={"state": "off", "why": "packed sequences"})},
        "DataDependentCost",
    ),
    "calls without a gradient": ({"told": with_other_calls()}, "ForwardOnlyWork"),
    "checkpointing": ({"told": checkpointed()}, "Recomputation"),
}


@pytest.mark.parametrize(("changes", "reason"), CAUSES.values(), ids=CAUSES)
def test_the_likeliest_cause_is_named(changes: dict[str, Any], reason: str) -> None:
    """From the flags of the page and the facts."""
    assert disagree(counted(50, **changes)).reason == reason


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(
            process(100, told=facts(3)), id="facts of the third step, page of the last"
        ),
        pytest.param(
            process(1, told=facts(2, steps=1)), id="a second call that is under way"
        ),
        pytest.param(
            process(1, told=facts(1, steps=0), steps=0), id="a step that is under way"
        ),
    ],
)
def test_facts_that_are_late_raise_no_alarm(found: Process) -> None:
    """Page and facts are written one after the other."""
    assert disagree(found).status == "False"


def without(key: str) -> dict[str, Any]:
    """Return facts in which something of the model is missing."""
    told = facts(100)
    del told["models"][0][key]
    return told


def of_type(model_type: str) -> dict[str, Any]:
    """Return facts of a model of another family."""
    told = facts(100)
    told["models"][0]["architecture"]["model_type"] = model_type
    return told


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (of_type("brand_new"), "ArchitectureUnknown"),
        (without("architecture"), "ArchitectureUnknown"),
        (without("batches"), "ArchitectureUnknown"),
        ({"schema": 2}, "NothingToCompare"),
        ({}, "NothingToCompare"),
        ({"schema": 99}, "NothingToCompare"),
    ],
    ids=[
        "a family that is not known",
        "no configuration",
        "no batches",
        "no model",
        "no facts",
        "facts of another schema",
    ],
)
def test_what_is_not_known_raises_no_alarm(told: dict[str, Any], reason: str) -> None:
    """The condition is Unknown and says why, whatever was counted."""
    said = disagree(counted(50, told=told))

    assert (said.status, said.reason) == ("Unknown", reason)


def test_without_a_formula_the_layers_give_a_rough_figure() -> None:
    """It is shown, with what it is made from, and compared with nothing."""
    rows = {
        row["source"]: row for row in opinions.rows((process(100, told=of_type("x")),))
    }

    assert 0.5 < float(rows["formula"]["ratioToHook"]) < 1.1
    assert "by the layers' shapes and the tokens alone" in rows["formula"]["note"]


def test_the_processes_of_several_pods_are_added() -> None:
    """Two data-parallel workers: twice the figures, the same ratio."""
    two = (process(10), process(10, stream="pod-2"))

    rows = list(opinions.rows(two))

    assert [(row["source"], row["flops"], row["ratioToHook"]) for row in rows] == [
        ("hook", str(20 * STEP_FLOPS), "1.0000"),
        ("formula", str(20 * STEP_FLOPS), "1.0000"),
    ]
    assert "2 process(es), 10 steps" in rows[0]["note"]


def test_the_profiler_is_compared_with_the_same_steps() -> None:
    """Its few steps against the hook's figure for them."""
    sampled = {"steps": 3, "flops": "90", "hook_flops": "120"}

    rows = list(opinions.rows((process(told=facts(1, profiler=sampled)),)))

    assert rows[-1]["source"] == "profiler"
    assert (rows[-1]["flops"], rows[-1]["ratioToHook"]) == ("90", "0.7500")


def test_a_profiler_that_knows_less_says_what_it_does_not_know() -> None:
    """Work by element is left out of the ratio; operators without a cost are named."""
    sampled = {
        "steps": 2,
        "flops": "95",
        "hook_flops": "100",
        "by_element": "5",
        "unpriced": ["aten::_scaled_dot_product_flash_attention"],
    }

    row = list(opinions.rows((process(told=facts(1, profiler=sampled)),)))[-1]

    assert (row["flops"], row["ratioToHook"]) == ("90", "0.9000")
    assert row["note"] == (
        "2 steps under torch.profiler; without 5 FLOPs of work by element; "
        "it knows no cost of _scaled_dot_product_flash_attention"
    )


def test_a_process_that_could_not_be_sampled_gives_no_row() -> None:
    """It says why in its facts; there is nothing to compare."""
    skipped = {"skipped": "another profiler is active"}

    rows = list(opinions.rows((process(told=facts(1, profiler=skipped)),)))

    assert [row["source"] for row in rows] == ["hook", "formula"]


FLAGGED: dict[str, tuple[dict[str, Any], str, str]] = {
    "operators by name, calls and estimate": (
        {
            "errors": ["unknown_operator"],
            "told": facts(
                1,
                unknown_operators=[
                    {"operator": "my::op", "calls": 7, "estimate": "3000"},
                    {"operator": "my::other", "calls": 9},
                ],
            ),
        },
        "UnknownOperators",
        "my::other (9 calls), my::op (7 calls, about 3e3 FLOPs)",
    ),
    "the names alone, as an older hook gives them": (
        {"told": facts(1, unknown_operators=["my::op"])},
        "UnknownOperators",
        "no formula: my::op.",
    ),
    "a flag before its name": (
        {"errors": ["unknown_operator"]},
        "UnknownOperators",
        "not named yet",
    ),
    "a formula that failed": (
        {
            "errors": ["formula_failed"],
            "told": facts(1, unknown_operators=[{"operator": "aten::mm", "calls": 1}]),
        },
        "FormulaFailed",
        "a formula that failed on what they were given: aten::mm (1 calls)",
    ),
    "a drift": (
        {
            "errors": ["replay_drift"],
            "told": facts(1, replay={"drift": [{"window": "Llama#1"}]}),
        },
        "ReplayDrift",
        "did not cost what they cost before (Llama#1)",
    ),
    "the gravest first": (
        {"errors": ["unknown_optimizer", "hook_failed"]},
        "HookFailed",
        "The hook failed in a process",
    ),
}


@pytest.mark.parametrize(("changes", "reason", "words"), FLAGGED.values(), ids=FLAGGED)
def test_what_could_not_be_counted_is_named(
    changes: dict[str, Any], reason: str, words: str
) -> None:
    """In plain words, with the operators' names."""
    said = coverage(process(**changes))

    assert (said.status, said.reason) == ("True", reason)
    assert words in said.message


def test_full_coverage_is_said_only_of_what_was_heard() -> None:
    """No process heard: nobody knows."""
    assert coverage(process()).status == "False"
    assert coverage().status == "Unknown"


def test_many_operators_make_no_long_message() -> None:
    """A tenant chooses their names."""
    many = [{"operator": f"op{n}::" + "x" * 500, "calls": n} for n in range(90)]

    said = coverage(process(told=facts(1, unknown_operators=many)))

    assert len(said.message) < 4096
    assert "and 56 more" in said.message


def test_the_same_pages_in_any_order_give_the_same_opinion() -> None:
    """Sums do not depend on who answers first."""
    one, other = process(3), process(5, stream="pod-2")

    assert list(opinions.rows((one, other))) == list(opinions.rows((other, one)))
    assert page(1)["nonce"] != page(2)["nonce"]
