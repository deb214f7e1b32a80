"""Name what a replay of the ledger checks, and how it says what is wrong."""

from dataclasses import dataclass

from flopguard_operator.ledger.entries import Entry

RUNS = "runs"
MARKS = "marks"
BOUNDS = "bounds"
ATTEMPTS = "attempts"
TERMS = "terms"
CROSSINGS = "crossings"
OWED = "verdicts owed"
HOLDS = "holds"
OVERSHOOT = "overshoot"
GAPS = "gaps"
FACTS = "facts"
PROGRAMS = "programs and decisions"
SAVES = "saved weights"
ENERGY = "energy"
FORECASTS = "forecasts"
COUNTS = "counts"
POLICIES = "rule sets"

RULES = {
    RUNS: "each run keeps its name and namespace",
    MARKS: "no settlement of a stream is below an earlier one",
    BOUNDS: "work that is done never exceeds work that was begun",
    ATTEMPTS: "each attempt is opened once and continues one that is known",
    TERMS: "each recorded threshold is the one that the policy sets",
    CROSSINGS: "each crossing follows from the terms and the totals at its place",
    OWED: "each verdict that the totals demand is recorded",
    HOLDS: "holds are demanded, proven and released in order",
    OVERSHOOT: "each overshoot is the final total less the limit",
    GAPS: "each gap is the peak times the silence, and falls only by a reduction",
    FACTS: "the digest of noted facts is that of their text, or of one noted before",
    SAVES: "saved weights of a process are noted in order, within the run's total",
    ENERGY: "energy that was noted only grows, until it is final",
    POLICIES: "each noted rule set has the digest, name and version of its text",
    FORECASTS: "each forecast crosses the lines that it says, and keeps its first date",
    PROGRAMS: "what is decided of runs and programs, moved and imported adds up",
    COUNTS: "the newest count of each run's entries is right",
}


@dataclass(frozen=True)
class Contradiction:
    """What is wrong at one place; `check` is a key of `RULES`."""

    check: str
    message: str
    judged: bool = True  # False: the terms are beyond this version's policies


def wrong(entry: Entry, check: str, what: str) -> Contradiction:
    """Return what is wrong with an entry."""
    return Contradiction(check, f"entry {entry.index}: {what}")
