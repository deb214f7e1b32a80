"""Which saved files are weights, what names them, and which to remember. Core."""

from __future__ import annotations

import os
import re
from typing import Any, Iterable, Mapping

from flopguard_hook.facts import MOST_CHARACTERS

TORCH, SAFETENSORS = "torch", "safetensors"
DISTRIBUTED, TRAINER = "distributed", "trainer"

MOST_SAVES = 64
_NEWEST_KEPT = 24
_MOST_VALUES = 256
_MOST_DEPTH = 3

# Folders that hold one state of a training run, whatever is in them.
_CHECKPOINT = re.compile(
    r"(tmp-)?(checkpoint|ckpt|global_step|step|epoch|iter|iteration|pytorch_model_fsdp)"
    r"[-_=]?\d+([-_.].*)?|pytorch_model_fsdp_\d+",
    re.IGNORECASE,
)
# Files that make sense only with others of their folder.
_PARTS = re.compile(
    r"(model|pytorch_model|adapter_model|consolidated|diffusion_pytorch_model)"
    r"([-_.]\d+([-_]of[-_]\d+)?)?\.(safetensors|bin|pt|pth)"
    r"|.*-\d{5}-of-\d{5}\.(safetensors|bin|pt|pth)"
    r"|.*\.distcp|mp_rank_.*\.pt|.*_model_states\.pt|\.metadata",
    re.IGNORECASE,
)
_NOT_WEIGHTS = re.compile(
    r"(optimizer|optim|scheduler|rng_state|scaler|training_args|random_states|sampler"
    r"|trainer_state|dataloader|loss)([-_.]\d+)*(_\d+)?"
    r"\.(pt|pth|bin|pkl|safetensors|ckpt)"
    r"|.*(optim_states|_optimizer|_optim|rng_state)[-_\d]*\.(pt|pth|bin)"
    r"|random_states_\d+\.pkl",
    re.IGNORECASE,
)
_TRAINERS_FOLDER = re.compile(r"checkpoint-\d+")
_OPTIMIZER_KEYS = ("state", "param_groups")


def name_of(path: str) -> str:
    """Return what a saved file is known by: itself, or the folder of its kind.

    The files of `checkpoint-500` are one save; `out/model-00001-of-00002.safetensors`
    is part of `out`. A folder that will get its name only once it is complete has it
    already.

    Args:
        path: Absolute, or the address of another store.

    Returns:
        At most 200 characters; empty for a file that by its name holds no weights.
    """
    folder, base = os.path.split(path)
    if _NOT_WEIGHTS.fullmatch(base):
        return ""
    parts = path.split("/")
    if "." in base:
        parts = parts[:-1]
    for i in range(len(parts) - 1, 0, -1):
        if _CHECKPOINT.fullmatch(parts[i]):
            while i > 1 and _CHECKPOINT.fullmatch(parts[i - 1]):
                i -= 1  # noqa: PLW2901 # checkpoint-500/global_step500 is one
            plain = parts[i].removeprefix("tmp-")
            return _short("/".join([*parts[:i], plain]))
    return _short(folder if _PARTS.fullmatch(base) and folder else path)


def kind_of(name: str, how: str, *, has_trainer: bool) -> str:
    """Return the kind of a save: that of a Trainer's folder, or how it was saved."""
    is_folder = _TRAINERS_FOLDER.fullmatch(os.path.basename(name)) is not None
    return TRAINER if is_folder and has_trainer else how


def holds_weights(saved: Any, depth: int = 0) -> bool:
    """Say whether what is saved is a model or a state dict, or holds one.

    An optimizer's state is neither, nor are integers: those are data.
    """
    if any(_is_module(base) for base in type(saved).__mro__):
        return True
    if not isinstance(saved, dict) or depth > _MOST_DEPTH:
        return False
    # As a plain dict: a subclass of the user's may do more than look something up.
    if all(dict.__contains__(saved, key) for key in _OPTIMIZER_KEYS):
        return False
    for key, value in _first(dict.items(saved)):
        if "optim" in str(key).lower():
            continue
        if _is_floating(value) or holds_weights(value, depth + 1):
            return True
    return False


def _is_module(kind: type) -> bool:
    return kind.__name__ == "Module" and kind.__module__ == "torch.nn.modules.module"


def _first(items: Iterable[Any]) -> Iterable[Any]:
    for i, item in enumerate(items):
        if i >= _MOST_VALUES:
            return
        yield item


def _is_floating(value: Any) -> bool:
    is_tensor = hasattr(type(value), "__torch_function__")
    return is_tensor and bool(value.dtype.is_floating_point)


def with_save(
    saves: "Iterable[Mapping[str, Any]]", save: "Mapping[str, Any]"
) -> "list[dict[str, Any]]":
    """Return the saves with one more, the newest last.

    A path that is saved again has new content: what stood there is forgotten. Of many
    the newest are kept and of the older ones ever fewer, those that are gone first.
    """
    kept = [dict(old) for old in saves if old.get("path") != save["path"]]
    kept.append(dict(save))
    while len(kept) > MOST_SAVES:
        gone = [i for i, old in enumerate(kept[:-1]) if old.get("gone")]
        del kept[gone[0] if gone else _closest(kept)]
    return kept


def _closest(saves: "list[dict[str, Any]]") -> int:
    """Return the older save whose neighbours leave the smallest hole, for its age."""
    newest = int(saves[-1]["flops"])
    older = range(1, len(saves) - _NEWEST_KEPT)

    def hole(i: int) -> tuple[float, int]:
        width = int(saves[i + 1]["flops"]) - int(saves[i - 1]["flops"])
        age = newest - int(saves[i]["flops"])
        return (width / (age + 1), i)

    return min(older, key=hole)


def _short(path: str) -> str:
    """Return a path of bounded length; its end says most."""
    if len(path) <= MOST_CHARACTERS:
        return path
    return "…" + path[1 - MOST_CHARACTERS :]
