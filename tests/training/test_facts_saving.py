"""Saved weights are noted with their FLOPs, and written as without the hook.

The programs run in processes of their own: what is wrapped stays wrapped.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from flopguard_hook.dataset import described
from training.deployment import printed

ROOT = Path(__file__).resolve().parents[2]

PRELUDE = """
import inspect, io, json, os, pickle, sys
sys.path[:0] = {paths!r}
from standins.notes import Notes
notes = Notes()
import torch
if {attached}:
    from flopguard_hook import dataset, saving
    saving.attach(notes)
    dataset.attach(notes)
    assert "safetensors" not in sys.modules
    assert "torch.distributed.checkpoint" not in sys.modules
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
def spend(step, flops):
    notes.steps, notes.flops = step, flops
"""


def run(program: str, folder: Path, *, attached: bool = True) -> list[dict[str, Any]]:
    """Run a program in a folder; return the saves that were noted."""
    paths = [str(ROOT / "sidecar"), str(ROOT / "tests")]
    prelude = PRELUDE.format(paths=paths, attached=attached)
    end = "\nprint('SAVES', json.dumps(notes.noted('saves', [])))\n"
    folder.mkdir(exist_ok=True)
    source = prelude + program + end
    saves: list[dict[str, Any]] = printed(
        "SAVES", "-c", source, timeout=240, cwd=folder
    )
    return saves


def short(saves: list[dict[str, Any]], folder: Path) -> list[tuple[str, str, int, str]]:
    """Return path below the folder, kind, step and FLOPs of each save."""
    return [
        (os.path.relpath(s["path"], folder), s["kind"], s["step"], s["flops"])
        for s in saves
    ]


EVERY_WAY = """
spend(1, 10**20)
torch.save(model.state_dict(), "state.pt")
spend(2, 2 * 10**20)
torch.save(model, "whole.pt")
torch.save({"model": model.state_dict(), "step": 2}, "both.pt")
with open("open.pt", "wb") as file:
    torch.save(obj=model.state_dict(), f=file)
torch.save(model.state_dict(), io.BytesIO())
adam = torch.optim.AdamW(model.parameters())
model(torch.ones(1, 4)).sum().backward(); adam.step()
torch.save(adam.state_dict(), "adam.pt")
torch.save({"input_ids": torch.ones(4, dtype=torch.long)}, "data.pt")
torch.save([1, 2], "list.pt")
spend(3, 3 * 10**20)
from safetensors.torch import save_file, save_model
save_file(model.state_dict(), "model.safetensors")
os.mkdir("named")
save_model(model, "named/own.safetensors", {"format": "pt"})
import safetensors.numpy
arrays = {k: v.numpy() for k, v in model.state_dict().items()}
safetensors.numpy.save_file(arrays, "numpy.safetensors")
"""


def test_every_way_to_save_is_noted(tmp_path: Path) -> None:
    """Weights are; optimizer, data and what goes to memory are not."""
    state, whole = str(10**20), str(2 * 10**20)
    folder = tmp_path / "run"

    assert short(run(EVERY_WAY, folder), folder) == [
        ("state.pt", "torch", 1, state),
        ("whole.pt", "torch", 2, whole),
        ("both.pt", "torch", 2, whole),
        ("open.pt", "torch", 2, whole),
        (".", "safetensors", 3, str(3 * 10**20)),
        ("named/own.safetensors", "safetensors", 3, str(3 * 10**20)),
        ("numpy.safetensors", "safetensors", 3, str(3 * 10**20)),
    ]


def test_files_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    """With and without the hook."""
    for name, attached in (("with", True), ("without", False)):
        run(EVERY_WAY, tmp_path / name, attached=attached)
    contents = [
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*"))
            if path.is_file()
        }
        for name in ("with", "without")
    ]

    assert len(contents[0]) == 10
    assert contents[0] == contents[1]


def test_wrapped_functions_are_what_they_were(tmp_path: Path) -> None:
    """Name, signature, pickling by reference, reload, and the user's exceptions."""
    program = """
import importlib, safetensors.torch, torch.distributed.checkpoint as dcp
for function in (torch.save, safetensors.torch.save_file, dcp.save, dcp.async_save):
    assert function.__wrapped__ is not function
    assert pickle.loads(pickle.dumps(function)) is function, function
    assert inspect.signature(function) == inspect.signature(function.__wrapped__)
assert torch.save is torch.serialization.save
assert torch.save.__qualname__ == "save"
before = safetensors.torch.save_file
importlib.reload(safetensors.torch)
assert safetensors.torch.save_file.__wrapped__ is not before.__wrapped__
class Refusing:
    def __reduce__(self):
        raise ZeroDivisionError("mine")
for place in ("no/such/folder/w.pt", "refused.pt"):
    content = model.state_dict() | ({"x": Refusing()} if "refused" in place else {})
    try:
        torch.save(content, place)
    except (RuntimeError, ZeroDivisionError, OSError) as error:
        print(type(error).__name__)
    else:
        raise AssertionError(place)
torch.save(model.state_dict(), "after.pt")
"""
    saves = run(program, tmp_path)

    assert [os.path.relpath(s["path"], tmp_path) for s in saves] == ["after.pt"]


def test_trainers_folders(tmp_path: Path) -> None:
    """Each folder once, at its step; those that were rotated are gone."""
    program = """
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback
from transformers import TrainingArguments
class Spending(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        spend(state.global_step, state.global_step * 10**18)
config = LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=2, vocab_size=20)
rows = Dataset.from_dict({"input_ids": [[3, 4]] * 8, "labels": [[3, 4]] * 8})
arguments = TrainingArguments(output_dir="out", max_steps=4, save_steps=1,
    save_total_limit=2, report_to=[], use_cpu=True, disable_tqdm=True,
    per_device_train_batch_size=2, eval_strategy="steps", eval_steps=1)
trainer = Trainer(LlamaForCausalLM(config), arguments, train_dataset=rows,
    eval_dataset=rows.select(range(2)), callbacks=[Spending()])
trainer.train()
trainer.save_model("out/final")
data = notes.facts["dataset"]
assert data["rows"] == 8 and data["class"] == "Dataset", data
assert len(data["fingerprint"]) == 16, data
"""
    saves = run(program, tmp_path)

    assert short(saves, tmp_path) == [
        *((f"out/checkpoint-{i}", "trainer", i, str(i * 10**18)) for i in range(1, 5)),
        ("out/final", "safetensors", 4, str(4 * 10**18)),
    ]
    gone = [Path(s["path"]).name for s in saves if s.get("gone")]
    assert gone == ["checkpoint-1", "checkpoint-2"]


def test_sharded_and_asynchronous_saves(tmp_path: Path) -> None:
    """A folder of torch.distributed.checkpoint, at the FLOPs when saving began."""
    program = """
import torch.distributed.checkpoint as dcp
spend(5, 500)
dcp.save({"model": model.state_dict()}, checkpoint_id="sharded/step_5")
dcp.save({"optimizer": {"exp_avg": torch.ones(2)}}, checkpoint_id="sharded/optimizer_0")
writer = dcp.FileSystemWriter("by_writer")
dcp.save({"model": model.state_dict()}, storage_writer=writer)
spend(6, 600)
future = dcp.async_save({"model": model.state_dict()}, checkpoint_id="later")
spend(7, 700)
future.result()
"""

    assert short(run(program, tmp_path), tmp_path) == [
        ("sharded/step_5", "distributed", 5, "500"),
        ("by_writer", "distributed", 5, "500"),
        ("later", "distributed", 6, "600"),
    ]


class Own(Dataset[torch.Tensor]):
    """A data set of the user's, that notices whether it is asked for its length."""

    asked = 0

    def __len__(self) -> int:
        """Count that it was asked."""
        Own.asked += 1
        return 4

    def __getitem__(self, _: int) -> torch.Tensor:
        """Return a row."""
        return torch.ones(4)


class Endless(IterableDataset[torch.Tensor]):
    """A stream."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Return one row."""
        return iter([torch.ones(4)])


ROWS = TensorDataset(torch.ones(6, 4))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (ROWS, {"class": "TensorDataset", "rows": 6}),
        (Subset(ROWS, [0, 2]), {"class": "TensorDataset", "rows": 2}),
        (Subset(Own(), [0, 2]), {"class": "Own", "rows": 2}),
        (Own(), {"class": "Own"}),
        (Endless(), {"class": "Endless"}),
    ],
    ids=["tensors", "a part of them", "a part of one's own", "one's own", "a stream"],
)
def test_data_sets(data: Any, expected: dict[str, Any]) -> None:
    """Rows where torch knows them; a class of the user's is asked nothing."""
    before = Own.asked

    assert described(data) == expected
    assert Own.asked == before


def test_only_data_that_is_trained_on_is_noted(tmp_path: Path) -> None:
    """What is read without gradients is for evaluation."""
    program = """
from torch.utils.data import DataLoader, TensorDataset
list(DataLoader(TensorDataset(torch.ones(6, 4)), batch_size=2, num_workers=1))
with torch.no_grad():
    list(DataLoader(TensorDataset(torch.ones(99, 4))))
assert notes.facts["dataset"] == {"class": "TensorDataset", "rows": 6}, notes.facts
"""
    run(program, tmp_path)
