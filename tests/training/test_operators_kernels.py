"""Fused and foreign kernels, really run under the hook, against sums by hand."""
# ruff: noqa: SLF001 # the kernels are private

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from training.needs import GROUPED, QUANTIZED, needs

Counted = Callable[[Callable[[], object]], dict[str, int]]
aten, mkldnn, onednn = torch.ops.aten, torch.ops.mkldnn, torch.ops.onednn


def ones(*shape: int, grad: bool = False, dtype: Any = None) -> torch.Tensor:
    """Return a tensor of ones."""
    return torch.ones(*shape, dtype=dtype, requires_grad=grad)


def regular(size: int) -> torch.Tensor:
    """Return a matrix that can be factorized in every way."""
    return torch.eye(size) * 2


def sparse() -> torch.Tensor:
    """Return a 4 x 4 matrix that stores four elements."""
    return torch.eye(4).to_sparse()


def int4_weight() -> torch.Tensor:
    """Return a 32 x 64 weight of 4 bit, as packed for the CPU."""
    return aten._convert_weight_to_int4pack_for_cpu(ones(32, 64, dtype=torch.int32), 2)


def float8(*shape: int) -> torch.Tensor:
    """Return ones of 8 bit."""
    return ones(*shape).to(torch.float8_e4m3fn)


def encoder() -> object:
    """Run the fused layer of width 16, 4 heads, 32 inner, on 2 x 6 positions."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    with torch.inference_mode():
        return layer(ones(2, 6, 16))


def fused_attention() -> object:
    """Run the fused attention module of width 16 on 2 x 6 positions."""
    layer = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    image = ones(2, 6, 16)
    with torch.inference_mode():
        return layer(image, image, image, need_weights=False)


def flexible() -> object:
    """Run flex attention of 2 heads, 16 positions, width 8, as the compiler would."""
    from torch._higher_order_ops.flex_attention import flex_attention
    from torch.nn.attention import flex_attention as module

    image = ones(1, 2, 16, 8)
    mask = module._create_empty_block_mask(image, image).as_tuple()
    return flex_attention(image, image, image, module._identity, mask, 1.0, {})


CONVOLUTION = (ones(2, 4, 6, 6), ones(6, 2, 3, 3), None)  # 2 groups
PLACES = ([0, 0], [1, 1], [1, 1], 2)  # padding, stride, dilation, groups
SUM: tuple[Any, ...] = ("add", None, None, [], None)

KERNELS = [
    pytest.param(lambda: torch.addr(ones(3, 4), ones(3), ones(4)), 24, id="addr"),
    pytest.param(
        lambda: torch.addbmm(ones(3, 5), ones(2, 3, 4), ones(2, 4, 5)), 240, id="addbmm"
    ),
    pytest.param(
        lambda: ones(3, 5).addmm_(ones(3, 4), ones(4, 5)), 120, id="in place: 2*3*4*5"
    ),
    pytest.param(
        lambda: torch.addmv(ones(3), ones(3, 4), ones(4)), 24, id="addmv: 2*3*4"
    ),
    pytest.param(
        lambda: torch._addmm_activation(ones(5), ones(3, 4), ones(4, 5)),
        120,
        id="with an activation",
    ),
    # Each of the 4 stored elements meets 5 columns
    pytest.param(lambda: sparse() @ ones(4, 5), 40, id="sparse: 2*4*5"),
    pytest.param(lambda: sparse().to_sparse_csr() @ ones(4, 5), 40, id="CSR: 2*4*5"),
    pytest.param(
        lambda: ones(5, 4) @ sparse().to_sparse_csr(), 40, id="by sparse: 2*4*5"
    ),
    pytest.param(
        lambda: torch.sparse.addmm(ones(4, 5), sparse(), ones(4, 5)),
        40,
        id="sparse with a bias",
    ),
    pytest.param(lambda: torch.mv(sparse(), ones(4)), 8, id="sparse by vector: 2*4"),
    pytest.param(
        lambda: torch.sparse.sampled_addmm(
            sparse().to_sparse_csr(), ones(4, 5), ones(5, 4)
        ),
        40,
        id="sampled where 4 are stored: 2*4*5",
    ),
    pytest.param(
        lambda: torch._int_mm(
            ones(32, 16, dtype=torch.int8), ones(16, 8, dtype=torch.int8)
        ),
        8192,
        id="integers: 2*32*16*8",
    ),
    pytest.param(
        lambda: torch._scaled_mm(
            float8(16, 32), float8(16, 32).t(), torch.tensor(1.0), torch.tensor(1.0)
        ),
        16384,
        id="fp8: 2*16*32*16",
        marks=needs("torch.ops.aten", "_scaled_mm", keyword="scale_b, Tensor? bias"),
    ),
    pytest.param(
        lambda: aten._weight_int8pack_mm(
            ones(3, 32, dtype=torch.bfloat16),
            ones(8, 32, dtype=torch.int8),
            ones(8, dtype=torch.bfloat16),
        ),
        1536,
        id="weight of 8 bit: 2*3*32*8",
    ),
    pytest.param(
        lambda: aten._weight_int4pack_mm_for_cpu(
            ones(3, 64, dtype=torch.bfloat16),
            int4_weight(),
            32,
            ones(2, 32, 2, dtype=torch.bfloat16),
        ),
        12288,
        id="weight of 4 bit: 2*3*64*32",
        marks=needs("torch.ops.aten", "_weight_int4pack_mm_for_cpu"),
    ),
    pytest.param(
        lambda: onednn.qlinear_pointwise(
            *(ones(3, 4, dtype=torch.uint8), 1.0, 0),
            onednn.qlinear_prepack(ones(5, 4, dtype=torch.int8), [3, 4]),
            *(ones(5), torch.zeros(5, dtype=torch.int32), None),
            *(1.0, 0, torch.float32, "none", [], ""),
        ),
        120,
        id="oneDNN in 8 bit: 2*3*4*5",
    ),
    pytest.param(
        lambda: onednn.linear_dynamic_fp16(
            ones(3, 4), onednn.linear_prepack_fp16(ones(5, 4), [3, 4]), None
        ),
        120,
        id="oneDNN in fp16: 2*3*4*5",
        marks=needs("torch.ops.onednn", "linear_dynamic_fp16"),
    ),
    pytest.param(
        lambda: mkldnn._linear_pointwise(
            ones(3, 4), ones(5, 4).to_mkldnn(), None, "none", [], ""
        ),
        120,
        id="linear as compiled for the CPU",
    ),
    pytest.param(
        lambda: mkldnn._linear_pointwise(
            ones(3, 4), ones(3, 5), ones(5, 4).to_mkldnn(), None, "add"
        ),
        120,
        id="linear and a sum, as compiled",
    ),
    pytest.param(
        lambda: torch.ops.inductor._mm_plus_mm(
            ones(3, 4), ones(4, 5), ones(3, 2), ones(2, 5), torch.empty(3, 5)
        ),
        180,
        id="two products as compiled: 2*3*5*(4+2)",
    ),
    # Depth 2 of 4 channels: 2*2*6*2*9*(4*4)
    pytest.param(
        lambda: torch.mkldnn_convolution(*CONVOLUTION, *PLACES), 6912, id="oneDNN conv"
    ),
    pytest.param(
        lambda: mkldnn._convolution_pointwise(*CONVOLUTION, *PLACES, "none", [], ""),
        6912,
        id="convolution as compiled",
    ),
    pytest.param(
        lambda: mkldnn._convolution_pointwise(
            CONVOLUTION[0], ones(2, 6, 4, 4), *CONVOLUTION[1:], *PLACES, *SUM
        ),
        6912,
        id="convolution and a sum",
    ),
    pytest.param(
        lambda: mkldnn._convolution_pointwise_(
            ones(2, 6, 4, 4), *CONVOLUTION, *PLACES, *SUM
        ),
        6912,
        id="convolution into a sum",
    ),
    pytest.param(
        lambda: mkldnn._convolution_transpose_pointwise(
            *(ones(1, 3, 4, 4), ones(3, 5, 2, 2), None),
            *([0, 0], [0, 0], [2, 2], [1, 1], 1, "none", [], ""),
        ),
        1920,
        id="transposed, as compiled: 2*(3*5*4)*16",
    ),
    pytest.param(
        lambda: aten._slow_conv2d_forward(
            ones(2, 4, 6, 6), ones(6, 4, 3, 3), [3, 3], None, [1, 1], [0, 0]
        ),
        13824,
        id="slow convolution: 2*2*(6*4*9)*16",
    ),
    pytest.param(
        lambda: aten.slow_conv_dilated2d(
            ones(2, 4, 6, 6), ones(6, 4, 3, 3), [3, 3], None
        ),
        13824,
        id="slow convolution, all at their default",
    ),
    pytest.param(
        lambda: aten.slow_conv_transpose2d(ones(1, 3, 4, 4), ones(3, 5, 2, 2), [2, 2]),
        1920,
        id="slow transposed convolution",
    ),
    pytest.param(
        lambda: functional.conv_tbc(ones(7, 2, 3), ones(3, 3, 5), ones(5), 1),
        1260,
        id="time first: 2*7*2*(3*3*5)",
    ),
    # x1 and x2 with both norms: 2*30*50*(4+2)
    pytest.param(
        lambda: torch.cdist(ones(30, 4), ones(50, 4)), 18000, id="distances as products"
    ),
    pytest.param(
        lambda: torch.cdist(ones(3, 4), ones(5, 4)), 180, id="distances: 3*3*5*4"
    ),
    pytest.param(lambda: torch.pdist(ones(4, 5)), 90, id="distances: 3*6*5"),
    pytest.param(
        lambda: nn.Bilinear(3, 4, 5, bias=False)(ones(2, 3), ones(2, 4)),
        480,
        id="bilinear: 4*2*5*3*4",
    ),
    # In one kernel: 18 positions of (4*5)*(4+5) weights
    pytest.param(lambda: nn.LSTM(4, 5)(ones(6, 3, 4)), 6480, id="LSTM: 2*18*180"),
    pytest.param(lambda: nn.GRU(4, 5)(ones(6, 3, 4)), 4860, id="GRU: 2*18*(3*5)*9"),
    pytest.param(
        fused_attention, 29184, id="attention module: 2*12*(3+1)*256 + 4*2*6*6*16"
    ),
    pytest.param(
        flexible,
        16384,
        id="flex attention: 4*2*16*16*8",
        marks=needs("torch.nn.attention.flex_attention"),
    ),
    # 5*n*log2(n) real operations, a quarter of it for complex operands, times four
    pytest.param(
        lambda: torch.fft.fft(ones(8, 16, dtype=torch.cfloat)), 2560, id="FFT: 5*128*4"
    ),
    pytest.param(lambda: torch.fft.rfft(ones(8, 16)), 1280, id="real FFT: half"),
    pytest.param(
        lambda: torch.fft.irfft(ones(8, 9, dtype=torch.cfloat)), 1280, id="and back"
    ),
    pytest.param(lambda: torch.linalg.cholesky(regular(6)), 72, id="Cholesky: 216/3"),
    pytest.param(lambda: torch.linalg.inv(regular(4)), 128, id="inverse: 2*64"),
    pytest.param(
        lambda: torch.linalg.solve(regular(3), ones(3, 5)), 108, id="solve: 18 + 2*9*5"
    ),
    pytest.param(
        lambda: torch.linalg.solve(regular(3), ones(3)), 36, id="one side: 18 + 2*9"
    ),
    pytest.param(
        lambda: torch.linalg.lu_factor(torch.rand(6, 3)), 45, id="LU: 9*6 - 9"
    ),
    pytest.param(
        lambda: torch.linalg.solve_triangular(regular(4), ones(4, 3), upper=True),
        48,
        id="triangular: 16*3",
    ),
    pytest.param(
        lambda: torch.cholesky_solve(ones(4, 3), regular(4)), 96, id="two of them"
    ),
    # 2*9*6 - 18, and the reduced q 2*9*6 - 18 again
    pytest.param(lambda: torch.linalg.qr(torch.rand(6, 3)), 180, id="QR"),
    pytest.param(lambda: torch.linalg.qr(torch.rand(6, 3), mode="r"), 90, id="only R"),
    pytest.param(
        lambda: torch.ormqr(torch.rand(6, 3), torch.rand(3), torch.rand(6, 5)),
        270,
        id="reflectors applied: 5*(4*6*3 - 2*9)",
    ),
]


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize(("program", "flops"), KERNELS)
def test_a_kernel_costs_its_products(
    program: Callable[[], object], flops: int, counted: Counted
) -> None:
    """Each sum is in the id or above it."""
    with torch.no_grad():
        spent = counted(program)
    assert spent == {"no_grad": flops}


def test_the_encoder_is_its_parts(counted: Counted) -> None:
    """Of 12 positions: projections 4*16*16, two layers 16*32; and the attention."""
    linear = 2 * 12 * (4 * 16 * 16 + 2 * 16 * 32)
    assert counted(encoder) == {"no_grad": linear + 4 * 2 * 6 * 6 * 16}


def bits4() -> torch.Tensor:
    """Return a 4-bit linear layer's output for 3 x 64 inputs and 32 outputs."""
    bitsandbytes = importlib.import_module("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(
        64, 32, bias=False, quant_type="nf4", compute_dtype=torch.float32
    ).to("cpu")
    return layer(ones(3, 64, grad=True))


class Fallback(nn.Module):
    """Experts as without grouped_mm. A module: within it the forward records none."""

    def forward(self) -> torch.Tensor:
        """Return the product of 6 rows by two experts' 8 x 16."""
        importlib.import_module("transformers.integrations.moe")
        image, weight = ones(6, 8, grad=True), ones(2, 8, 16, grad=True)
        ends = torch.tensor([2, 6], dtype=torch.int32)
        product: torch.Tensor = torch.ops.transformers.grouped_mm_fallback(
            image, weight, ends
        )
        return product


def experts() -> torch.Tensor:
    """Return the same by torch's kernel."""
    return functional.grouped_mm(
        ones(6, 8, grad=True, dtype=torch.bfloat16),
        ones(2, 8, 16, grad=True, dtype=torch.bfloat16),
        offs=torch.tensor([2, 6], dtype=torch.int32),
    )


@pytest.mark.filterwarnings("ignore")  # bitsandbytes looks for kernels to download
@pytest.mark.parametrize(
    ("program", "forward", "backward"),
    [
        pytest.param(
            bits4,
            12288,
            12288,
            id="4 bit: 2*3*64*32, no gradient of weight",
            marks=QUANTIZED,
        ),
        pytest.param(
            Fallback(),
            1536,
            3072,
            id="experts: 2*6*8*16, both gradients",
            marks=needs("transformers.integrations.moe"),
        ),
        pytest.param(
            experts,
            1536,
            3072,
            id="experts in one kernel",
            marks=needs("torch.nn.functional", "grouped_mm"),
        ),
        pytest.param(
            lambda: nn.LSTM(4, 5)(ones(6, 3, 4))[0], 6480, 12960, id="LSTM: both"
        ),
        pytest.param(
            lambda: torch.cdist(ones(3, 4, grad=True), ones(5, 4)),
            180,
            240,
            id="distances: 4*3*5*4",
        ),
        pytest.param(
            lambda: functional.scaled_dot_product_attention(
                ones(2, 4, 6, 8, grad=True), *[ones(2, 2, 6, 8)] * 2, enable_gqa=True
            ),
            9216,
            23040,
            id="grouped heads: 4*2*4*6*6*8, 2.5 times",
            marks=GROUPED,
        ),
    ],
)
def test_training_a_kernel_costs_its_products(
    program: Callable[[], torch.Tensor], forward: int, backward: int, counted: Counted
) -> None:
    """Forward and backward, each against its sum."""
    spent = counted(lambda: program().square().sum().backward())
    assert (spent["forward"], spent["backward"]) == (forward, backward)


@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize(
    ("operator", "extra", "flops"),
    [
        pytest.param("int8_linear_matmul", [], 12288, id="2*3*64*32"),
        pytest.param("int8_scaled_mm", [ones(3), ones(32)], 12288, id="with scales"),
    ],
)
@QUANTIZED
def test_eight_bit_products_of_bitsandbytes(
    operator: str, extra: list[Any], flops: int, counted: Counted
) -> None:
    """The kernels that its CUDA path uses, in their CPU form."""
    importlib.import_module("bitsandbytes")
    kernel = getattr(torch.ops.bitsandbytes, operator)
    image, weight = (ones(n, 64, dtype=torch.int8) for n in (3, 32))
    assert counted(lambda: kernel(image, weight, *extra)) == {"forward": flops}


def test_gradients_are_accumulated_in_place(counted: Counted) -> None:
    """As without the hook: a second copy of all gradients would be memory."""
    layer = nn.Linear(4, 5)
    layer(ones(3, 4)).sum().backward()
    assert layer.weight.grad is not None
    place = layer.weight.grad.data_ptr()
    counted(lambda: layer(ones(3, 4)).sum().backward())
    assert layer.weight.grad.data_ptr() == place


class Tagged(torch.Tensor):
    """A subclass, as torchvision and fastai have them."""


def test_a_tensor_of_a_subclass_is_multiplied(counted: Counted) -> None:
    """On torch 2.4 nothing becomes one under a mode; under the hook it does."""
    layer, kinds = nn.Linear(3, 2), []

    def program() -> None:
        out = layer(ones(4, 3).as_subclass(Tagged))
        kinds.extend([type(out), type(out.detach().as_subclass(torch.Tensor))])
        out.sum().backward()

    assert counted(program) == {"forward": 48, "backward": 48}
    assert kinds == [Tagged, torch.Tensor]
