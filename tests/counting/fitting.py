"""Programs on the Trainer of transformers, as users write them."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from counting.batches import sizes
from counting.families import FAMILIES
from counting.journal import Journal
from counting.methods import ATTENTION, RECIPES


def arguments(folder: str, **more: Any) -> dict[str, Any]:
    """Return what every Trainer is given."""
    return {
        "output_dir": folder,
        "max_steps": -1,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 1,
        "learning_rate": 1e-4,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 5,
        **more,
    }


def only(batches: list[Any]) -> Any:
    """Collate one ready batch."""
    return batches[0]


def fit(
    journal: Journal, *, family: str, method: str = "full", steps: int = 36
) -> None:
    """Train a family's model by a method, on batches of many sizes."""
    recipe, of = RECIPES[method], FAMILIES[family]
    model = recipe.prepare(of.model(), of.targets)
    batches = [of.make_batch(size) for size in sizes(steps)]
    _train(journal, model, batches, recipe.arguments)


def fit_smollm2(journal: Journal, *, method: str, steps: int = 12) -> None:
    """Train the real SmolLM2-135M, in the folder MODEL, on short batches."""
    from transformers import AutoModelForCausalLM

    recipe, real = RECIPES[method], Path(os.environ["MODEL"])
    model = recipe.prepare(AutoModelForCausalLM.from_pretrained(real), ATTENTION)
    # Few tokens and few sizes: a step of the real model takes a second.
    short = [size for size in sizes(40) if size.batch * size.length <= 32][:4] * 3
    batches = [FAMILIES["llama"].make_batch(size) for size in short[:steps]]
    _train(journal, model, batches, recipe.arguments)


def _train(
    journal: Journal, model: Any, batches: list[Any], options: dict[str, Any]
) -> None:
    from transformers import Trainer, TrainingArguments

    with TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                **arguments(folder, remove_unused_columns=False, **options)
            ),
            train_dataset=batches,
            data_collator=only,
        )
        trainer.train()
    journal.facts["total_flos"] = int(trainer.state.total_flos)
