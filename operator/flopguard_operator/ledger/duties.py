"""List the duties that come with a criterion once it is met, and what is open. Pure.

Which duties there are is data of the rule sets, limited to the modification. Report,
status, gate and checklist all take them from here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import DecisionRecorded, ForecastNoted
from flopguard_operator.ledger.forecasts import due
from flopguard_operator.ledger.standing import of_kind
from flopguard_operator.policy.evaluation import PolicyVerdict
from flopguard_operator.policy.rulesets import Duty

FULFIL = "Fulfil"


@dataclass(frozen=True)
class Owed:
    """One duty: under whose criterion it arises, and whether it is open."""

    duty: Duty
    policies: tuple[str, ...]
    """Whose criterion is met or may be; that which governs is the first, if it is."""
    done: DecisionRecorded | None
    """What a person recorded of it; None while it is open."""
    due: str
    """RFC 3339, "" for none that the meter can tell."""


def owed(
    verdicts: Iterable[PolicyVerdict],
    done: Mapping[str, DecisionRecorded],
    since: str = "",
) -> tuple[Owed, ...]:
    """Return the duties of every policy whose criterion is met or may be.

    Args:
        verdicts: of all rule sets, that of the one that governs first.
        done: what people recorded, by the duty's name.
        since: RFC 3339, since when it is known that the criterion is met; "" for never.
    """
    brought: dict[str, tuple[Duty, list[str]]] = {}
    for verdict in verdicts:
        for duty in verdict.duties:
            brought.setdefault(duty.name, (duty, []))[1].append(verdict.policy)
    return tuple(
        Owed(
            duty=duty,
            policies=tuple(names),
            done=done.get(duty.name),
            due=due(duty, since) if duty.within_days is not None else "",
        )
        for duty, names in brought.values()
    )


def fulfilled(*accounts: Account | None) -> dict[str, DecisionRecorded]:
    """Return what people recorded as done, by the duty's name; the newest counts.

    Args:
        accounts: of a program, then of its run: what is done for the one is for both.
    """
    return {
        one.target: one
        for account in accounts
        if account is not None
        for one in of_kind(account, FULFIL)
    }


def known_since(forecast: ForecastNoted | None, met_at: str) -> str:
    """Return since when it is known that the criterion is, or will be, met.

    Args:
        forecast: the newest, None for none.
        met_at: RFC 3339, when the threshold that governs was crossed; "" for never.
    """
    first = forecast.first_known if forecast is not None else ""
    return min((at for at in (first, met_at) if at), default="")
