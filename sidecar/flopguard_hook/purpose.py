"""Why a model is called without gradients: generation, evaluation, ... Core.

Told by the names of the functions up the stack, innermost first, and where a library
calls several models from one function, by the model's state.
"""

from __future__ import annotations

import re
from typing import Any

GENERATION = "generation"
EVALUATION = "evaluation"
REFERENCE = "reference"
REWARD = "reward"
OTHER = "other"
_IDLE = "idle"

_MOST_FRAMES = 64

_GENERATION_FILES = ("/transformers/generation/", "/vllm/", "/sglang/")
_GENERATES = re.compile(
    r"generate(_|$)|_?(greedy|beam|contrastive|assisted)_(search|decod)|_prefill$"
)
_REFERENCE = re.compile(r"(^|_)ref(erence)?(_|$)|null_ref")
_REWARD = re.compile(r"(^|_)rewards?(_|$)")
_EVALUATES = re.compile(
    r"_?(eval|evaluate|evaluation|valid|validate|validation|predict|prediction)(_|$)"
    r"|test(_(step|epoch|loop|model|loss))?$"
)
# Of a trainer that calls several models in one function.
_REINFORCES = ("/trl/", "/openrlhf/", "/verl/")
_SCORES = "ForSequenceClassification"


def of_frames(frame: Any, module: Any = None) -> str:
    """Return the purpose of a call without gradients.

    Args:
        frame: The frame that calls the root module, or the hook's own within.
        module: The root module, if it is known: a frozen model, or one with its
            adapters off, is the reference of a preference or reinforcement trainer.

    Returns:
        `generation`, `evaluation`, `reference`, `reward` or `other`.
    """
    is_training = bool(getattr(module, "training", False))
    by_state = OTHER
    for _ in range(_MOST_FRAMES):
        if frame is None:
            break
        code = frame.f_code
        path = code.co_filename.replace("\\", "/")
        purpose = _of_name(code.co_name, path, is_training=is_training)
        in_trainer = any(part in path for part in _REINFORCES)
        if in_trainer and by_state == OTHER and purpose in {OTHER, EVALUATION}:
            by_state = _by_state(module)
        if purpose != OTHER:
            return REFERENCE if by_state == REFERENCE else purpose
        frame = frame.f_back
    return REFERENCE if by_state == _IDLE else by_state


def _of_name(name: str, path: str, *, is_training: bool) -> str:
    if any(part in path for part in _GENERATION_FILES) or _GENERATES.match(name):
        return GENERATION
    if _REWARD.search(name):
        return REWARD
    if _REFERENCE.search(name):
        return REFERENCE
    # A function `test_step` or `predict` may train as well.
    if not is_training and _EVALUATES.match(name):
        return EVALUATION
    return OTHER


def _by_state(module: Any) -> str:
    """Tell a trainer's reference and reward models from the one that it trains.

    What scores a text has a class for it. The reference is frozen, or has its adapters
    off. One that is neither is at least not in training mode, but so is every model
    while it is evaluated.
    """
    if module is None:
        return OTHER
    if type(getattr(module, "module", module)).__name__.endswith(_SCORES):
        return REWARD
    for layer in module.modules():
        if getattr(layer, "_disable_adapters", False) is True:
            return REFERENCE
        if getattr(layer, "_active_adapter", None) in ("ref", ["ref"], "reference"):
            return REFERENCE
    if module.training:
        return OTHER
    is_frozen = not any(parameter.requires_grad for parameter in module.parameters())
    return REFERENCE if is_frozen else _IDLE
