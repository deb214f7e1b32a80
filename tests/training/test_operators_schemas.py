"""The table of operators against the schemas of the torch that is installed."""
# ruff: noqa: SLF001 # torch lists its schemas only privately

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch.nn import functional

from flopguard_hook import packed
from flopguard_hook.formulas import is_uncounted
from flopguard_hook.optimizers import step_cost
from flopguard_hook.table import FORMULAS, find
from flopguard_hook.uncounted import WITHOUT_FORMULA
from training.needs import installed
from training.published_schemas import PUBLISHED

# Names that may mean sums of products.
SMELLS = re.compile(
    r"mm(?!a)|conv(?!ert)|attention|attn|(?<!bi)(?<!tri)linear|rnn|lstm|gru|fft|linalg"
    r"|(^|_)lu(_|$)|grouped|einsum|matmul|mv(?!l)|dot|dist|solve|chol|svd|(?<!s)qr|eig"
    r"|(?<!erf)inv|det(?!ach)|addr|ger$|kron|cov|transformer|sdp|gemm|matri|flex|flash"
    r"|stft|product|outer|gram"
)
# What only smells so, by what it really does.
NOT_PRODUCTS = {
    name: reason
    for reason, names in {
        "lays a weight out anew": "_convert_weight_to_int4pack"
        " _convert_weight_to_int4pack_for_cpu _cudnn_rnn_flatten_weight"
        " _dyn_quant_pack_4bit_weight mkldnn_reorder_conv2d_weight lu_unpack"
        " mkldnn_reorder_conv3d_weight _nested_get_jagged_dummy slice_inverse",
        "works element by element": "_thnn_fused_gru_cell _thnn_fused_lstm_cell"
        " _thnn_fused_gru_cell_backward _thnn_fused_lstm_cell_backward_impl"
        " hamming_window fft_fftfreq fft_rfftfreq linalg_cross",
        "sums or compares elements": "_cummin_helper cummin dist histogram"
        " _histogramdd_bin_edges _histogramdd_from_bin_cts _linalg_check_errors"
        " _histogramdd_from_bin_tensors linalg__powsum linalg_vector_norm"
        " _weight_norm_interface _weight_norm_interface_backward",
        "looks up or interpolates": "_embedding_bag_per_sample_weights_backward"
        " upsample_linear1d upsample_linear1d_backward",
        "chooses a kernel": "_fused_sdp_choice",
    }.items()
    for name in names.split()
}


def schemas() -> Iterator[Any]:
    """Return every schema that torch dispatches and does not make of others."""
    for schema in torch._C._jit_get_all_schemas():
        name = schema.name + (schema.overload_name and "." + schema.overload_name)
        try:
            composite = torch._C._dispatch_has_kernel_for_dispatch_key(
                name, "CompositeImplicitAutograd"
            )
        except RuntimeError:  # one of TorchScript's, which torch does not dispatch
            continue
        if not composite:
            yield schema


# Of the torch that the tables were written for; an older one has fewer operators.
IS_NEWEST = hasattr(functional, "scaled_mm")


def test_every_operator_of_torch_that_may_multiply_is_accounted_for() -> None:
    """In the table, named as uncounted, or known not to multiply: never silent.

    After an update of torch this lists what has to be looked at.
    """
    silent = {
        schema.name
        for schema in schemas()
        if schema.name.startswith("aten::")
        and SMELLS.search(schema.name.partition("::")[2])
        and find(schema.name) is None
        and not is_uncounted(schema.name)
    }
    assert {name.partition("::")[2] for name in silent} - set(NOT_PRODUCTS) == set()


@pytest.mark.skipif(not IS_NEWEST, reason=f"{installed('torch')} has not all of them")
def test_the_reasons_are_about_operators_that_exist() -> None:
    """A name that was mistyped, or left torch, excuses nothing."""
    known = {schema.name for schema in torch._C._jit_get_all_schemas()}
    ours = {"aten::" + name for name in NOT_PRODUCTS} | set(WITHOUT_FORMULA)
    later = {"symm_mem", "inductor"}  # registered once distributed is imported
    missing = {name for name in ours - known if name.partition("::")[0] not in later}
    assert missing == set()


def arguments(name: str) -> list[list[str]]:
    """Return the positional arguments of each overload, as torch has or others say."""
    if name in PUBLISHED:
        return [PUBLISHED[name].split()]
    return [
        [argument.name for argument in schema.arguments if not argument.kwarg_only]
        for schema in torch._C._jit_get_all_schemas()
        if schema.name == name
    ]


EXPECTED = {
    "query": r"(query|q)$",
    "ends": r"(cu|cum)_seq(lens)?_q$",
    "longest": r"max_(seqlen_)?q$",
    "causal": r"(is_)?causal$|custom_mask_type$",
    "window": r"window_size(_left)?$",
    "used": r"seqused_k_?$|sequed_k$",
    "extra": r"q_?v$",
}


@pytest.mark.parametrize("kernel", packed._KERNELS, ids=lambda kernel: kernel.names[0])
def test_packed_attention_reads_the_arguments_that_it_means(
    kernel: packed.Kernel,
) -> None:
    """Position by position: one off would be a wrong figure, not an error."""
    if find_spec("torch.nn.attention.varlen"):
        import_module("torch.nn.attention.varlen")  # it registers its operators
    for name in kernel.names:
        found = arguments(name)
        if not found and not IS_NEWEST:
            pytest.skip(f"{installed('torch')} has no {name}")
        assert found, f"nobody knows the arguments of {name}"
        for names in found:
            for role, pattern in EXPECTED.items():
                position = getattr(kernel, role)
                if position is not None:
                    assert re.match(pattern, names[position]), (name, role, names)
            assert re.match(r"(key|k)", names[kernel.query + 1]), names
            assert re.match(r"(value|v)", names[kernel.query + 2]), names
            if kernel.ends is not None:
                assert re.match(r"(cu|cum)_seq(lens)?_k$", names[kernel.ends + 1])
            if kernel.longest is not None:
                assert re.match(r"max_(seqlen_)?k$", names[kernel.longest + 1])


# What the formulas read beside the first three, by position.
POSITIONS = {
    "aten::_scaled_dot_product_efficient_attention": {6: "is_causal"},
    "aten::_scaled_dot_product_cudnn_attention": {6: "is_causal"},
    "aten::_scaled_dot_product_flash_attention_backward": {1: "query", 11: "is_causal"},
    "aten::_scaled_dot_product_efficient_attention_backward": {1: "query"},
    "aten::_scaled_dot_product_cudnn_attention_backward": {1: "query"},
    "aten::_transformer_encoder_layer_fwd": {
        3: "qkv_weight",
        5: "proj_weight",
        14: "ffn_weight_1",
        16: "ffn_weight_2",
    },
    "aten::_native_multi_head_attention": {3: "embed_dim", 7: "proj_weight"},
    "aten::_triton_multi_head_attention": {3: "embed_dim", 7: "proj_weight"},
    "aten::_cudnn_rnn": {0: "input", 1: "weight"},
    "aten::_cudnn_rnn_backward": {1: "weight", -1: "output_mask"},
    "aten::miopen_rnn_backward": {1: "weight", -1: "output_mask"},
    "aten::mkldnn_rnn_layer": {1: "weight0", 2: "weight1"},
    "aten::mkldnn_rnn_layer_backward": {1: "weight1", 2: "weight2"},
    "aten::cudnn_convolution": {2: "padding", 3: "stride", 4: "dilation"},
    "aten::mkldnn_convolution": {3: "padding", 4: "stride", 5: "dilation"},
    "aten::miopen_convolution": {3: "padding", 4: "stride", 5: "dilation"},
    "aten::miopen_depthwise_convolution": {3: "padding", 4: "stride", 5: "dilation"},
    "aten::cudnn_convolution_relu": {3: "stride", 4: "padding", 5: "dilation"},
    "aten::miopen_convolution_relu": {3: "stride", 4: "padding", 5: "dilation"},
    "aten::cudnn_convolution_add_relu": {5: "stride", 6: "padding", 7: "dilation"},
    "aten::miopen_convolution_add_relu": {5: "stride", 6: "padding", 7: "dilation"},
    "aten::slow_conv_dilated3d": {4: "stride", 5: "padding", 6: "dilation"},
    "aten::_conv_depthwise2d": {4: "stride", 5: "padding", 6: "dilation"},
    "aten::conv_depthwise3d": {4: "stride", 5: "padding", 6: "dilation"},
    "aten::slow_conv3d_forward": {4: "stride", 5: "padding"},
    "aten::convolution_backward": {-1: "output_mask"},
    "aten::convolution_backward_overrideable": {-1: "output_mask"},
    "aten::_scaled_mm_v2": {0: "self", 1: "mat2"},
    "aten::_scaled_grouped_mm": {0: "self", 1: "mat2"},
    "aten::_scaled_grouped_mm_v2": {0: "self", 1: "mat2"},
    "aten::_scaled_addmm": {1: "mat1", 2: "mat2"},
    "aten::_weight_int4pack_mm": {1: "mat2"},
    "aten::_dyn_quant_matmul_4bit": {4: "out_features"},
    "aten::_sparse_semi_structured_mm": {0: "mat1", 2: "mat2"},
    "aten::_sparse_semi_structured_addmm": {1: "mat1", 3: "mat2"},
    "aten::_sparse_semi_structured_linear": {0: "input", 1: "weight"},
    "aten::linear_backward": {1: "grad_output", 2: "weight", 3: "output_mask"},
    "aten::mkldnn_linear_backward_input": {1: "grad_output", 2: "weight"},
    "aten::mkldnn_linear_backward_weights": {1: "input", 2: "weight"},
    "mkl::_mkl_linear": {2: "ORI_W"},
    "onednn::qconv2d_pointwise": {3: "qw"},
    "aten::linalg_lu_solve": {2: "B"},
    "aten::linalg_ldl_solve": {2: "B"},
}


@pytest.mark.parametrize("name", POSITIONS)
def test_a_formula_reads_the_arguments_that_it_means(name: str) -> None:
    """For what no CPU runs, the schema is all there is to check."""
    assert name in FORMULAS
    found = arguments(name)
    if not found and not IS_NEWEST:
        pytest.skip(f"{installed('torch')} has no {name}")
    assert found, f"torch has no {name}"
    for names in found:
        # Two that torch 2.4 has otherwise, as their formulas know
        if "qaccum" in names[3:4]:
            names[3:6] = []
        if "cudnn_attention" in name and "dropout_p" in names[3:4]:
            continue
        for position, expected in POSITIONS[name].items():
            assert names[position] == expected, names


def test_the_operand_that_gives_the_format_is_a_tensor() -> None:
    """In every overload; lists of tensors are asked for their first."""
    for name, formula in FORMULAS.items():
        for schema in torch._C._jit_get_all_schemas():
            if schema.name == name:
                kind = str(schema.arguments[formula.operand].type)
                assert kind in {"Tensor", "List[Tensor]"}, (str(schema), kind)


def test_every_optimizer_that_is_installed_is_known() -> None:
    """By its class: an unknown one is charged as AdamW and flagged."""
    modules = ["torch.optim", "bitsandbytes.optim", "transformers.optimization"]
    classes = [
        value
        for module in modules
        for value in vars(import_module(module)).values()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    ]
    unknown = {
        value.__name__
        for value in classes
        if not step_cost([base.__name__ for base in value.__mro__], {}).known
    }
    assert len(classes) > 15
    assert unknown == {"Optimizer"}
