"""Define what the checklist says: one sentence for each thing that was looked at."""

from dataclasses import dataclass

REFERENCE, ESTIMATE, COMPARISON = "reference", "estimate", "comparison"
DECISION, EVIDENCE = "decision", "evidence"
TOPICS = (REFERENCE, ESTIMATE, COMPARISON, DECISION, EVIDENCE)
OK, MISSING, NOTE = "ok", "missing", "note"
PROGRAM, RUN, IMPORTED = "program", "run", "imported"


@dataclass(frozen=True)
class Item:
    """One thing that was looked at."""

    topic: str  # one of TOPICS
    name: str
    state: str  # OK, MISSING, or NOTE: to be known, but nothing is missing
    message: str  # one sentence


@dataclass(frozen=True)
class Audited:
    """A program, a run or an imported job with its items, by topic."""

    kind: str  # PROGRAM, RUN or IMPORTED
    name: str
    state: str  # "running", "over", ...; "" for a program
    items: tuple[Item, ...]

    @property
    def missing(self) -> tuple[Item, ...]:
        """What is missing."""
        return tuple(item for item in self.items if item.state == MISSING)


def ok(topic: str, name: str, message: str) -> Item:
    """Return an item of which nothing is missing."""
    return Item(topic, name, OK, message)


def missing(topic: str, name: str, message: str) -> Item:
    """Return an item that is missing; the message says what to do."""
    return Item(topic, name, MISSING, message)


def note(topic: str, name: str, message: str) -> Item:
    """Return an item that a reader has to know of."""
    return Item(topic, name, NOTE, message)
