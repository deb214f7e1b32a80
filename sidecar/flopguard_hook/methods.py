"""How a model is trained: adapters, checkpointing, compilation, precision. Core.

Recognised by the names and attributes that the libraries give their classes; none of
them is imported, and a name that is not known is left out rather than guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Iterator, Mapping

from flopguard_hook.facts import short

_MOST_TARGETS = 48
_MOST_ADAPTERS = 8
_MOST_RANKS = 16
_MOST_WRAPPERS = 8
_MOST_CALLBACKS = 12
_LORA_NAME = re.compile(r"lora_?(a|down)(\W|_|$)", re.IGNORECASE)

# Which attribute of a module that only wraps another holds it.
_WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
    "DeepSpeedEngine": "module",
    "PipelineEngine": "module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
}


def unwrapped(module: Any) -> "tuple[Any, list[str]]":
    """Return what stands behind modules that only wrap, and their class names."""
    names: list[str] = []
    while len(names) < _MOST_WRAPPERS:
        kind = type(module).__name__
        inner = _submodule(module, _WRAPPERS.get(kind, ""))
        if inner is None:
            break
        names.append(kind)
        module = inner
    return module, names


def _submodule(module: Any, name: str) -> Any:
    modules = getattr(module, "_modules", None)
    if isinstance(modules, dict) and name in modules:
        return modules[name]
    return vars(module).get(name) if name and hasattr(module, "__dict__") else None


def adapter_of(module: Any) -> "dict[str, Any]":
    """Describe the adapters of a model; empty without any."""
    configs = getattr(module, "peft_config", None)
    layers = list(_tuner_layers(module))
    if not isinstance(configs, Mapping) or not configs:
        return _by_name(module)
    ranks: Counter[int] = Counter()
    for _, layer in layers:
        per_adapter = getattr(layer, "r", None)
        if isinstance(per_adapter, Mapping):
            ranks.update(int(r) for r in per_adapter.values() if isinstance(r, int))
    adapter = _of_config(next(iter(configs.values())))
    if ranks:
        adapter["rank"] = max(ranks)
    if len(ranks) > 1:
        common = ranks.most_common(_MOST_RANKS)
        adapter["ranks"] = {str(rank): count for rank, count in common}
    targets = Counter(name.rsplit(".", maxsplit=1)[-1] for name, _ in layers)
    if targets:
        adapter["targets"] = sorted(map(short, targets))[:_MOST_TARGETS]
    adapter["names"] = sorted(map(short, configs))[:_MOST_ADAPTERS]
    return {**adapter, **_state_of(module, [layer for _, layer in layers])}


def _of_config(config: Any) -> "dict[str, Any]":
    kind = getattr(config, "peft_type", "")
    adapter: dict[str, Any] = {"type": short(getattr(kind, "value", kind))}
    for key, name, kinds in (
        ("rank", "r", int),
        ("alpha", "lora_alpha", (int, float)),
        ("dora", "use_dora", bool),
        ("rslora", "use_rslora", bool),
        ("virtual_tokens", "num_virtual_tokens", int),
        ("layers_to_transform", "layers_to_transform", list),
        ("modules_to_save", "modules_to_save", (list, tuple, set)),
    ):
        value = getattr(config, name, None)
        if isinstance(value, (list, tuple, set)) and isinstance(value, kinds):
            adapter[key] = [short(item) for item in sorted(value, key=str)][:8]
        elif isinstance(value, kinds):
            adapter[key] = value
    return adapter


def _state_of(module: Any, layers: "list[Any]") -> "dict[str, Any]":
    """Return which adapters act, if they do, and whether they are merged."""
    active: Any = getattr(module, "active_adapter", None)
    if layers:
        active = getattr(layers[0], "_active_adapter", active)
    names = [active] if isinstance(active, str) else active
    names = names if isinstance(names, (list, tuple)) else []
    return {
        "active": [short(name) for name in names][:_MOST_ADAPTERS],
        "disabled": bool(layers) and bool(getattr(layers[0], "_disable_adapters", 0)),
        "merged": any(bool(getattr(layer, "merged_adapters", ())) for layer in layers),
    }


def _tuner_layers(module: Any) -> "Iterator[tuple[str, Any]]":
    for name, layer in module.named_modules():
        if "_disable_adapters" in getattr(layer, "__dict__", {}) or any(
            base.__name__ == "BaseTunerLayer" for base in type(layer).__mro__
        ):
            yield name, layer


def _by_name(module: Any) -> "dict[str, Any]":
    """Describe low-rank adapters of another library by the names of their parts."""
    ranks: Counter[int] = Counter()
    targets: set[str] = set()
    for name, parameter in module.named_parameters():
        match = _LORA_NAME.search(name)
        if match and len(parameter.shape) > 1:
            ranks[min(int(n) for n in parameter.shape)] += 1
            parts = name[: match.start()].rstrip(".").split(".")
            targets.add(short(parts[-1]))
    if not ranks:
        return {}
    found = sorted(targets - {""})[:_MOST_TARGETS]
    return {"type": "LORA", "rank": max(ranks), "targets": found}


def checkpointing_of(module: Any) -> str:
    """Say how activations are recomputed: `none`, `reentrant` or `non_reentrant`."""
    for _, layer in module.named_modules():
        if getattr(layer, "gradient_checkpointing", False) is True:
            again = getattr(layer, "_gradient_checkpointing_func", None)
            keywords = getattr(again, "keywords", None)
            if isinstance(keywords, dict) and "use_reentrant" in keywords:
                return "reentrant" if keywords["use_reentrant"] else "non_reentrant"
            return _by_signature(again)
        if type(layer).__name__ == "CheckpointWrapper":
            how = str(getattr(layer, "checkpoint_impl", ""))
            return "reentrant" if how.endswith(".REENTRANT") else "non_reentrant"
    return "none"


def _by_signature(function: Any) -> str:
    """Guess by whom the function is: torch's own default is the reentrant kind."""
    origin = getattr(function, "func", function)
    module = str(getattr(origin, "__module__", ""))
    return "reentrant" if "torch.utils.checkpoint" in module else "non_reentrant"


def compile_of(module: Any) -> "dict[str, Any]":
    """Return `compile` and `regional`: how torch.compile was asked to compile it."""
    found: list[tuple[bool, str]] = []
    for name, layer in module.named_modules():
        if type(layer).__name__ == "OptimizedModule":
            found.append((name == "", _mode(getattr(layer, "dynamo_ctx", None))))
        elif getattr(layer, "_compiled_call_impl", None) is not None:
            found.append((name == "", _mode_within(layer._compiled_call_impl)))
    if not found:
        return {"compile": ""}
    whole = any(is_root for is_root, _ in found)
    return {"compile": found[0][1], **({} if whole else {"regional": True})}


def _mode_within(function: Any) -> str:
    """Find the context of a function compiled in place among what it closes over."""
    for cell in getattr(function, "__closure__", None) or ():
        content = getattr(cell, "cell_contents", None)
        if hasattr(content, "callback"):
            return _mode(content)
    return "default"


def _mode(context: Any) -> str:
    backend = getattr(context, "callback", None)
    for _ in range(_MOST_CALLBACKS):
        inner = getattr(backend, "_torchdynamo_orig_backend", None) or getattr(
            backend, "_torchdynamo_orig_callable", None
        )
        if inner is None:
            break
        backend = inner
    config = getattr(backend, "config", None)
    if type(backend).__name__ != "_TorchCompileInductorWrapper":
        name = getattr(backend, "compiler_name", None) or getattr(
            backend, "__name__", type(backend).__name__
        )
        return short(f"backend:{name}")
    config = config if isinstance(config, dict) else {}
    graphs = bool(config.get("triton.cudagraphs"))
    if config.get("max_autotune"):
        return "max-autotune" if graphs else "max-autotune-no-cudagraphs"
    return "reduce-overhead" if graphs else "default"


_SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float64": "fp64"}
_NO_AUTOCAST = frozenset({"", "no", "fp32", "float32"})


def precision_of(
    dtypes: Mapping[str, int], autocast: str, *, fp8: bool = False, tf32: bool = False
) -> str:
    """Return what products are computed in, such as `bf16` or `bf16-mixed`.

    Args:
        dtypes: Elements of the model by dtype.
        autocast: The dtype that autocast turns products into; empty for none.
        fp8: Whether layers of the model multiply in 8-bit floating point.
        tf32: Whether the device multiplies float32 as TF32.
    """
    plain = {_SHORT[name]: n for name, n in dtypes.items() if name in _SHORT}
    base = max(plain, key=lambda name: plain[name]) if plain else ""
    cast = _SHORT.get(autocast, autocast)
    if fp8:
        return "fp8"
    if cast not in _NO_AUTOCAST and cast != base:
        return short(f"{cast}-mixed")
    return "tf32" if tf32 and base == "fp32" else base


def is_fp8(module: Any) -> bool:
    """Say whether a module has layers that multiply in 8-bit floating point."""
    return any(
        kind in {"Float8Linear", "FP8Linear"}
        or type(layer).__module__.startswith("transformer_engine.")
        for _, layer in module.named_modules()
        for kind in (type(layer).__name__,)
    )
