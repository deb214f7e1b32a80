"""Look base models up: by Hugging Face id, alias or exact name, never by a guess.

A near miss finds nothing; it gets suggestions, and a person decides.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from flopguard_operator.models.entries import Entry

SUGGESTIONS = 3
_ALIKE = 0.75  # of 1: how alike two names are that may mean the same model
_LONGEST_NAME = 253  # a longer one is no model's
_SHORTEST_NAME = 6  # a shorter one begins too many others
_SEPARATORS = re.compile(r"[\s_-]+")


class CatalogueError(ValueError):
    """Entries cannot stand in one catalogue; the message says which, and why."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Base models by every name that they have."""

    entries: tuple[Entry, ...] = ()
    by_key: Mapping[str, Entry] = field(default_factory=dict, repr=False)
    problems: tuple[str, ...] = ()
    """What could not be read of the private entries, as sentences."""

    def find(self, name: str) -> Entry | None:
        """Return the entry of this name, whatever its case; None if there is none."""
        return self.by_key.get(key(name)) if len(name) <= _LONGEST_NAME else None

    def suggest(self, name: str) -> tuple[str, ...]:
        """Return names that are much like this one, the most alike first."""
        return _alike(self, name) if 0 < len(name) <= _LONGEST_NAME else ()

    def search(self, text: str) -> list[Entry]:
        """Return the entries with each of these words in a name or the provider."""
        words = text.casefold().split()
        return [
            entry
            for entry in self.entries
            if all(word in _searched(entry) for word in words)
        ]


def key(name: str) -> str:
    """Return a name as it is compared: without case, one kind of separator."""
    return _SEPARATORS.sub("-", name.strip().casefold())


def build(entries: Iterable[Entry], problems: tuple[str, ...] = ()) -> Catalogue:
    """Return the catalogue of these entries, sorted by name.

    Of one id the highest version stays; among equal versions the one given last.

    Raises:
        CatalogueError: two models have the same name.
    """
    newest: dict[str, Entry] = {}
    for entry in entries:
        known = newest.get(entry.id)
        if known is None or entry.version >= known.version:
            newest[entry.id] = entry
    by_key: dict[str, Entry] = {}
    for entry in newest.values():
        for name in entry.names:
            other = by_key.setdefault(key(name), entry)
            if other is not entry:
                message = f'"{name}" is a name of both {other.id} and {entry.id}'
                raise CatalogueError(message)
    ordered = sorted(newest.values(), key=lambda entry: key(entry.name))
    return Catalogue(tuple(ordered), by_key, problems)


@lru_cache(maxsize=1024)  # asked for each run in every cycle
def _alike(catalogue: Catalogue, name: str) -> tuple[str, ...]:
    wanted = _bare(key(name))
    ratios: dict[str, float] = {}
    for known, entry in catalogue.by_key.items():
        ratio = _ratio(wanted, _bare(known))
        if ratio >= ratios.get(entry.id, _ALIKE):
            ratios[entry.id] = ratio
    found = sorted(ratios, key=lambda each: (-ratios[each], each))[:SUGGESTIONS]
    entries = {entry.id: entry for entry in catalogue.entries}
    return tuple(entries[each].names[0] for each in found)


def _ratio(wanted: str, known: str) -> float:
    """Return how alike two names are, from 0 to 1, at little cost where they are not.

    Numbers are what tells the models of a family apart, and where typing errors matter
    most; a name that only adds a suffix to another is near to it.
    """
    matcher = difflib.SequenceMatcher(None, wanted, known, autojunk=False)
    if min(matcher.real_quick_ratio(), matcher.quick_ratio()) < _ALIKE:
        return _ALIKE if _extends(wanted, known) else 0
    return matcher.ratio()


def _extends(wanted: str, known: str) -> bool:
    """Say whether one name is the other and more: "llama-3.1-8b-my-tune"."""
    return len(known) >= _SHORTEST_NAME and wanted.startswith(f"{known}-")


def _bare(name: str) -> str:
    """Return a name without the organisation before it."""
    return name.rsplit("/", 1)[-1]


def _searched(entry: Entry) -> str:
    return " ".join((*entry.names, entry.provider)).casefold()


NOTHING = Catalogue()
