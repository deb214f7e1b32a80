"""Model families as networks of products, from a handful of figures each.

Written from the papers and configurations, by hand; nothing here reads a model.
"""

from dataclasses import dataclass, replace
from typing import Any

from truth.networks import Core, Linear, Network, Stage


@dataclass(frozen=True)
class Sizes:
    """The figures of a configuration that decide its FLOPs."""

    hidden: int = 32
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 8
    ffn: int = 48
    vocabulary: int = 256
    fused: bool = True  # whether attention is one kernel
    experts: int = 0
    chosen: int = 0  # experts per token
    expert_ffn: int = 0

    def changed(self, **figures: Any) -> "Sizes":
        """Return other sizes."""
        return replace(self, **figures)


@dataclass(frozen=True)
class Call:
    """One call: sequences, new positions, positions in the cache, logits wanted."""

    batch: int
    length: int
    cached: int = 0
    logits: int | None = None  # per sequence; None: all
    fused_loss: bool = False

    @property
    def tokens(self) -> int:
        """Return new positions of all sequences."""
        return self.batch * self.length

    @property
    def predicted(self) -> int:
        """Return the rows of the head."""
        return self.tokens if self.logits is None else self.batch * self.logits


def attention(sizes: Sizes, call: Call, *, begins: bool = False) -> list[Stage]:
    """Return projections, core and output of grouped-query self-attention.

    `begins` says that it reads embeddings although other stages come before it.
    """
    rows, width = call.tokens, sizes.heads * sizes.head_dim
    key = sizes.kv_heads * sizes.head_dim
    outputs = {"q_proj": width, "k_proj": key, "v_proj": key}
    return [
        tuple(
            Linear(name, rows, sizes.hidden, wide, from_embeddings=begins)
            for name, wide in outputs.items()
        ),
        *attended(sizes, call),
    ]


def packed_attention(sizes: Sizes, call: Call) -> list[Stage]:
    """Return self-attention whose queries, keys and values are one product."""
    width = 3 * sizes.heads * sizes.head_dim
    return [
        (Linear("qkv_proj", call.tokens, sizes.hidden, width),),
        *attended(sizes, call),
    ]


def attended(sizes: Sizes, call: Call) -> list[Stage]:
    """Return core and output of self-attention."""
    width = sizes.heads * sizes.head_dim
    return [
        (core(sizes, call.batch, call.length, call.cached + call.length),),
        (Linear("o_proj", call.tokens, width, sizes.hidden),),
    ]


def core(sizes: Sizes, batch: int, queries: int, keys: int) -> Core:
    """Return attention with equal widths of keys and values."""
    width = sizes.head_dim
    return Core(batch, sizes.heads, queries, keys, width, width, fused=sizes.fused)


def cross_attention(sizes: Sizes, call: Call, source: int) -> list[Stage]:
    """Return attention of a decoder to `source` encoder positions per sequence."""
    rows, width = call.tokens, sizes.heads * sizes.head_dim
    seen = call.batch * source
    return [
        (
            Linear("q_proj", rows, sizes.hidden, width),
            Linear("k_proj", seen, sizes.hidden, width),
            Linear("v_proj", seen, sizes.hidden, width),
        ),
        (core(sizes, call.batch, call.length, source),),
        (Linear("o_proj", rows, width, sizes.hidden),),
    ]


def gated(sizes: Sizes, rows: int, ffn: int) -> list[Stage]:
    """Return the three products of a gated feed-forward layer."""
    return [
        (
            Linear("gate_proj", rows, sizes.hidden, ffn),
            Linear("up_proj", rows, sizes.hidden, ffn),
        ),
        (Linear("down_proj", rows, ffn, sizes.hidden),),
    ]


def plain(sizes: Sizes, rows: int) -> list[Stage]:
    """Return the two products of a plain feed-forward layer."""
    return [
        (Linear("fc1", rows, sizes.hidden, sizes.ffn),),
        (Linear("fc2", rows, sizes.ffn, sizes.hidden),),
    ]


def head(sizes: Sizes, call: Call) -> Stage:
    """Return the product with the vocabulary, or with a scalar head."""
    rows, width = call.predicted, sizes.vocabulary
    return (Linear("lm_head", rows, sizes.hidden, width, twice=call.fused_loss),)


def gated_decoder(sizes: Sizes, call: Call, *, stops_early: bool = True) -> Network:
    """Llama, Qwen2, Qwen3, Mistral, Gemma: they differ in norms and positions only."""
    block = [*attention(sizes, call), *gated(sizes, call.tokens, sizes.ffn)]
    return Network(
        [block] * sizes.layers,
        after=[head(sizes, call)],
        stops_early=stops_early,
    )


def gemma(sizes: Sizes, call: Call) -> Network:
    """Gemma 2 and 3: a norm follows the feed-forward layer and needs its output."""
    return gated_decoder(sizes, call, stops_early=False)


def packed_decoder(sizes: Sizes, call: Call) -> Network:
    """GPT-2: one product makes queries, keys and values."""
    block = [*packed_attention(sizes, call), *plain(sizes, call.tokens)]
    return Network([block] * sizes.layers, after=[head(sizes, call)])


def parallel_decoder(sizes: Sizes, call: Call) -> Network:
    """Phi: the feed-forward layer reads what attention reads, so it stands first."""
    block = [*plain(sizes, call.tokens), *attention(sizes, call)]
    return Network([block] * sizes.layers, after=[head(sizes, call)])


def packed_parallel_decoder(sizes: Sizes, call: Call) -> Network:
    """GPT-NeoX: both."""
    block = [*plain(sizes, call.tokens), *packed_attention(sizes, call)]
    return Network([block] * sizes.layers, after=[head(sizes, call)])


def routed(sizes: Sizes, rows: int) -> list[Stage]:
    """Return the router, and the chosen experts of every token."""
    chosen = rows * sizes.chosen
    return [
        (Linear("router", rows, sizes.hidden, sizes.experts),),
        *gated(sizes, chosen, sizes.expert_ffn),
    ]


def mixture(sizes: Sizes, call: Call) -> Network:
    """Mixtral and Qwen3-MoE: every block routes each token to some experts."""
    block = [*attention(sizes, call), *routed(sizes, call.tokens)]
    return Network([block] * sizes.layers, after=[head(sizes, call)], stops_early=False)


# Of the DeepSeek-style model: ranks of queries and keys, widths without and with
# positions, width of values.
QUERY_RANK, KEY_RANK, PLAIN_WIDTH, ROTARY_WIDTH, VALUE_WIDTH = 24, 16, 8, 4, 8


def latent_attention(sizes: Sizes, call: Call) -> list[Stage]:
    """Return multi-head latent attention, its keys and values unpacked.

    No fused kernel of the CPU takes values narrower than keys.
    """
    rows, heads = call.tokens, sizes.heads
    width = PLAIN_WIDTH + ROTARY_WIDTH
    keys = call.cached + call.length
    return [
        (
            Linear("q_a_proj", rows, sizes.hidden, QUERY_RANK),
            Linear("kv_a_proj", rows, sizes.hidden, KEY_RANK + ROTARY_WIDTH),
        ),
        (
            Linear("q_b_proj", rows, QUERY_RANK, heads * width),
            Linear("kv_b_proj", rows, KEY_RANK, heads * (PLAIN_WIDTH + VALUE_WIDTH)),
        ),
        (Core(call.batch, heads, call.length, keys, width, VALUE_WIDTH, fused=False),),
        (Linear("o_proj", rows, heads * VALUE_WIDTH, sizes.hidden),),
    ]


def latent_mixture(sizes: Sizes, call: Call) -> Network:
    """DeepSeek: the first block is dense, the others have a shared expert too."""
    dense = [*latent_attention(sizes, call), *gated(sizes, call.tokens, sizes.ffn)]
    sparse = [
        *latent_attention(sizes, call),
        *routed(sizes, call.tokens),
        *gated(sizes, call.tokens, sizes.expert_ffn),
    ]
    return Network(
        [dense, *[sparse] * (sizes.layers - 1)],
        after=[head(sizes, call)],
        stops_early=False,
    )


def masked_encoder(sizes: Sizes, call: Call) -> Network:
    """BERT for masked words: a square transform stands before the vocabulary."""
    block = [*attention(sizes, call), *plain(sizes, call.tokens)]
    transform = (Linear("transform", call.tokens, sizes.hidden, sizes.hidden),)
    after = [transform, head(sizes, call)]
    return Network([block] * sizes.layers, after=after, stops_early=False)


# Of the vision transformer: side of the image and of a patch, colours, classes.
IMAGE, PATCH, COLOURS, CLASSES = 16, 4, 3, 10


def vision_encoder(sizes: Sizes, call: Call) -> Network:
    """ViT: patches by a convolution, one more position for the class."""
    patches = (IMAGE // PATCH) ** 2
    seen = Call(call.batch, patches + 1)
    weights = COLOURS * PATCH**2
    rows = call.batch * patches
    cut = (Linear("patch", rows, weights, sizes.hidden, from_data=True),)
    block = [*attention(sizes, seen), *plain(sizes, seen.tokens)]
    classes = (Linear("classifier", call.batch, sizes.hidden, CLASSES),)
    return Network([block] * sizes.layers, before=[cut], after=[classes])


def text_to_text(sizes: Sizes, call: Call, source: int) -> Network:
    """T5 v1.1: gated encoder and decoder; positions are a bias on the scores.

    A bias that is trained keeps self-attention from the fused kernel (`sizes.fused`).
    """
    seen = Call(call.batch, source)
    crossed = sizes.changed(fused=True)
    encoder = [*attention(sizes, seen), *gated(sizes, seen.tokens, sizes.ffn)]
    decoders = [
        [
            *attention(sizes, call, begins=layer == 0),
            *cross_attention(crossed, call, source),
            *gated(sizes, call.tokens, sizes.ffn),
        ]
        for layer in range(sizes.layers)
    ]
    return Network([encoder] * sizes.layers + decoders, after=[head(sizes, call)])


# Of the speech model: mel bands, frames of a clip, width of both convolutions.
MELS, FRAMES, KERNEL = 8, 32, 3


def speech_to_text(sizes: Sizes, call: Call) -> Network:
    """Whisper: two convolutions, the second halves the frames; then T5's shape."""
    half = FRAMES // 2
    seen = Call(call.batch, half)
    first = Linear(
        "conv1", call.batch * FRAMES, MELS * KERNEL, sizes.hidden, from_data=True
    )
    second = Linear("conv2", seen.tokens, sizes.hidden * KERNEL, sizes.hidden)
    encoder = [*attention(sizes, seen), *plain(sizes, seen.tokens)]
    decoders = [
        [
            *attention(sizes, call, begins=layer == 0),
            *cross_attention(sizes, call, half),
            *plain(sizes, call.tokens),
        ]
        for layer in range(sizes.layers)
    ]
    return Network(
        [encoder] * sizes.layers + decoders,
        before=[(first,), (second,)],
        after=[head(sizes, call)],
    )
