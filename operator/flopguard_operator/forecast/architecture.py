"""Read a model's configuration, and say what it is made of.

A configuration comes from a manifest or a file, so from anybody: whatever is wrong with
it ends in one error with a sentence.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flopguard_operator import facts
from flopguard_operator.estimate import families
from flopguard_operator.estimate.model import Architecture, Experts, Stack
from flopguard_operator.estimate.products import Product, kinds

MOST_CONFIG = 65_536  # characters
_LANGUAGE = "text_config"  # of a model that also sees or hears


class PlanError(ValueError):
    """A plan cannot be forecast; the message says what to give."""


def read_config(text: str) -> Mapping[str, Any]:
    """Return a Hugging Face `config.json`, decoded.

    Raises:
        PlanError: it is no JSON object, or too long for one.
    """
    if len(text) > MOST_CONFIG:
        message = f"the model's configuration has more than {MOST_CONFIG} characters"
        raise PlanError(message)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        message = (
            "the model's configuration is not a JSON object: give the text of its "
            "config.json"
        )
        raise PlanError(message)
    return found


def recognised(config: Mapping[str, Any]) -> tuple[Architecture, tuple[str, ...]] | str:
    """Return the architecture that a configuration describes, or why it is not known.

    Returns:
        The architecture, and a sentence for what of the model it leaves out.
    """
    found = families.recognise(_model(config, config))
    if not isinstance(found, str):
        return found, ()
    inner = config.get(_LANGUAGE)
    if isinstance(inner, Mapping):
        language = families.recognise(_model(inner, config))
        if not isinstance(language, str):
            left_out = "only the language model is counted, not what sees or hears"
            return language, (left_out,)
    return found


def _model(config: Mapping[str, Any], outer: Mapping[str, Any]) -> facts.Model:
    """Return a model of which nothing but the configuration is known."""
    classes = outer.get("architectures")
    kind = classes[0] if isinstance(classes, list) and classes else ""
    speaks = kind if isinstance(kind, str) and kind else "ForCausalLM"
    return facts.Model(
        kind=speaks,
        config=facts.config(config),
        layers=(),
        trainable=0,
        held=0,
        adapter=None,
        checkpointing="none",
        batches=(),
        training_calls=0,
        other_calls=0,
    )


def products(found: Architecture) -> Iterator[tuple[int, Product, Experts | None]]:
    """Yield each linear layer of the blocks with how often it is there.

    Experts are given beside a layer of which there is one for each of them.
    """
    for stack in _stacks(found):
        for count, block in kinds(stack, found.hidden):
            for each in block:
                if isinstance(each, Product):
                    experts = stack.experts if each.name == "experts" else None
                    yield count, each, experts


def parameters(found: Architecture, config: Mapping[str, Any]) -> int:
    """Return about how many parameters a model has: matrices and embeddings."""
    layers = sum(
        count * each.inputs * each.outputs * (experts.count if experts else 1)
        for count, each, experts in products(found)
    )
    inner = config.get(_LANGUAGE)
    sizes = inner if isinstance(inner, Mapping) else config
    vocabulary = families.whole(facts.config(sizes), "vocab_size") * found.hidden
    heads = sum(head.inputs * head.outputs for head in found.heads)
    tied = config.get("tie_word_embeddings", True) is not False
    return layers + max(vocabulary, heads) + (0 if tied else heads)


def adaptable(found: Architecture) -> tuple[str, ...]:
    """Return the names of the blocks' layers that adapters may sit on."""
    names = [each.name for _, each, _ in products(found) if each.adaptable]
    return tuple(dict.fromkeys(names))


def usual_targets(found: Architecture) -> tuple[str, ...]:
    """Return what PEFT adapts in most models unless told otherwise: query and value."""
    names = found.stack.names
    pair = [name for name in (names.query, names.value) if name]
    return tuple(name for name in pair if name in adaptable(found))


def adapter_elements(found: Architecture, adapters: Mapping[str, int]) -> int:
    """Return the parameters of adapters, given by layer and rank."""
    return sum(
        count * adapters.get(each.name, 0) * (each.inputs + each.outputs)
        for count, each, _ in products(found)
        if each.adaptable
    )


def _stacks(found: Architecture) -> Iterator[Stack]:
    yield from (s for s in (found.encoder, found.stack) if s is not None)
