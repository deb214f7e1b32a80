"""The fused transformer encoder layer and its attention, of inference. Core."""

from typing import Any

from flopguard_hook.formulas import Arguments, Options, formula, prod


def _projected(image: Any, *weights: Any) -> int:
    """Charge each row of the image with every element of the weights."""
    rows = prod(image.shape[:-1])
    return 2 * rows * sum(prod(weight.shape) for weight in weights)


def _attention(query: Any, key: Any) -> int:
    """Charge scores and output of [batch, positions, width], over all heads."""
    return 4 * prod(query.shape) * int(key.shape[-2])


@formula("aten::_transformer_encoder_layer_fwd")
def encoder_layer(args: Arguments, _: Options) -> int:
    """Charge projections, attention and the two linear layers.

    Arguments: input, width, heads, weight and bias of query-key-value, of the output,
    two flags, eps, two norms, weight and bias of the first and second linear layer.
    """
    image = args[0]
    return _projected(image, args[3], args[5], args[14], args[16]) + _attention(
        image, image
    )


@formula("aten::_native_multi_head_attention", "aten::_triton_multi_head_attention")
def multi_head_attention(args: Arguments, _: Options) -> int:
    """Charge (query, key, value, width, heads, weight, bias, weight, bias, ...)."""
    query, key, value = args[:3]
    width = int(args[3])
    inputs = 2 * width * sum(prod(image.shape) for image in (query, key, value))
    return inputs + _attention(query, key) + _projected(query, args[7])
