"""The estimate against formulas that know nothing of it."""

import pytest

from flopguard_operator.estimate import model as m
from flopguard_operator.estimate.steps import of_call, of_step, of_work
from truth.closed_formula import SMOLLM2, Llama, Training, llama_step_flops, trainable

UNEVEN = Llama(
    hidden=96, layers=5, heads=6, kv_heads=2, head_dim=24, ffn=112, vocabulary=1000
)


def architecture(model: Llama, *, head_trained: bool = True) -> m.Architecture:
    """Return a Llama configuration as the estimate takes it."""
    heads = (model.heads, model.kv_heads, model.head_dim, model.head_dim)
    stack = m.Stack(model.layers, m.Attention(*heads), model.ffn, gated=True)
    head = m.Head("lm_head", model.hidden, model.vocabulary, trained=head_trained)
    return m.Architecture(model.hidden, stack, heads=(head,))


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("rank", [0, 4, 8], ids=["full", "LoRA 4", "LoRA 8"])
@pytest.mark.parametrize("model", [SMOLLM2, UNEVEN], ids=["SmolLM2", "uneven widths"])
def test_a_step_of_llama_is_the_closed_formula(
    model: Llama, rank: int, *, checkpointing: bool
) -> None:
    """Full and LoRA, with and without checkpointing, in every category."""
    targets = ("q_proj", "v_proj")
    how = Training(2, 64, rank, targets, checkpointing=checkpointing)
    method = m.Method(
        frozen=bool(rank),
        adapters=tuple((name, rank) for name in targets) if rank else (),
        input_gradient=checkpointing,
        checkpointing=m.NON_REENTRANT if checkpointing else m.NONE,
        elements=trainable(model, how),
    )

    found = of_step(
        architecture(model, head_trained=not rank), method, m.Call(2, 64)
    ).flops

    truth = llama_step_flops(model, how)
    assert {name: found[name].expected for name in found} | {"no_grad": 0} == truth


def test_accumulation_repeats_the_calls_and_not_the_update() -> None:
    """Four micro-batches and one step of the optimizer."""
    own, method = architecture(UNEVEN), m.Method(elements=10)
    one = of_step(own, method, m.Call(2, 64)).flops
    four = of_step(own, method, m.Call(2, 64), accumulation=4).flops

    assert four[m.FORWARD] == one[m.FORWARD].times(4)
    assert four[m.OPTIMIZER] == one[m.OPTIMIZER]


def test_decoding_costs_one_position_and_the_cached_keys() -> None:
    """2 x the weights for one token, and attention over the past: no backward."""
    call = m.Call(batch=3, length=1, past=16, training=False)

    found = of_call(architecture(UNEVEN), m.Method(), call).flops

    weights = sum(i * o for i, o in UNEVEN.projections.values())
    core = 2 * UNEVEN.heads * 17 * 2 * UNEVEN.head_dim
    head = 2 * UNEVEN.hidden * UNEVEN.vocabulary
    expected = 3 * (UNEVEN.layers * (2 * weights + core) + head)
    assert {name: each.expected for name, each in found.items()} == {
        m.NO_GRAD: expected
    }


def test_what_is_not_known_is_a_range_with_a_sentence() -> None:
    """The likeliest figure lies within; nothing is doubted that changes nothing."""
    method = m.Method(fused_attention=None)
    single = of_call(architecture(UNEVEN), method, m.Call(2, 64))
    known = of_call(architecture(UNEVEN), m.Method(), m.Call(2, 64))

    assert single.total.low < single.total.expected == single.total.high
    assert single.doubts == ("whether attention runs in one fused kernel is not known",)
    assert known.doubts == ()
    assert known.total.low == known.total.expected == known.total.high


def test_many_blocks_cost_no_more_time_than_few() -> None:
    """A hostile configuration cannot keep the operator busy."""
    stack = m.Stack(10**9, m.Attention(1, 1, 1, 1), 1, gated=False)
    work = m.Work(((m.Call(1, 1), 1),), 1)

    total = of_work(m.Architecture(1, stack), m.Method(), work).total

    # Per block: six products of one number, and two of attention; thrice but for
    # attention's five.
    assert total.expected == 10**9 * (3 * 2 * 6 + 4 + 10)
