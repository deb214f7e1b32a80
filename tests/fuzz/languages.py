"""Models of transformers and peft, tiny. Imported only by programs that draw one."""

from random import Random
from typing import Any

import torch

from fuzz.stage import Model

VOCABULARY = 17


def _llama(dice: Random) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = dice.choice([2, 4])
    config = LlamaConfig(
        hidden_size=8,
        num_hidden_layers=dice.choice([1, 2]),
        num_attention_heads=heads,
        num_key_value_heads=dice.choice([1, 2]),
        head_dim=4,
        intermediate_size=12,
        vocab_size=VOCABULARY,
        attn_implementation=dice.choice(["eager", "sdpa"]),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def _batch(dice: Random) -> tuple[tuple[Any, ...], dict[str, Any]]:
    ids = torch.randint(3, VOCABULARY, (dice.choice([1, 2]), dice.choice([3, 5])))
    return (), {"input_ids": ids, "labels": ids}


def _loss(out: Any) -> torch.Tensor:
    loss: torch.Tensor = out.loss
    return loss


def llama(dice: Random) -> Model:
    """Return a Llama, perhaps with checkpointing."""
    module = _llama(dice)
    if dice.random() < 0.3:
        reentrant = dice.random() < 0.5
        module.gradient_checkpointing_enable({"use_reentrant": reentrant})
    return Model(module, _batch, _loss)


def lora(dice: Random) -> Model:
    """Return a Llama with adapters."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=dice.choice([1, 2]),
        target_modules=["q_proj", "v_proj"],
        lora_dropout=dice.choice([0.0, 0.1]),
        use_dora=dice.random() < 0.2,
    )
    return Model(get_peft_model(_llama(dice), config), _batch, _loss)


LANGUAGES = {"llama": llama, "lora": lora}
