"""List the duties that come with a criterion once it is met, and what is known of them.

Which duties there are is data of the rule sets. They are limited to the modification.
The report names no one a provider: it says which criterion brings which duty.
"""

from dataclasses import dataclass

from flopguard_operator.ledger.gating import FULFIL
from flopguard_operator.ledger.standing import of_kind
from flopguard_operator.policy.evaluation import dates
from flopguard_operator.policy.rulesets import Date, Duty, Fine
from flopguard_operator.report.facts import SubjectFacts
from flopguard_operator.report.form import form
from flopguard_operator.report.judgement import MET, criteria
from flopguard_operator.report.moments import day_after

OPEN, FULFILLED = "open", "fulfilled"
COMPLIANCE, MODEL, PRODUCT = "compliance", "model", "product"
_ROLES = {"technical-documentation": MODEL, "downstream-information": PRODUCT}
"""Who answers for a duty by default; the owner of compliance for the others."""


@dataclass(frozen=True)
class Fulfilment:
    """What a person recorded of a duty."""

    by: str
    reason: str
    evidence: str


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
    brought: dict[str, tuple[Duty, list[str]]] = {}
    for verdict in subject.policies:
        for duty in verdict.duties:
            brought.setdefault(duty.name, (duty, []))[1].append(verdict.policy)
    done = fulfilled(subject)
    return tuple(
        _facts(subject, duty, tuple(policies), done.get(duty.name))
        for duty, policies in brought.values()
    )


def owners(subject: SubjectFacts) -> dict[str, str]:
    """Return who answers for what, as the program says; empty where it says nothing."""
    set_ = subject.program.program_set if subject.program is not None else None
    if set_ is None:
        return {}
    return {COMPLIANCE: set_.compliance, MODEL: set_.model, PRODUCT: set_.product}


def fulfilled(subject: SubjectFacts) -> dict[str, Fulfilment]:
    """Return what people recorded as done, by the duty's name; the newest counts."""
    about = [subject.account]
    if subject.program is not None and subject.program is not subject.account:
        about.insert(0, subject.program)
    return {
        one.target: Fulfilment(one.decided_by, one.reason, one.evidence)
        for account in about
        for one in of_kind(account, FULFIL)
    }


def _facts(
    subject: SubjectFacts,
    duty: Duty,
    policies: tuple[str, ...],
    done: Fulfilment | None,
) -> DutyFacts:
    role = _ROLES.get(duty.name, COMPLIANCE)
    return DutyFacts(
        duty=duty,
        policies=policies,
        role=role,
        owner=owners(subject).get(role, ""),
        state=f"{FULFILLED} by {done.by}" if done is not None else OPEN,
        evidence=done.evidence if done is not None else "",
        filled=_filled(subject, duty),
        due=_due(subject, duty),
    )


def _filled(subject: SubjectFacts, duty: Duty) -> str:
    """Return what the meter knows towards a duty."""
    if duty.name == "technical-documentation" and form(subject) is not None:
        return "Compute, training time and methodology: see the form below."
    if duty.within_days is not None and form(subject) is not None:
        return "What the Guidelines' para. 32 asks for: see the notification below."
    return ""


def _due(subject: SubjectFacts, duty: Duty) -> str:
    """Return by when a duty with a term is due, from crossing or forecast on."""
    if duty.within_days is None:
        return ""
    forecast = subject.account.forecast
    known = forecast.first_known if forecast is not None else ""
    since = min((at for at in (known, subject.met_at) if at), default="")
    return day_after(since, duty.within_days)


def proven(subject: SubjectFacts) -> bool:
    """Say whether a criterion is met by what is proven, not only by what may be."""
    return any(each.state == MET for each in criteria(subject))


def calendar(subject: SubjectFacts) -> tuple[Date, ...]:
    """Return the days that matter, in order, under the first policy that has any."""
    return next((found for law in subject.laws if (found := dates(law))), ())


def fines(subject: SubjectFacts) -> tuple[Fine, ...]:
    """Return what an infringement may cost, under the first policy that says so."""
    return next((law.fines for law in subject.laws if law.fines), ())
