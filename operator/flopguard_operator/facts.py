"""Read the facts of a process: what the hook knows beside its FLOPs.

They come from inside a tenant's process (docs/formats.md, "The facts"): every value is
checked before it is used. What is malformed is left out; nothing of it is counted.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flopguard_operator.marks import MAX_DIGITS
from flopguard_operator.observed import at, items, text

SCHEMA = 2
LARGEST_NUMBER = 2**40  # of a dimension, a count or a step: far above any real one
MOST_MODELS, MOST_LAYERS, MOST_BATCHES, MOST_LISTED = 8, 96, 48, 64
MOST_CHARACTERS = 200

Config = Mapping[str, int | str | Mapping[str, Any]]


class FactsError(ValueError):
    """The facts of a process are not what docs/formats.md says."""


@dataclass(frozen=True)
class Layer:
    """Weights of one shape under one pattern of names, `*` for the numbers in it."""

    name: str
    kind: str
    shape: tuple[int, ...]
    count: int
    trainable: bool
    packed: str = ""
    shared: bool = False


@dataclass(frozen=True)
class Batch:
    """Calls of one shape; `past` is summed over them."""

    shape: tuple[int, ...]
    calls: int
    training: bool
    decoder: int = 0
    past: int = 0


@dataclass(frozen=True)
class Adapter:
    """A parameter-efficient method, as PEFT names it."""

    kind: str
    rank: int
    targets: tuple[str, ...]
    dora: bool
    virtual_tokens: int
    off: bool  # disabled or merged: the base weights alone compute


@dataclass(frozen=True)
class Model:
    """One root module."""

    kind: str
    config: Config
    layers: tuple[Layer, ...]
    trainable: int
    held: int  # trainable elements that this process holds
    adapter: Adapter | None
    checkpointing: str
    batches: tuple[Batch, ...]
    training_calls: int
    other_calls: int


@dataclass(frozen=True)
class UnknownOperator:
    """An operator that ran and has no formula."""

    name: str
    calls: int = 0
    flops: int | None = None  # an estimate, where one can be made


@dataclass(frozen=True)
class Save:
    """Weights that the process saved, with its own FLOPs when it began to."""

    path: str
    step: int
    flops: int
    kind: str
    gone: bool = False


@dataclass(frozen=True)
class Change:
    """A fact that changed during the run; `before` and `after` are JSON."""

    fact: str
    before: str
    after: str
    step: int
    flops: int


@dataclass(frozen=True)
class Profile:
    """What torch.profiler counted in a few steps, and the hook in the same ones."""

    steps: int
    flops: int
    hook_flops: int
    by_element: int = 0  # of `flops`: additions and products that no hook counts
    unpriced: tuple[str, ...] = ()  # operators that it knows no cost of


@dataclass(frozen=True)
class Facts:
    """What is known of one process."""

    models: tuple[Model, ...] = ()
    gpus: tuple[str, ...] = ()
    optimizers: tuple[str, ...] = ()
    accumulation: int = 1
    steps: int = 0  # when the facts were written
    parallelism: tuple[tuple[str, int], ...] = ()  # (kind, degree or 0)
    world_size: int = 1
    unknown_operators: tuple[UnknownOperator, ...] = ()
    drift: tuple[str, ...] = ()  # windows whose cost changed
    replay_off: str = ""  # why every window is measured
    saves: tuple[Save, ...] = ()
    events: tuple[Change, ...] = ()
    profile: Profile | None = None
    purposes: Mapping[str, int] = field(default_factory=dict)  # of no_grad FLOPs
    left_out: tuple[str, ...] = ()


def read(raw: object) -> Facts:
    """Return the facts of a process; what is malformed in them is left out.

    Raises:
        FactsError: they are no JSON object of schema 1 or 2.
    """
    try:
        return _read(raw)
    except RecursionError as error:
        message = "the facts of a process are nested too deeply"
        raise FactsError(message) from error


def _read(raw: object) -> Facts:
    schema = at(raw, "schema")
    if not isinstance(raw, Mapping) or number(schema, 0) not in (1, SCHEMA):
        message = f"the facts of a process are not of schema {SCHEMA}"
        raise FactsError(message)
    return Facts(
        models=tuple(_model(each) for each in _first(raw, "models", MOST_MODELS)),
        gpus=_names(raw.get("gpus")),
        optimizers=_names(raw.get("optimizers")),
        accumulation=max(1, number(raw.get("accumulation"), 1)),
        steps=number(raw.get("steps"), 0),
        parallelism=tuple(
            (_cut(text(each, "kind")), number(at(each, "degree"), 0))
            for each in _first(raw, "parallelism", MOST_MODELS)
        ),
        world_size=max(1, number(raw.get("world_size"), 1)),
        unknown_operators=tuple(_operators(raw.get("unknown_operators"))),
        drift=tuple(
            _cut(text(each, "window")) for each in items(raw, "replay", "drift")
        )[:MOST_LISTED],
        replay_off=_replay_off(raw),
        saves=tuple(_saves(raw)),
        events=tuple(_events(raw)),
        profile=_profile(raw.get("profiler")),
        purposes=_purposes(raw.get("no_grad_purposes")),
        left_out=_names(raw.get("left_out")),
    )


def number(value: object, otherwise: int) -> int:
    """Return a whole number that is not absurd, else `otherwise`."""
    good = isinstance(value, int) and not isinstance(value, bool)
    return value if good and 0 <= value <= LARGEST_NUMBER else otherwise  # type: ignore[operator,return-value]  # `good` says that it is an int


def flops(value: object) -> int | None:
    """Return a count of FLOPs from its decimal digits; None if it is none."""
    good = isinstance(value, str) and value.isascii() and value.isdigit()
    return int(str(value)) if good and len(str(value)) <= MAX_DIGITS else None


def _cut(value: str) -> str:
    """Return a text on one line, bounded and without what a terminal would obey."""
    line = value[:MOST_CHARACTERS]
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else " " for c in line)


def _first(raw: object, key: str, most: int) -> list[Mapping[str, Any]]:
    return list(items(raw, key))[:most]


def _names(value: object) -> tuple[str, ...]:
    found = value[:MOST_LISTED] if isinstance(value, list) else []
    return tuple(_cut(each) for each in found if isinstance(each, str))


def _model(raw: Mapping[str, Any]) -> Model:
    counted = at(raw, "parameters")
    trainable = number(at(counted, "trainable"), 0)
    total, held = number(at(counted, "total"), 0), number(at(counted, "local"), 0)
    if not total or not 0 < held < total:
        held = trainable
    else:  # shards are equal: the part of the trained ones is that of all
        held = -(-trainable * held // total)
    return Model(
        kind=_cut(text(raw, "class")),
        config=config(at(raw, "architecture")),
        layers=tuple(_layers(raw)),
        trainable=trainable,
        held=held,
        adapter=_adapter(at(raw, "adapter")),
        checkpointing=_cut(text(raw, "checkpointing")) or "none",
        batches=tuple(_batches(raw)),
        training_calls=number(at(raw, "calls", "training"), 0),
        other_calls=number(at(raw, "calls", "no_grad"), 0),
    )


def config(raw: object, depth: int = 2) -> Config:
    """Return numbers and short texts; true and false are 1 and 0."""
    found: dict[str, int | str | Mapping[str, Any]] = {}
    if not isinstance(raw, Mapping):
        return found
    for key, value in list(raw.items())[: 2 * MOST_LAYERS]:
        if isinstance(value, Mapping) and depth:
            found[str(key)] = config(value, depth - 1)
        elif isinstance(value, str):
            found[str(key)] = _cut(value)
        elif isinstance(value, int) and 0 <= value <= LARGEST_NUMBER:
            found[str(key)] = int(value)
    return found


def _layers(raw: Mapping[str, Any]) -> Iterator[Layer]:
    for each in _first(raw, "layers", MOST_LAYERS):
        shape = _shape(at(each, "weight"))
        if shape:
            yield Layer(
                name=_cut(text(each, "name")),
                kind=_cut(text(each, "class")),
                shape=shape,
                count=number(at(each, "count"), 1),
                trainable=at(each, "trainable") is True,
                packed=_cut(text(each, "packed")),
                shared=at(each, "shared") is True,
            )


def _shape(value: object) -> tuple[int, ...]:
    """Return a shape of at most six dimensions; () if it is none."""
    if not isinstance(value, list) or len(value) > 6:  # noqa: PLR2004 - video is 5
        return ()
    sizes = tuple(number(each, -1) for each in value)
    return sizes if min(sizes, default=-1) >= 0 else ()


def _batches(raw: Mapping[str, Any]) -> Iterator[Batch]:
    for each in _first(raw, "batches", MOST_BATCHES):
        shape, calls = _shape(at(each, "shape")), number(at(each, "calls"), 0)
        if shape and calls:
            yield Batch(
                shape=shape,
                calls=calls,
                training=at(each, "grad") is not False,
                decoder=number(at(each, "decoder"), 0),
                past=number(at(each, "past"), 0),
            )


def _adapter(raw: object) -> Adapter | None:
    if not isinstance(raw, Mapping):
        return None
    return Adapter(
        kind=_cut(text(raw, "type")).upper(),
        rank=number(raw.get("rank"), 0),
        targets=_names(raw.get("targets")),
        dora=raw.get("dora") is True,
        virtual_tokens=number(raw.get("virtual_tokens"), 0),
        off=raw.get("disabled") is True or raw.get("merged") is True,
    )


def _operators(value: object) -> Iterator[UnknownOperator]:
    """Yield the operators; an older hook gives names alone."""
    for each in value[:MOST_LISTED] if isinstance(value, list) else ():
        if isinstance(each, str):
            yield UnknownOperator(_cut(each))
        elif text(each, "operator"):
            calls = number(at(each, "calls"), 0)
            estimate = flops(at(each, "estimate"))
            yield UnknownOperator(_cut(text(each, "operator")), calls, estimate)


def _replay_off(raw: Mapping[str, Any]) -> str:
    if text(raw, "replay", "state") != "off":
        return ""
    return _cut(text(raw, "replay", "why")) or "no reason is given"


def _saves(raw: Mapping[str, Any]) -> Iterator[Save]:
    for each in _first(raw, "saves", MOST_LISTED):
        spent = flops(at(each, "flops"))
        path = _cut(text(each, "path"))
        if spent is not None and path and len(text(each, "path")) <= MOST_CHARACTERS:
            yield Save(
                path=path,
                step=number(at(each, "step"), 0),
                flops=spent,
                kind=_cut(text(each, "kind")),
                gone=at(each, "gone") is True,
            )


def _events(raw: Mapping[str, Any]) -> Iterator[Change]:
    for each in _first(raw, "events", MOST_LISTED):
        fact = _cut(text(each, "fact"))
        if fact:
            yield Change(
                fact=fact,
                before=_cut(shown(at(each, "before"))),
                after=_cut(shown(at(each, "after"))),
                step=number(at(each, "step"), 0),
                flops=flops(at(each, "flops")) or 0,
            )


def shown(value: object) -> str:
    """Return a JSON value as text, for people."""
    return value if isinstance(value, str) else canonical(value)


def _profile(raw: object) -> Profile | None:
    found = [flops(at(raw, key)) for key in ("flops", "hook_flops")]
    if None in found or not found[1]:
        return None
    whole = found[0] or 0
    return Profile(
        steps=number(at(raw, "steps"), 0),
        flops=whole,
        hook_flops=found[1],
        by_element=min(flops(at(raw, "by_element")) or 0, whole),
        unpriced=_names(at(raw, "unpriced")),
    )


def _purposes(raw: object) -> dict[str, int]:
    listed = list(raw.items())[:MOST_LISTED] if isinstance(raw, Mapping) else []
    return {_cut(str(key)): flops(value) or 0 for key, value in listed}


def canonical(value: object) -> str:
    """Return a JSON value in its one spelling: ASCII, sorted, without spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
