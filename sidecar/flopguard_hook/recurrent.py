"""Recurrent layers in one kernel. Core.

At every position of every sequence the input meets each weight of the input and the
state each weight of the state; gates are element by element and not counted. Cells that
torch computes step by step are made of `mm` and need no formula.
"""

from typing import Any, Sequence

from flopguard_hook.formulas import Arguments, Options, formula, prod

_MATRIX = 2  # dimensions; the biases in a list of weights have one


def _forward(image: Any, weights: Sequence[Any]) -> int:
    """Return the cost of [length, batch, k], or of [positions, k] when packed."""
    matrices = [weight.shape for weight in weights if len(weight.shape) == _MATRIX]
    return 2 * prod(image.shape[:-1]) * sum(prod(shape) for shape in matrices)


@formula("aten::mkldnn_rnn_layer")
def layer(args: Arguments, _: Options) -> int:
    """Charge (input, weight of the input, weight of the state, biases, ...)."""
    return _forward(args[0], args[1:3])


@formula("aten::mkldnn_rnn_layer_backward")
def layer_backward(args: Arguments, _: Options) -> int:
    """Charge both gradients; the kernel computes both whether needed or not."""
    return 2 * _forward(args[0], args[1:3])


@formula("aten::_cudnn_rnn", "aten::miopen_rnn")
def layers(args: Arguments, _: Options) -> int:
    """Charge (input, weights of all layers and directions, ...)."""
    return _forward(args[0], args[1])


@formula("aten::_cudnn_rnn_backward", "aten::miopen_rnn_backward")
def layers_backward(args: Arguments, _: Options) -> int:
    """Charge the gradients of the data, and of the weights if the mask, last, asks."""
    needs_weights = int(args[-1][3])
    return (1 + needs_weights) * _forward(args[0], args[1])
