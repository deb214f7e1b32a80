"""The closed formula of a cell: its networks and method, over the calls that were made.

What is read off the run is how many calls there were and how large their batches:
sequence lengths come from tokenizers, collators and sampling. All else is arithmetic on
the configuration.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from counting.cells import Cell
from counting.families import FAMILIES, SMOLLM2_SIZES
from counting.methods import RECIPES
from truth import architectures as shapes
from truth.architectures import Call, Sizes
from truth.networks import (
    FORWARD_ONLY,
    Method,
    Network,
    backward,
    forward,
    preparation,
    step,
)

Flops = Mapping[str, int]
Calls = Sequence[Mapping[str, Any]]


def network(
    family: str, sizes: Sizes, call: Mapping[str, Any], virtual: int
) -> Network:
    """Return the network of one call, by the shapes of its tensors."""
    tensors = call["shapes"]
    if family == "vit":
        return shapes.vision_encoder(sizes, Call(tensors["pixel_values"][0], 0))
    if family == "whisper":
        return shapes.speech_to_text(sizes, Call(*tensors["labels"]))
    batch, length = tensors.get("input_ids") or tensors["0"]
    if family == "t5":
        return shapes.text_to_text(sizes, Call(*tensors["labels"]), length)
    wanted = call["integers"].get("logits_to_keep") or None
    seen = Call(batch, length + virtual, call["cached"], wanted)
    return FAMILIES[family].network(sizes, seen)


def _sum(
    calls: Calls,
    method: Method,
    of: Callable[[Mapping[str, Any]], Network],
    ungraded: Method | None = None,
) -> Counter[str]:
    """Add calls up: training where gradients were recorded, else a forward alone."""
    total: Counter[str] = Counter()
    for call in calls:
        if call["grad"]:
            total.update(step(of(call), method))
        else:
            total["no_grad"] += forward(of(call), ungraded or method)
    return total


def fit(cell: Cell, calls: Calls) -> Flops:
    """Return what ordinary calls cost: training, evaluation, generation."""
    recipe = RECIPES[cell.options.get("method", "full")]
    family = cell.options.get("family", "llama")
    sizes = FAMILIES[family].sizes
    if family == "t5":
        sizes = sizes.changed(fused=not recipe.closed.trains(0, "bias"))

    def of(call: Mapping[str, Any]) -> Network:
        return network(family, sizes, call, recipe.virtual)

    total = _sum(calls, recipe.closed, of)
    total["forward"] += preparation(of(calls[0]), recipe.closed)
    return total


def smollm2(cell: Cell, calls: Calls) -> Flops:
    """Return what the real model costs."""
    closed = RECIPES[cell.options["method"]].closed
    return _sum(calls, closed, lambda call: network("llama", SMOLLM2_SIZES, call, 0))


def toggled(_cell: Cell, calls: Calls) -> Flops:
    """Return what adapters cost that are switched off where gradients are."""
    sizes = FAMILIES["llama"].sizes
    return _sum(
        calls,
        RECIPES["lora"].closed,
        lambda call: network("llama", sizes, call, 0),
        FORWARD_ONLY,
    )


def alternating(_cell: Cell, calls: Calls) -> Flops:
    """Return what it costs to train another block every fourth step."""
    sizes = FAMILIES["llama"].sizes
    total: Counter[str] = Counter()
    for number, call in enumerate(calls):
        trained = number // 4 % 2
        method = Method(trains=_one_block(trained))
        total.update(step(network("llama", sizes, call, 0), method))
    return total


def _one_block(chosen: int) -> Callable[[int | None, str], bool]:
    """Return what is trained: one block, and all that is outside of blocks."""
    return lambda block, _name: block in {None, chosen}


def aligned(cell: Cell, calls: Calls) -> Flops:
    """Return what TRL's trainers cost; they checkpoint, and fuse head and loss.

    The fused head scores every position but the last, and makes its logits again in
    the backward. Without gradients adapters are switched off.
    """
    family = cell.options.get("family", "llama")
    sizes = FAMILIES[family].sizes
    method = Method(checkpointing="non_reentrant")
    if cell.options.get("adapted"):
        method = replace(RECIPES["lora-checkpointed"].closed)
    if cell.program.endswith(":reward"):
        sizes = sizes.changed(vocabulary=1)

    def of(call: Mapping[str, Any]) -> Network:
        if "labels" not in call["shapes"]:
            return network(family, sizes, call, 0)
        batch, length = call["shapes"]["input_ids"]
        scored = Call(batch, length, logits=length - 1, fused_loss=True)
        return FAMILIES[family].network(sizes, scored)

    return _sum(calls, method, of, FORWARD_ONLY)


def tensor(_cell: Cell, calls: Calls) -> Flops:
    """Return one of two workers' part: half the heads and the feed-forward layer."""
    sizes = FAMILIES["llama"].sizes
    half = sizes.changed(
        heads=sizes.heads // 2, kv_heads=sizes.kv_heads // 2, ffn=sizes.ffn // 2
    )
    return _sum(calls, Method(), lambda call: network("llama", half, call, 0))


def pipeline(_cell: Cell, calls: Calls) -> Flops:
    """Return one stage's part: a block, and the head where activations come in.

    The first call only learns shapes, and the gradients of what comes in.
    """
    sizes = FAMILIES["llama"].sizes.changed(layers=1)

    def of(call: Mapping[str, Any]) -> Network:
        batch, length, *width = call["shapes"]["0"]
        whole = shapes.gated_decoder(sizes, Call(batch, length))
        return whole if width else replace(whole, after=())

    total = _sum(calls[1:], Method(), of)
    first = of(calls[0])
    total["forward"] += forward(first)
    if first.after:
        total["backward"] += backward(first, replace(FORWARD_ONLY, input_grad=True))
    return total


FORMULAS: dict[str, Callable[[Cell, Calls], Flops]] = {
    function.__name__: function
    for function in (fit, smollm2, toggled, alternating, aligned, tensor, pipeline)
}
