"""Read rule sets from YAML: those that ship, and those of a ConfigMap.

What is written as `api.rulesetfile` says becomes the core's dataclasses; every input is
bounded, and whatever is wrong ends in one error with a sentence.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

import yaml

from flopguard_operator.api.fields import SpecError, read
from flopguard_operator.api.rulesetfile import LawFile, Part, RuleSetFile, When
from flopguard_operator.policy import rulesets as core
from flopguard_operator.policy.checking import problems
from flopguard_operator.policy.rulesets import RuleSet
from flopguard_operator.rulebooks import FOLDER

MAX_YAML = 128 * 1024  # characters of one rule set
P = TypeVar("P", bound=Part)
T = TypeVar("T")


def sources() -> dict[str, RuleSet]:
    """Return the rule sets of policy/shipped/*.yaml, from which the JSON is made."""
    folder = resources.files("flopguard_operator.policy") / FOLDER
    return load([item.read_text("utf-8") for item in _yaml_files(folder)], {})


@functools.cache
def _laws() -> Mapping[str, LawFile]:
    folder = resources.files("flopguard_operator.policy") / FOLDER / "laws"
    laws = [_parsed(LawFile, item.read_text("utf-8")) for item in _yaml_files(folder)]
    return {law.name: law for law in laws}


def _yaml_files(folder: Traversable) -> Iterator[Traversable]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.name.endswith(".yaml"):
            yield item


def load(texts: Iterable[str], known: Mapping[str, RuleSet]) -> dict[str, RuleSet]:
    """Return the rule sets that some YAML texts hold, by name.

    Args:
        texts: one rule set each; one may combine others of them.
        known: that they may combine, and whose names are taken.

    Raises:
        SpecError: one is not a rule set; the message says where and what to write.
    """
    files = [_parsed(RuleSetFile, text) for text in texts]
    found: dict[str, RuleSet] = {}
    for file in sorted(files, key=lambda file: bool(file.combines)):
        if file.name in known or file.name in found:
            message = f'name: there is a rule set "{file.name}" already; choose another'
            raise SpecError(message)
        found[file.name] = _rule_set(file, {**known, **found})
    return found


def _parsed(model: type[P], text: str) -> P:
    if len(text) > MAX_YAML:
        message = f"a rule set has at most {MAX_YAML} characters"
        raise SpecError(message)
    return read(model, document(text, "a rule set"), "rule set")


def document(text: str, what: str) -> Any:
    """Return what a YAML text of bounded length holds, without aliases that pile up.

    Args:
        text: the YAML.
        what: it should be, for the message: "a rule set".

    Raises:
        SpecError: it is no YAML.
    """
    try:
        return yaml.load(text, Loader=_Bounded)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = f"{what} is YAML: {' '.join(str(error).split())[:300]}"
        raise SpecError(message) from error


class _Bounded(yaml.SafeLoader):
    """Loads YAML without aliases that pile up, and without keys that hide others."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias of anything but a text: many of them grow without bound."""
        alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if alias and not isinstance(node, yaml.ScalarNode):
            message = "an alias may stand for a text only"
            raise yaml.YAMLError(message)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 (the signature is PyYAML's)
        """Refuse a key that is there twice: the first would be lost in silence."""
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        if len(set(keys)) != len(keys):
            message = f"a key is there twice among: {', '.join(keys)[:200]}"
            raise yaml.YAMLError(message)
        return super().construct_mapping(node, deep=deep)


def _rule_set(file: RuleSetFile, known: Mapping[str, RuleSet]) -> RuleSet:
    law = _law(file)
    made = RuleSet(
        name=file.name,
        version=file.version,
        title=file.title,
        rules=_all(core.Rule, file.rules),
        counts=dict(file.counts),
        strict=file.strict,
        estimates_count=file.figures.estimates,
        excluded_methods=tuple(sorted({*file.figures.exclude, "speculative"})),
        effective=file.effective or "",
        summary=file.summary or "",
        citations=file.citations,
        combines=tuple(_member(file, name, known) for name in file.combines),
        lines=_all(core.Line, (*law.lines, *file.lines)),
        notes=_all(core.Note, (*law.notes, *file.notes)),
        duties=_all(core.Duty, (*law.duties, *file.duties)),
        dates=_all(core.Date, (*law.dates, *file.dates)),
        fines=_all(core.Fine, (*law.fines, *file.fines)),
    )
    wrong = list(problems(made))
    if wrong:
        message = f"rule set {file.name}: {'; '.join(wrong[:3])}"
        raise SpecError(message)
    return made


def _all(kind: type[T], parts: Iterable[Part]) -> tuple[T, ...]:
    return tuple(_core(kind, part) for part in parts)


def _core(kind: type[T], part: Part) -> T:
    """Return the core's dataclass of the same fields; what is None has its default."""
    given = {name: value for name, value in part if value is not None}
    for name, value in given.items():
        if isinstance(value, When):
            given[name] = _core(core.When, value)
        elif kind is core.When and isinstance(value, Fraction):
            given[name] = int(value)
    return kind(**given)


def _law(file: RuleSetFile) -> LawFile:
    if file.law is None:
        return LawFile(name="none")
    found = _laws().get(file.law)
    if found is None:
        names = ", ".join(sorted(_laws()))
        message = f'law: there is no law "{file.law}"; choose one of: {names}'
        raise SpecError(message)
    return found


def _member(file: RuleSetFile, name: str, known: Mapping[str, RuleSet]) -> RuleSet:
    """Return a rule set to combine, without what judges nothing."""
    found = known.get(name)
    if found is None or found.combines:
        usable = sorted(key for key, one in known.items() if not one.combines)
        message = (
            f'rule set {file.name}: combines: "{name}" cannot be combined; choose'
            f" among: {', '.join(usable)}"
        )
        raise SpecError(message)
    return replace(
        found,
        summary="",
        citations=(),
        lines=(),
        notes=(),
        duties=(),
        dates=(),
        fines=(),
    )
