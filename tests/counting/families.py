"""The model families: a small random model of each, its batches, its closed formula."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from counting.batches import Size
from truth import architectures as shapes
from truth.architectures import Call, Sizes
from truth.closed_formula import SMOLLM2
from truth.networks import Network

Batch = dict[str, Any]
SMOLLM2_SIZES = Sizes(
    hidden=SMOLLM2.hidden,
    layers=SMOLLM2.layers,
    heads=SMOLLM2.heads,
    kv_heads=SMOLLM2.kv_heads,
    head_dim=SMOLLM2.head_dim,
    ffn=SMOLLM2.ffn,
    vocabulary=SMOLLM2.vocabulary,
)


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        label: Its name in the table.
        sizes: The figures of the small model.
        auto: The class of transformers that makes it.
        config: Name of its configuration's class, and the options besides the sizes.
        batch: Makes a batch of a size.
        network: Makes the closed formula's network of a call.
        targets: Names of the layers that get adapters.
    """

    label: str
    config: str
    options: Mapping[str, Any]
    sizes: Sizes
    auto: str = "AutoModelForCausalLM"
    batch: Callable[["Family", Size], Batch] | None = None
    network: Callable[[Sizes, Call], Network] = shapes.gated_decoder
    targets: tuple[str, ...] = ("q_proj", "v_proj")

    def model(self) -> Any:
        """Return a random model, the same in every process."""
        import torch
        import transformers

        torch.manual_seed(0)
        config = getattr(transformers, self.config)(**self.options)
        return getattr(transformers, self.auto).from_config(config)

    def make_batch(self, size: Size) -> Batch:
        """Return a batch of this size, without padding."""
        return (self.batch or _words)(self, size)


def _tokens(family: Family, batch: int, length: int) -> Any:
    import torch

    ids = torch.arange(batch * length).reshape(batch, length)
    return 3 + ids * 7 % (family.sizes.vocabulary - 3)


def _words(family: Family, size: Size) -> Batch:
    ids = _tokens(family, size.batch, size.length)
    return {"input_ids": ids, "labels": ids.clone()}


def _pairs(family: Family, size: Size) -> Batch:
    """Source and target of different lengths."""
    return {
        "input_ids": _tokens(family, size.batch, size.length),
        "labels": _tokens(family, size.batch, 2 + size.length // 2),
    }


def _images(_family: Family, size: Size) -> Batch:
    import torch

    side = shapes.IMAGE
    pixels = torch.linspace(0, 1, size.batch * shapes.COLOURS * side**2)
    return {
        "pixel_values": pixels.reshape(size.batch, shapes.COLOURS, side, side),
        "labels": torch.zeros(size.batch, dtype=torch.long),
    }


def _speech(family: Family, size: Size) -> Batch:
    import torch

    sound = torch.linspace(0, 1, size.batch * shapes.MELS * shapes.FRAMES)
    return {
        "input_features": sound.reshape(size.batch, shapes.MELS, shapes.FRAMES),
        "labels": _tokens(family, size.batch, size.length // 2),
    }


_SMALL = Sizes()
_WIDE = _SMALL.changed(head_dim=16)  # heads wider than the model
_EQUAL = _SMALL.changed(kv_heads=4)  # as many keys as queries
_EXPERTS = _SMALL.changed(experts=4, chosen=2, expert_ffn=24)


def _common(sizes: Sizes, **more: Any) -> dict[str, Any]:
    """Return the options that most decoders share."""
    return {
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "intermediate_size": sizes.ffn,
        "vocab_size": sizes.vocabulary,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **more,
    }


def _family(
    label: str,
    config: str,
    sizes: Sizes = _SMALL,
    network: Callable[[Sizes, Call], Network] = shapes.gated_decoder,
    **more: Any,
) -> Family:
    return Family(label, config, _common(sizes, **more), sizes, network=network)


def _without(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


_NO_DROPOUT = {"attention_dropout": 0.0}
_BERT_NO_DROPOUT = {
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}

FAMILIES: dict[str, Family] = {
    "llama": _family("Llama", "LlamaConfig"),
    "qwen2": _family("Qwen2", "Qwen2Config"),
    "qwen3": _family("Qwen3", "Qwen3Config", _WIDE),
    "qwen3-moe": _family(
        "Qwen3-MoE",
        "Qwen3MoeConfig",
        _EXPERTS,
        shapes.mixture,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        decoder_sparse_step=1,
    ),
    "mistral": _family("Mistral", "MistralConfig", sliding_window=16),
    "mixtral": _family(
        "Mixtral",
        "MixtralConfig",
        _EXPERTS.changed(expert_ffn=48),
        shapes.mixture,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=None,
    ),
    "gemma2": _family(
        "Gemma 2",
        "Gemma2Config",
        _SMALL.changed(fused=False),
        shapes.gemma,
        sliding_window=16,
        attn_implementation="eager",
    ),
    "gemma3": _family(
        "Gemma 3", "Gemma3TextConfig", network=shapes.gemma, sliding_window=16
    ),
    "gpt2": Family(
        "GPT-2",
        "GPT2Config",
        {
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_inner": 48,
            "vocab_size": 256,
            "n_positions": 256,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        _EQUAL,
        network=shapes.packed_decoder,
        targets=("c_attn",),
    ),
    "gpt-neox": Family(
        "GPT-NeoX",
        "GPTNeoXConfig",
        _without(_common(_EQUAL), "num_key_value_heads", "head_dim"),
        _EQUAL,
        network=shapes.packed_parallel_decoder,
        targets=("query_key_value",),
    ),
    "phi": Family(
        "Phi",
        "PhiConfig",
        _without(_common(_EQUAL), "head_dim"),
        _EQUAL,
        network=shapes.parallel_decoder,
    ),
    "deepseek": Family(
        "DeepSeek-style MLA",
        "DeepseekV3Config",
        _without(
            _common(
                _EQUAL,
                q_lora_rank=shapes.QUERY_RANK,
                kv_lora_rank=shapes.KEY_RANK,
                qk_nope_head_dim=shapes.PLAIN_WIDTH,
                qk_rope_head_dim=shapes.ROTARY_WIDTH,
                v_head_dim=shapes.VALUE_WIDTH,
                first_k_dense_replace=1,
                n_routed_experts=4,
                num_experts_per_tok=2,
                n_shared_experts=1,
                moe_intermediate_size=24,
                n_group=2,
                topk_group=1,
            ),
            "head_dim",
        ),
        _EQUAL.changed(experts=4, chosen=2, expert_ffn=24),
        network=shapes.latent_mixture,
        targets=("q_a_proj", "kv_a_proj_with_mqa"),
    ),
    "bert": Family(
        "BERT",
        "BertConfig",
        {
            **_without(_common(_EQUAL), "num_key_value_heads", "head_dim"),
            **_BERT_NO_DROPOUT,
        },
        _EQUAL,
        auto="AutoModelForMaskedLM",
        network=shapes.masked_encoder,
        targets=("query", "value"),
    ),
    "t5": Family(
        "T5",
        "T5Config",
        {
            "d_model": 32,
            "num_layers": 2,
            "num_decoder_layers": 2,
            "num_heads": 4,
            "d_kv": 8,
            "d_ff": 48,
            "vocab_size": 256,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
            "decoder_start_token_id": 0,
            "dropout_rate": 0.0,
        },
        _EQUAL,
        auto="AutoModelForSeq2SeqLM",
        batch=_pairs,
        targets=("q", "v"),
    ),
    "vit": Family(
        "ViT",
        "ViTConfig",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "image_size": shapes.IMAGE,
            "patch_size": shapes.PATCH,
            "num_channels": shapes.COLOURS,
            "num_labels": shapes.CLASSES,
            **_BERT_NO_DROPOUT,
        },
        _EQUAL,
        auto="AutoModelForImageClassification",
        batch=_images,
        network=shapes.vision_encoder,
    ),
    "whisper": Family(
        "Whisper",
        "WhisperConfig",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "vocab_size": 256,
            "num_mel_bins": shapes.MELS,
            "max_source_positions": shapes.FRAMES // 2,
            "max_target_positions": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
            "dropout": 0.0,
            **_NO_DROPOUT,
        },
        _EQUAL,
        auto="AutoModelForSpeechSeq2Seq",
        batch=_speech,
        network=shapes.speech_to_text,
    ),
}
