"""Keep track, entry by entry, of the programs that a ledger tells of. For the replay.

A program is judged on all of its runs, so a settlement of any of them may make a
crossing of the program due. Between two lines of its policy it is not judged anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flopguard_operator.ledger import standing
from flopguard_operator.ledger.accounts import Account, upper_of
from flopguard_operator.ledger.census import program_of
from flopguard_operator.ledger.policies import Noted
from flopguard_operator.ledger.standing import MOVED_IN, Standing
from flopguard_operator.policy.checks import reached_at


@dataclass(frozen=True)
class _Quiet:
    """A program that owes nothing, and up to which bound it goes on owing nothing."""

    account: Account
    below: int | None  # FLOPs; None: there is no line above


@dataclass
class Programs:
    """Which programs there are, which runs each has, and which are quiet.

    Attributes:
        namesakes: UIDs of the programs of one name, oldest first.
        members: UIDs of its runs, by the program's name.
    """

    namesakes: dict[str, list[str]] = field(default_factory=dict)
    members: dict[str, dict[str, None]] = field(default_factory=dict)
    _quiet: dict[str, _Quiet] = field(default_factory=dict)

    def note(self, account: Account) -> None:
        """Take in an account as an entry has left it."""
        name, uid = program_of(account), account.ref.uid
        if not name:
            return
        if account.program_set is None:
            self.members.setdefault(name, {})[uid] = None
        elif uid not in self.namesakes.setdefault(name, []):
            self.namesakes[name].append(uid)

    def account(self, name: str, accounts: Mapping[str, Account]) -> Account | None:
        """Return the account of the program that has a name now, None if none has."""
        return standing.newest(accounts[uid] for uid in self.namesakes.get(name, ()))

    def standing(
        self, name: str, accounts: Mapping[str, Account], noted: Noted
    ) -> Standing | None:
        """Return where a program stands; None if the entries do not tell of it.

        Raises:
            PolicyError: it cannot be judged by its terms.
        """
        account = self.account(name, accounts)
        if account is None:
            return None
        runs = (accounts[uid] for uid in self.members.get(name, ()))
        return standing.of(account, runs, noted)

    def is_quiet(self, name: str, accounts: Mapping[str, Account]) -> bool:
        """Tell whether a program cannot owe a crossing.

        Args:
            name: of the program.
            accounts: all that are known, or that would be.
        """
        if name not in self.namesakes:
            return True
        quiet = self._quiet.get(name)
        if quiet is None or quiet.account is not self._newest(name, accounts):
            return False
        return quiet.below is None or self._bound(name, accounts) < quiet.below

    def set_quiet(
        self, name: str, accounts: Mapping[str, Account], noted: Noted
    ) -> None:
        """Note that a program owes nothing as it stands."""
        found = self.standing(name, accounts, noted)
        if found is None or found.account.program_set is None:
            return
        terms = found.account.program_set
        law = noted.of(terms), terms.day, standing.decided(found.account)
        lines = reached_at(terms.terms, found.totals, *law)
        upper = found.totals.upper
        below = min((line for line in lines if line > upper), default=None)
        self._quiet[name] = _Quiet(self._newest(name, accounts), below)

    def _newest(self, name: str, accounts: Mapping[str, Account]) -> Account:
        return accounts[self.namesakes[name][-1]]

    def _bound(self, name: str, accounts: Mapping[str, Account]) -> int:
        """Return what a program's total cannot be above."""
        own = [accounts[uid] for uid in self.namesakes[name]]
        runs = sum(upper_of(accounts[uid]) for uid in self.members.get(name, ()))
        moved = sum(
            standing.amount(one).upper
            for account in own
            for one in account.adjusted
            if one.change == MOVED_IN
        )
        imports = sum(job.high for account in own for job in account.imported)
        return runs + moved + imports
