"""Say what is wrong with a rule set, before anything is judged by it. Pure."""

import itertools
import json
from collections.abc import Iterator

from flopguard_operator.policy.canonical import MAX_TEXT, from_json, to_json
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.rulesets import PolicyError, RuleSet
from flopguard_operator.policy.terms import BaseModel

_METHODS = ("", "derived_6ND", "speculative")


def problems(rule_set: RuleSet) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong; none for a good rule set."""
    if bool(rule_set.rules) == bool(rule_set.combines):
        yield "give either rules or combines"
        return
    for kind, names in (
        ("rules", [rule.name for rule in rule_set.rules]),
        ("lines", [line.name for line in rule_set.lines]),
        ("notes", [note.name for note in rule_set.notes]),
    ):
        if len(set(names)) != len(names):
            yield f"two {kind} have one name"
    named = {rule.basis for rule in rule_set.rules}
    named |= {line.basis for line in rule_set.lines}
    bases = sorted(named - set(rule_set.counts))
    if bases:
        yield f"counts does not say what counts on: {', '.join(bases)}"
    text = to_json(rule_set)
    size = len(json.dumps(text))  # as it stands in an entry
    if size > MAX_TEXT:
        yield f"it has {size} bytes; at most {MAX_TEXT} fit into the ledger"
        return
    try:
        from_json(text)
        for base in _bases(rule_set):
            governing(base, rule_set)
    except PolicyError as error:
        yield f"{error}; a last rule without `when` and with `limit` fits every base"


def _bases(rule_set: RuleSet) -> Iterator[BaseModel]:
    """Yield a base model of each kind that the rules can tell apart."""
    rows = [row.when for one in (rule_set, *rule_set.combines) for row in one.rules]
    edges = {edge for when in rows for edge in (when.at_least, when.below) if edge}
    figures = {1} | {edge + step for edge in edges for step in (-1, 0) if edge + step}
    known: list[int | None] = [None, *sorted(figures)]
    for disclosed, low, method, systemic in itertools.product(
        known, known, _METHODS, (False, True)
    ):
        yield BaseModel(
            pretraining_flops=disclosed,
            systemic_risk=systemic,
            estimate_low=low,
            method=method,
        )
