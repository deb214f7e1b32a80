"""Recognise a model's architecture from its configuration, and check it by its layers.

Only what is recognised is estimated by formula. The layers that the architecture should
have must be the ones that the process has: a variant that adds or drops one is not
taken for the family that it looks like.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from flopguard_operator.estimate.model import (
    SEQUENCES,
    TOKENS,
    Architecture,
    Attention,
    Experts,
    Head,
    Latent,
    Names,
    Patches,
    Stack,
)
from flopguard_operator.estimate.products import Product, kinds
from flopguard_operator.facts import Config, Layer, Model

MOST_BLOCKS = 1_000
_GPT2 = Names("c_attn", "", "", "c_proj", "", "c_fc", "c_proj")
_NEOX = Names("query_key_value", "", "", "dense", "", "dense_h_to_4h", "dense_4h_to_h")
_PHI = Names(output="dense", up="fc1", down="fc2")
_PHI3 = Names(query="qkv_proj", up="gate_up_proj")
_PLAIN = Names(up="c_fc", down="c_proj")
_BERT = Names("query", "key", "value", "dense", "", "dense", "dense")
_VIT = Names(output="o_proj", up="fc1", down="fc2")
_T5 = Names("q", "k", "v", "o", "wi_0", "wi_1", "wo")
_T5_PLAIN = Names("q", "k", "v", "o", "", "wi", "wo")
_BART = Names(output="out_proj", gate="", up="fc1", down="fc2")
_OPT = _BART

# Something after a block's last product keeps its result for the backward pass.
_BERTS = ("bert", "roberta", "camembert", "xlm-roberta", "electra")
_T5S, _BARTS = ("t5", "mt5", "umt5"), ("bart", "mbart")
_TAILED = {"gemma2", "gemma3_text", "olmo2", "gpt2", "opt", *_BERTS, *_T5S, *_BARTS}
# Norms come after a block's halves, or have no weights.
_NOT_NORMED = {"olmo", "olmo2", *_BERTS, "bart"}
_GATED = (
    *("llama", "mistral", "ministral", "mixtral", "smollm3", "granite", "stablelm"),
    *("qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "cohere", "cohere2"),
    *("gemma", "gemma2", "gemma3_text", "olmo", "olmo2", "olmoe"),
    *("deepseek_v2", "deepseek_v3"),
)
_PARALLEL = {"phi", "gpt_neox", "cohere", "cohere2"}
_Make = Callable[[Config], Architecture | None]


def recognise(model: Model) -> Architecture | str:
    """Return the architecture of a model, or why it is not recognised."""
    kind = str(model.config.get("model_type") or "")
    make = _FAMILIES.get(kind)
    if make is None:
        return f'the architecture "{kind or model.kind}" is not known here'
    found = make(model.config)
    if found is None or not _sane(found):
        return f'the configuration of "{kind}" lacks what a formula needs'
    found = replace(
        found,
        heads=_heads(model, found),
        normed=kind not in _NOT_NORMED,
        tail=kind in _TAILED or _weighs_last(found.stack.experts),
        stack=replace(found.stack, parallel=kind in _PARALLEL),
    )
    if model.layers and not _fits(found, model.layers):
        return f'the layers are not those of "{kind}" as it is known here'
    return found


def _weighs_last(experts: Experts | None) -> bool:
    """Say whether the weighted sum of the experts is the last thing in a block."""
    return experts is not None and (not experts.shared or experts.shared_gate)


def whole(config: Config, *names: str, otherwise: int = 0) -> int:
    """Return the first of the named numbers that is there and not zero."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value:
            return value
    return otherwise


def _sane(found: Architecture) -> bool:
    stacks = [s for s in (found.stack, found.encoder) if s is not None]
    return found.hidden > 0 and all(
        0 < s.blocks <= MOST_BLOCKS
        and s.attention.heads > 0
        and s.attention.kv_heads > 0
        and s.feed_forward + (s.experts.width if s.experts else 0) > 0
        for s in stacks
    )


def _attention(config: Config, *, fused: bool = False) -> Attention:
    hidden = whole(config, "hidden_size", "d_model", "n_embd")
    heads = whole(config, "num_attention_heads", "num_heads", "n_head", otherwise=1)
    width = whole(config, "head_dim", "d_kv", otherwise=hidden // heads)
    kv_heads = whole(config, "num_key_value_heads", otherwise=heads)
    return Attention(heads, kv_heads, width, width, fused, window=_window(config))


def _window(config: Config) -> int:
    if config.get("use_sliding_window") == 0:
        return 0
    return whole(config, "sliding_window")


def _hidden(config: Config) -> int:
    return whole(config, "hidden_size", "d_model", "n_embd")


def _blocks(config: Config) -> int:
    return whole(config, "num_hidden_layers", "num_layers", "n_layer")


def _gated(config: Config) -> Architecture | None:
    """Llama and its relatives: gated feed-forward layers, perhaps experts."""
    stack = Stack(
        blocks=_blocks(config),
        attention=_latent(config) or _attention(config),
        feed_forward=whole(config, "intermediate_size"),
        gated=True,
        experts=_experts(config),
    )
    return Architecture(_hidden(config), stack)


def _latent(config: Config) -> Attention | None:
    rank = whole(config, "kv_lora_rank")
    if not rank:
        return None
    plain, rotary = whole(config, "qk_nope_head_dim"), whole(config, "qk_rope_head_dim")
    heads = whole(config, "num_attention_heads")
    latent = Latent(whole(config, "q_lora_rank"), rank, plain, rotary)
    values = whole(config, "v_head_dim")
    return Attention(heads, heads, plain + rotary, values, latent=latent)


def _experts(config: Config) -> Experts | None:
    count = whole(config, "num_experts", "num_local_experts", "n_routed_experts")
    if not count:
        return None
    width = whole(config, "moe_intermediate_size", "intermediate_size")
    own = whole(config, "shared_expert_intermediate_size")
    shared = own or whole(config, "n_shared_experts") * width
    return Experts(
        count=count,
        chosen=whole(config, "num_experts_per_tok", otherwise=1),
        width=width,
        shared=shared,
        shared_gate=bool(own),
        dense_blocks=whole(config, "first_k_dense_replace"),
    )


def _phi3(config: Config) -> Architecture | None:
    stack = Stack(
        blocks=_blocks(config),
        attention=_attention(config, fused=True),
        feed_forward=whole(config, "intermediate_size"),
        gated=True,
        fused_gate=True,
        names=_PHI3,
    )
    return Architecture(_hidden(config), stack)


def _plain(names: Names, *, fused: bool = False) -> _Make:
    """Return how to make a stack whose feed-forward layer is not gated."""

    def make(config: Config) -> Architecture | None:
        hidden = _hidden(config)
        wide = whole(config, "intermediate_size", "n_inner", "ffn_dim", "d_ff")
        stack = Stack(
            blocks=_blocks(config),
            attention=_attention(config, fused=fused),
            feed_forward=wide or 4 * hidden,
            gated=False,
            names=names,
        )
        return Architecture(hidden, stack)

    return make


def _vision(config: Config) -> Architecture | None:
    made = _plain(_VIT)(config)
    side, image = whole(config, "patch_size"), whole(config, "image_size")
    if made is None or not side or image < side:
        return None
    count = (image // side) ** 2
    window = whole(config, "num_channels", otherwise=3) * side**2
    extra = 2 if config.get("model_type") == "deit" else 1
    patches = (Patches(window, made.hidden, count),)
    return replace(made, patches=patches, seen=count + extra)


def _t5(config: Config) -> Architecture | None:
    projection = str(config.get("feed_forward_proj") or "relu")
    gated = projection.startswith("gated")
    encoder = Stack(
        blocks=whole(config, "num_layers", "num_hidden_layers"),
        attention=_attention(config),
        feed_forward=whole(config, "d_ff", "intermediate_size"),
        gated=gated,
        names=_T5 if gated else _T5_PLAIN,
        cross_names=_T5,
    )
    decoder = whole(config, "num_decoder_layers", otherwise=encoder.blocks)
    stack = replace(encoder, blocks=decoder, cross=True)
    return Architecture(_hidden(config), stack, encoder)


def _bart(config: Config) -> Architecture | None:
    encoder = _side(config, "encoder")
    decoder = replace(_side(config, "decoder"), cross=True)
    return Architecture(_hidden(config), decoder, encoder)


def _side(config: Config, side: str) -> Stack:
    hidden = _hidden(config)
    heads = whole(config, f"{side}_attention_heads", "num_attention_heads", otherwise=1)
    width = hidden // heads
    return Stack(
        blocks=whole(config, f"{side}_layers", "num_hidden_layers"),
        attention=Attention(heads, heads, width, width),
        feed_forward=whole(config, f"{side}_ffn_dim", "intermediate_size"),
        gated=False,
        names=_BART,
        cross_names=_BART,
    )


def _whisper(config: Config) -> Architecture | None:
    made = _bart(config)
    seen = whole(config, "max_source_positions")
    bins = whole(config, "num_mel_bins")
    if made is None or not (seen and bins):
        return None
    hidden = made.hidden
    patches = (Patches(3 * bins, hidden, 2 * seen), Patches(3 * hidden, hidden, seen))
    return replace(made, patches=patches, seen=seen)


_FAMILIES: Mapping[str, _Make] = {
    **dict.fromkeys(_GATED, _gated),
    "phi3": _phi3,
    "phi": _plain(_PHI),
    "starcoder2": _plain(_PLAIN),
    "gpt2": _plain(_GPT2, fused=True),
    "gpt_neox": _plain(_NEOX, fused=True),
    "opt": _plain(_OPT),
    **dict.fromkeys(_BERTS, _plain(_BERT)),
    **dict.fromkeys(("vit", "deit"), _vision),
    **dict.fromkeys(_T5S, _t5),
    **dict.fromkeys(_BARTS, _bart),
    "whisper": _whisper,
}


def _heads(model: Model, found: Architecture) -> tuple[Head, ...]:
    """Return the linear layers outside of the blocks, as the process has them.

    Without a list of layers, a language model's head is taken from its class.
    """
    if not model.layers:
        vocabulary = whole(model.config, "vocab_size")
        speaks = "LM" in model.kind or "Generation" in model.kind
        size = (found.hidden, vocabulary)
        head = Head("lm_head", *size, trained=model.adapter is None)
        return (head,) if speaks and vocabulary else ()
    per_sequence = "SequenceClassification" in model.kind or "Image" in model.kind
    decoder_only = any(name in model.kind for name in _SCORED_BY_TOKEN)
    result = []
    for layer in model.layers:
        name = layer.name.removesuffix(".base_layer").rsplit(".", 1)[-1]
        if "*" in layer.name or not _is_linear(layer) or len(layer.shape) != 2:  # noqa: PLR2004 - a matrix
            continue
        pooled = "pooler" in layer.name or (per_sequence and not decoder_only)
        outputs, inputs = layer.shape
        rows = SEQUENCES if pooled else TOKENS
        head = Head(name, inputs, outputs, rows, trained=layer.trainable)
        result += [head] * layer.count
    return tuple(result)


# Their classification head scores every position and then picks one.
_SCORED_BY_TOKEN = ("Llama", "Qwen", "Mistral", "Mixtral", "Gemma", "Phi", "GPT", "OPT")


def _is_linear(layer: Layer) -> bool:
    own = "lora_" not in layer.name and "original_module" not in layer.name
    return own and ("Linear" in layer.kind or "Conv1D" in layer.kind)


def _fits(found: Architecture, layers: Iterable[Layer]) -> bool:
    """Say whether the dense layers of the blocks are those that the process has."""
    claimed: Counter[tuple[int, int]] = Counter()
    for stack in (found.encoder, found.stack):
        if stack is None:
            continue
        for count, block in kinds(stack, found.hidden):
            for each in block:
                if isinstance(each, Product) and each.name not in _NOT_LINEAR:
                    claimed[_pair(each.inputs, each.outputs)] += count
    present: Counter[tuple[int, int]] = Counter()
    for layer in layers:
        inside = "*" in layer.name and _is_linear(layer)
        if inside and len(layer.shape) == 2 and not _is_router(layer):  # noqa: PLR2004 - a matrix
            present[_pair(*layer.shape)] += layer.count
    return claimed == present


_NOT_LINEAR = ("router", "experts")


def _is_router(layer: Layer) -> bool:
    return layer.name.endswith((".gate", ".router")) or "Router" in layer.kind


def _pair(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)
