"""Define what the ledger records: one frozen dataclass per kind of entry.

The bytes that `encode` returns are what is stored and hashed; nothing is ever
re-encoded for a check. Every integer of FLOPs is a decimal string in those bytes,
since JSON readers elsewhere round integers above 2**53. This module is plain Python
(no pydantic): it travels in the file that verifies a ledger offline.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from flopguard_operator.policy.terms import Terms

FORMAT_VERSION = 1
MAX_ENTRY_BYTES = 65_535  # c2sp.org/tlog-tiles: an entry's length is a uint16


@dataclass(frozen=True)
class RunRef:
    """Which FineTuneRun an entry is about; the UID tells namesakes apart."""

    uid: str
    namespace: str
    name: str


NO_RUN = RunRef("", "", "")  # of an entry about the ledger itself


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
    previous: str = ""  # UID of the run that had this name before, "" for none
    policy_digest: str = ""  # of the noted rule set; "" for the built-in one
    day: str = ""  # ISO 8601: the rules in force then; "" for any
    limit_before: str = ""  # where policy or base changed: what was, exact
    rule_before: str = ""
    verdict_before: str = ""  # NotExceeded | Exceeded, by the terms before
    verdict: str = ""  # the same by these, of the totals at this place


@dataclass(frozen=True)
class AttemptOpened:
    """A pod of the run started counting, or runs and is charged: one stream."""

    run: RunRef
    stream: str  # pod UID
    pod: str
    workload_uid: str  # Job UID
    predecessor: str  # stream that this one continues, "" for the first
    cause: str  # Started | Parallel | Retried | Resumed | Recreated
    weights: str = ""  # path of the last that its predecessor saved, "" for none
    devices: str = ""  # "8 x NVIDIA-H100-80GB-HBM3", "" without accelerators
    node: str = ""


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
class GapCharged:
    """What a stream is charged for the time in which nothing was heard of it.

    Each entry replaces the one before of the same stream: `flops` is all that the
    stream's gaps charge from here on, on top of its mark.
    """

    run: RunRef
    stream: str  # pod UID
    pod: str
    change: str  # Opened | Grown | Closed | Reduced
    reason: str  # PascalCase, from gaps.REASONS
    flops: int
    peak: int  # FLOP/s of all its devices together, dense
    devices: str  # "8 x NVIDIA H100 80GB HBM3 (bf16)"
    milliseconds: int  # of silence that are charged, by the operator's monotonic clock
    node: str = ""  # where the pod ran, which is asked when the pod is gone


@dataclass(frozen=True)
class DocumentNoted:
    """A document about a run was kept beside the ledger: a manifest, an Event.

    The store keeps the text under its digest; the evidence pack carries it.
    """

    run: RunRef
    kind: str  # of the Kubernetes object: "Job", "Pod", "FineTuneRun", "Event"
    name: str
    uid: str
    digest: str  # SHA-256 of the redacted text, hexadecimal
    size: int  # bytes
    by: str  # who changed the object last, as its managedFields say; "" if unknown


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


@dataclass(frozen=True)
class EnergyNoted:
    """What the devices of a stream drew over one life of its sidecar, so far.

    A life is named by when it began. Each entry replaces the one before of the same
    life; the lives of a stream add up.
    """

    run: RunRef
    stream: str
    source: str  # nvml
    since: int  # of the first sample, milliseconds since 1970 by the node's clock
    until: int  # of the last
    millijoules: int  # of all its devices, between the two
    devices: str  # UUIDs, with blanks between them
    whole: bool  # every device that it saw has told all of it
    final: bool  # it is from the stream's final record


@dataclass(frozen=True)
class ForecastNoted:
    """A run's forecast was made, or says something else than the one before.

    `first_known` is when it first became known that the legal threshold will be crossed
    on a base model with systemic risk; it stays, whatever later forecasts say.
    """

    run: RunRef
    basis: str  # ClosedForm | RuleOfThumb | Progress | Measured
    low: int  # FLOPs of the whole run, at least
    expected: int
    high: int | None  # None: the run has outrun its plan
    crosses_budget: bool  # `expected` does
    crosses_threshold: bool
    on_breach: str  # Annotate | Hold | Nothing
    first_known: str  # RFC 3339, "" while there is nothing to notify of
    assumptions: str  # sentences, one a line


@dataclass(frozen=True)
class ProgramSet:
    """A program was first seen, or what it is judged by has changed.

    Of entries about a program `run` names the program: its UID, no namespace, its name.
    """

    run: RunRef
    generation: int
    terms: Terms  # `approach.hold_at_percent`: where a decision is due
    limit: str  # governing threshold, exact, as in TermsSet
    rule: str
    citation: str
    compliance: str  # the owners; "" where nobody is named
    model: str
    product: str
    rollback_plan: str
    require_owners: bool
    policy_digest: str  # of the noted rule set
    day: str  # ISO 8601: the rules in force then


@dataclass(frozen=True)
class DecisionRecorded:
    """A person decided something about a program or a run, under their own name."""

    run: RunRef  # the subject
    decision: str  # UID of the ThresholdDecision
    name: str
    kind: (
        str  # Proceed | Stop | Classify | AcceptGap | Exclude | Move | Import | Fulfil
    )
    to_flops: int  # up to which to proceed; 0 for other kinds
    target: (
        str  # Move: a program; Classify: as what; AcceptGap: a stream; Fulfil: a duty
    )
    reason: str
    evidence: str  # a link, "" for none
    expires: str  # UTC, RFC 3339; "" for never
    decided_by: str


@dataclass(frozen=True)
class DecisionExpired:
    """A decision has reached its end: what it allowed is not allowed any more."""

    run: RunRef  # the subject
    decision: str


@dataclass(frozen=True)
class ProgramAdjusted:
    """What a run had spent by then was taken out of a program, or into it, for good.

    A move makes two of them, which sum to zero. What the run spends afterwards counts
    for its own program again.
    """

    run: RunRef  # the program
    of: str  # UID of the run
    change: str  # Excluded | MovedOut | MovedIn
    done: Mapping[str, int]  # category → FLOPs
    begun: int
    gaps: int
    decision: str  # that says so


@dataclass(frozen=True)
class Imported:
    """A job that was not metered counts for a program, by an estimate."""

    run: RunRef  # the program
    name: str  # of the job
    method: str  # trainer-state | facts | gpu-hours
    low: int
    flops: int
    high: int  # this one is judged
    period: str  # "2026-03-01/2026-03-04", "" where it is not known
    evidence: str  # SHA-256 of what it was read from, hexadecimal
    decision: str  # UID of the ThresholdDecision that brought it; "" for a local one
    reason: str
    by: str


@dataclass(frozen=True)
class EpochOpened:
    """A writer took the ledger over; writers of smaller epochs append no more."""

    run: ClassVar[RunRef] = NO_RUN
    epoch: int  # from 1, one more for each writer
    holder: str  # identity in the Lease: pod name and a random part
    version: str  # of flopguard


@dataclass(frozen=True)
class KeyRotated:
    """Heads after this entry are signed by another key; its own head by both."""

    run: ClassVar[RunRef] = NO_RUN
    before: str  # vkey
    after: str  # vkey
    reason: str


@dataclass(frozen=True)
class LedgerRecovered:
    """A person accepted that entries were lost, and that the ledger goes on."""

    run: ClassVar[RunRef] = NO_RUN
    size: int  # of the newest head that was known
    root: str  # of that head, base64
    by: str
    reason: str


@dataclass(frozen=True)
class RetentionSet:
    """For how long a person decided that the ledger is kept."""

    run: ClassVar[RunRef] = NO_RUN
    years: int
    by: str
    reason: str


@dataclass(frozen=True)
class RunsCounted:
    """How many entries each run has, up to here: so that none can be left out.

    Whoever gets the entries of some runs only, as an evidence pack gives them, holds
    this against their number.
    """

    run: ClassVar[RunRef] = NO_RUN
    runs: int
    own: int  # entries about the ledger itself, without counts like this one
    digest: str  # SHA-256 of `census.text`, hexadecimal


@dataclass(frozen=True)
class PolicyNoted:
    """A rule set that runs are judged by from here on, with its whole text.

    It stands before the first `TermsSet` with its digest, so whoever has the ledger has
    the law that it was judged by.
    """

    run: ClassVar[RunRef] = NO_RUN
    name: str
    version: str
    digest: str  # SHA-256 of the text, hexadecimal
    text: str  # canonical JSON, as `policy.canonical` writes it


RunEvent = (
    TermsSet
    | AttemptOpened
    | Settlement
    | GapCharged
    | DocumentNoted
    | Crossing
    | HoldSet
    | HoldProven
    | HoldReleased
    | FactsNoted
    | FactChanged
    | WeightsSaved
    | EnergyNoted
    | ForecastNoted
    | DecisionRecorded
    | DecisionExpired
)
ProgramEvent = ProgramSet | ProgramAdjusted | Imported
LedgerEvent = (
    EpochOpened
    | KeyRotated
    | LedgerRecovered
    | PolicyNoted
    | RetentionSet
    | RunsCounted
)
Event = RunEvent | ProgramEvent | LedgerEvent


@dataclass(frozen=True)
class Entry:
    """One leaf: an event with its place and time."""

    index: int  # 0-based position in the tree
    at: str  # UTC, RFC 3339 with milliseconds: "2026-11-22T00:20:00.000Z"
    event: Event
