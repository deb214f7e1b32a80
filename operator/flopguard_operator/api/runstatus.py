"""Define the status of a FineTuneRun: what the operator observed, for people.

Nothing here is read back as truth (the ledger is), except the tree head, to refuse a
ledger that is older than it, and by the API server itself: its lock reads `holds`.
"""

from typing import Annotated

from pydantic import Field

from flopguard_operator.api.fields import (
    LIST_TYPE,
    ApiModel,
    Conditions,
    FlopsCount,
    Ratio,
    Reason,
    Sentence,
    Text,
    Time,
    Whole,
    Word,
)

MAX_ATTEMPTS = 100
MAX_HOLDS = 8
MAX_ESTIMATES = 8
MAX_DUTIES = 32
MAX_POLICIES = 16  # beside the one that governs
MAX_ROLLBACKS = MAX_POLICIES + 3  # the one that governs, and two budgets
_ATOMIC = {LIST_TYPE: "atomic"}


class FlopsStatus(ApiModel):
    """What was counted, over all attempts; strings of digits."""

    measured: FlopsCount = 0
    """FLOPs that are proven to have been executed."""
    upper: FlopsCount = 0
    """FLOPs that may have been executed: verdicts are judged on this."""
    by_category: Annotated[
        dict[Annotated[str, Field(max_length=63)], FlopsCount], Field(max_length=16)
    ] = Field(default_factory=dict)
    """`measured` by category: forward, backward, recompute, no_grad, optimizer."""
    per_step: FlopsCount | None = None
    """FLOPs of one optimizer step over all workers, on average: the sum over the
    processes that train of what each spent per step of its own."""


class LineStatus(ApiModel):
    """How the run stands to a further line of its policy."""

    name: Word
    """Name of the line."""
    subject: Word = ""
    """What is compared: modification or base+modification."""
    limit: Text
    """The line in FLOPs, exact."""
    total: FlopsCount | None = None
    """FLOPs that are compared; absent where the base is not known."""
    percent: Ratio | None = None
    """Percentage of the line; absent where the base is not known."""
    state: Word = ""
    """crossed, below or unknown."""
    message: Sentence = ""
    """What it means, with the source."""


class ThresholdStatus(ApiModel):
    """The legal threshold that governs the run, and why it does."""

    policy: Word
    """Name of the rule set."""
    limit: Text
    """The threshold in FLOPs, exact: digits, or a fraction "p/q"."""
    rule: Text = ""
    """Which rule of the policy gave the limit."""
    citation: Text = ""
    """Article and paragraph."""
    explanation: Sentence = ""
    """Why this rule applies, in words."""
    counted: FlopsCount | None = None
    """FLOPs that count under this policy, at most; not all operations count in each."""
    exceeded: bool | None = None
    """Whether the indicative criterion is met."""
    lines: Annotated[
        tuple[LineStatus, ...], Field(max_length=8, json_schema_extra=_ATOMIC)
    ] = ()
    """Further lines to watch: 1e23 and 1e25 for base and modification, 3.3e24."""
    notes: Annotated[
        tuple[Sentence, ...], Field(max_length=16, json_schema_extra=_ATOMIC)
    ] = ()
    """Where law or rule sets disagree, or are silent, with the source."""


class OtherPolicyStatus(ApiModel):
    """The verdict of a policy that does not govern the run: shown, not acted on."""

    policy: Word
    """Name of the rule set."""
    limit: Text
    """Its threshold in FLOPs, exact: digits, or a fraction "p/q"."""
    percent: Ratio
    """Percentage of it that is used."""
    counted: FlopsCount | None = None
    """FLOPs that count under it, at most."""
    exceeded: bool | None = None
    """Whether its criterion is met."""
    rule: Text = ""
    """Which of its rules gave the limit."""
    citation: Text = ""
    """Article and paragraph."""
    explanation: Sentence = ""
    """Why this rule applies, in words."""


class DutyStatus(ApiModel):
    """A duty that comes with a criterion once it is met, or may be."""

    name: Word
    """Its name, as the rule sets and `flopguard decide Fulfil --duty` have it."""
    article: Text = ""
    """Where it stands in the law."""
    state: Reason
    """Open, or Fulfilled: a ThresholdDecision in force says so."""
    policies: Annotated[
        tuple[Word, ...],
        Field(max_length=MAX_POLICIES + 1, json_schema_extra=_ATOMIC),
    ] = ()
    """Under whose criterion it arises; only the policy that governs asks for it."""
    due_at: Time | None = None
    """By when it is due, where it has a term; absent where nobody can tell."""


Duties = Annotated[
    tuple[DutyStatus, ...], Field(max_length=MAX_DUTIES, json_schema_extra=_ATOMIC)
]
OtherPolicies = Annotated[
    tuple[OtherPolicyStatus, ...],
    Field(max_length=MAX_POLICIES, json_schema_extra=_ATOMIC),
]


class ForecastTotal(ApiModel):
    """FLOPs of the whole run, or program."""

    low: FlopsCount
    """FLOPs that it takes at least."""
    expected: FlopsCount
    """FLOPs that it takes most likely: budget and threshold are compared with this."""
    high: FlopsCount | None = None
    """FLOPs that it takes at most; absent where the run has outrun its plan."""


class ForecastStatus(ApiModel):
    """Where the run, or the program, is heading."""

    total: ForecastTotal | None = None
    """FLOPs of the whole run, or program; absent where nothing says how long it is."""
    basis: Word | None = None
    """Where the total comes from: ClosedForm or RuleOfThumb (the plan), Progress (the
    plan's steps, at what they cost so far), Measured (the run is over),
    Sum (of a program: lows to lows, highs to highs of its runs)."""
    assumptions: Annotated[
        tuple[Sentence, ...], Field(max_length=16, json_schema_extra=_ATOMIC)
    ] = ()
    """What was assumed for it, in sentences."""
    line: Word | None = None
    """The line that crossesAt is about, the nearest one: Budget or Threshold."""
    crosses_at: Time | None = None
    """When this line is reached, most likely; absent where none is in sight."""
    crosses_at_earliest: Time | None = None
    """When it is reached at the earliest: the beginning of the 90 % interval."""
    crosses_at_latest: Time | None = None
    """When it is reached at the latest: the end of the 90 % interval."""
    notice_due_at: Time | None = None
    """By when a notification is due, where the forecast opens one (NotificationDue)."""


class AttemptStatus(ApiModel):
    """One pod that counted for the run."""

    job_uid: Word = ""
    """UID of the workload that the pod belonged to."""
    pod_uid: Word
    """UID of the pod; the name of its stream in the ledger."""
    pod: Text = ""
    """Name of the pod."""
    cause: Reason = "Started"
    """Started, Parallel, Retried, Resumed or Recreated."""
    predecessor: Word = ""
    """UID of the pod that this one continues."""
    resumed_from: Text = ""
    """The last weights that its predecessor saved."""
    measured: FlopsCount = 0
    """FLOPs that it is proven to have executed."""
    upper: FlopsCount = 0
    """FLOPs that it may have executed, with what its silence is charged."""
    final: bool = False
    """Whether its last mark is known, so that nothing more can be counted."""
    started_at: Time | None = None
    """When the ledger first told of it."""


class HoldStatus(ApiModel):
    """One workload that is held; the API server refuses its pods meanwhile."""

    workload: Text
    """The workload, as apiVersion/Kind/name: batch/v1/Job/support-sft."""
    uid: Word = ""
    """UID of the workload."""
    by: Text = "flopguard"
    """Who holds it."""
    reason: Reason
    """Why, as a documented constant."""
    since: Time
    """Since when."""
    message: Sentence
    """Why, in a sentence that also says what to do; the API server's lock quotes it."""


class EstimateStatus(ApiModel):
    """A second opinion on the hook's count; nothing is charged by it."""

    source: Word
    """Where the figure comes from: hook, formula, profiler or hardware."""
    flops: FlopsCount
    """FLOPs of training that this source says were executed; hardware: of all work."""
    ratio_to_hook: Ratio
    """This figure divided by the hook's for the same work, "1.0000"."""
    note: Annotated[str, Field(max_length=512)] = ""
    """What was compared, and what is not known."""


class RollbackStatus(ApiModel):
    """The weights to go back to: the last that were saved below the nearest limit."""

    path: Text = ""
    """Where they are."""
    step: Whole = 0
    """The optimizer step that they were saved at."""
    flops: FlopsCount = 0
    """FLOPs that the run had spent by then, at most."""


class LineRollbackStatus(ApiModel):
    """The last weights that were saved below one line; no path where there are none."""

    line: Word
    """The policy whose threshold it is, or "budget" or "program budget"."""
    limit: Text
    """The line in FLOPs, exact; what other runs of the program spent counts too."""
    path: Text = ""
    """Where the weights are."""
    step: Whole | None = None
    """The optimizer step that they were saved at."""
    flops: FlopsCount | None = None
    """FLOPs that the run had spent by then, at most."""


class LedgerStatus(ApiModel):
    """The signed tree head of the ledger that this status was made from."""

    size: Whole
    """Number of entries."""
    root_hash: Annotated[str, Field(max_length=64)]
    """RFC 6962 root hash, in base64."""
    key: Text = ""
    """Name and id of the key that signed the head."""


class RunStatus(ApiModel):
    """What the operator observed."""

    state: Reason | None = None
    """The conditions in one word: Pending, Metering, Warning, Holding, Held, ..."""
    model: Text | None = None
    """Name of the base model, the run's own or the program's."""
    used_display: Word | None = None
    """What counts against that limit, at most, in short: "3.21e22"."""
    limit_display: Word | None = None
    """The limit that is reached first, in short."""
    percent_display: Word | None = None
    """Percentage of that limit, "49.99"."""
    eta: Word | None = None
    """Time until that limit is reached at the present rate, "2h10m"."""
    flops: FlopsStatus | None = None
    """What was counted."""
    estimates: Annotated[
        tuple[EstimateStatus, ...],
        Field(max_length=MAX_ESTIMATES, json_schema_extra=_ATOMIC),
    ] = ()
    """What the hook counted, beside what a formula, a profiler and the devices say."""
    flops_per_second: FlopsCount | None = None
    """The present rate."""
    percent_of_budget: Ratio | None = None
    """Percentage of the budget that is used."""
    percent_of_threshold: Ratio | None = None
    """Percentage of the legal threshold that is used."""
    threshold: ThresholdStatus | None = None
    """The legal threshold that governs the run."""
    other_policies: OtherPolicies = ()
    """The verdicts of all other policies: shown, not acted on."""
    duties: Duties = ()
    """The duties that come with each criterion that is met or may be, limited to the
    modification; those of the policy that governs first."""
    forecast: ForecastStatus | None = None
    """Where the run is heading."""
    attempts: Annotated[
        tuple[AttemptStatus, ...],
        Field(max_length=MAX_ATTEMPTS, json_schema_extra=_ATOMIC),
    ] = ()
    """The pods that counted, oldest first; only the newest 100 are kept here (the
    ledger has them all)."""
    coverage: Ratio | None = None
    """Percentage of the device-seconds that the run was allocated and that its marks
    prove; the rest is charged at the peak of the devices."""
    holds: Annotated[
        tuple[HoldStatus, ...], Field(max_length=MAX_HOLDS, json_schema_extra=_ATOMIC)
    ] = ()
    """The workloads that are held. While this is not empty the API server refuses to
    un-suspend them and to start their pods."""
    overshoot: FlopsCount | None = None
    """FLOPs spent above the limit when the last pod of a held workload was gone."""
    rollback: RollbackStatus | None = None
    """The weights to go back to: the last that were saved below the nearest limit."""
    rollbacks: Annotated[
        tuple[LineRollbackStatus, ...],
        Field(max_length=MAX_ROLLBACKS, json_schema_extra=_ATOMIC),
    ] = ()
    """The same for each line: the budgets, then each policy; empty before the run is
    held or a line is near."""
    ledger: LedgerStatus | None = None
    """The tree head that proves these figures."""
    conditions: Conditions = ()
    """The state of the run, aspect by aspect."""
    observed_generation: Whole | None = None
    """The metadata.generation that this status was made from."""
