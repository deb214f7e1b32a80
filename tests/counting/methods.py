"""The ways to fine-tune: what is done to the model, what the closed formula assumes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from truth.networks import FULL, Method, lora

RANK = 4
PROMPT = 5  # virtual tokens
ALL_LINEAR = (
    *("q_proj", "k_proj", "v_proj", "o_proj"),
    *("gate_proj", "up_proj", "down_proj"),
)
ATTENTION = ("q_proj", "v_proj")
# What `Family.targets` name in the models, as the closed formula calls it.
TARGETED = (*ATTENTION, "qkv_proj", "q_a_proj", "kv_a_proj")


@dataclass(frozen=True)
class Recipe:
    """A way to fine-tune.

    Attributes:
        label: Its name in the table.
        closed: What the closed formula assumes.
        prepare: Turns the family's model into the one that is trained; it is given
            the names of the layers that get adapters.
        arguments: Of the Trainer.
        virtual: Positions that every call has more than its batch.
        differs: Why the closed formula may differ from what is executed.
    """

    label: str
    closed: Method = FULL
    prepare: Callable[[Any, tuple[str, ...]], Any] = lambda model, _: model
    arguments: dict[str, Any] = field(default_factory=dict)
    virtual: int = 0
    differs: str = ""


def adapters(model: Any, targets: tuple[str, ...], **options: Any) -> Any:
    """Return the model with LoRA adapters on layers of these names."""
    import peft

    config = peft.LoraConfig(
        r=RANK, target_modules=list(targets), lora_dropout=0.0, **options
    )
    return peft.get_peft_model(model, config)


def quantized(model: Any, bits: int) -> Any:
    """Return the model as loaded with frozen weights of 4 or 8 bits, with adapters."""
    import peft
    import torch
    import transformers

    options: dict[str, Any] = {"load_in_8bit": True}
    if bits == 4:
        options = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": torch.float32,
        }
    with TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder))
        loaded = type(model).from_pretrained(
            folder,
            quantization_config=transformers.BitsAndBytesConfig(**options),
            device_map="cpu",
        )
    ready = peft.prepare_model_for_kbit_training(
        loaded, use_gradient_checkpointing=False
    )
    return adapters(ready, ALL_LINEAR)


def _last_block(model: Any, _targets: tuple[str, ...]) -> Any:
    """Freeze all but the last block, the last norm and the head."""
    model.requires_grad_(requires_grad=False)
    for part in (model.model.layers[-1], model.model.norm, model.lm_head):
        part.requires_grad_(requires_grad=True)
    return model


def _prompted(model: Any, _targets: tuple[str, ...]) -> Any:
    import peft

    config = peft.PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=PROMPT, prompt_tuning_init="RANDOM"
    )
    return peft.get_peft_model(model, config)


def _is_last(block: int | None, name: str) -> bool:
    """Say whether a layer is in the second of two blocks, or the head."""
    return block == 1 or name == "lm_head"


def _checkpointed(*, reentrant: bool) -> dict[str, Any]:
    return {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": reentrant},
    }


_LORA = lora(RANK, *TARGETED)
_LORA_ALL = lora(RANK, *ALL_LINEAR)

RECIPES: dict[str, Recipe] = {
    "full": Recipe("full"),
    "lora": Recipe("LoRA on attention", _LORA, adapters),
    "lora-all": Recipe(
        "LoRA, all layers", _LORA_ALL, lambda m, _: adapters(m, ALL_LINEAR)
    ),
    "qlora": Recipe("QLoRA, 4-bit", _LORA_ALL, lambda m, _: quantized(m, 4)),
    "8-bit": Recipe("LoRA on 8-bit", _LORA_ALL, lambda m, _: quantized(m, 8)),
    "dora": Recipe(
        "DoRA",
        lora(RANK, *ATTENTION, dora=True),
        lambda m, names: adapters(m, names, use_dora=True),
    ),
    "partial": Recipe(
        "last block and head",
        replace(FULL, trains=_is_last, input_grad=False),
        _last_block,
    ),
    "prompt": Recipe(
        "prompt tuning",
        replace(lora(0), input_grad=True),
        _prompted,
        virtual=PROMPT,
    ),
    "checkpointed": Recipe(
        "checkpointing, non-reentrant",
        replace(FULL, checkpointing="non_reentrant"),
        arguments=_checkpointed(reentrant=False),
    ),
    "reentrant": Recipe(
        "checkpointing, reentrant",
        replace(FULL, checkpointing="reentrant"),
        arguments=_checkpointed(reentrant=True),
    ),
    "lora-checkpointed": Recipe(
        "LoRA with checkpointing",
        replace(_LORA, input_grad=True, checkpointing="non_reentrant"),
        adapters,
        _checkpointed(reentrant=False),
    ),
    "accumulated": Recipe(
        "accumulation of 3", arguments={"gradient_accumulation_steps": 3}
    ),
    "bf16": Recipe("bf16 autocast", arguments={"bf16": True}),
}
