"""The closed formulas, against each other and against sums written out."""

import pytest

from truth.architectures import Call, Sizes, gated_decoder, parallel_decoder
from truth.closed_formula import Llama, Training, llama_step_flops
from truth.networks import Core, Linear, Method, Network, backward, lora, step

MODEL = Llama(
    hidden=48, layers=3, heads=4, kv_heads=2, head_dim=16, ffn=80, vocabulary=96
)
SIZES = Sizes(
    hidden=48, layers=3, heads=4, kv_heads=2, head_dim=16, ffn=80, vocabulary=96
)
ATTENTION = ("q_proj", "v_proj")


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize(("batch", "length"), [(1, 7), (3, 16)])
def test_two_formulas_written_apart_agree(
    batch: int, length: int, rank: int, *, checkpointing: bool
) -> None:
    """One sums a Llama's layers by name, the other walks through a network."""
    how = Training(batch=batch, length=length, rank=rank, checkpointing=checkpointing)
    asked = bool(checkpointing or not rank)
    method = lora(rank, *ATTENTION, input_grad=asked) if rank else Method()
    kind = "non_reentrant" if checkpointing else "none"
    method = Method(
        method.trains, method.input_grad, rank, method.adapts, checkpointing=kind
    )

    of_network = step(gated_decoder(SIZES, Call(batch, length)), method)

    of_names = llama_step_flops(MODEL, how)
    assert of_network == {name: of_names[name] for name in of_network}


LAYER = Linear("layer", 2, 3, 5)  # 2*2*3*5 = 60

BACKWARD = [
    pytest.param((LAYER,), Method(), 120, id="weight and input"),
    pytest.param(
        (LAYER,),
        Method(trains=lambda _, name: name == "layer", input_grad=False),
        60,
        id="the weight alone",
    ),
    pytest.param(
        (LAYER,), Method(input_grad=False), 120, id="a trained norm stands before it"
    ),
    pytest.param(
        (Linear("layer", 2, 3, 5, from_data=True),), Method(), 60, id="data has none"
    ),
    pytest.param(
        (Linear("layer", 2, 3, 5, twice=True),), Method(), 180, id="logits made again"
    ),
    # A: 2*2*3*4, its weight alone; B: 2*2*4*5, weight and input
    pytest.param((LAYER,), lora(4, "layer"), 48 + 2 * 80, id="an adapter at the data"),
    pytest.param((LAYER,), lora(4, "other"), 0, id="nothing is trained"),
    # Scores 2*6*4*4*2 = 384: five products of that
    pytest.param((Core(2, 3, 4, 4, 2, 2),), Method(), 5 * 384, id="a fused core"),
    pytest.param(
        (Core(2, 3, 4, 4, 2, 2, fused=False),), Method(), 4 * 384, id="a plain core"
    ),
]


@pytest.mark.parametrize(("stage", "method", "flops"), BACKWARD)
def test_a_stage_costs_the_gradients_that_are_needed(
    stage: tuple[Linear | Core, ...], method: Method, flops: int
) -> None:
    """Each sum written out."""
    assert backward(Network([[stage]]), method) == flops


def test_a_layer_beside_attention_has_no_gradient_before_the_first_adapter() -> None:
    """Phi's first feed-forward layer reads what no adapter has touched."""
    sizes = Sizes(layers=1)
    beside = parallel_decoder(sizes, Call(2, 9))
    attention_only = Network([beside.blocks[0][2:]], after=beside.after)

    method = lora(4, *ATTENTION)

    assert backward(beside, method) == backward(attention_only, method)
