"""Read the processes of a pod out of its marks: what each counted, and its facts.

The marks JSON comes from a tenant's pod (docs/formats.md). What is kept of a process is
small and bounded: the facts are read, estimated from, and dropped but for their text.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flopguard_operator import facts as reading
from flopguard_operator.estimate.process import Opinion, of_process
from flopguard_operator.facts import Facts, FactsError, Save, UnknownOperator, canonical
from flopguard_operator.marks import LARGEST_STEPS
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.observed import at, items, text

MOST_PROCESSES = 256  # of a pod; more than there are devices in any machine
MOST_TEXT = 15_000  # of what lasts, and of what grows: both, escaped, fit one entry
_NONCE_CHARACTERS = 32
# What grows while a process runs; the rest of the facts lasts.
_GROWING = frozenset(
    {"pid", "rank", "local_rank", "causal_adjusted", "no_grad_purposes", "profiler"}
    | {"replay", "unknown_operators", "left_out", "steps"}
)
_APART = frozenset({"saves", "events"})  # entries of their own
_GROWING_OF_MODELS = frozenset(
    {"batches", "batches_left_out", "tokens", "tokens_sampled", "padding_sampled"}
    | {"lengths", "calls", "inputs", "no_grad_purpose"}
)
MOST_SHAPES = 2_000  # that are estimated for one pod: a millisecond each at most


@dataclass(frozen=True)
class Texts:
    """The facts as the ledger keeps them: canonical JSON.

    The digest is of the whole lasting facts, which `lasting` is unless it was too long.
    """

    digest: str = ""
    whole: bool = True
    lasting: str = ""
    growing: str = ""


@dataclass(frozen=True)
class Process:
    """One process of a pod, as last read."""

    stream: str  # pod UID
    nonce: str
    done: Mapping[str, int]  # category → FLOPs
    begun: int
    steps: int
    errors: tuple[str, ...] = ()
    facts: Facts | None = None  # without the models, which are estimated from already
    opinion: Opinion | None = None
    texts: Texts = field(default_factory=Texts)

    @property
    def measured(self) -> int:
        """FLOPs proven to have been executed, over all categories."""
        return sum(self.done.values())

    @property
    def saves(self) -> tuple[Save, ...]:
        """The weights that it saved, oldest first."""
        return self.facts.saves if self.facts else ()

    @property
    def unknown_operators(self) -> tuple[UnknownOperator, ...]:
        """The operators that it ran and could not count."""
        return self.facts.unknown_operators if self.facts else ()


def read(marks: object, stream: str) -> tuple[Process, ...]:
    """Return the processes in the marks JSON of a pod: those that counted most first.

    What is malformed is left out; a process without facts has none.
    """
    counted = map(_counted, items(marks, "pages"))
    known = [(raw, one) for raw, one in counted if one is not None]
    known.sort(key=lambda pair: (-pair[1].measured, pair[1].nonce))
    result, shapes = [], 0
    for raw, one in known[:MOST_PROCESSES]:
        shapes += sum(
            len(at(model, "batches") or ())
            for model in items(raw, "facts", "models")
            if isinstance(at(model, "batches"), list)
        )
        result.append(_with_facts(raw, one, stream, estimated=shapes <= MOST_SHAPES))
    return tuple(result)


def _counted(raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], Process | None]:
    """Return a page and what it counted; None where a figure is out of bounds."""
    done = {c: reading.flops(text(raw, "done", c)) for c in CATEGORIES}
    begun = [reading.flops(text(raw, "begun", c)) for c in CATEGORIES]
    steps, nonce = at(raw, "steps"), text(raw, "nonce")
    good = type(steps) is int and 0 <= steps <= LARGEST_STEPS
    if not good or None in (*done.values(), *begun) or not _is_nonce(nonce):
        return raw, None
    counted = {c: flops or 0 for c, flops in done.items()}
    return raw, Process("", nonce, counted, sum(n or 0 for n in begun), steps)


def _is_nonce(nonce: str) -> bool:
    good = len(nonce) == _NONCE_CHARACTERS
    return good and all(c in "0123456789abcdef" for c in nonce)


def _with_facts(
    raw: Mapping[str, Any], counted: Process, stream: str, *, estimated: bool
) -> Process:
    told, opinion, texts = None, None, Texts()
    said = at(raw, "facts")
    try:
        whole = reading.read(said)
        texts = _texts(said)
        told = _small(whole)
        opinion = of_process(whole, counted.steps) if estimated else None
    except FactsError:
        pass  # counted all the same; a second opinion is what is missing
    errors = at(raw, "errors")
    listed = errors[: reading.MOST_LISTED] if isinstance(errors, list) else []
    return Process(
        stream=stream,
        nonce=counted.nonce,
        done=counted.done,
        begun=max(counted.begun, counted.measured),
        steps=counted.steps,
        errors=tuple(each for each in listed if isinstance(each, str)),
        facts=told,
        opinion=opinion,
        texts=texts,
    )


def _small(whole: Facts) -> Facts:
    """Drop the models: the largest part, and not needed again."""
    models = tuple(
        replace(model, config={}, layers=(), batches=()) for model in whole.models
    )
    return replace(whole, models=models)


def _texts(raw: Mapping[str, Any]) -> Texts:
    """Return the facts in two texts: what lasts, and what grows."""
    models = list(items(raw, "models"))
    lasting = dict(_without(raw, _GROWING | _APART)) | {
        "models": [dict(_without(each, _GROWING_OF_MODELS)) for each in models]
    }
    growing = {key: value for key, value in raw.items() if key in _GROWING} | {
        "models": [
            {key: value for key, value in each.items() if key in _GROWING_OF_MODELS}
            for each in models
        ]
    }
    try:
        whole = canonical(lasting)
        return Texts(
            digest=hashlib.sha256(whole.encode()).hexdigest(),
            whole=len(whole) <= MOST_TEXT,
            lasting=_bounded(lasting, "layers"),
            growing=_bounded(growing, "batches"),
        )
    except RecursionError as error:
        message = "the facts of a process are nested too deeply"
        raise FactsError(message) from error


def _without(raw: Mapping[str, Any], keys: frozenset[str]) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in raw.items() if key not in keys)


def _bounded(document: Mapping[str, Any], longest: str) -> str:
    """Return the text of a document; shortened to what an entry has room for.

    The longest list of the models goes first, then whole models, then all.
    """
    models = document["models"]
    shorter = [{k: v for k, v in each.items() if k != longest} for each in models]
    for kept in (models, shorter, shorter[:1], []):
        whole = canonical({**document, "models": kept})
        if len(whole) <= MOST_TEXT:
            return whole
    return canonical({"left_out": "too long"})
