"""Products of quantized matrices: torch's own, bitsandbytes, torchao. Core.

Shapes are those of the weight before it was packed. What a kernel spends on widening
the weight is not a product and is not counted, as where it is widened apart.
"""

from flopguard_hook.formulas import Arguments, Options, formula, prod


def _linear(args: Arguments, outputs: int, image: int = 0) -> int:
    return 2 * prod(args[image].shape) * int(outputs)


@formula("aten::_weight_int8pack_mm", format="int8")
def int8_weight(args: Arguments, _: Options) -> int:
    """Charge [..., k] times a weight n x k of 8 bit."""
    return _linear(args, args[1].shape[0])


@formula("aten::_weight_int4pack_mm", format="int4")
def int4_weight(args: Arguments, _: Options) -> int:
    """Charge [m, k] times a weight packed as [n/8, k/(tiles·16), 32, tiles/2]."""
    return _linear(args, 8 * int(args[1].shape[0]))


@formula(
    "aten::_weight_int4pack_mm_for_cpu",
    "quantized::int4mm_packed_weight_cpu",
    format="int4",
)
def int4_weight_on_cpu(args: Arguments, _: Options) -> int:
    """Charge [m, k] times a weight packed as [n, k/2]."""
    return _linear(args, args[1].shape[0])


@formula("aten::_dyn_quant_matmul_4bit", format="int4")
def dynamic_int4(args: Arguments, _: Options) -> int:
    """Charge (input, packed weight, block, k, n)."""
    return _linear(args, args[4])


@formula("onednn::qlinear_pointwise")
def packed_int8(args: Arguments, _: Options) -> int:
    """Charge (input, scale, zero, weight k x n, ...); in the input's format."""
    return _linear(args, args[3].shape[1])


@formula(
    "onednn::linear_dynamic_fp16", "onednn::linear_relu_dynamic_fp16", format="fp16"
)
def packed_fp16(args: Arguments, _: Options) -> int:
    """Charge (input, weight k x n, bias)."""
    return _linear(args, args[1].shape[1])


@formula("quantized::linear_dynamic_fp16_unpacked_weight", format="fp16")
def unpacked_fp16(args: Arguments, _: Options) -> int:
    """Charge (input, weight n x k, bias)."""
    return _linear(args, args[1].shape[0])


@formula("quantized::matmul")
def quantized_matrices(args: Arguments, _: Options) -> int:
    """Charge [..., m, k] times [..., k, n]."""
    return _linear(args, args[1].shape[-1])


@formula("bitsandbytes::gemm_4bit", "bitsandbytes::gemv_4bit", format="int4")
def packed_4bit(args: Arguments, _: Options) -> int:
    """Charge (input [..., k], packed weight, its shape [n, k], ...)."""
    return _linear(args, args[2][0])


@formula(
    "bitsandbytes::int8_linear_matmul", "bitsandbytes::int8_scaled_mm", format="int8"
)
def rows_int8(args: Arguments, _: Options) -> int:
    """Charge [..., k] times a weight n x k of 8 bit."""
    return _linear(args, args[1].shape[0])


@formula("bitsandbytes::int8_mixed_scaled_mm", operand=1, format="int8")
def mixed_int8(args: Arguments, _: Options) -> int:
    """Charge (input, input in 8 bit, weight n x k in 8 bit, scales, outliers, ...).

    The columns of outliers are multiplied once more in the wide format. How many there
    are depends on the data, but no more than the columns given here.
    """
    flops = _linear(args, args[2].shape[0], image=1)
    outliers = args[5] if len(args) > _OUTLIERS else None
    if outliers is None:
        return flops
    rows = prod(args[1].shape[:-1])
    return flops + 2 * rows * prod(outliers.shape) * int(args[2].shape[0])


_OUTLIERS = 5


@formula("torchao::int_matmul", "torchao::int_scaled_matmul", format="int8")
@formula("torchao::scaled_int8_mm", format="int8")
@formula("torchao::blockwise_scaled_mm", format="fp8")
@formula("torchao::mx_fp8_bf16", format="fp8")
@formula("torchao::triton_fp8_gemm_1x128_128x1", format="fp8")
@formula("torchao::triton_fp8_gemm_1x128_128x128", format="fp8")
@formula("torchao::swizzle_mm", "torchao::swizzle_scaled_mm")
def two_matrices(args: Arguments, _: Options) -> int:
    """Charge m x k times k x n."""
    return _linear(args, args[1].shape[-1])


@formula("torchao::da8w4_linear_cpu", operand=3, format="int4")
def blocked_int4(args: Arguments, _: Options) -> int:
    """Charge (input, scale, zero, weight [n/b, k/c, c, b/2], ...)."""
    weight = args[3].shape
    return _linear(args, 2 * int(weight[0]) * int(weight[3]))


@formula("torchao::float8_linear_cpu", operand=2, format="fp8")
def blocked_fp8(args: Arguments, _: Options) -> int:
    """Charge (input, scale, weight n x k, or [n/b, k/c, c, b] in blocks, ...)."""
    weight = args[2].shape
    blocked = len(weight) == _BLOCKED
    return _linear(args, int(weight[0]) * (int(weight[3]) if blocked else 1))


_BLOCKED = 4


@formula("torchao::reference_dqlinear_int4", format="int4")
def reference_int4(args: Arguments, _: Options) -> int:
    """Charge (input, eps, weight n x k, ...)."""
    return _linear(args, args[2].shape[0])


@formula("torchao::rowwise_scaled_linear_sparse_cutlass_f8f8", operand=2, format="fp8")
def half_sparse_fp8(args: Arguments, _: Options) -> int:
    """Charge (input [..., k], scale, weight n x k/2 as stored, ...)."""
    return 2 * prod(args[0].shape[:-1]) * prod(args[2].shape)
