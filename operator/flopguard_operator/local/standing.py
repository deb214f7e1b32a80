"""Say where each program of this machine stands: `flopguard status`. It only reads."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from flopguard_operator.flops import display, percent
from flopguard_operator.ledger import database, reading
from flopguard_operator.ledger.accounts import Account, fold, totals
from flopguard_operator.ledger.policies import Noted, noted_in
from flopguard_operator.local import asking, command, sidecar
from flopguard_operator.local.sidecar import SidecarError
from flopguard_operator.local.state import StartFolder, State
from flopguard_operator.marks import Mark, merge
from flopguard_operator.policy.checks import nearest
from flopguard_operator.policy.rulesets import PolicyError

RUNNING, UNATTENDED, UNSETTLED = "Running", "Unattended", "Unsettled"
HELD, IDLE = "Held", "Idle"


@dataclass(frozen=True)
class Standing:
    """One program, as the ledger and the pages say it."""

    program: str
    state: str
    account: Account  # with what the pages say on top
    used: int = 0  # of the limit: of a threshold only what its policy counts
    limit: str = ""  # that is reached first
    share: str = ""  # percent of the limit

    @property
    def document(self) -> dict[str, Any]:
        """For programs; FLOPs are strings of digits."""
        total, known = totals(self.account), self.account.terms_set
        return {
            "program": self.program,
            "where": "local",
            "state": self.state,
            "baseModel": known.terms.base.name if known else "",
            "measured": str(total.measured),
            "imported": str(total.imported),
            "upper": str(total.upper),
            "used": str(self.used),
            "limit": self.limit,
            "percent": self.share,
            "starts": len(self.account.attempts),
            "hold": self.account.hold_reason,
        }

    @property
    def cells(self) -> tuple[str, ...]:
        """For people: one line of a table, under `COLUMNS`."""
        used = display(self.used)
        known = self.account.terms_set
        model = (known.terms.base.name if known else "") or "-"
        starts = str(len(self.account.attempts))
        limit = _short(self.limit)
        return self.program, model, used, limit, self.share or "-", starts, self.state


COLUMNS = ("PROGRAM", "MODEL", "USED", "LIMIT", "%", "STARTS", "STATE")


def standings(state: State) -> list[Standing]:
    """Return all programs of a state folder, by name.

    Raises:
        LedgerError, LedgerUnavailableError: the ledger cannot be read.
    """
    if not state.exists:
        return []
    with reading.opened_to_read(state.ledger) as connection:
        entries = list(reading.entries(connection, state.ledger, whole=True))
        accounts, noted = fold(entries), noted_in(entries)
        marks = database.marks(connection)
    found = []
    for uid, account in accounts.items():
        if account.ref.namespace == asking.NAMESPACE:
            found.append(_standing(state, account, marks.get(uid, {}), noted))
    return sorted(found, key=lambda each: each.program)


def _standing(
    state: State, account: Account, marks: Mapping[str, Mark], noted: Noted
) -> Standing:
    name = account.ref.name
    starts = state.starts(name)
    heard = [mark for start in starts if (mark := _mark(start)) is not None]
    streams = dict(account.streams)
    for mark in (*marks.values(), *heard):
        streams[mark.stream] = merge(streams.get(mark.stream, mark), mark)
    now = replace(account, streams=streams)
    total, known, word = totals(now), now.terms_set, _state(now, starts)
    if known is None:
        return Standing(name, word, now, total.upper)
    try:
        rules = noted.of(known)
        used, limit = nearest(known.terms, total, rules, known.day)
    except PolicyError:  # `flopguard verify` says why
        return Standing(name, word, now, total.upper)
    return Standing(name, word, now, used, str(limit), percent(used, limit))


def _mark(start: StartFolder) -> Mark | None:
    uid = start.record.uid
    told = sidecar.ask(start.log, uid, whole=False) if start.is_looked_after else None
    if told is None:
        with suppress(SidecarError):
            told = sidecar.read(start.pages, uid)
    return told.mark if told else None


def _state(account: Account, starts: list[StartFolder]) -> str:
    """Return a program in one word, the one that wants most attention."""
    words = set(_states(starts))
    for word in (UNATTENDED, RUNNING, UNSETTLED):
        if word in words:
            return word
    return HELD if account.hold else IDLE


def _states(starts: list[StartFolder]) -> Iterator[str]:
    for start in starts:
        if start.is_looked_after:
            yield RUNNING
        else:
            alive = command.orphans(start.pages, start.record.group)
            yield UNATTENDED if alive else UNSETTLED


def _short(limit: str) -> str:
    """Return an exact limit, which may be "p/q", as people read it."""
    whole, _, part = limit.partition("/")
    return display(int(whole) // int(part or 1)) if whole else "-"
