"""The table of operators: name to FLOPs, from the shapes of the inputs alone.

Core: operands are anything with a `shape`; torch is never imported. A multiplication
and an addition are two FLOPs; what is not a sum of products (bias, activation, norm) is
not counted. Every cost is known before the operator runs, so that it can be charged
as begun before it is dispatched.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Mapping, NamedTuple, Sequence

Arguments = Sequence[Any]
Options = Mapping[str, Any]
FlopsOf = Callable[[Arguments, Options], int]


class Formula(NamedTuple):
    """How one operator is charged.

    Attributes:
        flops_of: Positional and keyword arguments of the operator to FLOPs.
        operand: Position of the argument whose dtype gives the numeric format.
        format: The numeric format where the operand's dtype does not give it: one of
            `page.FORMATS`.
        causal_of: Arguments to FLOPs when a kernel skips what a causal mask hides;
            None where nothing is ever hidden.
        varies: Whether the figure depends on what tensors hold, not on shapes alone.
    """

    flops_of: FlopsOf
    operand: int = 0
    format: str | None = None
    causal_of: FlopsOf | None = None
    varies: bool = False


FORMULAS: dict[str, Formula] = {}

# Namespaces whose operators multiply no matrices, or are made of aten operators.
KNOWN_NAMESPACES = frozenset(
    {
        "aten",
        "prim",
        "prims",
        "profiler",
        "c10d",
        "c10d_functional",
        "_c10d_functional",
        "_c10d_functional_autograd",
        "fsdp",
        "inductor",
        "rngprims",
    }
)

# Operators of aten that do multiply, and that no formula covers yet.
WITHOUT_FORMULA = frozenset(
    "aten::" + name
    for name in [
        "_addmm_activation",
        "_cdist_forward",
        "_cdist_backward",
        "_cslt_sparse_mm",
        "_cudnn_rnn",
        "_cudnn_rnn_backward",
        "_fft_c2c",
        "_fft_c2r",
        "_fft_r2c",
        "_native_multi_head_attention",
        "_scaled_grouped_mm",
        "_sparse_addmm",
        "_sparse_mm",
        "_transformer_encoder_layer_fwd",
        "_trilinear",
        "_weight_int4pack_mm",
        "_weight_int4pack_mm_for_cpu",
        "cudnn_convolution",
        "cudnn_convolution_transpose",
        "linalg_cholesky_ex",
        "linalg_eigh",
        "linalg_inv_ex",
        "linalg_lu_factor_ex",
        "linalg_qr",
        "linalg_solve_triangular",
        "_linalg_eigh",
        "_linalg_solve_ex",
        "_linalg_svd",
        "miopen_convolution",
        "miopen_rnn",
        "mkldnn_convolution",
        "mkldnn_rnn_layer",
        "mkldnn_rnn_layer_backward",
        "quantized_lstm",
        "slow_conv3d",
        "sspaddmm",
    ]
)


def formula(
    *names: str,
    operand: int = 0,
    format: str | None = None,  # noqa: A002 # the field's name
    causal_of: FlopsOf | None = None,
    varies: bool = False,
) -> Callable[[FlopsOf], FlopsOf]:
    """Enter a function into the table under the operators' full names.

    Args:
        names: Namespace and name, as in `aten::mm`; all overloads are meant.
        operand: As in `Formula`, like the rest.
        format: Likewise.
        causal_of: Likewise.
        varies: Likewise.
    """

    def enter(flops_of: FlopsOf) -> FlopsOf:
        for name in names:
            FORMULAS[name] = Formula(flops_of, operand, format, causal_of, varies)
        return flops_of

    return enter


def prod(shape: Sequence[Any]) -> int:
    """Return the product of a shape as a plain integer."""
    return int(math.prod(shape))


def is_uncounted(name: str) -> bool:
    """Say whether an operator may multiply while no formula covers it."""
    if name in FORMULAS:
        return False
    return (
        name in WITHOUT_FORMULA
        or name.split("::", maxsplit=1)[0] not in KNOWN_NAMESPACES
    )


@formula(
    "aten::mm",
    "aten::bmm",
    "aten::_int_mm",
    "aten::_scaled_mm",
    "aten::_scaled_mm_v2",
)
def matrix_product(args: Arguments, _: Options) -> int:
    """Charge [b,] m x k times [b,] k x n as 2·b·m·k·n."""
    return 2 * prod(args[0].shape) * int(args[1].shape[-1])


@formula("aten::addmm", "aten::baddbmm", "aten::addbmm", operand=1)
def added_matrix_product(args: Arguments, _: Options) -> int:
    """Charge the product of the second and third argument."""
    return matrix_product(args[1:], _)


@formula("aten::mv", "aten::dot", "aten::vdot")
def vector_product(args: Arguments, _: Options) -> int:
    """Charge m x n times n, or n times n, as 2·m·n or 2·n."""
    return 2 * prod(args[0].shape)


@formula("aten::addmv", operand=1)
def added_vector_product(args: Arguments, _: Options) -> int:
    """Charge the product of the second and third argument."""
    return vector_product(args[1:], _)


@formula("aten::linear", "aten::mkldnn_linear", "aten::_weight_int8pack_mm")
def linear(args: Arguments, _: Options) -> int:
    """Charge [..., k] times a weight n x k as 2·(elements of the input)·n."""
    return 2 * prod(args[0].shape) * int(args[1].shape[0])


@formula("aten::_grouped_mm")
def grouped_matrix_product(args: Arguments, _: Options) -> int:
    """Charge a product whose rows, columns or inner dimension is split into groups.

    2-d by 3-d (experts' forward): T x k times G x k x n is 2·T·k·n, every row meets one
    group's matrix; 3-d by 2-d and 2-d by 2-d (the gradients) likewise; 3-d by 3-d is a
    batch. Rows that lie in no group are charged too: the offsets are on the device.
    """
    left, right = args[0].shape, args[1].shape
    inner = int(left[-1])
    if len(left) == len(right):
        return 2 * prod(left) * int(right[-1])
    return 2 * int(left[-2]) * inner * int(right[-1])
