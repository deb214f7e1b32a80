"""Programs on the trainers of TRL: SFT, DPO, reward model, GRPO, RLOO."""

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from counting.batches import sizes
from counting.families import FAMILIES
from counting.fitting import arguments
from counting.journal import Journal
from counting.methods import ATTENTION, RANK

WORDS = 250
STEPS = 18


def tokenizer() -> Any:
    """Return a tokenizer of 250 invented words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    special = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    vocabulary = {**special, **{f"w{n}": n + 4 for n in range(WORDS)}}
    model = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 # a word
    model.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        model_input_names=["input_ids", "attention_mask"],
        tokenizer_object=model,
        pad_token="<pad>",  # noqa: S106 # words of a vocabulary
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
    )


def sentences(count: int, *, seed: int) -> list[str]:
    """Return sentences whose lengths vary as the batches of the other cells do."""
    draw = random.Random(seed)  # noqa: S311 # words of a test, not a secret
    lengths = [max(2, size.length // 3) for size in sizes(count, seed=seed)]
    return [
        " ".join(f"w{draw.randrange(WORDS)}" for _ in range(length))
        for length in lengths
    ]


def _run(journal: Journal, make: Callable[[dict[str, Any]], Any], **more: Any) -> None:
    with TemporaryDirectory() as folder:
        options = {"per_device_train_batch_size": 2, "max_steps": STEPS, **more}
        trainer = make(arguments(folder, **options))
        trainer.train()
    journal.facts["total_flos"] = int(trainer.state.total_flos)


def _saved(folder: str, family: str = "llama") -> str:
    """Save the small model and the tokenizer where a trainer loads them by path."""
    FAMILIES[family].model().save_pretrained(Path(folder))
    tokenizer().save_pretrained(Path(folder))
    return folder


def _adapters(*, adapted: bool) -> Any:
    from peft import LoraConfig

    if not adapted:
        return None
    return LoraConfig(
        r=RANK, target_modules=list(ATTENTION), lora_dropout=0.0, task_type="CAUSAL_LM"
    )


def sft(journal: Journal, *, family: str = "llama", adapted: bool = False) -> None:
    """Supervised fine-tuning on padded text."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"text": sentences(2 * STEPS, seed=1)})
    _run(
        journal,
        lambda options: SFTTrainer(
            model=FAMILIES[family].model(),
            args=SFTConfig(**options),
            train_dataset=data,
            processing_class=tokenizer(),
            peft_config=_adapters(adapted=adapted),
        ),
    )


def _preferences() -> Any:
    from datasets import Dataset

    count = 2 * STEPS
    return Dataset.from_dict(
        {
            "prompt": sentences(count, seed=1),
            "chosen": [" " + text for text in sentences(count, seed=2)],
            "rejected": [" " + text for text in sentences(count, seed=3)],
        }
    )


def dpo(journal: Journal, *, adapted: bool = False) -> None:
    """Preferences, against a reference model or the model without its adapters."""
    from trl import DPOConfig, DPOTrainer

    with TemporaryDirectory() as folder:
        reference = None if adapted else FAMILIES["llama"].model()
        _saved(folder)
        _run(
            journal,
            lambda options: DPOTrainer(
                model=FAMILIES["llama"].model(),
                ref_model=reference,
                args=DPOConfig(**options),
                train_dataset=_preferences(),
                processing_class=tokenizer(),
                peft_config=_adapters(adapted=adapted),
            ),
        )


def reward(journal: Journal) -> None:
    """A reward model on pairs of texts."""
    from transformers import AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    config = FAMILIES["llama"].model().config
    config.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(config)
    data = _preferences().remove_columns("prompt")
    _run(
        journal,
        lambda options: RewardTrainer(
            model=model,
            args=RewardConfig(**options),
            train_dataset=data,
            processing_class=tokenizer(),
        ),
    )


def _length_reward(completions: list[str], **_: Any) -> list[float]:
    return [float(len(set(text.split()))) for text in completions]


def _generating(
    journal: Journal,
    config: Callable[..., Any],
    trainer: Callable[..., Any],
    **more: Any,
) -> None:
    from datasets import Dataset

    data = Dataset.from_dict({"prompt": sentences(2 * STEPS, seed=1)})
    with TemporaryDirectory() as folder:
        path = _saved(folder)
        _run(
            journal,
            lambda options: trainer(
                model=path,
                reward_funcs=_length_reward,
                args=config(
                    **options,
                    num_generations=2,
                    max_completion_length=8,
                    beta=0.05,
                    **more,
                ),
                train_dataset=data,
                processing_class=tokenizer(),
            ),
        )


def grpo(journal: Journal) -> None:
    """Group-relative policy optimisation: generation, reference and two updates."""
    from trl import GRPOConfig, GRPOTrainer

    _generating(journal, GRPOConfig, GRPOTrainer, num_iterations=2)


def rloo(journal: Journal) -> None:
    """Leave-one-out policy gradient: what TRL has instead of PPO."""
    from trl import RLOOConfig, RLOOTrainer

    _generating(journal, RLOOConfig, RLOOTrainer, num_iterations=2)
