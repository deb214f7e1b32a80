"""Add up the runs of a program, from the ledger. Pure.

The sum is over every run that the ledger knows, deleted ones too: what was spent stays
spent. It is shown only; holding a run for what its siblings spent is not built yet.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flopguard_operator import retaining
from flopguard_operator.api import resolve
from flopguard_operator.api.fields import SpecError, read
from flopguard_operator.api.finetunerun import RunSpec, WorkloadRef
from flopguard_operator.api.program import ProgramSpec, RetentionSpec
from flopguard_operator.flops import display, percent
from flopguard_operator.ledger.accounts import Account, totals
from flopguard_operator.ledger.entries import RetentionSet
from flopguard_operator.ledger.policies import Law
from flopguard_operator.models.catalogue import NOTHING, Catalogue
from flopguard_operator.observed import Raw, at, text
from flopguard_operator.policy.rules import governing, known
from flopguard_operator.retaining import Demand

_ANY_RUN = RunSpec(workload=WorkloadRef(name="any"))


def members(name: str, accounts: Mapping[str, Account]) -> list[Account]:
    """Return the accounts of the runs that belong to a program."""
    return [
        account
        for account in accounts.values()
        if account.terms_set is not None and account.terms_set.program == name
    ]


def retentions(
    known: RetentionSet | None, years: int, raws: Iterable[Raw]
) -> list[RetentionSet]:
    """Return the entry that says for how long the ledger is kept, if one is due.

    Args:
        known: the ledger's newest.
        years: by the settings of the operator.
        raws: all programs.
    """
    reason = "the default of the installation (operator.ledger.retentionYears)"
    found = retaining.due(known, Demand(years, reason), _demands(raws))
    return [] if found is None else [found]


def _demands(raws: Iterable[Raw]) -> Iterator[Demand]:
    """Yield for how long each program asks that the ledger is kept, if it does."""
    for raw in raws:
        name, asked = text(raw, "metadata", "name"), at(raw, "spec", "retention")
        if asked is None:
            continue
        with contextlib.suppress(SpecError):  # said where the program is judged
            years = read(RetentionSpec, asked, "spec.retention").years
            reason = f"FineTuneProgram {name} asks for it (spec.retention.years)"
            yield Demand(years, reason)


def status(
    spec: ProgramSpec,
    runs: Iterable[Account],
    generation: int,
    laws: Mapping[str, Law],
    catalogue: Catalogue = NOTHING,
) -> dict[str, Any]:
    """Return a program's status in its wire form.

    Raises:
        PolicyError: the program names a policy that is not among `laws`.
    """
    accounts = list(runs)
    counted = [totals(account) for account in accounts]
    upper = sum(total.upper for total in counted)
    terms = resolve.terms(_ANY_RUN, spec, catalogue)
    limit = governing(terms.base, known(terms.policy, laws).rules).limit
    held = any(account.hold is not None for account in accounts)
    return {
        "state": "Held" if held else "Metering" if accounts else "Pending",
        "measured": str(sum(total.measured for total in counted)),
        "upper": str(upper),
        "usedDisplay": display(upper),
        "limitDisplay": display(limit),
        "percentOfThreshold": percent(upper, limit),
        "runs": len(accounts),
        "observedGeneration": generation,
    }
