"""Several processes: NCCL where there are GPUs, gloo on the CPU."""

import os
import subprocess
import sys
from typing import Any

import torch

from gpu.expecting import Check, Expected
from gpu.training import blocks, costs, rows, train

_LAYERS = 3


def data_parallel(device: str) -> Expected:
    """Does each rank of DDP count its own work, exactly?"""
    return _launch("ddp", device)


def fully_sharded(device: str) -> Expected:
    """Does each rank of FSDP2 count its own work, exactly?"""
    return _launch("fsdp", device)


def _launch(how: str, device: str) -> Expected:
    world = torch.cuda.device_count() if device == "cuda" else 2
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ranks = [f"--nproc-per-node={world}", "-m", "gpu.distributed", how, device]
    done = subprocess.run(
        [*launcher, *ranks], capture_output=True, text=True, check=False, timeout=240
    )
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    flops = {category: world * n for category, n in costs(_LAYERS).items()}
    return Expected(flops, note=f"{world} ranks")


def rank(how: str, device: str) -> None:
    """Train as one rank of several."""
    from torch import distributed

    local = int(os.environ["LOCAL_RANK"])
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    if device == "cuda":
        torch.cuda.set_device(local)
    train(_wrapped(how, blocks(_LAYERS).to(device)), rows(device))
    distributed.destroy_process_group()


def _wrapped(how: str, model: Any) -> Any:
    if how == "ddp":
        return torch.nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    kind = next(model.parameters()).device.type
    world = torch.distributed.get_world_size()
    fully_shard(model, mesh=init_device_mesh(kind, (world,)))
    return model


CHECKS = (Check(data_parallel, on_cpu=True), Check(fully_sharded, on_cpu=True))

if __name__ == "__main__":
    rank(sys.argv[1], sys.argv[2])
