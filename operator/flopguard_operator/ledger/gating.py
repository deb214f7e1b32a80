"""Answer the release pipeline's question: may what a program made go out? Pure.

One answer for each thing that has to be in order, each with a sentence that says what
is missing. Nothing is decided here: people did, and the ledger holds it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.flops import display
from flopguard_operator.ledger import standing
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.policies import Noted
from flopguard_operator.ledger.standing import PROCEED, Standing
from flopguard_operator.policy.checks import holds
from flopguard_operator.policy.evaluation import judge
from flopguard_operator.policy.rulesets import Duty, RuleSet

FULFIL, ACCEPT_GAP = "Fulfil", "AcceptGap"


@dataclass(frozen=True)
class Answer:
    """One thing that has to be in order."""

    name: str
    ok: bool
    message: str  # one sentence


def answers(found: Standing, noted: Noted) -> tuple[Answer, ...]:
    """Return what has to be in order before a program's model is released.

    Args:
        found: where the program stands.
        noted: the ledger's rule sets.

    Raises:
        PolicyError: the program cannot be judged by its terms.
    """
    return (
        _runs(found),
        _holds(found),
        _review(found, noted),
        _owners(found),
        *_gaps(found),
        *_duties(found, noted),
    )


def _closed(name: str, message: str) -> Answer:
    return Answer(name=name, ok=True, message=message)


def _open(name: str, message: str) -> Answer:
    return Answer(name=name, ok=False, message=message)


def _runs(found: Standing) -> Answer:
    count, jobs = len(found.runs), len(found.account.imported)
    text = f"{count} run(s) and {jobs} imported job(s) are in the ledger."
    return _closed("runs", text) if count or jobs else _open("runs", text)


def _holds(found: Standing) -> Answer:
    held = holds(found.verdicts)
    if held is not None:
        return _open("holds", f"The program is held: {held.message}")
    names = [run.ref.name for run in found.runs if run.hold is not None]
    if names:
        return _open("holds", f"Held runs: {', '.join(sorted(names))}.")
    return _closed("holds", "Nothing is held.")


def _review(found: Standing, noted: Noted) -> Answer:
    terms = found.account.program_set
    if terms is None:
        return _open("decision", "The ledger has no terms of the program.")
    line = terms.terms.approach.hold_at_percent
    rules = noted.of(terms)
    counted = judge(rules, terms.terms.base, found.totals, terms.day).counted
    used = f"{display(counted)} of {display(Fraction(terms.limit))} FLOPs"
    if counted * 100 < line * Fraction(terms.limit):
        text = f"No decision is due: {used} are below {line} %."
        return _closed("decision", text)
    allowed = standing.decided(found.account).allowed
    newest = standing.of_kind(found.account, PROCEED)
    if counted < allowed:
        who = f"{newest[-1].decided_by} ({newest[-1].name})"
        text = f"{who} decided to proceed below {display(allowed)}: {used} are used."
        return _closed("decision", text)
    text = (
        f"A decision is due: {used} are used, {line} % is reached, and no valid "
        f"decision to proceed covers it (flopguard decide)."
    )
    return _open("decision", text)


def _owners(found: Standing) -> Answer:
    terms = found.account.program_set
    missing = standing.unnamed(terms) if terms is not None else ()
    if missing:
        return _open("owners", f"Not named: {', '.join(missing)}.")
    return _closed("owners", "Owners and a roll-back plan are named.")


def _gaps(found: Standing) -> Iterator[Answer]:
    """Yield an answer for each stream that is charged for its silence."""
    for run in found.runs:
        accepted = accepted_gaps(run)
        for stream, gap in sorted(run.gaps.items()):
            if not gap.flops:
                continue
            text = f"{display(gap.flops)} FLOPs of pod {gap.pod} are not proven"
            if stream in accepted:
                yield _closed("gap", f"{text}; a decision accepts the charge.")
            else:
                advice = f"accept it (flopguard decide AcceptGap --stream {stream})"
                yield _open("gap", f"{text}: {advice}.")


def _duties(found: Standing, noted: Noted) -> Iterator[Answer]:
    """Yield an answer for each duty that comes with a criterion that is met."""
    terms = found.account.program_set
    if terms is None:
        return
    rules = noted.of(terms)
    verdict = judge(rules, terms.terms.base, found.totals, terms.day)
    if not verdict.exceeded:
        text = f"The indicative criterion of {rules.name} is not met: no duties."
        yield _closed("duties", text)
        return
    done = fulfilled(found.account)
    for duty in verdict.duties:
        yield _duty(duty, rules, done)


def _duty(duty: Duty, rules: RuleSet, done: Mapping[str, str]) -> Answer:
    name = f"duty {duty.name}"
    if duty.name in done:
        return _closed(name, f"{duty.article}: done, see {done[duty.name]}.")
    text = (
        f"{duty.article}: the indicative criterion of {rules.name} is met and this is "
        f"open (flopguard decide Fulfil --duty {duty.name} --evidence URL)."
    )
    return _open(name, text)


def accepted_gaps(run: Account) -> set[str]:
    """Return the streams whose charge for silence a person accepted."""
    return {one.target for one in standing.of_kind(run, ACCEPT_GAP)}


def fulfilled(account: Account) -> dict[str, str]:
    """Return the duties that are recorded as done, with their evidence."""
    return {one.target: one.evidence for one in standing.of_kind(account, FULFIL)}
