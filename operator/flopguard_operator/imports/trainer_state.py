"""Read a Hugging Face `trainer_state.json`: steps, tokens, its own FLOPs.

`total_flos` is never taken as it is where the model is known: it is 6 FLOPs per token
and parameter without embeddings, so it leaves out attention and recomputation, counts
frozen weights as trained ones, and knows nothing of generation. But it tells how many
tokens went in.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flopguard_operator.flops import LARGEST
from flopguard_operator.imports.job import JobError
from flopguard_operator.observed import at, items

MOST_BYTES = 64 * 1024 * 1024
_NAME = "trainer_state.json"


@dataclass(frozen=True)
class TrainerState:
    """What the file says; 0 for what it does not."""

    steps: int
    total_flos: int
    tokens: int  # num_input_tokens_seen; whether with padding is not in the file
    logged_tokens: int  # that the log counts, without padding (TRL)
    samples: int  # over all epochs, by the speed that is logged at the end
    evaluates: bool


def read(data: bytes) -> TrainerState:
    """Return what a `trainer_state.json` says.

    Raises:
        JobError: it is none, or too long for one.
    """
    if len(data) > MOST_BYTES:
        message = f"{_NAME} has more than {MOST_BYTES >> 20} MiB"
        raise JobError(message)
    raw = _decoded(data)
    if not isinstance(raw, Mapping) or "global_step" not in raw:
        message = f"not a {_NAME}: a JSON object with global_step is expected"
        raise JobError(message)
    log = list(items(raw, "log_history"))
    return TrainerState(
        steps=_whole(raw, "global_step"),
        total_flos=_whole(raw, "total_flos"),
        tokens=_whole(raw, "num_input_tokens_seen"),
        logged_tokens=max((_whole(row, "num_tokens") for row in log), default=0),
        samples=max(_samples(log), default=0),
        evaluates=any("eval_runtime" in row for row in log),
    )


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # also what is no UTF-8
        return None


def _samples(log: list[Mapping[str, Any]]) -> Iterator[int]:
    """Yield samples over all epochs: Transformers logs them as speed and duration."""
    for row in log:
        seconds, speed = at(row, "train_runtime"), at(row, "train_samples_per_second")
        if _is_number(seconds) and _is_number(speed):
            yield round(Fraction(seconds) * Fraction(speed))


def _whole(raw: Mapping[str, Any], name: str) -> int:
    """Return a count; 0 where there is none.

    Raises:
        JobError: it cannot be one.
    """
    value = at(raw, name)
    if value is None:
        return 0
    if not _is_number(value):
        message = f"{name} in {_NAME} is not a number from 0 to 1e30"
        raise JobError(message)
    return int(value)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= LARGEST  # neither infinite nor NaN
