"""What is noted of models that are spread over two processes, on gloo."""

from pathlib import Path
from typing import Any

import pytest

from training.deployment import printed
from training.needs import needs

ROOT = Path(__file__).resolve().parents[2]

pytestmark = needs("torch.distributed.fsdp", "fully_shard")

PROGRAM = """
import json, os, sys
sys.path[:0] = {paths!r}
import torch
from torch import nn
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel, RowwiseParallel, parallelize_module)
from torch.nn.parallel import DistributedDataParallel
from flopguard_hook.describing import Describer
from standins.notes import Notes

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))

def fsdp2():
    return fully_shard(model(), mesh=mesh)

def tensor_parallel():
    plan = {{"0": ColwiseParallel(), "1": RowwiseParallel()}}
    return parallelize_module(model(), mesh, plan)

def both():
    square = init_device_mesh("cpu", (1, 2), mesh_dim_names=("dp", "tp"))
    plan = {{"0": ColwiseParallel(), "1": RowwiseParallel()}}
    return fully_shard(parallelize_module(model(), square["tp"], plan),
                       mesh=square["dp"])

def flat(**options):
    return FullyShardedDataParallel(model(), device_id=torch.device("cpu"), **options)

kinds = {{
    "plain": model,
    "DDP": lambda: DistributedDataParallel(model()),
    "FSDP": flat,
    "FSDP with the user's parameters": lambda: flat(use_orig_params=True),
    "FSDP2": fsdp2,
    "TP": tensor_parallel,
    "FSDP2 and TP": both,
}}
told = {{}}
for name, make in kinds.items():
    notes = Notes()
    module = make()
    module(torch.ones(4, 8)).sum().backward()
    Describer(notes).describe(module, (torch.ones(4, 8),), {{}})
    told[name] = notes.facts
if dist.get_rank() == 1:
    print("TOLD", json.dumps(told))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Run the program on two processes; return what the second noted, by kind."""
    program = tmp_path_factory.mktemp("parallel") / "program.py"
    paths = [str(ROOT / "sidecar"), str(ROOT / "tests")]
    program.write_text(PROGRAM.format(paths=paths))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    facts: dict[str, dict[str, Any]] = printed(
        "TOLD", *launcher, str(program), timeout=280
    )
    return facts


@pytest.mark.parametrize(
    ("name", "parallelism"),
    [
        ("plain", []),
        ("DDP", [{"kind": "DDP", "degree": 2}]),
        ("FSDP", [{"kind": "FSDP", "degree": 2}]),
        ("FSDP with the user's parameters", [{"kind": "FSDP", "degree": 2}]),
        ("FSDP2", [{"kind": "FSDP2", "degree": 2}]),
        ("TP", [{"kind": "TP", "degree": 2}]),
        ("FSDP2 and TP", [{"kind": "TP", "degree": 2}, {"kind": "FSDP2", "degree": 1}]),
    ],
)
def test_parallelism(
    name: str, parallelism: list[dict[str, Any]], told: dict[str, dict[str, Any]]
) -> None:
    """Kind and degree, the place in the world, and the whole of every layer."""
    facts = told[name]
    (model,) = facts["models"]
    elements = 8 * 16 + 16 + 16 * 8 + 8

    assert facts.get("parallelism", []) == parallelism
    assert (facts["world_size"], facts["rank"]) == (2, 1)
    assert model["parameters"]["scope"] == "global"
    assert model["parameters"]["total"] == elements
    assert model["parameters"]["unpacked"] == elements
    shapes = sorted((e["weight"], e["class"]) for e in model["layers"])
    assert shapes == [([8, 16], "Linear"), ([16, 8], "Linear")]
    assert all(e["trainable"] for e in model["layers"])


@pytest.mark.parametrize("name", ["FSDP", "FSDP2", "TP"])
def test_local_share_is_smaller(name: str, told: dict[str, dict[str, Any]]) -> None:
    """What this process holds is told beside the whole."""
    parameters = told[name]["models"][0]["parameters"]

    assert 0 < parameters["local"] < parameters["total"]
