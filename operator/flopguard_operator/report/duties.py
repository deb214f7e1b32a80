"""List the duties that come with a criterion once it is met, and what is known of them.

Which duties there are is data of the rule sets. They are limited to the modification.
The report names no one a provider: it says which criterion brings which duty.
"""

from dataclasses import dataclass

from flopguard_operator.ledger.duties import Owed, fulfilled, known_since, owed
from flopguard_operator.policy.evaluation import dates
from flopguard_operator.policy.rulesets import Date, Duty, Fine
from flopguard_operator.report.facts import SubjectFacts
from flopguard_operator.report.form import form

OPEN, FULFILLED = "open", "fulfilled"
COMPLIANCE, MODEL, PRODUCT = "compliance", "model", "product"
_ROLES = {"technical-documentation": MODEL, "downstream-information": PRODUCT}
"""Who answers for a duty by default; the owner of compliance for the others."""


@dataclass(frozen=True)
class DutyFacts:
    """One duty, with its owner, what is known already, and its state."""

    duty: Duty
    policies: tuple[str, ...]
    """Under whose criterion it arises."""
    role: str
    owner: str
    """"" where the program names none."""
    state: str
    evidence: str
    filled: str
    """What the meter knows towards it; "" for nothing."""
    due: str
    """ISO 8601 day, "" for none that the meter can tell."""


def duties(subject: SubjectFacts) -> tuple[DutyFacts, ...]:
    """Return the duties of every policy whose criterion is met or may be.

    What people recorded of a run's program counts for the run as well.
    """
    done = fulfilled(subject.program, subject.account)
    since = known_since(subject.account.forecast, subject.met_at)
    return tuple(_facts(subject, one) for one in owed(subject.policies, done, since))


def owners(subject: SubjectFacts) -> dict[str, str]:
    """Return who answers for what, as the program says; empty where it says nothing."""
    set_ = subject.program.program_set if subject.program is not None else None
    if set_ is None:
        return {}
    return {COMPLIANCE: set_.compliance, MODEL: set_.model, PRODUCT: set_.product}


def _facts(subject: SubjectFacts, one: Owed) -> DutyFacts:
    role, done = _ROLES.get(one.duty.name, COMPLIANCE), one.done
    return DutyFacts(
        duty=one.duty,
        policies=one.policies,
        role=role,
        owner=owners(subject).get(role, ""),
        state=f"{FULFILLED} by {done.decided_by}" if done is not None else OPEN,
        evidence=done.evidence if done is not None else "",
        filled=_filled(subject, one.duty),
        due=one.due[:10],
    )


def _filled(subject: SubjectFacts, duty: Duty) -> str:
    """Return what the meter knows towards a duty."""
    if duty.name == "technical-documentation" and form(subject) is not None:
        return "Compute, training time and methodology: see the form below."
    if duty.within_days is not None and form(subject) is not None:
        return "What the Guidelines' para. 32 asks for: see the notification below."
    return ""


def calendar(subject: SubjectFacts) -> tuple[Date, ...]:
    """Return the days that matter, in order, under the first policy that has any."""
    return next((found for law in subject.laws if (found := dates(law))), ())


def fines(subject: SubjectFacts) -> tuple[Fine, ...]:
    """Return what an infringement may cost, under the first policy that says so."""
    return next((law.fines for law in subject.laws if law.fines), ())
