"""Which files are weights, what a save is called, and which are remembered."""

import itertools
from typing import Any

import pytest

from flopguard_hook.saves import MOST_SAVES, kind_of, name_of, with_save


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/out/w.pt", "/out/w.pt"),
        ("/out/model.safetensors", "/out"),
        ("/out/model-00002-of-00003.safetensors", "/out"),
        ("/out/adapter_model.safetensors", "/out"),
        ("/out/checkpoint-500/model.safetensors", "/out/checkpoint-500"),
        ("/out/checkpoint-500/policy/adapter_model.bin", "/out/checkpoint-500"),
        (
            "/out/checkpoint-500/global_step500/mp_rank_00_model_states.pt",
            "/out/checkpoint-500",
        ),
        ("/out/tmp-checkpoint-500/pytorch_model.bin", "/out/checkpoint-500"),
        ("/out/checkpoint-500/pytorch_model_fsdp_0", "/out/checkpoint-500"),
        ("/out/checkpoint-500/optimizer.pt", ""),
        ("/out/checkpoint-500/scheduler.pt", ""),
        ("/out/checkpoint-500/rng_state_3.pth", ""),
        ("/out/checkpoint-500/training_args.bin", ""),
        (
            "/out/global_step500/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",
            "",
        ),
        ("/out/step_100.pt", "/out/step_100.pt"),
        ("/out/epoch=3-step=500.ckpt", "/out/epoch=3-step=500.ckpt"),
        ("/out/step_100/consolidated.00.pth", "/out/step_100"),
        ("/out/dcp/__0_0.distcp", "/out/dcp"),
        ("s3://bucket/checkpoint-7/model.safetensors", "s3://bucket/checkpoint-7"),
    ],
    ids=[
        "a file of one's own is itself",
        "a file with the usual name is its folder",
        "so is a shard",
        "so is an adapter",
        "a Trainer's folder",
        "an adapter in a folder in it",
        "DeepSpeed's folder in it",
        "a folder that gets its name once complete",
        "a folder of shards in it",
        "the optimizer is no weights",
        "nor is the schedule",
        "nor the random state",
        "nor the arguments",
        "nor DeepSpeed's optimizer",
        "a file that is named like a folder",
        "Lightning's file",
        "a folder per step",
        "torch's sharded files",
        "another store",
    ],
)
def test_name(path: str, name: str) -> None:
    """One save has one name, however many files it has."""
    assert name_of(path) == name


def test_long_path_keeps_its_end() -> None:
    """The folder of the step is at the end."""
    name = name_of("/" + "x" * 5_000 + "/checkpoint-5/model.safetensors")

    assert len(name) == 200
    assert name.endswith("/checkpoint-5")


def test_kind_is_the_trainers_only_with_a_trainer() -> None:
    """A folder of that name may be somebody else's."""
    assert kind_of("/o/checkpoint-5", "safetensors", has_trainer=True) == "trainer"
    assert kind_of("/o/checkpoint-5", "torch", has_trainer=False) == "torch"
    assert kind_of("/o/final", "safetensors", has_trainer=True) == "safetensors"


def save(i: int, **more: object) -> dict[str, Any]:
    """Return the save after step `i`."""
    return {
        "path": f"/o/checkpoint-{i}",
        "step": i,
        "flops": str(i * 10**18),
        "kind": "trainer",
        **more,
    }


def test_overwritten_weights_are_forgotten() -> None:
    """`best.pt` of step 1 is gone once it holds step 9."""
    best = {**save(9), "path": "/o/best.pt"}
    saves = with_save([{**save(1), "path": "/o/best.pt"}, save(2)], best)

    assert saves == [save(2), best]


def test_newest_saves_stay_and_older_ones_thin_out() -> None:
    """After 2,000 saves: 64, the last 24 of them without a hole, the first one too."""
    saves: list[dict[str, Any]] = []
    for i in range(1, 2_001):
        saves = with_save(saves, save(i))
    steps = [s["step"] for s in saves]

    assert len(steps) == MOST_SAVES
    assert steps[-24:] == list(range(1_977, 2_001))
    assert steps[0] == 1
    holes = [
        (after - before) / (2_000 - after + 1)
        for before, after in itertools.pairwise(steps)
        if 1 < before < 1_970
    ]
    assert max(holes) < 1, "an older save is further from the next than from the end"


def test_saves_that_are_gone_make_room_first() -> None:
    """A rotated folder can no longer be resumed from."""
    saves = [save(i, **({"gone": True} if i == 30 else {})) for i in range(1, 65)]
    kept = with_save(saves, save(65))

    assert 30 not in [s["step"] for s in kept]
    assert len(kept) == MOST_SAVES
