"""What a model's `config` says of its architecture. Core.

Keys are taken from a known list and values only where they are plain: a config may be
anything, also an object that invents attributes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Mapping

from flopguard_hook.facts import short

_KEYS = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "tie_word_embeddings",
    "hidden_act",
    # experts
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "first_k_dense_replace",
    "decoder_sparse_step",
    "moe_layer_freq",
    "mlp_only_layers",
    # latent attention
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    # windows
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "sliding_window_pattern",
    # encoders and decoders
    "is_encoder_decoder",
    "is_decoder",
    "d_model",
    "d_kv",
    "d_ff",
    "num_layers",
    "num_decoder_layers",
    "num_heads",
    "encoder_layers",
    "decoder_layers",
    "encoder_attention_heads",
    "decoder_attention_heads",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "max_source_positions",
    "max_target_positions",
    "num_mel_bins",
    "feed_forward_proj",
    "is_gated_act",
    # older names
    "n_embd",
    "n_layer",
    "n_head",
    "n_inner",
    "n_positions",
    "block_size",
    "dim",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "ffn_dim",
    "rotary_pct",
    "partial_rotary_factor",
    "type_vocab_size",
    "max_position_embeddings",
    "word_embed_proj_dim",
    "embedding_size",
    # vision and sound
    "image_size",
    "patch_size",
    "num_channels",
    "depths",
    "embed_dim",
    "mlp_ratio",
    "num_labels",
)
_PRIVATE = {
    "attn_implementation": "_attn_implementation",
    "experts_implementation": "_experts_implementation",
}
_NESTED = {
    "text": ("text_config", "llm_config", "language_config"),
    "vision": ("vision_config",),
    "audio": ("audio_config",),
    "encoder": ("encoder",),
    "decoder": ("decoder",),
}
_MOST_NUMBERS = 8
_MOST_BITS = 63


def of_config(config: Any) -> "dict[str, Any]":
    """Return the known keys of a config; empty for anything that is none."""
    found = _flat(config)
    for name, places in _NESTED.items():
        nested = next((_get(config, p) for p in places if _is_config(config, p)), None)
        inner = {} if nested is None else _flat(nested)
        if inner:
            found[name] = inner
    return found


def _flat(config: Any) -> "dict[str, Any]":
    found: dict[str, Any] = {}
    for key in _KEYS:
        value = _plain(_get(config, key))
        if value is not None:
            found[key] = value
    for key, private in _PRIVATE.items():
        value = _get(config, private)
        if isinstance(value, str):
            found[key] = short(value)
    kinds = _get(config, "layer_types")
    if isinstance(kinds, (list, tuple)) and all(isinstance(k, str) for k in kinds):
        found["layer_types"] = dict(Counter(map(short, kinds)).most_common(8))
    return found


def _get(config: Any, key: str) -> Any:
    if isinstance(config, Mapping):
        return config.get(key)
    try:
        return getattr(config, key, None)
    except (AttributeError, KeyError, TypeError, ValueError, NotImplementedError):
        return None  # a property that the config cannot answer


def _is_config(config: Any, place: str) -> bool:
    nested = _get(config, place)
    return isinstance(nested, Mapping) or (
        nested is not None and isinstance(getattr(nested, "model_type", None), str)
    )


def _plain(value: Any) -> Any:
    """Return a value that says something in JSON, or None."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _MOST_BITS else None
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, str):
        return short(value)
    if isinstance(value, (list, tuple)):
        numbers = [v for v in value if type(v) is int and v.bit_length() <= _MOST_BITS]
        return numbers[:_MOST_NUMBERS] if len(numbers) == len(value) else None
    return None
