"""What is known about a training process besides its FLOPs. Core.

Values come from the user's program, so every list and every string has a bound: the
whole stays below the 64 KiB that a reader takes.
"""

from collections import Counter
from typing import Any, Iterable, Mapping

SCHEMA = 1
_MOST_LAYERS = 64
_MOST_INPUTS = 16
_MOST_NAMES = 32
_MOST_CHARACTERS = 120


def of_module(module: Any) -> "dict[str, Any]":
    """Describe a root module: its parameters, their dtypes, the shapes of its layers.

    Args:
        module: A `torch.nn.Module`, or anything with `named_modules` like it.
    """
    layers: Counter[tuple[str, tuple[int, ...]]] = Counter()
    dtypes: Counter[str] = Counter()
    total = trainable = 0
    for parameter in module.parameters():
        elements = local_elements(parameter)
        total += elements
        trainable += elements if parameter.requires_grad else 0
        dtypes[str(parameter.dtype).split(".")[-1]] += elements
    for _, layer in module.named_modules():
        parameters = getattr(layer, "_parameters", None)
        # A scripted module has something else there.
        weight = parameters.get("weight") if isinstance(parameters, dict) else None
        if weight is not None:
            layers[type(layer).__name__, tuple(int(n) for n in weight.shape)] += 1
    return {
        "class": short(type(module).__name__),
        "parameters": {"total": total, "trainable": trainable},
        "dtypes": dict(dtypes.most_common(_MOST_LAYERS)),
        "layers": [
            {"class": short(name), "weight": list(shape), "count": count}
            for (name, shape), count in layers.most_common(_MOST_LAYERS)
        ],
    }


def of_inputs(args: Iterable[Any], kwargs: Mapping[str, Any]) -> "dict[str, list[int]]":
    """Return the shapes of a call's tensors by position or name."""
    named = {**{str(i): value for i, value in enumerate(args)}, **kwargs}
    shapes = {
        short(name): [int(n) for n in value.shape]
        for name, value in named.items()
        if hasattr(value, "shape")
    }
    return dict(list(shapes.items())[:_MOST_INPUTS])


def of_launch(environment: Mapping[str, str]) -> "dict[str, int]":
    """Return what a launcher says of the process's place: rank and world size."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    return {
        name.lower(): int(environment[name])
        for name in names
        if environment.get(name, "").isdecimal()
    }


def with_name(names: "list[str]", name: str) -> "list[str]":
    """Return the names with one more, unless it is there or the list is full."""
    name = short(name)
    if name in names or len(names) >= _MOST_NAMES:
        return names
    return [*names, name]


def local_elements(parameter: Any) -> int:
    """Return the number of elements that this process holds, also of a DTensor."""
    return int(getattr(parameter, "_local_tensor", parameter).numel())


def short(text: str) -> str:
    """Return the text, cut to a bound."""
    return text[:_MOST_CHARACTERS]
