"""Count the entries of each run, so that a part of a ledger can be shown to be whole.

A line per run, sorted: SHA-256 of its UID, of its namespace and name, and of its
program, and how many entries it has. A stranger who gets the entries of one program
learns from it how many runs there are beside, and nothing of them unless he knows their
names already.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import RunRef, RunsCounted


@dataclass(frozen=True)
class Counted:
    """One run of the census."""

    ref: RunRef
    program: str  # "" for none
    entries: int

    @property
    def line(self) -> str:
        """The run as it stands in the text."""
        names = (self.ref.uid, f"{self.ref.namespace}/{self.ref.name}", self.program)
        return f"{' '.join(map(hidden, names))} {self.entries}\n"


def hidden(name: str) -> str:
    """Return what stands for a UID or a program's name."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()


def of(accounts: Mapping[str, Account]) -> tuple[Counted, ...]:
    """Return the census of all runs that have entries."""
    return tuple(
        Counted(account.ref, program_of(account), account.entries)
        for account in accounts.values()
        if account.entries
    )


def program_of(account: Account) -> str:
    """Return the program of a run, as its newest terms say; "" for none.

    A program is its own.
    """
    if account.program_set is not None:
        return account.ref.name
    return account.terms_set.program if account.terms_set else ""


def text(runs: Iterable[Counted]) -> bytes:
    """Return the text whose digest stands in the ledger."""
    return "".join(sorted(run.line for run in runs)).encode()


def entry(runs: Iterable[Counted], own: int) -> RunsCounted:
    """Return the event that records a census.

    Args:
        runs: all that have entries.
        own: how many entries are about the ledger itself, without those of this kind.
    """
    lines = tuple(runs)
    return RunsCounted(len(lines), own, hashlib.sha256(text(lines)).hexdigest())
