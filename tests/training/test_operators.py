"""What torch's operators cost under the hook, against sums written out by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from training.needs import COUNTS_CPU_ATTENTION

Counted = Callable[[Callable[[], object]], dict[str, int]]


def ones(*shape: int, grad: bool = False, dtype: Any = None) -> torch.Tensor:
    """Return a tensor of ones."""
    return torch.ones(*shape, dtype=dtype, requires_grad=grad)


def attention(*, width: int = 8, dropout: float = 0.0) -> torch.Tensor:
    """Return attention of 2 sequences, 4 heads, 6 positions, with gradients."""
    q, k, v = (ones(2, 4, 6, width, grad=True) for _ in range(3))
    return functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


# 2 products of 2*B*H*S*S*D: 4*2*4*6*6*8
ATTENTION = 9216

FORWARD = [
    pytest.param(lambda: ones(3, 4) @ ones(4, 5), 120, id="mm: 2*3*4*5"),
    pytest.param(lambda: ones(2, 3, 4) @ ones(4, 5), 240, id="folded batch: 2*6*4*5"),
    pytest.param(lambda: ones(2, 3, 4) @ ones(2, 4, 5), 240, id="bmm: 2*2*3*4*5"),
    pytest.param(lambda: ones(3, 4) @ ones(4), 24, id="mv: 2*3*4"),
    pytest.param(lambda: ones(7) @ ones(7), 14, id="dot: 2*7"),
    pytest.param(
        lambda: torch.einsum("bij,bjk->bik", ones(2, 3, 4), ones(2, 4, 5)),
        240,
        id="einsum is a bmm",
    ),
    pytest.param(
        lambda: functional.linear(ones(3, 4), ones(5, 4), ones(5)), 120, id="linear"
    ),
    pytest.param(
        lambda: ones(3, 4, dtype=torch.bfloat16) @ ones(4, 5, dtype=torch.bfloat16),
        120,
        id="bf16",
    ),
    pytest.param(
        lambda: ones(3, 4, dtype=torch.cfloat) @ ones(4, 5, dtype=torch.cfloat),
        480,
        id="complex: four real products",
    ),
    pytest.param(
        lambda: functional.conv2d(ones(2, 3, 6, 6), ones(5, 3, 3, 3)),
        8640,
        id="conv2d: 2*2*5*3*9*(4*4)",
    ),
    pytest.param(
        lambda: functional.conv1d(ones(1, 4, 8), ones(4, 1, 3), groups=4),
        144,
        id="depthwise conv1d: 2*4*3*6",
    ),
    pytest.param(
        lambda: functional.conv_transpose1d(ones(1, 3, 4), ones(3, 5, 2), stride=2),
        240,
        id="transposed conv1d: 2*3*5*2*4",
    ),
    pytest.param(attention, ATTENTION, id="fused attention: 4*2*4*6*6*8"),
    pytest.param(lambda: attention(dropout=0.1), ATTENTION, id="attention as two bmm"),
    pytest.param(
        lambda: torch.mm(ones(3, 4), ones(4, 5), out=torch.empty(3, 5)), 120, id="out="
    ),
    pytest.param(lambda: ones(3, 4).relu() + 1, 0, id="elementwise: nothing"),
    pytest.param(
        lambda: ones(3, 4).to("meta") @ ones(4, 5).to("meta"), 0, id="meta: no work"
    ),
]


@pytest.mark.parametrize(("program", "flops"), FORWARD)
@pytest.mark.parametrize("mode", ["grad", "no_grad", "inference_mode"])
def test_a_forward_costs_its_products(
    program: Callable[[], object], flops: int, mode: str, counted: Counted
) -> None:
    """Also in inference mode, where operators arrive whole."""
    guard = {
        "grad": torch.enable_grad,
        "no_grad": torch.no_grad,
        "inference_mode": torch.inference_mode,
    }[mode]

    def guarded() -> None:
        with guard():
            program()

    category = "forward" if mode == "grad" else "no_grad"
    assert counted(guarded) == ({category: flops} if flops else {})


@pytest.mark.parametrize(
    "module", [nn.RNN, nn.GRU, nn.LSTM], ids=["tanh", "gru", "lstm"]
)
@pytest.mark.usefixtures("attached")
def test_inference_rounds_as_without_the_hook(module: type[nn.RNNBase]) -> None:
    """A product with a view of a weight takes the kernel that it took, of several."""
    torch.manual_seed(0)
    layers = module(4, 5, num_layers=2, batch_first=True).eval()
    image = torch.randn(2, 4, 4)

    with torch.no_grad():
        expected, _ = layers(image)
    with torch.inference_mode():
        out, _ = layers(image)

    assert torch.equal(out, expected), "torch itself gives the same in both"


@pytest.mark.parametrize(
    ("program", "backward"),
    [
        # Two gradients, each a product as large as the forward's
        pytest.param(
            lambda: ones(3, 4, grad=True) @ ones(4, 5, grad=True), 240, id="mm"
        ),
        pytest.param(lambda: ones(3, 4) @ ones(4, 5, grad=True), 120, id="mm, weight"),
        pytest.param(
            lambda: functional.conv1d(
                ones(1, 4, 8, grad=True), ones(4, 1, 3, grad=True), groups=4
            ),
            288,
            id="depthwise conv1d, where FlopCounterMode is wrong",
        ),
        # Five products where the forward has two
        pytest.param(attention, ATTENTION * 5 // 2, id="fused attention"),
        # Made of bmm: twice the forward
        pytest.param(
            lambda: attention(dropout=0.1), ATTENTION * 2, id="plain attention"
        ),
    ],
)
def test_a_backward_costs_its_products(
    program: Callable[[], torch.Tensor], backward: int, counted: Counted
) -> None:
    """What needs no gradient is not multiplied and not counted."""
    assert counted(lambda: program().sum().backward())["backward"] == backward


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(
            lambda: (
                nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)),
                ones(3, 8),
            ),
            id="MLP",
        ),
        pytest.param(
            lambda: (
                nn.Sequential(
                    nn.Conv2d(3, 8, 3, padding=1),
                    nn.ReLU(),
                    nn.Conv2d(8, 4, 3, stride=2),
                    nn.Flatten(),
                    nn.LazyLinear(5),
                ),
                ones(2, 3, 9, 9),
            ),
            id="convolutional network",
        ),
        pytest.param(
            lambda: (
                nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True),
                ones(2, 6, 16),
            ),
            id="transformer layer",
            marks=COUNTS_CPU_ATTENTION,
        ),
    ],
)
def test_it_agrees_with_torch_where_torch_is_right(
    model: Callable[[], Any], counted: Counted
) -> None:
    """A second opinion on whole models, forward and backward."""
    network, inputs = model()
    network(inputs)  # lazy layers take their shape
    reference = FlopCounterMode(display=False)

    def train() -> None:
        with reference:
            network(inputs).square().mean().backward()

    assert sum(counted(train).values()) == reference.get_total_flops() > 0
