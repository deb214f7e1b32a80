"""Define what the ledger records: one frozen dataclass per kind of entry.

The bytes that `encode` returns are what is stored and hashed; nothing is ever
re-encoded for a check. Every integer of FLOPs is a decimal string in those bytes,
since JSON readers elsewhere round integers above 2**53. This module is plain Python
(no pydantic): it travels in the file that verifies a ledger offline.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flopguard_operator.policy.terms import Terms

FORMAT_VERSION = 1
MAX_ENTRY_BYTES = 65_535  # c2sp.org/tlog-tiles: an entry's length is a uint16


@dataclass(frozen=True)
class RunRef:
    """Which FineTuneRun an entry is about; the UID tells namesakes apart."""

    uid: str
    namespace: str
    name: str


@dataclass(frozen=True)
class TermsSet:
    """A run was first seen, or what it is judged by has changed."""

    run: RunRef
    generation: int
    program: str
    workload: str  # "batch/v1/Job/support-sft"
    terms: Terms
    limit: str  # governing threshold, exact: "33000000000000000000000" or "p/q"
    rule: str
    citation: str


@dataclass(frozen=True)
class AttemptOpened:
    """A pod of the run started counting: one stream, one attempt."""

    run: RunRef
    stream: str  # pod UID
    pod: str
    workload_uid: str  # Job UID
    predecessor: str  # stream that this one continues, "" for the first
    cause: str  # Started | Parallel | Retried | Resumed | Recreated


@dataclass(frozen=True)
class Settlement:
    """The cumulative mark of one stream. Marks merge by maximum, so order is free."""

    run: RunRef
    stream: str
    done: Mapping[str, int]  # category → FLOPs
    begun: int
    steps: int
    pages: int
    source: str  # prometheus | sidecar | pod-status
    final: bool


@dataclass(frozen=True)
class Crossing:
    """A verdict was reached for the first time: a line of the policy was crossed."""

    run: RunRef
    action: str  # Warn | Hold
    reason: str  # PascalCase, from policy.reasons
    percent: int  # of the limit; 100 for a breach
    limit: str  # exact, as in TermsSet
    measured: int
    upper: int
    message: str


@dataclass(frozen=True)
class HoldSet:
    """A workload is to be held from here on."""

    run: RunRef
    workload: str
    workload_uid: str
    reason: str
    already_suspended: bool  # by its user: a release will then leave it suspended


@dataclass(frozen=True)
class HoldProven:
    """The last pod of a held workload is gone; the overshoot is final."""

    run: RunRef
    workload_uid: str
    upper: int
    overshoot: int  # max(0, final upper - limit), FLOPs
    milliseconds: int  # from the hold to the proof, by the operator's monotonic clock


@dataclass(frozen=True)
class HoldReleased:
    """A hold was lifted, with who or what lifted it."""

    run: RunRef
    workload_uid: str
    reason: str


@dataclass(frozen=True)
class FactsNoted:
    """What a process said of itself, so that its count can be estimated again.

    `facts` is what lasts, `counters` what grows as the process runs: canonical JSON
    (ASCII, sorted keys, no spaces), shortened where `whole` is false.
    """

    run: RunRef
    stream: str
    process: str  # nonce of its page
    digest: str  # SHA-256 of all that lasts, hexadecimal
    whole: bool
    facts: str  # "" where an earlier entry of the run has the same digest
    counters: str
    measured: int  # of the process, when it said so
    steps: int


@dataclass(frozen=True)
class FactChanged:
    """A fact of a process changed during the run; the values are shortened JSON."""

    run: RunRef
    stream: str
    process: str
    fact: str
    before: str
    after: str
    step: int  # of the process
    flops: int  # that the process had spent


@dataclass(frozen=True)
class WeightsSaved:
    """A process saved weights: something to go back to."""

    run: RunRef
    stream: str
    process: str
    path: str
    kind: str
    step: int  # of the process
    flops: int  # that the process had spent
    upper: int  # that the run had spent, at most


Event = (
    TermsSet
    | AttemptOpened
    | Settlement
    | Crossing
    | HoldSet
    | HoldProven
    | HoldReleased
    | FactsNoted
    | FactChanged
    | WeightsSaved
)


@dataclass(frozen=True)
class Entry:
    """One leaf: an event with its place and time."""

    index: int  # 0-based position in the tree
    at: str  # UTC, RFC 3339 with milliseconds: "2026-11-22T00:20:00.000Z"
    event: Event
