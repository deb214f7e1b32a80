"""Formulas of kernels that no CPU runs, against sums by hand. No torch.

Which argument is which is checked against torch's schemas in tests/training.
"""

from types import SimpleNamespace
from typing import Any

import pytest

from flopguard_hook.formulas import linear_estimate
from flopguard_hook.table import find


def of(*shape: int, dtype: str = "torch.float32") -> Any:
    """Return an operand of this shape."""
    return SimpleNamespace(shape=shape, dtype=dtype)


IMAGE, WEIGHT = of(2, 4, 6, 6), of(6, 2, 3, 3)  # two groups
CONVOLUTION = 6912  # 2*2*(6*2*9)*(4*4)
PADDED = 15552  # the same at 6*6 positions
ONE, ZERO = [1, 1], [0, 0]
LSTM = [of(20, 4), of(20, 5), of(20), of(20)]  # 4 gates of 5, inputs 4
PAIR = [of(3, 4), of(4, 5)]


@pytest.mark.parametrize(
    ("name", "args", "flops"),
    [
        ("aten::cudnn_convolution", [IMAGE, WEIGHT, ONE, ONE, ONE, 2], PADDED),
        ("aten::miopen_convolution", [IMAGE, WEIGHT, None, ONE, ONE, ONE, 2], PADDED),
        (
            "aten::miopen_depthwise_convolution",
            [IMAGE, WEIGHT, None, ZERO, ONE, ONE, 2],
            CONVOLUTION,
        ),
        ("aten::cudnn_convolution_relu", [IMAGE, WEIGHT, None, ONE, ONE, ONE], PADDED),
        (
            "aten::cudnn_convolution_add_relu",
            [IMAGE, WEIGHT, of(2, 6, 6, 6), 1, None, ONE, ONE, ONE, 2],
            PADDED,
        ),
        # every position of the input: 2*1*(3*5*4)*16
        (
            "aten::cudnn_convolution_transpose",
            [of(1, 3, 4, 4), of(3, 5, 2, 2), ZERO, ZERO, [2, 2]],
            1920,
        ),
        ("aten::_conv_depthwise2d", [IMAGE, WEIGHT, [3, 3], None, ONE, ZERO], 6912),
        ("aten::_nnpack_spatial_convolution", [IMAGE, WEIGHT, None, ONE], PADDED),
        (
            "onednn::qconv_pointwise",
            [IMAGE, 1.0, 0, WEIGHT, of(6), of(6), None, ONE, ONE, ONE, 2],
            PADDED,
        ),
        (
            "onednn::qconv2d_pointwise",
            [IMAGE, 1.0, 0, WEIGHT, of(6), of(6), of(1), None, ONE, ONE, ONE, 2],
            PADDED,
        ),
        # 7 positions of 20*9 weights: 2*7*180
        ("aten::_cudnn_rnn", [of(7, 4), LSTM], 2520),
        ("aten::miopen_rnn", [of(7, 1, 4), LSTM], 2520),
        ("aten::_cudnn_rnn_backward", [of(7, 4), LSTM, [True] * 4], 5040),
        (
            "aten::_cudnn_rnn_backward",
            [of(7, 4), LSTM, [True, True, True, False]],
            2520,
        ),
        ("aten::linear_backward", [of(3, 4), of(3, 5), of(5, 4), [True] * 3], 240),
        (
            "aten::linear_backward",
            [of(3, 4), of(3, 5), of(5, 4), [False, True, True]],
            120,
        ),
        ("aten::mkldnn_linear_backward_input", [[3, 4], of(3, 5), of(5, 4)], 120),
        ("aten::mkldnn_linear_backward_weights", [of(3, 5), of(3, 4), of(5, 4)], 120),
        ("mkl::_mkl_linear", [of(3, 4), of(99), of(5, 4), None, 3], 120),
        ("aten::_scaled_mm_v2", PAIR, 120),
        # two numbers of 4 bit in each element
        (
            "aten::_scaled_mm_v2",
            [of(3, 4, dtype="torch.float4_e2m1fn_x2"), of(4, 5)],
            240,
        ),
        ("aten::_scaled_addmm", [of(5), *PAIR], 120),
        ("aten::_scaled_grouped_mm", [of(6, 4), of(2, 4, 5)], 240),
        ("aten::_scaled_grouped_mm_v2", [of(6, 4), of(2, 4, 5)], 240),
        ("aten::_foreach_mm", [[of(3, 4), of(1, 2)], [of(4, 5), of(2, 3)]], 132),
        # half of 8 is stored: 2*3*4*5
        ("aten::_sparse_semi_structured_mm", [of(3, 4), of(3, 1), of(8, 5)], 120),
        (
            "aten::_sparse_semi_structured_addmm",
            [of(5), of(3, 4), of(3, 1), of(8, 5)],
            120,
        ),
        ("aten::_sparse_semi_structured_linear", [of(3, 8), of(5, 4), of(5, 1)], 120),
        # 32 outputs in tiles of 8: 2*3*64*32
        ("aten::_weight_int4pack_mm", [of(3, 64), of(4, 1, 32, 4), 32, of(2)], 12288),
        ("aten::_dyn_quant_matmul_4bit", [of(3, 64), of(99), 32, 64, 32], 12288),
        # with a second pass over two columns: 12288 + 2*3*2*32
        (
            "bitsandbytes::int8_mixed_scaled_mm",
            [of(3, 64), of(3, 64), of(32, 64), of(3), of(32), of(2)],
            12672,
        ),
        ("torchao::int_scaled_matmul", [*PAIR, of(3)], 120),
        ("torchao::triton_fp8_gemm_1x128_128x1", [*PAIR, of(3), of(5)], 120),
        # 2 blocks of 2*8 outputs: 2*3*64*32
        (
            "torchao::da8w4_linear_cpu",
            [of(3, 64), of(3), of(3), of(2, 1, 64, 8)],
            12288,
        ),
        ("torchao::float8_linear_cpu", [of(3, 64), of(3), of(2, 1, 64, 16)], 12288),
        ("torchao::float8_linear_cpu", [of(3, 64), of(3), of(32, 64)], 12288),
        (
            "torchao::rowwise_scaled_linear_sparse_cutlass_f8f8",
            [of(3, 8), of(3), of(5, 4)],
            120,
        ),
        ("symm_mem::fused_matmul_reduce_scatter", [of(2, 3, 4), of(4, 5)], 240),
        # grad, query, key, value; 5 products of 2*16 for 2*4 heads of 8*8 pairs
        ("higher_order::flex_attention_backward", [*[of(2, 4, 8, 16)] * 3], 81920),
        ("aten::geqrf", [of(6, 3)], 90),
        ("aten::linalg_ldl_solve", [of(4, 4), of(4), of(4, 3)], 96),
    ],
    ids=str,
)
def test_a_kernel_is_charged_its_products(
    name: str, args: list[Any], flops: int
) -> None:
    """Two FLOPs for each multiplication and addition."""
    formula = find(name)
    assert formula is not None
    assert formula.flops_of(args, {}) == flops


@pytest.mark.parametrize(
    ("name", "numeric_format"),
    [
        ("bitsandbytes::gemm_4bit", "int4"),
        ("aten::_weight_int4pack_mm", "int4"),
        ("aten::_weight_int8pack_mm", "int8"),
        ("bitsandbytes::int8_scaled_mm", "int8"),
        ("torchao::mx_fp8_bf16", "fp8"),
        ("aten::_scaled_mm", None),
        ("aten::mm", None),
    ],
)
def test_a_packed_operand_has_a_format_of_its_own(
    name: str, numeric_format: str | None
) -> None:
    """None where the operand's dtype tells: fp8 of a scaled product."""
    formula = find(name)
    assert formula is not None
    assert formula.format == numeric_format


@pytest.mark.parametrize(
    ("weight", "image", "flops"),
    [
        pytest.param((5, 4), (2, 3, 4), 240, id="2*6*4*5"),
        pytest.param((5, 4), (3, 5), 0, id="not what it takes in"),
        pytest.param((5, 4, 3), (3, 4), 0, id="a convolution's weight"),
        pytest.param((5, 4), (), 0, id="a number"),
    ],
)
def test_a_linear_layer_on_an_unknown_kernel_is_estimated(
    weight: tuple[int, ...], image: tuple[int, ...], flops: int
) -> None:
    """From the shapes of its weight and its input; 0 means: no estimate."""
    assert linear_estimate(weight, image) == flops
