"""Tell ledger entries as the lines of a timeline."""

from collections.abc import Iterable
from dataclasses import dataclass

from flopguard_operator.flops import display
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    DecisionExpired,
    DecisionRecorded,
    Entry,
    FactChanged,
    FactsNoted,
    ForecastNoted,
    GapCharged,
    HoldProven,
    HoldReleased,
    HoldSet,
    Imported,
    ProgramAdjusted,
    ProgramSet,
    TermsSet,
    WeightsSaved,
)
from flopguard_operator.policy.verdict import HOLD

TERMS, ATTEMPT, WARNING = "Terms", "Attempt", "Warning"
LIMIT, HELD, PROOF, RELEASE = "Limit", "Hold", "Proof", "Release"
FACTS, CHANGE, SAVED, GAP = "Facts", "Change", "Weights", "Gap"
FORECAST, JOINED = "Forecast", "Joined"
DECISION, SUM, IMPORT = "Decision", "Sum", "Import"
_OF_RUNS = {HELD, PROOF, RELEASE, DECISION, IMPORT}


@dataclass(frozen=True)
class Moment:
    """One line of the timeline."""

    at: str
    """UTC, RFC 3339."""
    kind: str
    """One of the kinds above."""
    text: str


def tell(entry: Entry) -> Moment | None:
    """Return the line that tells of an entry; None for settlements.

    Settlements are the curve of the chart; as lines they would bury the rest.
    """
    match entry.event:
        case TermsSet() as event:
            told = TERMS, _terms(event)
        case AttemptOpened() as event:
            told = ATTEMPT, _attempt(event)
        case GapCharged() as event:
            told = GAP, _gap(event)
        case Crossing() as event:
            kind = LIMIT if event.action == HOLD else WARNING
            told = kind, f"{event.reason}: {event.message}"
        case HoldSet() as event:
            told = HELD, _hold(event)
        case HoldProven() as event:
            told = PROOF, _proof(event)
        case HoldReleased() as event:
            told = RELEASE, f"the hold was lifted: {event.reason}"
        case _:
            return _process(entry)
    return Moment(entry.at, *told)


def _process(entry: Entry) -> Moment | None:
    """Return the line for what a process told of itself."""
    match entry.event:
        case FactsNoted() as event:
            told = FACTS, f"a process told of itself; digest {event.digest[:16]}"
        case FactChanged() as event:
            told = CHANGE, _change(event)
        case WeightsSaved() as event:
            told = SAVED, _saved(event)
        case ForecastNoted() as event:
            told = FORECAST, _forecast(event)
        case _:
            return _by_people(entry)
    return Moment(entry.at, *told)


def _by_people(entry: Entry) -> Moment | None:
    """Return the line for what people set or decided."""
    match entry.event:
        case ProgramSet() as event:
            told = TERMS, _judged(event)
        case DecisionRecorded() as event:
            told = DECISION, f"{event.kind} by {event.decided_by}: {event.reason}"
        case DecisionExpired() as event:
            told = DECISION, f"the decision with UID {event.decision} has expired"
        case ProgramAdjusted() as event:
            told = SUM, _adjusted(event)
        case Imported() as event:
            told = IMPORT, f"{event.name}, at most {display(event.high)} FLOPs"
        case _:
            return None
    return Moment(entry.at, *told)


def of_program(
    mine: Iterable[Entry], everything: Iterable[Entry]
) -> tuple[Moment, ...]:
    """Return the timeline of a program: its own, with what its runs joined and met.

    Args:
        mine: entries about the program itself.
        everything: those and its runs', in order.
    """
    own = {entry.index for entry in mine}
    moments: list[Moment] = []
    joined: set[str] = set()
    for entry in everything:
        told, run = tell(entry), entry.event.run
        if told is None:
            continue
        name = f"{run.namespace}/{run.name}"
        if entry.index in own:
            moments.append(told)
        elif told.kind in _OF_RUNS:
            moments.append(Moment(told.at, told.kind, f"run {name}: {told.text}"))
        elif run.uid not in joined and told.kind == TERMS:
            moments.append(Moment(told.at, JOINED, f"run {name} joined"))
        joined.add(run.uid)
    return tuple(moments)


def _adjusted(event: ProgramAdjusted) -> str:
    flops = display(max(event.begun, sum(event.done.values())) + event.gaps)
    return f"{event.change}: {flops} FLOPs of the run with UID {event.of}"


def _attempt(event: AttemptOpened) -> str:
    devices = f", on {event.devices}" if event.devices else ""
    weights = f", after the weights {event.weights}" if event.weights else ""
    return f"{event.cause}: pod {event.pod}{devices}{weights}"


def _gap(event: GapCharged) -> str:
    charged = f"{display(event.flops)} FLOPs are charged to pod {event.pod}"
    tenths = event.milliseconds // 100
    seconds = f"{tenths // 10}.{tenths % 10} s"
    if not event.flops:
        return f"{event.reason}: nothing is charged to pod {event.pod} any more"
    if event.change == "Reduced":
        return f"{event.reason}: only {charged} now"
    return f"{event.change}, {event.reason}: {charged} for {seconds} of {event.devices}"


def _change(event: FactChanged) -> str:
    return (
        f"{event.fact} changed from {event.before} to {event.after} at step"
        f" {event.step}, after {display(event.flops)} FLOPs of the process"
    )


def _saved(event: WeightsSaved) -> str:
    return (
        f"{event.path} was saved at step {event.step}, when the run had spent at most"
        f" {display(event.upper)} FLOPs"
    )


def _forecast(event: ForecastNoted) -> str:
    high = "more" if event.high is None else display(event.high)
    lines = {
        "the budget": event.crosses_budget,
        "the threshold": event.crosses_threshold,
    }
    crossed = " and ".join(name for name, crosses in lines.items() if crosses)
    return (
        f"{display(event.expected)} ({display(event.low)} to {high}) FLOPs are expected"
        f" in all, by {event.basis}: {crossed or 'no line'} would be crossed"
    )


def _terms(event: TermsSet) -> str:
    text = _judged(event)
    if event.previous:
        text += f"; its name was that of the run with UID {event.previous} before"
    return text


def _judged(event: TermsSet | ProgramSet) -> str:
    text = f"judged by {event.terms.policy}, rule {event.rule}"
    budget = event.terms.budget
    if budget is None:
        return f"{text}; no budget"
    if budget.max_flops is not None:
        return f"{text}; budget {display(budget.max_flops)} FLOPs"
    return f"{text}; budget {budget.percent_of_threshold} % of the threshold"


def _hold(event: HoldSet) -> str:
    by_user = " (already suspended by its user)" if event.already_suspended else ""
    return f"{event.reason}: {event.workload} is to be held{by_user}"


def _proof(event: HoldProven) -> str:
    tenths = event.milliseconds // 100
    return (
        f"the last pod was gone {tenths // 10}.{tenths % 10} s after the hold;"
        f" final upper bound {display(event.upper)} FLOPs,"
        f" overshoot {display(event.overshoot)} FLOPs"
    )
