"""The forecast of a plan, against formulas that know nothing of it."""

import pytest

from flopguard_operator.forecast.architecture import PlanError, read_config
from flopguard_operator.forecast.plan import FULL, LORA, OTHER, QLORA, Plan
from flopguard_operator.forecast.planned import of_plan
from truth.closed_formula import (
    SMOLLM2,
    Training,
    llama_step_flops,
    trainable,
)

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": SMOLLM2.hidden,
    "intermediate_size": SMOLLM2.ffn,
    "num_hidden_layers": SMOLLM2.layers,
    "num_attention_heads": SMOLLM2.heads,
    "num_key_value_heads": SMOLLM2.kv_heads,
    "vocab_size": SMOLLM2.vocabulary,
    "tie_word_embeddings": True,
}
KNOWN = Plan(
    tokens=64 * 4 * 10,
    length=64,
    batch=4,
    method=LORA,
    rank=8,
    targets=("q_proj", "v_proj"),
    checkpointing=False,
    config=CONFIG,
)


def changed(**fields: object) -> Plan:
    """Return the plan of which everything is known, with some of it changed."""
    return Plan(**{**KNOWN.__dict__, **fields})


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("method", [FULL, LORA])
def test_a_plan_that_says_all_costs_the_closed_formula(
    method: str, *, checkpointing: bool
) -> None:
    """Ten steps of four sequences, in every category; the update by matrices alone."""
    plan = changed(method=method, checkpointing=checkpointing)
    rank = 8 if method == LORA else 0
    how = Training(4, 64, rank, ("q_proj", "v_proj"), checkpointing=checkpointing)
    step = llama_step_flops(SMOLLM2, how)
    norms = 0 if rank else SMOLLM2.hidden * (2 * SMOLLM2.layers + 1)
    truth = 10 * (sum(step.values()) - 14 * norms)

    found = of_plan(plan)

    assert found.basis == "ClosedForm"
    assert found.total.expected == truth
    assert found.total.low <= truth <= found.total.high
    assert trainable(SMOLLM2, how) > norms


NARROWER = {
    "the length": {"length": None},
    "the batch size": {"batch": None},
    "the rank": {"rank": None},
    "the adapted layers": {"targets": ()},
    "checkpointing": {"checkpointing": None},
}


@pytest.mark.parametrize("left_out", NARROWER.values(), ids=NARROWER.keys())
def test_what_is_left_out_widens_the_range_and_is_named(
    left_out: dict[str, object],
) -> None:
    """Each open question has a sentence, and the answer lies within the range."""
    known, vague = of_plan(KNOWN), of_plan(changed(**left_out))

    assert vague.total.low <= known.total.expected <= vague.total.high
    width = vague.total.high - vague.total.low
    assert width > known.total.high - known.total.low
    assert len(vague.assumptions) > len(known.assumptions)


AMOUNTS = {
    "samples and epochs": {"tokens": None, "samples": 20, "epochs": 2},
    "steps": {"tokens": None, "steps": 10},
}


@pytest.mark.parametrize("fields", AMOUNTS.values(), ids=AMOUNTS.keys())
def test_the_amount_can_be_said_in_other_ways(fields: dict[str, object]) -> None:
    """The same ten steps of four sequences."""
    found = of_plan(changed(**fields)).total

    assert found.expected == of_plan(KNOWN).total.expected


def test_a_last_sequence_may_be_shorter() -> None:
    """A token more costs a little more, not a whole sequence."""
    whole = of_plan(KNOWN).total.expected
    more = of_plan(changed(tokens=64 * 4 * 10 + 1)).total.expected

    assert whole < more < whole + whole // 40


def test_without_a_configuration_the_rule_of_thumb_has_a_wide_range() -> None:
    """6 FLOPs per parameter and token, 4 where the weights are frozen; said so."""
    plan = Plan(tokens=10**9, parameters=8 * 10**9, method=FULL)

    found = of_plan(plan)
    frozen = of_plan(Plan(tokens=10**9, parameters=8 * 10**9, method=LORA))

    assert found.basis == "RuleOfThumb"
    assert found.total.expected == 6 * 8 * 10**18
    assert (found.total.low, found.total.high) == (24 * 10**18, 96 * 10**18)
    assert frozen.total.expected == 4 * 8 * 10**18
    assert "6 FLOPs per parameter and token" in found.assumptions[0]


def test_qlora_is_expected_to_recompute() -> None:
    """Its usual preparation turns checkpointing on; LoRA's does not."""
    plain = of_plan(changed(checkpointing=None)).total
    packed = of_plan(changed(checkpointing=None, method=QLORA)).total

    assert packed.expected > plain.expected
    assert packed.high >= packed.expected


def test_an_unknown_method_may_cost_several_times_as_much() -> None:
    """Reference models and generation are not in the plan; the range has them."""
    found = of_plan(changed(method=OTHER, rank=None, targets=())).total

    assert found.high > 4 * found.expected
    assert found.low < found.expected


def test_an_unknown_architecture_needs_the_parameters() -> None:
    """And is then forecast roughly, with the reason why."""
    strange = {"model_type": "nobody-knows-it"}
    with pytest.raises(PlanError, match=r"nobody-knows-it.*number of parameters"):
        of_plan(changed(config=strange))

    found = of_plan(changed(config=strange, parameters=10**9))

    assert "nobody-knows-it" in found.assumptions[0]


WRONG = {
    "no amount": (changed(tokens=None), "how much is trained on"),
    "a layer that is not there": (changed(targets=("q_prog",)), "q_prog.*all-linear"),
    "a method that is none": (changed(method="SFT"), "Full, LoRA, QLoRA, Other"),
    "nothing of the model": (Plan(tokens=1), "configuration is not given"),
    "an absurd amount": (
        changed(tokens=None, samples=10**12, epochs=10**12, length=10**12),
        "check its figures",
    ),
}


@pytest.mark.parametrize(("plan", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_plan_that_cannot_be_forecast_says_why(plan: Plan, sentence: str) -> None:
    """One named error, with what to give."""
    with pytest.raises(PlanError, match=sentence):
        of_plan(plan)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '"x"', "[" * 70_000, "[" * 60_000], ids=range(6)
)
def test_a_hostile_configuration_ends_in_a_sentence(text: str) -> None:
    """It comes from a manifest, so from anybody."""
    with pytest.raises(PlanError, match="configuration"):
        read_config(text)


def test_a_model_that_also_sees_is_counted_by_its_language_model() -> None:
    """With a sentence for what is left out."""
    found = of_plan(
        changed(config={"model_type": "looks", "text_config": CONFIG, **_CLASS})
    )

    assert found.total.expected == of_plan(KNOWN).total.expected
    assert "only the language model" in found.assumptions[0]


_CLASS = {"architectures": ["LooksForConditionalGeneration"]}
