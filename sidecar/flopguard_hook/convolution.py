"""Convolutions, forward and backward, with groups and transposed.

Core. Each weight element is used once for every position of the output, or of the
input when transposed; `weight` is [out, in/groups, *kernel], or transposed
[in, out/groups, *kernel], so its number of elements already accounts for the groups.
"""

from typing import Any, Sequence

from flopguard_hook.formulas import Arguments, Options, argument, formula, prod

_UNBATCHED = 1  # an input [channels, *positions] has one dimension less than the weight


@formula("aten::convolution", "aten::_convolution", "aten::convolution_overrideable")
def convolution(args: Arguments, _: Options) -> int:
    """Charge (input, weight, bias, stride, padding, dilation, transposed, ...)."""
    image, weight, _bias, stride, padding, dilation, transposed = args[:7]
    if transposed:
        return _transposed(image, weight)
    return _straight(image, weight, stride, padding, dilation)


@formula("aten::convolution_backward", "aten::convolution_backward_overrideable")
def convolution_backward(args: Arguments, _: Options) -> int:
    """Charge one forward for the input's gradient and one for the weight's.

    Arguments: grad_output, input, weight, bias_sizes, stride, padding, dilation,
    transposed, output_padding, groups, output_mask; a gradient that the mask leaves out
    is not computed. The overrideable form has no bias_sizes.
    """
    gradient, image, weight = args[:3]
    mask = args[-1]
    transposed = next(value for value in args[3:] if isinstance(value, bool))
    source = image if transposed else gradient
    return _transposed(source, weight, image) * (int(mask[0]) + int(mask[1]))


@formula("aten::_slow_conv2d_backward")
def slow_backward(args: Arguments, _: Options) -> int:
    """Charge (grad_output, input, weight, kernel, stride, padding, output_mask)."""
    gradient, image, weight = args[:3]
    mask = args[-1]
    return _transposed(gradient, weight, image) * (int(mask[0]) + int(mask[1]))


@formula("aten::cudnn_convolution")
def cudnn(args: Arguments, _: Options) -> int:
    """Charge (input, weight, padding, stride, dilation, groups, ...)."""
    image, weight, padding, stride, dilation = args[:5]
    return _straight(image, weight, stride, padding, dilation)


@formula(
    "aten::mkldnn_convolution",
    "aten::miopen_convolution",
    "aten::miopen_depthwise_convolution",
)
def padding_first(args: Arguments, _: Options) -> int:
    """Charge (input, weight, bias, padding, stride, dilation, groups, ...)."""
    image, weight, _bias, padding, stride, dilation = args[:6]
    return _straight(image, weight, stride, padding, dilation)


@formula("aten::cudnn_convolution_relu", "aten::miopen_convolution_relu")
def stride_first(args: Arguments, _: Options) -> int:
    """Charge (input, weight, bias, stride, padding, dilation, groups)."""
    image, weight, _bias, stride, padding, dilation = args[:6]
    return _straight(image, weight, stride, padding, dilation)


@formula("aten::cudnn_convolution_add_relu", "aten::miopen_convolution_add_relu")
def added_stride_first(args: Arguments, _: Options) -> int:
    """Charge (input, weight, addend, factor, bias, stride, padding, dilation, ...)."""
    stride, padding, dilation = args[5:8]
    return _straight(args[0], args[1], stride, padding, dilation)


@formula(
    "aten::_slow_conv2d_forward",
    "aten::slow_conv3d_forward",
    "aten::slow_conv_dilated2d",
    "aten::slow_conv_dilated3d",
    "aten::_conv_depthwise2d",
    "aten::conv_depthwise3d",
)
def kernel_given(args: Arguments, _: Options) -> int:
    """Charge (input, weight, kernel, bias, stride, padding[, dilation])."""
    stride, padding = argument(args, 4) or [1], argument(args, 5) or [0]
    return _straight(args[0], args[1], stride, padding, argument(args, 6) or [1])


@formula("aten::_nnpack_spatial_convolution")
def nnpack(args: Arguments, _: Options) -> int:
    """Charge (input, weight, bias, padding, stride)."""
    stride = argument(args, 4) or [1]
    return _straight(args[0], args[1], stride, args[3], [1])


@formula(
    "aten::cudnn_convolution_transpose",
    "aten::miopen_convolution_transpose",
    "aten::slow_conv_transpose2d",
    "aten::slow_conv_transpose3d",
    "mkldnn::_convolution_transpose_pointwise",
)
def transposed_convolution(args: Arguments, _: Options) -> int:
    """Charge (input, weight, ...): every position meets every weight."""
    return _transposed(args[0], args[1])


@formula("mkldnn::_convolution_pointwise")
def fused(args: Arguments, _: Options) -> int:
    """Charge (input, [other,] weight, bias, padding, stride, dilation, ...)."""
    alone = isinstance(args[3], (list, tuple))
    weight, _bias, padding, stride, dilation = args[1:6] if alone else args[2:7]
    return _straight(args[0], weight, stride, padding, dilation)


@formula("mkldnn::_convolution_pointwise_", operand=1)
def fused_in_place(args: Arguments, _: Options) -> int:
    """Charge (other, input, weight, bias, padding, stride, dilation, ...)."""
    image, weight, _bias, padding, stride, dilation = args[1:7]
    return _straight(image, weight, stride, padding, dilation)


@formula(
    "onednn::qconv_pointwise",
    "onednn::qconv1d_pointwise",
    "onednn::qconv2d_pointwise",
    "onednn::qconv3d_pointwise",
)
def quantized(args: Arguments, _: Options) -> int:
    """Charge (input, scale, zero, weight, 2 more, [sum,] bias, stride, ...).

    With torch 2.4 a sum and two more come before the weight.
    """
    first, weight = next(
        (stride, weight)
        for stride, weight in ((7, 3), (8, 3), (10, 6))
        if isinstance(args[stride], (list, tuple))
    )
    stride, padding, dilation = args[first : first + 3]
    return _straight(args[0], args[weight], stride, padding, dilation)


@formula("aten::conv_tbc")
def time_first(args: Arguments, _: Options) -> int:
    """Charge (input [time, batch, in], weight [kernel, in, out], bias, padding)."""
    time, batch, _channels = (int(size) for size in args[0].shape)
    positions = time + 2 * int(argument(args, 3, 0)) - int(args[1].shape[0]) + 1
    return 2 * positions * batch * prod(args[1].shape)


def _straight(image: Any, weight: Any, stride: Any, padding: Any, dilation: Any) -> int:
    """Charge every weight at every position of the output."""
    positions = image.shape[2 - _missing(image, weight) :]
    kernel = weight.shape[len(weight.shape) - len(positions) :]
    output = _output_positions(positions, kernel, stride, padding, dilation)
    return _products(image, weight, output)


def _transposed(source: Any, weight: Any, image: Any = None) -> int:
    """Charge every weight at every position of the source, by default the input."""
    positions = source.shape[2 - _missing(source, weight) :]
    return _products(source if image is None else image, weight, positions)


def _missing(image: Any, weight: Any) -> int:
    return _UNBATCHED if len(image.shape) < len(weight.shape) else 0


def _products(image: Any, weight: Any, positions: Sequence[int]) -> int:
    batch = 1 if _missing(image, weight) else int(image.shape[0])
    return 2 * batch * prod(weight.shape) * prod(positions)


def _output_positions(
    positions: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> "list[int]":
    """Return the output's size; a parameter of one element holds for all dimensions."""
    return [
        (size + 2 * _at(padding, i) - _at(dilation, i) * (kernel[i] - 1) - 1)
        // _at(stride, i)
        + 1
        for i, size in enumerate(positions)
    ]


def _at(values: Sequence[int], dimension: int) -> int:
    return int(values[dimension if len(values) > 1 else 0])
