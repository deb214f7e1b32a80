"""Convolutions, forward and backward, with groups and transposed.

Core. Each weight element is used once for every position of the output, or of the
input when transposed; `weight` is [out, in/groups, *kernel], or transposed
[in, out/groups, *kernel], so its number of elements already accounts for the groups.
"""

from typing import Any, Sequence

from flopguard_hook.formulas import Arguments, Options, formula, prod

_UNBATCHED = 1  # an input [channels, *positions] has one dimension less than the weight


@formula("aten::convolution", "aten::_convolution", "aten::convolution_overrideable")
def convolution(args: Arguments, _: Options) -> int:
    """Charge (input, weight, bias, stride, padding, dilation, transposed, ...)."""
    image, weight, _, stride, padding, dilation, transposed = args[:7]
    positions = image.shape[2 - _missing(image, weight) :]
    if not transposed:
        positions = _output_positions(
            positions, weight.shape[2:], stride, padding, dilation
        )
    return _products(image, weight, positions)


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
    positions = source.shape[2 - _missing(image, weight) :]
    return _products(image, weight, positions) * (int(mask[0]) + int(mask[1]))


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
