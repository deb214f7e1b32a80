"""Say first what was decided: which criterion is met, by whom, and by which bound."""

from dataclasses import dataclass

from flopguard_operator.flops import display
from flopguard_operator.policy.evaluation import PolicyVerdict, is_over
from flopguard_operator.policy.verdict import HOLD, Verdict
from flopguard_operator.report.facts import SubjectFacts, share

MET, MAY_BE_MET, NOT_MET, NOT_JUDGED = "met", "may be met", "not met", "not judged"
GOOD, WARN, BAD = "good", "warn", "bad"
TONES = {MET: BAD, MAY_BE_MET: WARN, NOT_MET: GOOD, NOT_JUDGED: WARN}


@dataclass(frozen=True)
class Criterion:
    """How one policy's indicative criterion stands, by both bounds."""

    verdict: PolicyVerdict
    state: str
    """`MET`: by what is proven; `MAY_BE_MET`: by what is possible; `NOT_MET`."""
    proven: int
    """FLOPs that are proven and count under the policy."""


def criteria(subject: SubjectFacts) -> tuple[Criterion, ...]:
    """Return how each policy's criterion stands; that which governs is the first."""
    return tuple(_criterion(subject, verdict) for verdict in subject.policies)


def _criterion(subject: SubjectFacts, verdict: PolicyVerdict) -> Criterion:
    unproven = subject.totals.upper - subject.totals.measured
    proven = max(0, verdict.counted - unproven)
    if is_over(proven, verdict.limit, strict=verdict.strict):
        return Criterion(verdict, MET, proven)
    return Criterion(verdict, MAY_BE_MET if verdict.exceeded else NOT_MET, proven)


def criterion(subject: SubjectFacts) -> str:
    """Return whether the law's indicative criterion is met, in a sentence."""
    found = criteria(subject)
    if not found:
        return f"Indicative criterion: not judged, {subject.problem}."
    first, limit = found[0], found[0].verdict.limit
    name = f"Indicative criterion of policy {first.verdict.policy}"
    figures = f"more than {display(limit)} FLOPs"
    proven, most = display(first.proven), display(first.verdict.counted)
    if first.state == MET:
        return f"{name} ({figures}): met. {proven} FLOPs are proven."
    if first.state == MAY_BE_MET:
        return (
            f"{name} ({figures}): may be met. {proven} FLOPs are proven,"
            f" up to {most} FLOPs are possible."
        )
    used = f"At most {most} FLOPs count, {share(first.verdict.counted, limit)} of it."
    return f"{name} ({figures}): not met. {used}"


def state(subject: SubjectFacts) -> str:
    """Return how the criterion of the policy that governs stands, in a word."""
    found = criteria(subject)
    return found[0].state if found else NOT_JUDGED


def tone(subject: SubjectFacts) -> str:
    """Return how the verdict is marked: by the worse of criterion and hold."""
    both = {TONES[state(subject)], headline(subject)[1]}
    return next(each for each in (BAD, WARN, GOOD) if each in both)


def headline(subject: SubjectFacts) -> tuple[str, str]:
    """Return in one sentence how a run or a program stands, and its tone."""
    hold = subject.account.hold
    if hold is not None:
        proof = "its pods are gone" if subject.account.proven else "not yet proven"
        return f"Held ({hold.reason}), {proof}: {_why(subject)}", BAD
    if subject.problem:
        return f"Not judged: {subject.problem}.", WARN
    verdict = worst(subject)
    if verdict is None:
        return "Below every line of its policy.", GOOD
    if verdict.action == HOLD:
        return f"To be held ({verdict.reason}): {verdict.message}", BAD
    return f"Warned ({verdict.reason}): {verdict.message}", WARN


def worst(subject: SubjectFacts) -> Verdict | None:
    """Return the gravest line that is reached, at its highest percentage."""
    if not subject.verdicts:
        return None
    first = subject.verdicts[0].reason
    return [verdict for verdict in subject.verdicts if verdict.reason == first][-1]


def _why(subject: SubjectFacts) -> str:
    """Return the message of the crossing that the hold was asked for."""
    reason = subject.account.hold.reason if subject.account.hold else ""
    told = [c.message for c in subject.account.crossings if c.reason == reason]
    return told[-1] if told else "the ledger does not say why."
