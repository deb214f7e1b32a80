"""Answer the release pipeline's question: may what a program made go out? Pure.

One answer for each thing that has to be in order, each with a sentence that says what
is missing. Nothing is decided here: people did, and the ledger holds it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.flops import display
from flopguard_operator.ledger import policies, standing
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.duties import Owed, fulfilled, owed
from flopguard_operator.ledger.policies import Noted
from flopguard_operator.ledger.standing import PROCEED, Standing
from flopguard_operator.policy.checks import holds
from flopguard_operator.policy.evaluation import PolicyVerdict
from flopguard_operator.policy.rulesets import RuleSet

ACCEPT_GAP = "AcceptGap"


@dataclass(frozen=True)
class Answer:
    """One thing that has to be in order."""

    name: str
    ok: bool
    message: str  # one sentence
    governs: bool = True  # False: it is told, and decides nothing


def answers(
    found: Standing, noted: Noted, beside: Iterable[RuleSet] = ()
) -> tuple[Answer, ...]:
    """Return what has to be in order before a program's model is released.

    Args:
        found: where the program stands.
        noted: the ledger's rule sets.
        beside: rule sets that do not govern: their duties are told.

    Raises:
        PolicyError: the program cannot be judged by its terms.
    """
    terms, total = standing.terms_of(found.account), found.totals
    verdicts = policies.verdicts(terms, total, noted, beside) if terms else ()
    return (
        _runs(found),
        _holds(found),
        _review(found, verdicts),
        _owners(found),
        *_gaps(found),
        *_duties(found, verdicts),
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


def _review(found: Standing, verdicts: Sequence[PolicyVerdict]) -> Answer:
    terms = standing.terms_of(found.account)
    if terms is None:
        return _open("decision", "The ledger has no terms of the program.")
    line = terms.terms.approach.hold_at_percent
    counted = verdicts[0].counted
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
        f"decision to proceed covers it ({_how(found, 'flopguard decide')})."
    )
    return _open("decision", text)


def _how(found: Standing, command: str) -> str:
    """Return how a decision is recorded: by the command, where that is possible."""
    if standing.is_of_machine(found.account):
        return "that takes a cluster: bring the program into one"
    return command


def _owners(found: Standing) -> Answer:
    if standing.is_of_machine(found.account):
        text = "A program of one machine names no owners and no roll-back plan."
        return Answer("owners", ok=False, message=text, governs=False)
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
                how = _how(found, f"flopguard decide AcceptGap --stream {stream}")
                yield _open("gap", f"{text}: accept it ({how}).")


def _duties(found: Standing, verdicts: Sequence[PolicyVerdict]) -> Iterator[Answer]:
    """Yield an answer for each duty that comes with a criterion that is met.

    Those of the policy that governs have to be done; those of others are told.
    """
    if not verdicts:
        return
    name = verdicts[0].policy
    if not verdicts[0].exceeded:
        text = f"The indicative criterion of {name} is not met: no duties of it."
        yield _closed("duties", text)
    for one in owed(verdicts, fulfilled(found.account)):
        yield _duty(found, one, name)


def _duty(found: Standing, one: Owed, governing: str) -> Answer:
    """Return the answer for a duty; `governing` is the policy that decides."""
    name, governs = f"duty {one.duty.name}", governing in one.policies
    if one.done is not None:
        text = f"{one.duty.article}: done, see {one.done.evidence}."
        return Answer(name, ok=True, message=text, governs=governs)
    met = ", ".join(one.policies[:1] if governs else one.policies)
    text = f"{one.duty.article}: the indicative criterion of {met} is met"
    if governs:
        command = f"flopguard decide Fulfil --duty {one.duty.name} --evidence URL"
        text += f" and this is open ({_how(found, command)})."
    else:
        text += f", which does not govern here ({governing} does); it is not recorded."
    return Answer(name, ok=False, message=text, governs=governs)


def accepted_gaps(run: Account) -> set[str]:
    """Return the streams whose charge for silence a person accepted."""
    return {one.target for one in standing.of_kind(run, ACCEPT_GAP)}
