"""Enter a past job into the ledger of this machine: `flopguard import local/NAME`."""

from dataclasses import replace
from datetime import UTC, datetime

from flopguard_operator import settling
from flopguard_operator.ledger.entries import HoldSet, Imported
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.local import asking
from flopguard_operator.local.asking import Judging, Wishes
from flopguard_operator.local.books import Books
from flopguard_operator.local.state import State
from flopguard_operator.models import shipped
from flopguard_operator.policy.rules import known
from flopguard_operator.rulebooks import shipped_laws
from flopguard_operator.settling import Plan


def bring_in(state: State, program: str, job: Imported) -> Plan:
    """Enter a job, with the warnings and the hold that it makes due.

    A program that nothing was started of yet begins with it. Commands that run see it
    at their next look.

    Args:
        state: of this machine.
        program: its name.
        job: of no program yet.

    Raises:
        LedgerError, LedgerUnavailableError: it is there already, or cannot be entered.
        PolicyError: the program cannot be judged.
    """
    books = Books(state, program)
    with state.locked() as store:
        books.load(store)
        before = books.account.terms_set
        if any(_key(one) == _key(job) for one in books.account.imported):
            message = f'"{job.name}" was imported already: SHA-256 {job.evidence}'
            raise LedgerError(message)
        terms = asking.terms(
            Wishes(), before.terms if before else None, shipped.catalogue()
        )
        today = datetime.now(UTC).date().isoformat()
        by = Judging(known(terms.policy, shipped_laws()), books.noted, today)
        view = asking.view(books.account, terms, by)
        entry = replace(job, run=books.account.ref)
        # Nobody looked whether a command still runs: that proves no hold.
        view = replace(view, decided=(entry,), pods_gone=False)
        plan = settling.plan(view, books.account, books.marks, settle_due=False)
        laws = [view.law] if view.law else []
        events = books.noted.missing(plan.events, laws)
        books.commit(store, [*events, *asking.told(plan.events)], books.marks)
    return plan


def _key(job: Imported) -> tuple[str, str]:
    return job.name, job.evidence


def holds(plan: Plan) -> str:
    """Return why the program is held from here on; "" if it is not."""
    entered = any(isinstance(event, HoldSet) for event in plan.events)
    return asking.in_options(plan.hold.message) if plan.hold and entered else ""
