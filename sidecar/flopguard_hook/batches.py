"""The sizes of the calls of a model, and what many calls come to. Core."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence

from flopguard_hook.facts import short

_MOST_INPUTS = 16
_MOST_BATCHES = 48
_MOST_LENGTHS = 48
_EMBEDDINGS_DIMENSIONS = 3
_TOKENS_DIMENSIONS = 2

# What a model's input is called, the first that is there.
_MAIN_INPUTS = (
    "input_ids",
    "inputs_embeds",
    "input_features",
    "input_values",
    "pixel_values",
    "decoder_input_ids",
)
_TOKEN_INPUTS = frozenset({"input_ids", "inputs_embeds", "decoder_input_ids"})


class Batch(NamedTuple):
    """The sizes of one call of a model.

    Attributes:
        shape: Of its main input; of embeddings, without their last dimension.
        input: That input's name, or its position.
        tokens: Positions processed, padding included; 0 where that has no meaning.
        decoder: Length of the decoder's input in an encoder-decoder model, else 0.
        past: Cached positions before the input.
    """

    shape: tuple[int, ...]
    input: str = ""
    tokens: int = 0
    decoder: int = 0
    past: int = 0


def batch_of(
    module: Any, args: Sequence[Any], kwargs: Mapping[str, Any], past: int = 0
) -> Batch:
    """Return the sizes of a call, by the names that transformers gives its inputs.

    Args:
        module: The root module; its `config` says whether it has a decoder apart.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        past: Cached positions before the input, as the signature of the call has it.
    """
    named = _tensors(args, kwargs)
    name = next((n for n in _MAIN_INPUTS if n in named), next(iter(named), ""))
    if not name:
        return Batch(())
    shape = _shape(named[name])
    embeddings = name == "inputs_embeds" and len(shape) == _EMBEDDINGS_DIMENSIONS
    shape = shape[:-1] if embeddings else shape
    decoder = 0
    if getattr(getattr(module, "config", None), "is_encoder_decoder", False) is True:
        inner = named.get("decoder_input_ids", named.get("labels"))
        decoder = _shape(inner)[-1] if inner is not None and name in named else 0
    tokens = 0
    is_text = name in _TOKEN_INPUTS or _is_integer(named[name])
    if is_text and len(shape) == _TOKENS_DIMENSIONS:
        other = decoder if name != "decoder_input_ids" else 0
        tokens = shape[0] * (shape[1] + other)
    return Batch(shape, name, tokens, decoder, int(past))


def of_inputs(args: Sequence[Any], kwargs: Mapping[str, Any]) -> "dict[str, list[int]]":
    """Return the shapes of a call's tensors by position or name."""
    named = list(_tensors(args, kwargs).items())[:_MOST_INPUTS]
    return {short(name): list(_shape(value)) for name, value in named}


def _tensors(args: Sequence[Any], kwargs: Mapping[str, Any]) -> "dict[str, Any]":
    """Return what is a tensor, positions first; nested tensors have no shape."""
    named = {**{str(i): value for i, value in enumerate(args)}, **kwargs}
    return {
        str(name): value
        for name, value in named.items()
        if hasattr(type(value), "__torch_function__")
        and not getattr(value, "is_nested", False)
    }


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in tensor.shape)


def _is_integer(tensor: Any) -> bool:
    return str(tensor.dtype) in {"torch.int64", "torch.int32"}


def as_batch(sizes: Any, first: Batch) -> Batch:
    """Return sizes as a batch; of a bare shape the rest is as in the first call."""
    if isinstance(sizes, Batch):
        return sizes
    shape = tuple(int(n) for n in sizes)
    is_text = bool(first.tokens) and len(shape) > 1
    tokens = shape[0] * (shape[1] + first.decoder) if is_text else 0
    return Batch(shape, first.input, tokens, first.decoder)


def of_calls(
    counted: Mapping["tuple[Batch, bool]", int], first_input: str
) -> "dict[str, Any]":
    """Describe the calls of a model: how many, of which sizes, how many tokens.

    Args:
        counted: Calls by sizes and grad mode.
        first_input: The input that `batch_input` names.
    """
    calls = {"training": 0, "no_grad": 0}
    tokens = {"training": 0, "no_grad": 0}
    lengths: dict[int, int] = {}
    merged: dict[tuple[Batch, bool], list[int]] = {}
    for (batch, grad), count in counted.items():
        kind = "training" if grad else "no_grad"
        calls[kind] += count
        tokens[kind] += count * batch.tokens
        if grad and batch.tokens:
            length = batch.shape[1]
            lengths[length] = lengths.get(length, 0) + count
        entry = merged.setdefault((batch._replace(past=0), grad), [0, 0])
        entry[0] += count
        entry[1] += count * batch.past
    listed = sorted(merged.items(), key=lambda item: -item[1][0])
    common = sorted(lengths.items(), key=lambda item: -item[1])[:_MOST_LENGTHS]
    found: dict[str, Any] = {
        "calls": calls,
        "batches": [
            _entry(first_input, batch, sums, grad=grad)
            for (batch, grad), sums in listed[:_MOST_BATCHES]
        ],
    }
    if len(listed) > _MOST_BATCHES:
        left_out = listed[_MOST_BATCHES:]
        found["batches_left_out"] = sum(sums[0] for _, sums in left_out)
    if any(tokens.values()):
        found["tokens"] = tokens
        found["lengths"] = {str(n): count for n, count in sorted(common)}
    return found


def _entry(
    first_input: str, batch: Batch, sums: "list[int]", *, grad: bool
) -> "dict[str, Any]":
    entry: dict[str, Any] = {"shape": list(batch.shape), "grad": grad, "calls": sums[0]}
    if batch.decoder:
        entry["decoder"] = batch.decoder
    if sums[1]:
        entry["past"] = sums[1]
    if batch.input != first_input:
        entry["input"] = short(batch.input)
    return entry
