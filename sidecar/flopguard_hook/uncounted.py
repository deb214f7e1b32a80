"""Which operators multiply no matrices, and which do without a formula. Core: data.

A namespace that is not named here is somebody else's, and may do anything: each of its
operators without a formula is named in the facts.
"""

# Namespaces whose operators multiply no matrices, or are made of aten operators.
KNOWN_NAMESPACES = frozenset(
    {
        "_c10d_functional",
        "_c10d_functional_autograd",
        "_dtensor",
        "_native_aot",
        "aten",
        "c10d",
        "c10d_functional",
        "coor",
        "debug_mode_ops",
        "debugprims",
        "export",
        "flex_lib",
        "fsdp",
        "inductor",
        "inductor_prims",
        "mempool",
        "prim",
        "prims",
        "profiler",
        "quant_logger",
        "quantized_decomposed",
        "rngprims",
        "streams",
        "symm_mem",
    }
)


def _named(namespace: str, names: str) -> "frozenset[str]":
    return frozenset(namespace + "::" + name for name in names.split())


# Operators of other namespaces that convert, move or look up.
HARMLESS = (
    _named(
        "bitsandbytes",
        "dequantize_4bit dequantize_blockwise int8_double_quant int8_mm_dequant"
        " int8_vectorwise_dequant int8_vectorwise_quant optimizer_update_32bit"
        " optimizer_update_8bit_blockwise quantize_4bit quantize_blockwise",
    )
    | _named(
        "torchao",
        "choose_qparams_affine choose_scale_float8 da8w4_linear_prepack_cpu"
        " dequantize_affine dequantize_affine_float8_non_decomposed"
        " float8_linear_prepack_cpu mx_block_rearrange_2d_M_groups"
        " mxfp8_quantize_2d_1x32_cutedsl mxfp8_quantize_2d_32x1_cutedsl"
        " mxfp8_quantize_3d_cutedsl quantize_affine"
        " quantize_affine_float8_non_decomposed"
        " to_sparse_semi_structured_cutlass_sm9x_f8"
        " triton_fp8_blockwise_act_quant_lhs triton_fp8_blockwise_act_quant_rhs"
        " triton_fp8_blockwise_act_quant_transposed_lhs"
        " triton_fp8_blockwise_weight_quant_rhs"
        " triton_fp8_blockwise_weight_quant_transposed_rhs"
        " triton_mx_block_rearrange triton_to_mxfp8_dim0 triton_to_mxfp8_dim1",
    )
    | _named("flash_attn_3", "fwd_combine get_scheduler_metadata")
    | _named("blocksparse", "bsr_to_dense")
    | _named("cplib", "flex_cp_allgather flex_cp_allgather_backward")
    | _named("flex_gemm", "autograd_not_implemented to_blocked")
    | _named("mkl", "_mkl_reorder_linear_weight")
    | _named(
        "mkldnn",
        "_get_mkldnn_serialized_md _is_mkldnn_acl_supported"
        " _is_mkldnn_bf16_supported _is_mkldnn_fp16_supported _nbytes"
        " _reorder_convolution_transpose_weight _reorder_convolution_weight"
        " _reorder_linear_weight _reorder_mkldnn_rnn_layer_weight data_ptr",
    )
    | _named(
        "onednn",
        "linear_prepack_fp16 qadd qadd_relu qbatch_norm2d qconv_prepack"
        " qlinear_prepack qmul",
    )
    | _named("torchvision", "nms roi_align roi_pool _roi_align_backward")
)

_ITERATES = "how often it iterates depends on what the matrix holds"
_PACKED = "the weight's shape is hidden in a packed object"
_BACKEND = "of a backend that this hook was never checked on"
_STRUCTURE = "how much is multiplied depends on where the zeros are"
_GROUP = "the size of the process group is not among the arguments"

# Operators that do multiply, without formula, and why.
WITHOUT_FORMULA = {
    **dict.fromkeys(
        _named(
            "aten",
            "_linalg_eigh _linalg_eigvals _linalg_svd linalg_eig linalg_eigvals"
            " linalg_lstsq linalg_pinv"
            " linalg_matrix_exp linalg_matrix_sqrth linalg_polar"
            " _compute_linear_combination",
        )
        | _named("prims", "svd")
        | _named("_native", "linalg_polar_native_2 linalg_polar_out_native_3"),
        _ITERATES,
    ),
    **dict.fromkeys(
        _named(
            "aten",
            "_cslt_sparse_mm _cslt_sparse_mm_search _mixed_dtypes_linear"
            " quantized_gru quantized_lstm _weight_int4pack_mm_with_scales_and_zeros",
        )
        | _named("mkldnn_prepacked", "conv2d_run"),
        _PACKED,
    ),
    **dict.fromkeys(
        _named(
            "aten",
            "_lstm_mps _mps_convolution _mps_convolution_transpose lstm_mps_backward"
            " mps_convolution_backward mps_convolution_transpose_backward"
            " _scaled_dot_product_attention_math_for_mps",
        )
        | _named("prims", "fft_c2c fft_c2r fft_r2c"),
        _BACKEND,
    ),
    **dict.fromkeys(
        _named(
            "aten",
            "_sparse_mm_reduce_impl_backward _sparse_sparse_matmul _spsolve hspmm"
            " matmul_backward",
        ),
        _STRUCTURE,
    ),
    **dict.fromkeys(
        _named(
            "symm_mem",
            "_async_input_mm fused_all_gather_matmul fused_all_gather_scaled_matmul",
        )
        | _named("inductor", "quack_symmetric_mm"),
        _GROUP,
    ),
}
