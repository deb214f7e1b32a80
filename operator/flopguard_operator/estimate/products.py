"""Spell a transformer out as its matrix products, and which value feeds which.

Two FLOPs per multiplication and addition. A value is named within a block; "x" is the
residual stream, which goes on from block to block, "memory" what the encoder made.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from flopguard_operator.estimate.model import (
    TOKENS,
    Architecture,
    Attention,
    Experts,
    Names,
    Stack,
)

X, MEMORY = "x", "memory"


@dataclass(frozen=True)
class Product:
    """A linear layer: `rows` x `inputs` times `inputs` x `outputs`."""

    name: str
    inputs: int
    outputs: int
    reads: tuple[str, ...]
    writes: str
    rows: str = TOKENS  # or SEQUENCES, or MEMORY: as many as the encoder's positions
    times: int = 1  # each row so often: the experts that are chosen
    adaptable: bool = True


@dataclass(frozen=True)
class Core:
    """Attention proper: scores, and their product with the values."""

    heads: int
    width: int
    value_width: int
    reads: tuple[str, str, str]  # queries, keys, values
    writes: str
    keys: str = TOKENS  # or MEMORY
    window: int = 0


Operation = Product | Core
Block = tuple[Operation, ...]


def block_of(stack: Stack, hidden: int, *, sparse: bool) -> Block:
    """Return the operations of a block in their order; `sparse`: one with experts."""
    experts = stack.experts if sparse else None
    last = (
        _dense(stack, hidden) if experts is None else _experts(experts, stack, hidden)
    )
    whole = [*_attention(stack.attention, stack.names, hidden)]
    if stack.cross:
        whole += _cross(stack.attention, stack.cross_names, hidden)
    return _side_by_side((*whole, *last), parallel=stack.parallel)


def kinds(stack: Stack, hidden: int) -> Iterator[tuple[int, Block]]:
    """Yield how many blocks of a kind there are, and one of them."""
    dense = stack.dense_blocks
    if dense:
        yield dense, block_of(stack, hidden, sparse=False)
    if stack.blocks > dense:
        yield stack.blocks - dense, block_of(stack, hidden, sparse=True)


def _side_by_side(block: Block, *, parallel: bool) -> Block:
    """Let the feed-forward layer read what the attention read, where it is so."""
    if not parallel:
        return block
    aside = "attended"
    moved = [
        replace(each, writes=aside) if each.writes == X else each for each in block[:-1]
    ]
    last = block[-1]
    if isinstance(last, Product):
        last = replace(last, reads=(*last.reads, aside))
    return (*moved, last)


def heads(architecture: Architecture) -> Block:
    """Return the linear layers after the last block."""
    return tuple(
        Product(head.name, head.inputs, head.outputs, (X,), X, rows=head.rows)
        for head in architecture.heads
    )


def _attention(own: Attention, names: Names, hidden: int) -> Iterator[Operation]:
    if own.latent is not None:
        yield from _latent_attention(own, names, hidden)
        return
    queries = own.heads * own.width
    keys, values = own.kv_heads * own.width, own.kv_heads * own.value_width
    if own.fused:
        yield Product(names.query, hidden, queries + keys + values, (X,), "qkv")
        reads = ("qkv", "qkv", "qkv")
    else:
        yield Product(names.query, hidden, queries, (X,), "q")
        yield Product(names.key, hidden, keys, (X,), "k")
        yield Product(names.value, hidden, values, (X,), "v")
        reads = ("q", "k", "v")
    yield _core(own, reads)
    yield Product(names.output, own.heads * own.value_width, hidden, ("core",), X)


def _latent_attention(own: Attention, names: Names, hidden: int) -> Iterator[Operation]:
    latent = own.latent
    if latent is None:
        return
    queries = own.heads * own.width
    if latent.query_rank:
        yield Product("q_a_proj", hidden, latent.query_rank, (X,), "qa")
        yield Product("q_b_proj", latent.query_rank, queries, ("qa",), "q")
    else:
        yield Product(names.query, hidden, queries, (X,), "q")
    narrow = latent.rank + latent.rotary
    yield Product("kv_a_proj_with_mqa", hidden, narrow, (X,), "kva")
    wide = own.heads * (latent.plain + own.value_width)
    yield Product("kv_b_proj", latent.rank, wide, ("kva",), "kv")
    yield _core(own, ("q", "kv", "kv"))
    yield Product(names.output, own.heads * own.value_width, hidden, ("core",), X)


def _core(own: Attention, reads: tuple[str, str, str]) -> Core:
    return Core(own.heads, own.width, own.value_width, reads, "core", window=own.window)


def _cross(own: Attention, names: Names, hidden: int) -> Iterator[Operation]:
    width = own.heads * own.width
    yield Product(names.query, hidden, width, (X,), "cq")
    yield Product(names.key, hidden, width, (MEMORY,), "ck", rows=MEMORY)
    yield Product(names.value, hidden, width, (MEMORY,), "cv", rows=MEMORY)
    reads = ("cq", "ck", "cv")
    yield Core(own.heads, own.width, own.value_width, reads, "cross", keys=MEMORY)
    yield Product(names.output, width, hidden, ("cross",), X)


def _dense(stack: Stack, hidden: int) -> Iterator[Operation]:
    names, wide = stack.names, stack.feed_forward
    if stack.gated and stack.fused_gate:
        yield Product(names.up, hidden, 2 * wide, (X,), "up")
    elif stack.gated:
        yield Product(names.gate, hidden, wide, (X,), "up")
        yield Product(names.up, hidden, wide, (X,), "up")
    else:
        yield Product(names.up, hidden, wide, (X,), "up")
    yield Product(names.down, wide, hidden, ("up",), X)


def _experts(own: Experts, stack: Stack, hidden: int) -> Iterator[Operation]:
    names, width = stack.names, own.width
    chosen = Product(
        *("experts", hidden, 2 * width, (X,), "wide"),
        times=own.chosen,
        adaptable=False,
    )
    yield Product("router", hidden, own.count, (X,), "routes", adaptable=False)
    yield chosen
    narrow = replace(chosen, inputs=width, outputs=hidden, reads=("wide", "routes"))
    yield replace(narrow, writes="sum" if own.shared else X)
    if own.shared_gate:
        yield Product("shared_expert_gate", hidden, 1, (X,), "sum")
    if own.shared:
        yield Product(names.gate, hidden, own.shared, (X,), "up")
        yield Product(names.up, hidden, own.shared, (X,), "up")
        yield Product(names.down, own.shared, hidden, ("up", "sum"), X)
