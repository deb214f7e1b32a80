"""Know up to which total a run that owes no crossing goes on owing none. Pure.

Verdicts are monotone and change at a few totals only (`policy.checks.reached_at`), so a
replay need not judge every run after every commit.
"""

from dataclasses import dataclass

from flopguard_operator.ledger import standing
from flopguard_operator.ledger.accounts import Account, totals, upper_of
from flopguard_operator.ledger.entries import Crossing, TermsSet
from flopguard_operator.ledger.policies import Noted
from flopguard_operator.policy.checks import reached_at
from flopguard_operator.policy.terms import Decided


@dataclass(frozen=True)
class Quiet:
    """What a run owes nothing by: as long as this holds it need not be judged anew."""

    terms_set: TermsSet | None
    crossings: tuple[Crossing, ...]
    decided: Decided
    below: int | None  # FLOPs at which the next line is reached; None: there is none

    def holds(self, account: Account) -> bool:
        """Tell whether the account cannot owe a crossing.

        Verdicts are monotone in the total, and each below the line is recorded.
        """
        same = (
            account.terms_set is self.terms_set and account.crossings is self.crossings
        )
        if account.decisions:
            same = same and standing.decided(account) == self.decided
        return same and (self.below is None or upper_of(account) < self.below)


def quiet_of(account: Account, noted: Noted) -> Quiet:
    """Return up to where an account that owes nothing goes on owing nothing.

    Raises:
        PolicyError: the terms cannot be judged by.
    """
    lines: tuple[int, ...] = ()
    decided = standing.decided(account)
    if account.terms_set is not None:
        terms = account.terms_set
        law = noted.of(terms), terms.day, decided
        lines = reached_at(terms.terms, totals(account), *law)
    upper = upper_of(account)
    above = min((line for line in lines if line > upper), default=None)
    return Quiet(account.terms_set, account.crossings, decided, above)
