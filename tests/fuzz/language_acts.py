"""Acts: what only models of transformers and peft do."""

from typing import Any

import torch

from fuzz.acts import act
from fuzz.languages import VOCABULARY
from fuzz.stage import Stage


@act(language=True)
def generate(stage: Stage) -> None:
    """Generate with and without a cache, then train on."""
    module: Any = stage.module
    module.eval()
    ids = torch.randint(3, VOCABULARY, (stage.dice.choice([1, 2]), 3))
    for cached in (True, False):
        out = module.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=stage.dice.choice([2, 5]),
            do_sample=False,
            use_cache=cached,
        )
        stage.say("generated", out.tolist())
    module.train()
    stage.train(most=3)


@act(language=True)
def checkpointing(stage: Stage) -> None:
    """Switch gradient checkpointing on and off between steps."""
    module: Any = stage.module
    stage.train(most=3)
    module.enable_input_require_grads()
    module.gradient_checkpointing_enable({"use_reentrant": stage.dice.random() < 0.5})
    stage.train(most=4)
    module.gradient_checkpointing_disable()
    stage.train(most=3)


@act(language=True)
def attention_kind(stage: Stage) -> None:
    """Switch the implementation of attention between steps."""
    module: Any = stage.module
    stage.train(most=3)
    before = module.config._attn_implementation
    module.config._attn_implementation = "eager" if before == "sdpa" else "sdpa"
    stage.train(most=3)
    module.config._attn_implementation = before
    stage.train(most=3)


@act(language=True)
def adapters(stage: Stage) -> None:
    """Disable, merge, unmerge and add adapters between steps."""
    module: Any = stage.module
    if not hasattr(module, "merge_adapter"):
        stage.train(most=4)
        return
    from peft import LoraConfig

    stage.train(most=3)
    with module.disable_adapter():
        stage.say("disabled", stage.loss())
        stage.say("disabled", stage.loss())
    module.merge_adapter()
    stage.say("merged", stage.loss())
    module.unmerge_adapter()
    stage.train(most=3)
    module.add_adapter("other", LoraConfig(r=3, target_modules=["q_proj"]))
    module.set_adapter("other")
    stage.optimizer = stage.new_optimizer()
    stage.train(most=3)
    module.set_adapter("default")


@act(language=True)
def save_pretrained(stage: Stage) -> None:
    """Save as the libraries do."""
    module: Any = stage.module
    stage.train(most=2)
    module.save_pretrained(stage.folder / "saved")
    stage.train(most=1)
