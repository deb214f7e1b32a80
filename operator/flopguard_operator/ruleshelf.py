"""Keep the rule sets that runs may name: the shipped ones, and custom ones in files.

The operator's custom ones come from a ConfigMap that is mounted as a folder; the
kubelet renews its files, and a change takes hold in the next cycle. A file that cannot
be read never takes a rule set away: its last good one stays, and a sentence says what
is the matter.
"""

from collections.abc import Mapping
from pathlib import Path

from flopguard_operator import mounted
from flopguard_operator.api.fields import SpecError
from flopguard_operator.api.rulesets import MAX_YAML, load
from flopguard_operator.ledger.policies import Law, law
from flopguard_operator.policy.rulesets import RuleSet
from flopguard_operator.rulebooks import shipped, shipped_laws

MOST_FILES = 32
_MOST_BYTES = 4 * MAX_YAML + 1  # of a file: what is longer is refused by its reader
_ByFile = dict[str, dict[str, RuleSet]]


class RuleShelf:
    """The rule sets as of now, and what is wrong with custom ones."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._texts: dict[str, str] = {}
        self._good: _ByFile = {}
        self._laws: Mapping[str, Law] = shipped_laws()
        self.problems: tuple[str, ...] = ()

    def laws(self) -> Mapping[str, Law]:
        """Return the rule sets by name, read anew if a file of the folder changed."""
        try:
            texts = mounted.texts(self._folder, MOST_FILES, _MOST_BYTES)
        except OSError as error:
            self.problems = (f"Rule sets: cannot read them: {error.strerror}.",)
            return self._laws
        if texts != self._texts:
            self._texts = texts
            self._renew(texts)
        return self._laws

    def _renew(self, texts: Mapping[str, str]) -> None:
        found, wrong = dict(shipped()), list[str]()
        good: _ByFile = {}
        for name, text in texts.items():
            try:
                good[name] = load([text], found)
            except SpecError as error:
                wrong.append(f"Rule sets: {name[:253]}: {error}.")
                before = self._good.get(name, {})
                good[name] = {k: v for k, v in before.items() if k not in found}
            found |= good[name]
        self._good, self.problems = good, tuple(wrong)
        self._laws = {
            **shipped_laws(),
            **{k: law(each) for some in good.values() for k, each in some.items()},
        }


def read_text(path: Path) -> str:
    """Return the text of a file, bounded: what is longer is refused by `load`.

    Raises:
        OSError: it cannot be read.
    """
    return mounted.read_text(path, _MOST_BYTES)
