"""Estimate what one process executed, from its facts and its count of steps.

Where an architecture is not recognised, the layers' shapes and the tokens give a rough
figure: twice inputs x outputs for each token, and the same for each gradient.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from flopguard_operator.estimate import families, methods
from flopguard_operator.estimate.model import (
    BACKWARD,
    FORWARD,
    NO_GRAD,
    NON_REENTRANT,
    OPTIMIZER,
    RECOMPUTE,
    REENTRANT,
    Architecture,
    Bounds,
    Call,
    Estimate,
    Work,
)
from flopguard_operator.estimate.steps import of_call, of_work
from flopguard_operator.facts import Batch, Facts, Layer, Model

TRAINING = (FORWARD, BACKWARD, RECOMPUTE, OPTIMIZER)
"""The categories that are compared; the lengths of the other calls are often vague."""
_SHARDED = ("TP", "PP")


@dataclass(frozen=True)
class Opinion:
    """The estimate of a process: by formula, roughly by its layers, or none."""

    estimate: Estimate
    exact: bool  # every model that trains was recognised
    why_not: str = ""


def of_process(facts: Facts, steps: int) -> Opinion:
    """Return the estimate of a process that has made so many optimizer steps.

    Facts are written now and then, the count of steps with every step: training calls
    that they do not tell of yet are taken to be like the others.
    """
    parts = [_of_model(model, facts, steps) for model in facts.models]
    trained = [
        part
        for part, model in zip(parts, facts.models, strict=True)
        if model.training_calls or any(batch.training for batch in model.batches)
    ]
    if not trained:
        return Opinion(Estimate(), exact=False)
    total = sum((part.estimate for part in parts), Estimate())
    why_not = next((part.why_not for part in trained if not part.exact), "")
    return Opinion(
        _sharded(total, facts), exact=all(p.exact for p in trained), why_not=why_not
    )


def _of_model(model: Model, facts: Facts, steps: int) -> Opinion:
    found = families.recognise(model)
    if isinstance(found, str):
        return Opinion(_rough(model, facts, steps), exact=False, why_not=found)
    method = methods.of_model(model, facts, found)
    if isinstance(method, str):
        return Opinion(_rough(model, facts, steps), exact=False, why_not=method)
    calls = tuple(_calls(model, found))
    training = [
        (of_call(found, method, call), count) for call, count in calls if call.training
    ]
    if model.training_calls and not training:
        why_not = "the shapes of its batches are not known"
        return Opinion(Estimate(), exact=False, why_not=why_not)
    others = Work(tuple(each for each in calls if not each[0].training), 0)
    estimate = of_work(found, method, others)
    if training:
        estimate += _of_training(training, model, facts, steps)
        update = steps * method.elements * method.per_element
        estimate += Estimate({OPTIMIZER: Bounds(update, update, update)})
    return Opinion(estimate, exact=True)


def _of_training(
    listed: list[tuple[Estimate, int]], model: Model, facts: Facts, steps: int
) -> Estimate:
    """Return the training calls by now, with what is under way and what is not listed.

    Shapes beyond the listed ones are between the cheapest and the dearest of these.
    """
    costs = sorted((cost.total for cost, _ in listed), key=lambda total: total.expected)
    cheapest, dearest = costs[0].low, costs[-1].high
    count = sum(times for _, times in listed)
    total = sum((cost.times(times) for cost, times in listed), Estimate())
    unlisted = max(0, model.training_calls - count)
    calls = max(count, _calls_by_now(model, facts, steps))
    scaled = {n: _scale(each, calls, count) for n, each in total.flops.items()}
    low, high = (sum(getattr(b, k) for b in scaled.values()) for k in ("low", "high"))
    slack = Bounds(-dearest, 0, dearest * _calls_per_step(model, facts))
    if unlisted:
        part = unlisted * calls // max(1, model.training_calls)
        share = _scale(Bounds(low, 0, high), part, calls)
        slack += Bounds(part * cheapest - share.low, 0, part * dearest - share.high)
    return Estimate(scaled, total.doubts) + Estimate({FORWARD: slack})


def _scale(bounds: Bounds, part: int, whole: int) -> Bounds:
    return Bounds(
        bounds.low * part // whole,
        bounds.expected * part // whole,
        bounds.high * part // whole,
    )


def _calls(model: Model, found: Architecture) -> Iterator[tuple[Call, int]]:
    """Yield the calls that the facts tell of; a shape stands for rows and length."""
    extra = methods.virtual_tokens(model)
    for batch in model.batches:
        if found.seen:
            length = found.seen
        elif len(batch.shape) == 2:  # noqa: PLR2004 - rows and positions
            length = batch.shape[1] + extra
        else:
            continue
        if found.encoder is not None and not batch.decoder:
            continue
        yield (
            Call(
                batch=batch.shape[0],
                length=length,
                decoder=batch.decoder,
                past=batch.past // batch.calls,
                training=batch.training,
            ),
            batch.calls,
        )


def _calls_by_now(model: Model, facts: Facts, steps: int) -> int:
    """Return how many training calls there were by now, as far as is known.

    Facts are older than the count of steps: the calls of a step stay as many.
    """
    if facts.steps:
        by_now = model.training_calls * steps // facts.steps
    else:
        by_now = steps * facts.accumulation
    return max(model.training_calls, by_now)


def _calls_per_step(model: Model, facts: Facts) -> int:
    each = -(-model.training_calls // facts.steps) if facts.steps else 1
    return max(facts.accumulation, each)


def _sharded(estimate: Estimate, facts: Facts) -> Estimate:
    """Divide by the processes that share one model's work: tensors or stages."""
    kinds = {kind: degree for kind, degree in facts.parallelism if kind in _SHARDED}
    if not kinds:
        return estimate
    parts = prod(degree or facts.world_size for degree in kinds.values())
    certain = all(kinds.values()) and "PP" not in kinds
    flops = {
        name: Bounds(
            each.low // parts,
            each.expected // parts,
            each.high // parts if certain else each.high,
        )
        for name, each in estimate.flops.items()
    }
    names = " and ".join(sorted(kinds))
    doubt = f"the work is shared among the processes ({names}), not always equally"
    return Estimate(flops, (*estimate.doubts, *(() if certain else (doubt,))))


def _rough(model: Model, facts: Facts, steps: int) -> Estimate:
    """Return what the layers' shapes and the tokens say, without attention proper."""
    forward = sum(2 * _size(layer) for layer in model.layers)
    trained = sum(2 * _size(layer) for layer in model.layers if layer.trainable)
    tokens = _tokens(model, training=True)
    listed = sum(b.calls for b in model.batches if b.training)
    calls = _calls_by_now(model, facts, steps)
    if listed and calls > listed:
        tokens = tokens * calls // listed
    update = steps * model.held * methods.per_element(facts.optimizers)
    backward = Bounds(trained, trained + forward, trained + forward)
    again = Bounds(0, 0, forward)
    if model.checkpointing in (REENTRANT, NON_REENTRANT):
        again = Bounds(0, forward, forward)
    return Estimate(
        {
            FORWARD: Bounds(forward, forward, forward).times(tokens),
            BACKWARD: (backward if trained else Bounds()).times(tokens),
            RECOMPUTE: again.times(tokens),
            NO_GRAD: Bounds(forward, forward, forward).times(
                _tokens(model, training=False)
            ),
            OPTIMIZER: Bounds(update, update, update),
        },
        ("without attention's own products: only the layers' shapes are known",),
    )


def _tokens(model: Model, *, training: bool) -> int:
    return sum(
        prod(batch.shape[:2]) * batch.calls
        for batch in model.batches
        if batch.training == training and _counts_tokens(batch)
    )


def _counts_tokens(batch: Batch) -> bool:
    return len(batch.shape) == 2  # noqa: PLR2004 - rows and positions


def _size(layer: Layer) -> int:
    """Return the products per token of a kind of layer; a table has none."""
    matrix = len(layer.shape) == 2 and "Embedding" not in layer.kind  # noqa: PLR2004
    return prod(layer.shape) * layer.count if matrix else 0
