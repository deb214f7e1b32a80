"""Read off the facts of a process how its models are trained."""

from collections.abc import Iterable, Mapping
from fractions import Fraction

from flopguard_operator.estimate.model import (
    NON_REENTRANT,
    NONE,
    REENTRANT,
    Architecture,
    Method,
)
from flopguard_operator.estimate.products import Product, heads, kinds
from flopguard_operator.facts import Adapter, Facts, Layer, Model

_PROMPTS = ("PROMPT_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING")
ADAPTED = ("LORA", *_PROMPTS, "")
"""The adapters whose products are known; "" is training without one."""

# FLOPs per trained element and step (sidecar/flopguard_hook/optimizers.py): with the
# weight decay that torch and Transformers set by default.
_PER_ELEMENT: Mapping[str, int] = {
    "Adam": 13,
    "AdamW": 14,
    "NAdam": 16,
    "RAdam": 14,
    "Adamax": 10,
    "Adagrad": 7,
    "Adadelta": 16,
    "RMSprop": 9,
    "SGD": 2,
}
_OTHERWISE = 14
_UNEVEN = -1


def of_model(model: Model, facts: Facts, found: Architecture) -> Method | str:
    """Return how a model of a process is trained, or why that is not known."""
    adapter = None if model.adapter is None or model.adapter.off else model.adapter
    if adapter is not None and adapter.kind not in ADAPTED:
        return f"what adapters of type {adapter.kind} cost is not known here"
    kept = _checkpointing(model.checkpointing)
    packed = any(layer.packed for layer in model.layers)
    dense = [layer for layer in model.layers if "lora_" not in layer.name]
    trained = [layer for layer in dense if layer.trainable]
    inside = any("*" in layer.name for layer in trained)
    frozen = adapter is not None and not inside
    if model.layers and adapter is None and not trained:
        frozen = True  # biases and norms alone
    adapters = _adapters(adapter, model.layers) if adapter else ()
    blocks = None if frozen else _trained_blocks(dense, found)
    if blocks == _UNEVEN:
        return "only parts of the blocks are trained"
    if not {name for name, _ in adapters} <= _adaptable(found):
        return "adapters sit on layers that the formula does not know"
    return Method(
        frozen=frozen,
        adapters=adapters,
        dora=adapter is not None and adapter.dora,
        trained_blocks=blocks,
        trained_embeddings=_embeddings(trained) if model.layers else None,
        input_gradient=_input_gradient(model, adapter, kept, packed=packed),
        checkpointing=kept,
        fused_attention=_fused(model),
        fused_likely=bool(facts.gpus),
        elements=model.held,
        per_element=per_element(facts.optimizers),
    )


def _adaptable(found: Architecture) -> set[str]:
    """Return the names of the layers that an adapter may sit on."""
    stacks = [stack for stack in (found.stack, found.encoder) if stack is not None]
    every = [block for stack in stacks for _, block in kinds(stack, found.hidden)]
    products = [each for block in (*every, heads(found)) for each in block]
    return {p.name for p in products if isinstance(p, Product) and p.adaptable}


def virtual_tokens(model: Model) -> int:
    """Return the positions that a prompt method puts before each input."""
    adapter = model.adapter
    prompts = adapter is not None and not adapter.off and adapter.kind in _PROMPTS
    return adapter.virtual_tokens if adapter is not None and prompts else 0


def _checkpointing(said: str) -> str:
    return said if said in (REENTRANT, NON_REENTRANT) else NONE


def _adapters(adapter: Adapter, layers: Iterable[Layer]) -> tuple[tuple[str, int], ...]:
    """Return (layer, rank), from the adapters' own weights where they are listed."""
    found: dict[str, int] = {}
    for layer in layers:
        path, mark, _ = layer.name.partition(".lora_A")
        if mark and len(layer.shape) == 2:  # noqa: PLR2004 - a matrix
            found[path.rsplit(".", 1)[-1]] = min(layer.shape)
    if not found and adapter.kind == "LORA":
        found = {t.rsplit(".", 1)[-1]: adapter.rank for t in adapter.targets}
    return tuple(sorted(found.items()))


def _trained_blocks(layers: Iterable[Layer], found: Architecture) -> int | None:
    """Return how many blocks are trained where not all are: the last ones, usually.

    `_UNEVEN` says that it is not whole blocks.
    """
    counts: dict[str, list[int]] = {}
    for layer in layers:
        if "*" in layer.name:
            pair = counts.setdefault(f"{layer.name} {layer.kind} {layer.shape}", [0, 0])
            pair[int(layer.trainable)] += layer.count
    parts = {
        side: {
            Fraction(trained, other + trained)
            for name, (other, trained) in counts.items()
            if ("encoder." in name and found.encoder is not None) == side
        }
        for side in (True, False)
    }
    own, encoder = parts[False] or {Fraction(1)}, parts[True] or {Fraction(1)}
    if own == encoder == {Fraction(1)}:
        return None
    last = max(own) * found.stack.blocks
    alone = encoder == {Fraction(0)} or found.encoder is None
    return int(last) if len(own) == 1 and alone and last == int(last) else _UNEVEN


def _embeddings(trained: Iterable[Layer]) -> bool:
    """Say whether anything in front of the blocks is trained."""
    return any(
        "*" not in layer.name and ("mbed" in layer.name or "conv" in layer.name.lower())
        for layer in trained
    ) or any(
        "Embedding" in layer.kind or layer.name.endswith((".wte", ".wpe", "shared"))
        for layer in trained
    )


def _input_gradient(
    model: Model, adapter: Adapter | None, kept: str, *, packed: bool
) -> bool | None:
    """Say whether the first block's input needs a gradient though nothing is before it.

    PEFT asks for one with checkpointing; preparing a quantised model does as well.
    """
    if adapter is None:
        is_bare = model.layers and not any(layer.trainable for layer in model.layers)
        return bool(is_bare and model.trainable)
    if adapter.kind in _PROMPTS:
        return True
    if kept != NONE:
        return True
    return None if packed else False


def _fused(model: Model) -> bool | None:
    """Say whether attention is one kernel; on a CPU dropout forbids it."""
    kind = model.config.get("attn_implementation")
    if kind == "eager":
        return False
    family = model.config.get("model_type")
    return None if family in _DROPPING else True


# Attention dropout is on in these unless a configuration says otherwise.
_DROPPING = frozenset(
    {"gpt2", "bert", "roberta", "camembert", "xlm-roberta", "electra"}
    | {"t5", "mt5", "umt5"}
)


def per_element(optimizers: Iterable[str]) -> int:
    """Return the FLOPs of a step for each trained element, as the hook charges it."""
    for name in optimizers:
        for known, cost in _PER_ELEMENT.items():
            if name.removeprefix("Paged").startswith(known) and (
                known != "Adam" or not name.removeprefix("Paged").startswith("AdamW")
            ):
                return cost
    return _OTHERWISE
