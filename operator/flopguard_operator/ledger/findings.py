"""Collect what a verification finds: a check per question, a sentence per check."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from flopguard_operator.ledger.replay import Contradiction

OK, MISMATCH, INCOMPLETE = "ok", "mismatch", "incomplete"


@dataclass(frozen=True)
class Check:
    """One question that was asked of the ledger."""

    name: str
    outcome: str  # ok | mismatch | incomplete
    message: str  # one sentence for people


@dataclass(frozen=True)
class Report:
    """What the verification found."""

    checks: tuple[Check, ...]
    size: int  # leaves that were read
    root: str  # of those leaves, base64
    vkey: str  # the key that the signature was checked with, "" if none was

    @property
    def outcome(self) -> str:
        """The worst of all checks."""
        found = {check.outcome for check in self.checks}
        return next(each for each in (MISMATCH, INCOMPLETE, OK) if each in found)

    @property
    def exit_code(self) -> int:
        """0: verified, 1: something does not hold, 2: not all could be checked."""
        return {OK: 0, MISMATCH: 1, INCOMPLETE: 2}[self.outcome]


@dataclass
class _Found:
    """What is wrong under one name: the first message, and how many there were."""

    first: str
    outcome: str
    count: int = 1


@dataclass
class Findings:
    """What was wrong, by the name of the check."""

    found: dict[str, _Found] = field(default_factory=dict)

    def add(self, name: str, message: str, outcome: str = MISMATCH) -> None:
        """Remember a finding, in bounded memory; a mismatch outweighs all else."""
        before = self.found.get(name)
        if before is None or (before.outcome, outcome) == (INCOMPLETE, MISMATCH):
            self.found[name] = _Found(message, outcome)
        elif before.outcome == outcome:
            before.count += 1

    def contradict(self, contradictions: Iterable[Contradiction]) -> None:
        """Remember what the replay found."""
        for each in contradictions:
            self.add(each.check, each.message, MISMATCH if each.judged else INCOMPLETE)

    def check(self, name: str, good: str) -> Check:
        """Return the check of one name; `good` is what to say if it holds."""
        found = self.found.get(name)
        if found is None:
            return Check(name, OK, sentence(good))
        more = f" (and {found.count - 1} more)" if found.count > 1 else ""
        return Check(name, found.outcome, sentence(found.first + more))


def sentence(text: str) -> str:
    """Return a text that begins with a capital and ends with a full stop."""
    return f"{text[:1].upper()}{text[1:]}."
