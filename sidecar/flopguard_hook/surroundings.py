"""What surrounds the models of a process: precision, other processes, the machine.

Shell: reads the state of torch and of the libraries that the program has imported.
"""

from __future__ import annotations

import sys
from typing import Any, Mapping

import torch

from flopguard_hook import methods, parallel, versions


def of_process(
    module: Any, dtypes: Mapping[str, int], world_size: int
) -> "dict[str, Any]":
    """Return the facts of a process as they are at a call of one of its models.

    Args:
        module: The root module that is called, wrappers included.
        dtypes: Its elements by dtype.
        world_size: As the launcher says; an initialised process group knows better.
    """
    found: dict[str, Any] = {"versions": versions.libraries()}
    distributed: Any = sys.modules.get("torch.distributed")
    if _is_initialized(distributed):
        world_size = int(distributed.get_world_size())
        found["world_size"] = world_size
        found["rank"] = int(distributed.get_rank())
    names = versions.gpus(torch)
    if names:
        found["gpus"] = names
    kinds = parallel.kinds_of(module, world_size)
    if parallel.is_stage(sys._getframe(1)):
        kinds = [*kinds, parallel.Kind("PP", 0)]
    found["parallelism"] = [_kind(kind, module) for kind in kinds]
    precision = _precision(module, dtypes)
    return {**found, "precision": precision} if precision else found


def of_machine() -> "dict[str, Any]":
    """Return what stays the same for the whole process."""
    built_for = versions.cuda(torch)
    return {
        "digest": versions.digest(),
        "cpu": versions.cpu(),
        **({"cuda": built_for} if built_for else {}),
    }


def _kind(kind: parallel.Kind, module: Any) -> "dict[str, Any]":
    entry: dict[str, Any] = {"kind": kind.kind}
    if kind.degree:
        entry["degree"] = kind.degree
    stage = getattr(module, "zero_optimization_stage", None)
    if kind.kind == "DeepSpeed" and callable(stage):
        entry["zero"] = int(stage())
    return entry


def _is_initialized(distributed: Any) -> bool:
    """Say whether the program has made a process group; asks, never makes one."""
    return bool(
        distributed is not None
        and distributed.is_available()
        and distributed.is_initialized()
    )


def _precision(module: Any, dtypes: Mapping[str, int]) -> str:
    tf32 = torch.cuda.is_initialized() and bool(torch._C._get_cublas_allow_tf32())
    fp8 = methods.is_fp8(module)
    return methods.precision_of(dtypes, _autocast(module), fp8=fp8, tf32=tf32)


def _autocast(module: Any) -> str:
    """Return the dtype of autocast, around the call or put inside by a library."""
    device = next((p.device.type for p in module.parameters()), "cpu")
    if device in {"cpu", "cuda"} and torch.is_autocast_enabled(device):
        return str(torch.get_autocast_dtype(device)).rsplit(".", maxsplit=1)[-1]
    policy = getattr(module, "mixed_precision", None)  # FSDP 1
    dtype = getattr(policy, "param_dtype", None)
    if dtype is not None:
        return str(dtype).rsplit(".", maxsplit=1)[-1]
    state = getattr(sys.modules.get("accelerate.state"), "AcceleratorState", None)
    shared = getattr(state, "_shared_state", None)
    named = shared.get("_mixed_precision") if isinstance(shared, dict) else None
    return named if isinstance(named, str) and named != "no" else ""
