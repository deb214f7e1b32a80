"""Over how many processes a model is spread, and how. Core.

Recognised by class names in the module tree and by what DTensor says of its mesh;
`torch.distributed` is looked at only where the program has initialised it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

_MOST_FRAMES = 24
_STAGE_FILES = ("distributed/pipelining/stage.py", "distributed\\pipelining\\stage.py")
_TENSOR_NAMES = ("tp", "tensor", "model", "mp")
_MEGATRON = frozenset({"ColumnParallelLinear", "RowParallelLinear"})
_BY_CLASS = {
    "DistributedDataParallel": "DDP",
    "DataParallel": "DP",
    "FullyShardedDataParallel": "FSDP",
    "DeepSpeedEngine": "DeepSpeed",
    "PipelineEngine": "PP",
    "PipelineModule": "PP",
    "PipelineParallel": "PP",
}
# Kinds that give every worker the same rows.
_SAME_ROWS = frozenset({"TP", "PP"})


class Kind(NamedTuple):
    """One way in which a model is spread.

    Attributes:
        kind: One of `DP DDP FSDP FSDP2 TP PP DeepSpeed`.
        degree: Over how many processes; 0 if that is unknown.
    """

    kind: str
    degree: int


def kinds_of(module: Any, world_size: int) -> "list[Kind]":
    """Return how a root module is spread, outermost first.

    Args:
        module: The root module, wrappers included.
        world_size: Number of processes, 1 for one.
    """
    found: dict[str, int] = {}
    is_sharded = False
    for _, layer in module.named_modules():
        names = {base.__name__ for base in type(layer).__mro__}
        for name in names & _BY_CLASS.keys():
            found.setdefault(_BY_CLASS[name], _size_of_group(layer, world_size))
        is_sharded = is_sharded or "FSDPModule" in names
        if names & _MEGATRON:
            found.setdefault("TP", 0)
    for parameter in module.parameters():
        mesh = getattr(parameter, "device_mesh", None)
        if mesh is not None and type(parameter).__name__ == "DTensor":
            for kind, degree in _of_mesh(parameter, mesh, is_sharded=is_sharded):
                found.setdefault(kind, degree)
    planned: Any = getattr(module, "tp_size", getattr(module, "_tp_size", None))
    if isinstance(planned, int) and planned > 1:
        found["TP"] = planned
    return [Kind(kind, degree) for kind, degree in found.items()]


def data_workers(kinds: "list[Kind]", world_size: int) -> int:
    """Return how many processes train on rows of their own."""
    workers = world_size
    for kind in kinds:
        if kind.kind in _SAME_ROWS and kind.degree > 1:
            workers //= kind.degree
    return max(workers, 1)


def is_stage(frame: Any) -> bool:
    """Say whether a stack lies within a stage of torch's pipelining."""
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return False
        if frame.f_code.co_filename.endswith(_STAGE_FILES):
            return True
        frame = frame.f_back
    return False


def _size_of_group(layer: Any, world_size: int) -> int:
    group = getattr(layer, "process_group", None)
    size = getattr(group, "size", None)
    if callable(size):
        return int(size())
    devices = getattr(layer, "device_ids", None)
    if type(layer).__name__ == "DataParallel":
        return len(devices or ())
    return world_size


def _of_mesh(parameter: Any, mesh: Any, *, is_sharded: bool) -> "list[Kind]":
    """Return what the dimensions of a DTensor's mesh stand for."""
    sizes = [int(n) for n in mesh.shape]
    names = [str(n) for n in mesh.mesh_dim_names or [""] * len(sizes)]
    if not is_sharded:
        return [Kind("TP", sizes[-1])]
    tensor = [i for i, name in enumerate(names) if name in _TENSOR_NAMES]
    places = [type(place).__name__ for place in parameter.placements]
    if not tensor and len(sizes) > 1 and places[0] != "Replicate":
        tensor = [len(sizes) - 1]  # two ways of splitting, the inner one is by tensor
    rest = [size for i, size in enumerate(sizes) if i not in tensor]
    kinds = [Kind("TP", sizes[i]) for i in tensor[:1]]
    if len(rest) > 1:  # copies of a sharded model
        kinds.append(Kind("DDP", rest[0]))
    return [*kinds, Kind("FSDP2", rest[-1])] if rest else kinds
