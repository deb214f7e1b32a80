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
    Method,
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
        if model.training_calls
    ]
    if not trained:
        return Opinion(Estimate(), exact=False, why_not="no training call is known yet")
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
    if not calls:
        return Opinion(
            Estimate(), exact=False, why_not="the shapes of its batches are not known"
        )
    training = Work(tuple(c for c in calls if c[0].training), 0)
    other = Work(tuple(c for c in calls if not c[0].training), 0)
    estimate = of_work(found, method, training)
    estimate = _scaled(estimate, training, _ahead(model, facts, steps))
    slack = _slack(found, method, training, facts.accumulation)
    estimate = estimate + slack + of_work(found, method, other)
    update = (steps if model.training_calls else 0) * method.elements
    spent = update * method.per_element
    return Opinion(
        estimate + Estimate({OPTIMIZER: Bounds(spent, spent, spent)}), exact=True
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


def _ahead(model: Model, facts: Facts, steps: int) -> int:
    """Return how many training calls there were by now, as far as is known."""
    return max(model.training_calls, steps * facts.accumulation)


def _scaled(estimate: Estimate, told: Work, calls: int) -> Estimate:
    """Return the estimate of the calls that the facts list, for all that there were."""
    listed = sum(count for _, count in told.calls)
    if not listed or calls <= listed:
        return estimate
    flops = {
        name: Bounds(
            each.low * calls // listed,
            each.expected * calls // listed,
            each.high * calls // listed,
        )
        for name, each in estimate.flops.items()
    }
    return Estimate(flops, estimate.doubts)


def _slack(
    found: Architecture, method: Method, told: Work, accumulation: int
) -> Estimate:
    """Return what is under way: a call less than told, or a whole step more."""
    dearest = Bounds()
    for call, _ in told.calls:
        total = of_call(found, method, call).total
        dearest = max(dearest, total, key=lambda bounds: bounds.high)
    return Estimate({FORWARD: Bounds(-dearest.high, 0, accumulation * dearest.high)})


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
    calls = _ahead(model, facts, steps)
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
