"""Give the rule sets that ship with flopguard, read from their canonical JSON.

The JSON is made from the YAML beside it (`make crds`), so that an auditor's laptop
needs neither pydantic nor a YAML reader.
"""

import functools
from collections.abc import Mapping
from importlib import resources

from flopguard_operator.ledger.policies import Law, law
from flopguard_operator.policy.canonical import from_json
from flopguard_operator.policy.rulesets import RuleSet
from flopguard_operator.policy.terms import DEFAULT_POLICY

FOLDER = "shipped"


def shipped() -> Mapping[str, RuleSet]:
    """Return the rule sets by name, the default first."""
    return {name: one.rules for name, one in _shipped()}


def shipped_laws() -> Mapping[str, Law]:
    """Return the same with the entries that note them in a ledger."""
    return dict(_shipped())


@functools.cache
def _shipped() -> tuple[tuple[str, Law], ...]:
    folder = resources.files("flopguard_operator.policy") / FOLDER
    texts = [
        item.read_text("utf-8")
        for item in folder.iterdir()
        if item.name.endswith(".json")
    ]
    laws = [law(from_json(text.rstrip("\n"))) for text in texts]
    laws.sort(key=lambda one: (one.rules.name != DEFAULT_POLICY, one.rules.name))
    return tuple((one.rules.name, one) for one in laws)
