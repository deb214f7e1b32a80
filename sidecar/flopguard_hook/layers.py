"""What a module holds: parameters, their dtypes, the shapes of its layers. Core.

Shapes are those of the whole layer, however it is packed (4 bit) or split over
processes, as far as what splits it says so. Nothing here runs an operator.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Iterator, NamedTuple

from flopguard_hook.facts import local_elements, short

_MOST_LAYERS = 96
_MOST_DTYPES = 16
_MATRIX_DIMENSIONS = 2
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
_WRAPPED = re.compile(
    r"(?<![^.])(_fsdp_wrapped_module|_orig_mod|_checkpoint_wrapped_module)(\.|$)"
)


class Weight(NamedTuple):
    """One parameter, or one packed weight that is none.

    Attributes:
        owner: The module that it belongs to.
        path: Of that module, numbers and all.
        name: Of the parameter in it.
        shape: Whole and unpacked.
        stored: Elements as stored, over all shards; 0 for a buffer.
        local: Elements that this process holds.
        dtype: Without `torch.`.
        packed: How it is packed, or empty.
        trainable: Whether it requires a gradient.
        known: False where only this process's shard could be seen.
        shared: Whether it is the same tensor as an earlier one.
    """

    owner: Any
    path: str
    name: str
    shape: tuple[int, ...]
    stored: int
    local: int
    dtype: str
    packed: str
    trainable: bool
    known: bool = True
    shared: bool = False

    @property
    def elements(self) -> int:
        """Elements of the whole, unpacked."""
        return product(self.shape)


def of_weights(module: Any) -> "dict[str, Any]":
    """Describe a module's parameters: keys `parameters`, `dtypes` and `layers`.

    Args:
        module: A `torch.nn.Module`, or anything with `named_modules` like it.
    """
    layers: Counter[tuple[Any, ...]] = Counter()
    dtypes: Counter[str] = Counter()
    total = trainable = unpacked = local = 0
    known = True
    for weight in weights_of(module):
        if len(weight.shape) >= _MATRIX_DIMENSIONS:
            layers[_key(weight)] += 1
        if weight.shared:
            continue
        total += weight.stored
        unpacked += weight.elements
        local += weight.local
        trainable += weight.elements if weight.trainable else 0
        dtypes[weight.packed or weight.dtype] += weight.elements
        known = known and weight.known
    largest = sorted(layers.items(), key=lambda i: -product(i[0][3]) * i[1])
    return {
        "parameters": {
            "total": total,
            "trainable": trainable,
            "unpacked": unpacked,
            "local": local,
            "scope": "global" if known else "local",
        },
        "dtypes": dict(dtypes.most_common(_MOST_DTYPES)),
        "layers": [_layer(key, count) for key, count in largest[:_MOST_LAYERS]],
    }


def weights_of(module: Any) -> "Iterator[Weight]":
    """Yield every parameter and packed weight, each module's own."""
    modules = list(module.named_modules())
    paths = {id(layer): _path(name) for name, layer in modules}
    flat: set[tuple[int, str]] = set()
    seen: set[int] = set()
    for _, layer in modules:
        for weight in _flattened(layer, paths):
            flat.add((id(weight.owner), weight.name))
            yield weight
    for _, layer in modules:
        for name, parameter in _parameters(layer):
            if (id(layer), name) in flat or _is_unknown(parameter):
                continue
            weight = _weight(layer, paths[id(layer)], name, parameter)
            yield weight._replace(shared=id(parameter) in seen)
            seen.add(id(parameter))
        yield from _packed_buffer(layer, paths[id(layer)])


def product(shape: "tuple[int, ...]") -> int:
    """Return the product of sizes."""
    elements = 1
    for size in shape:
        elements *= size
    return elements


def _parameters(layer: Any) -> "list[tuple[str, Any]]":
    parameters = getattr(layer, "_parameters", None)
    if not isinstance(parameters, dict):  # a scripted module has something else there
        parameters = dict(layer.named_parameters(recurse=False))
    return [(name, p) for name, p in parameters.items() if p is not None]


def _is_unknown(parameter: Any) -> bool:
    """Say whether a parameter has no shape yet, or is many in one."""
    is_flat = getattr(parameter, "_is_flat_param", False)
    return type(parameter).__name__.startswith("Uninitialized") or (
        is_flat and hasattr(parameter, "_shapes")
    )


def _weight(layer: Any, path: str, name: str, parameter: Any) -> Weight:
    kind = type(parameter).__name__
    shape = tuple(int(n) for n in parameter.shape)
    packed, known = "", not getattr(parameter, "_is_flat_param", False)
    stored = product(shape)
    whole = getattr(parameter, "ds_shape", None)  # DeepSpeed's ZeRO 3
    state = getattr(parameter, "quant_state", None)  # bitsandbytes, 4 bit
    meta = getattr(layer, "meta", None)  # HQQ
    if whole is not None:
        shape = tuple(int(n) for n in whole)
        stored = product(shape)
    elif state is not None and hasattr(state, "shape"):
        shape = tuple(int(n) for n in state.shape)
        packed = short(getattr(state, "quant_type", "int4"))
    elif name == "W_q" and isinstance(meta, dict) and "shape" in meta:
        shape = tuple(int(n) for n in meta["shape"])
        packed = short(f"hqq{meta.get('nbits', '')}")
    elif kind == "Int8Params" and str(parameter.dtype) == "torch.int8":
        packed = "int8"
    elif type(parameter).__module__.startswith("torchao."):
        packed = short(kind)
    return Weight(
        layer,
        path,
        name,
        shape,
        stored,
        local_elements(parameter),
        str(parameter.dtype).rsplit(".", maxsplit=1)[-1],
        packed,
        bool(parameter.requires_grad),
        known,
    )


def _packed_buffer(layer: Any, path: str) -> "Iterator[Weight]":
    """Yield the weight that a GPTQ or AWQ layer keeps in a buffer."""
    buffers = getattr(layer, "_buffers", None)
    packed = buffers.get("qweight") if isinstance(buffers, dict) else None
    sizes = [
        getattr(layer, f"{end}_features", getattr(layer, f"{end}features", None))
        for end in ("out", "in")
    ]
    if packed is None or not all(isinstance(size, int) for size in sizes):
        return
    kind = "awq" if "awq" in type(layer).__module__.lower() else "gptq"
    shape = (int(sizes[0] or 0), int(sizes[1] or 0))
    local = int(packed.numel())
    yield Weight(layer, path, "weight", shape, 0, local, "int32", kind, trainable=False)


def _flattened(layer: Any, paths: "dict[int, str]") -> "Iterator[Weight]":
    """Yield the parameters that FSDP 1 keeps in one flat parameter, whole."""
    handle = getattr(layer, "_handle", None)
    flat = getattr(handle, "flat_param", None)
    if type(handle).__name__ != "FlatParamHandle" or flat is None:
        return
    infos = list(getattr(flat, "_param_infos", ()))
    shapes = list(getattr(flat, "_shapes", ()))
    originals = getattr(flat, "_params", None) or [flat] * len(infos)
    local = local_elements(flat)
    dtype = str(flat.dtype).rsplit(".", maxsplit=1)[-1]
    for info, shape, original in zip(infos, shapes, originals):
        whole = tuple(int(n) for n in shape)
        yield Weight(
            info.module,
            paths.get(id(info.module), _path(info.module_name)),
            info.param_name,
            whole,
            product(whole),
            local,
            dtype,
            "",
            bool(original.requires_grad),
        )
        local = 0  # the shard is counted once


def _path(name: str) -> str:
    return _WRAPPED.sub("", name).rstrip(".")


def _key(weight: Weight) -> "tuple[Any, ...]":
    owner = weight.owner
    convolution: tuple[Any, ...] = ()
    if len(weight.shape) > _MATRIX_DIMENSIONS and hasattr(owner, "stride"):
        convolution = tuple(
            tuple(value) if isinstance(value, (list, tuple)) else value
            for value in (owner.stride, owner.padding, owner.groups)
        )
    return (
        _NUMBER.sub("*", weight.path),
        type(owner).__name__,
        weight.name,
        weight.shape,
        weight.trainable,
        weight.packed,
        weight.shared,
        convolution,
    )


def _layer(key: "tuple[Any, ...]", count: int) -> "dict[str, Any]":
    path, kind, name, shape, trainable, packed, shared, convolution = key
    layer: dict[str, Any] = {
        "name": short(path),
        "class": short(kind),
        "weight": list(shape),
        "count": count,
        "trainable": trainable,
    }
    if name != "weight":
        layer["parameter"] = short(name)
    if packed:
        layer["packed"] = packed
    if shared:
        layer["shared"] = True
    if convolution:
        for option, value in zip(("stride", "padding", "groups"), convolution):
            layer[option] = list(value) if isinstance(value, tuple) else value
    return layer
