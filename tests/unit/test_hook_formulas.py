"""The table of operators, against products written out by hand. No torch."""

from types import SimpleNamespace
from typing import Any

import pytest

from flopguard_hook.formulas import is_uncounted
from flopguard_hook.numerics import numeric
from flopguard_hook.page import FORMATS
from flopguard_hook.table import FORMULAS

ONES, ZEROS = [1, 1], [0, 0]


def of(*shape: int) -> Any:
    """Return an operand of this shape."""
    return SimpleNamespace(shape=shape)


def attention_of(
    query: tuple[int, int, int, int], kv_heads: int, keys: int
) -> list[Any]:
    """Return query, key, value of [batch, heads, positions, width]."""
    key = of(query[0], kv_heads, keys, query[3])
    return [of(*query), key, key]


@pytest.mark.parametrize(
    ("operator", "args", "flops"),
    [
        # 2 FLOPs for each of m*n results of k products: 2*3*5*4
        pytest.param("mm", [of(3, 4), of(4, 5)], 120, id="matrix by matrix"),
        pytest.param("addmm", [of(5), of(3, 4), of(4, 5)], 120, id="with a bias"),
        pytest.param("bmm", [of(2, 3, 4), of(2, 4, 5)], 240, id="a batch of two"),
        pytest.param(
            "baddbmm", [of(1), of(2, 3, 4), of(2, 4, 5)], 240, id="a batch with a bias"
        ),
        pytest.param(
            "addbmm", [of(1), of(2, 3, 4), of(2, 4, 5)], 240, id="a batch summed up"
        ),
        pytest.param("mv", [of(3, 4), of(4)], 24, id="matrix by vector"),
        pytest.param("addmv", [of(3), of(3, 4), of(4)], 24, id="the same with a bias"),
        pytest.param("dot", [of(7), of(7)], 14, id="vector by vector"),
        pytest.param("linear", [of(2, 3, 4), of(5, 4), None], 240, id="a whole linear"),
        pytest.param("mm", [of(0, 4), of(4, 5)], 0, id="no rows"),
        # 6 rows, each through one expert's 4x5
        pytest.param("_grouped_mm", [of(6, 4), of(2, 4, 5)], 240, id="experts forward"),
        # 2 groups of rows together 6: 4x6 by 6x5
        pytest.param("_grouped_mm", [of(4, 6), of(6, 5)], 240, id="experts' weights"),
        pytest.param("_grouped_mm", [of(2, 3, 4), of(2, 4, 5)], 240, id="equal groups"),
        pytest.param("_grouped_mm", [of(2, 3, 4), of(4, 6)], 144, id="columns grouped"),
        # Scores 2*B*H*S*S*D and values the same: 4*2*4*8*8*16
        pytest.param(
            "_scaled_dot_product_flash_attention_for_cpu",
            attention_of((2, 4, 8, 16), 4, 8),
            32768,
            id="attention",
        ),
        pytest.param(
            "_scaled_dot_product_efficient_attention",
            attention_of((2, 4, 8, 16), 1, 8),
            32768,
            id="attention with one head of keys for four of queries",
        ),
        # 4*1*4*1*9*16
        pytest.param(
            "_scaled_dot_product_cudnn_attention",
            attention_of((1, 4, 1, 16), 4, 9),
            2304,
            id="attention of one new token",
        ),
        # Five products where the forward has two
        pytest.param(
            "_scaled_dot_product_flash_attention_backward",
            [of(2, 4, 8, 16), *attention_of((2, 4, 8, 16), 4, 8)],
            81920,
            id="attention backward",
        ),
        # Positions before heads: 4*2*4*8*8*16 again
        pytest.param(
            "_flash_attention_forward",
            [*[of(2, 8, 4, 16)] * 3, None, None, 8, 8],
            32768,
            id="flash attention without its wrapper",
        ),
        # 10 tokens of sequences no longer than 6: 4*10*4*6*16
        pytest.param(
            "_flash_attention_forward",
            [*[of(10, 4, 16)] * 3, of(3), of(3), 6, 6],
            15360,
            id="packed sequences, each charged at the longest",
        ),
        # 9 positions, 3 channels to 5, kernel 3x3: 2*2*5*3*9*(4*4)
        pytest.param(
            "convolution",
            [of(2, 3, 6, 6), of(5, 3, 3, 3), None, ONES, ZEROS, ONES, False, ZEROS, 1],
            8640,
            id="convolution",
        ),
        # (6 + 2 - 3)//2 + 1 = 3: 2*2*5*3*9*9
        pytest.param(
            "convolution",
            [
                of(2, 3, 6, 6),
                of(5, 3, 3, 3),
                None,
                [2, 2],
                [1, 1],
                ONES,
                False,
                ZEROS,
                1,
            ],
            4860,
            id="convolution with stride and padding",
        ),
        # Depthwise: each of 4 channels alone, 2*1*4*1*3*6
        pytest.param(
            "convolution",
            [of(1, 4, 8), of(4, 1, 3), None, [1], [0], [1], False, [0], 4],
            144,
            id="convolution of separate channels",
        ),
        # Transposed: every input position meets every weight, 2*1*(3*5*2)*4
        pytest.param(
            "convolution",
            [of(1, 3, 4), of(3, 5, 2), None, [2], [0], [1], True, [0], 1],
            240,
            id="transposed convolution",
        ),
        # The depthwise convolution again, once for the input, once for the weight
        pytest.param(
            "convolution_backward",
            [
                *[of(1, 4, 6), of(1, 4, 8), of(4, 1, 3), None, [1], [0], [1]],
                *[False, [0], 4, [True, True, False]],
            ],
            288,
            id="convolution backward, separate channels",
        ),
        pytest.param(
            "convolution_backward",
            [
                *[of(1, 4, 6), of(1, 4, 8), of(4, 1, 3), [4], [1], [0], [1]],
                *[False, [0], 4, [False, True, True]],
            ],
            144,
            id="convolution backward, input without gradient",
        ),
    ],
)
def test_an_operator_is_charged_its_products(
    operator: str, args: list[Any], flops: int
) -> None:
    """Two FLOPs for each multiplication and addition, worked out in the comments."""
    assert FORMULAS["aten::" + operator].flops_of(args, {}) == flops


@pytest.mark.parametrize(
    ("name", "uncounted"),
    [
        pytest.param("aten::mm", False, id="in the table"),
        pytest.param("aten::relu", False, id="multiplies no matrices"),
        pytest.param("c10d::allreduce_", False, id="communication"),
        pytest.param("aten::_linalg_svd", True, id="multiplies, without formula"),
        pytest.param("somebody::gemm", True, id="somebody else's operator"),
        pytest.param("bitsandbytes::gemm_4bit", False, id="else's, in the table"),
        pytest.param("bitsandbytes::quantize_4bit", False, id="else's, no product"),
        pytest.param("_flash_attn2_9e27194::fwd", False, id="a hub's, with a hash"),
        pytest.param("_flash_attn2_9e27194::rope", True, id="a hub's, not known"),
    ],
)
def test_an_operator_that_may_multiply_unseen_is_named(
    name: str, *, uncounted: bool
) -> None:
    """Silence about an unknown operator would be an undercount."""
    assert is_uncounted(name) is uncounted


@pytest.mark.parametrize(
    ("dtype", "tf32", "expected"),
    [
        ("torch.float64", False, ("fp64", 1)),
        ("torch.float32", False, ("fp32", 1)),
        ("torch.float32", True, ("tf32", 1)),
        ("torch.bfloat16", True, ("bf16", 1)),
        ("torch.float16", False, ("fp16", 1)),
        ("torch.float8_e4m3fn", False, ("fp8", 1)),
        ("torch.int8", False, ("int8", 1)),
        ("torch.uint8", False, ("int8", 1)),
        ("torch.int64", False, ("int8", 1)),
        ("torch.complex64", False, ("fp32", 4)),
    ],
)
def test_a_dtype_has_a_format(
    dtype: str, *, tf32: bool, expected: tuple[str, int]
) -> None:
    """A complex product is four real ones."""
    assert numeric(dtype, tf32=tf32) == expected
    assert expected[0] in FORMATS
