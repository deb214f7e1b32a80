"""Run a command and keep its program within its limits: the loop of `flopguard run`.

Each look is a cycle of the operator in small: read the marks, decide by the same core,
commit, then act. What a crash leaves is in the pages and the ledger; the next start of
the program settles it before anything else.
"""

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from flopguard_operator import rulebooks, settling
from flopguard_operator.ledger.entries import Crossing, HoldReleased, HoldSet
from flopguard_operator.ledger.errors import (
    LedgerBrokenError,
    LedgerError,
    LedgerUnavailableError,
)
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.local import asking, command, sidecar
from flopguard_operator.local import state as states
from flopguard_operator.local.asking import Judging, Wishes
from flopguard_operator.local.books import Books
from flopguard_operator.local.command import Command
from flopguard_operator.local.looking import Looking
from flopguard_operator.local.saying import Sayer
from flopguard_operator.local.sidecar import Sidecar, SidecarError
from flopguard_operator.local.state import Record, StartFolder, State
from flopguard_operator.local.telling import Progress, Rate
from flopguard_operator.models import basis, shipped
from flopguard_operator.policy.rules import known
from flopguard_operator.policy.terms import Terms
from flopguard_operator.policy.verdict import WARN, Verdict
from flopguard_operator.settling import Plan, RunView

STOPPED = 124  # the exit code, as of timeout(1)
SETTLE_SECONDS = 60.0
FACTS_SECONDS = 15.0  # between two looks at what the processes say of themselves
ORPHAN_SECONDS = 10.0  # between two looks at starts that nobody looks after
STRAGGLER_SECONDS = 3.0  # for what a command leaves behind when it ends
UNMETERED_SECONDS = 120.0
_TROUBLE = (LedgerError, LedgerUnavailableError, SidecarError, OSError)


class SpentError(Exception):
    """The program may not start: a limit is reached; the message says what to do."""


@dataclass(frozen=True)
class Options:
    """What `flopguard run` was asked."""

    program: str
    arguments: Sequence[str]
    wishes: Wishes
    state: Path
    pages: Path | None = None
    grace_seconds: float = 30.0
    interval_seconds: float = 1.0


@dataclass
class Runner:
    """One start of a command."""

    options: Options
    sayer: Sayer
    state: State = field(init=False)
    books: Books = field(init=False)
    terms: Terms = field(init=False)
    looking: Looking = field(init=False)
    _looked_at: dict[str, float] = field(default_factory=dict)  # by kind of look
    _rate: Rate = field(default_factory=Rate)
    _held_since: float = 0.0  # monotonic; 0: not held in this life
    _complaint: str = ""  # about the ledger, as said last
    _is_broken: bool = False  # the disk failed under the ledger

    def __post_init__(self) -> None:
        """Open the state folder."""
        self.state = State(self.options.state)
        self.books = Books(self.state, self.options.program)
        self.looking = Looking(self.state, self.options.program, self.sayer)

    def run(self) -> int:
        """Run the command to its end, or to the program's limit.

        Returns:
            Its exit code, or `STOPPED`.

        Raises:
            SpentError: it may not start.
            LedgerError, LedgerUnavailableError, SidecarError, OSError, PolicyError: it
                could not be started.
        """
        hook = sidecar.hook()
        own = self._begin()
        meter = Sidecar(
            own.record.uid, own.pages, own.log, self.options.interval_seconds / 2
        )
        running = Command(self.options.arguments, hook, own.pages)
        try:
            meter.start()
            running.start()
        except BaseException:
            meter.stop()
            own.remove()
            raise
        self.looking.own = own = own.in_group(running.group)
        code, stopped = self._watch(meter, running)
        left = self._stragglers(running)
        meter.stop()
        self._finish(own, left)
        return STOPPED if stopped else code

    # Before the command

    def _begin(self) -> StartFolder:
        """Settle what earlier starts left, then open this one in the ledger.

        Raises:
            SpentError: a limit is reached already.
        """
        with self.state.locked() as store:
            self.books.load(store)
            told = self.books.account.terms_set
            before, catalogue = told.terms if told else None, shipped.catalogue()
            self.terms = asking.terms(self.options.wishes, before, catalogue)
            self._tell_base(before)
            self.looking.at_others()
            plan = self._commit(store, settle=True)
            if plan.hold is None:
                return self._open(store)
            hold = plan.hold
        self._end_orphans()
        raise SpentError(asking.in_options(hold.message))

    def _tell_base(self, before: Terms | None) -> None:
        """Say what the catalogue has to say to a base model that is new."""
        base = self.terms.base
        sentence = basis.told(base, shipped.catalogue())
        if sentence and (before is None or before.base != base):
            self.sayer.say("base", sentence)

    def _open(self, store: SqliteStore) -> StartFolder:
        uid, node = states.uid(), platform.node() or "localhost"
        record = Record(uid, self.options.program, f"{node}-{uid[:8]}", node)
        own = self.looking.begin(self.state.begin(record, self.options.pages))
        self._commit(store, settle=False)
        self._is_due("settle", 0.0)
        return own

    # While it runs

    def _watch(self, meter: Sidecar, running: Command) -> tuple[int, bool]:
        """Look again and again; return the command's exit code, and who ended it."""
        self._is_due("unmetered", 0.0)
        while True:
            code = running.wait(self.options.interval_seconds)
            hold = self._look(meter)
            if code is not None:
                return code, False
            if hold is not None:
                self._stop(meter, running, hold)
                return running.wait(0) or 0, True
            if self._is_due("unmetered", UNMETERED_SECONDS):
                self._doubt_if_unmetered()

    def _look(self, meter: Sidecar) -> Verdict | None:
        """Do one cycle; return the verdict that stops the command, if any."""
        whole = self._is_due("facts", FACTS_SECONDS)
        self.looking.take(meter.uid, meter.ask(whole=whole))
        try:
            orphans_too = self._is_due("orphans", ORPHAN_SECONDS)
            self.looking.at_others(orphans_too=orphans_too)
            plan = self._decided(settle=self._is_due("settle", SETTLE_SECONDS))
        except _TROUBLE as error:
            # The pages keep what was counted; the limit holds without the ledger too.
            self._complain(str(error))
            plan = self._plan(settle=False)[1]
        self.sayer.progress(self._progress(plan))
        return plan.hold

    def _stop(self, meter: Sidecar, running: Command, hold: Verdict) -> None:
        """End the command politely, then whatever is left of it."""
        grace, why = self.options.grace_seconds, hold.message.partition(". ")[0]
        self.sayer.say(
            "stopping",
            f"{why}. The command gets SIGTERM now, and SIGKILL after {grace:g} s",
            reason=hold.reason,
        )

        def look() -> None:
            running.wait(0)
            self.looking.take(meter.uid, meter.ask(whole=False))

        if not command.end(running.left, running.group, grace, look):
            self.sayer.say("unstoppable", "a process of the command does not end")
        self._end_orphans()

    def _end_orphans(self) -> None:
        """End what earlier starts left running, now that a limit is reached."""
        ended = False
        for start in self.state.starts(self.options.program):
            if start.is_looked_after:
                continue  # its own flopguard ends it

            def left(start: StartFolder = start) -> list[int]:
                return command.orphans(start.pages, start.record.group)

            if not left():
                continue
            self.sayer.say("stopping", f"{start.record.name} still runs and is ended")
            group = start.record.group
            ended = command.end(left, group, self.options.grace_seconds) or ended
        if not ended:
            return
        with self.state.locked() as store:
            self.books.load(store)
            self.looking.at_others()
            self._commit(store, settle=True)

    # After it

    def _stragglers(self, running: Command) -> list[int]:
        """Wait a moment for what the command left behind; return what still lives."""
        deadline = time.monotonic() + STRAGGLER_SECONDS
        left = running.left()
        while left and time.monotonic() < deadline:
            running.wait(0)
            time.sleep(0.02)
            left = running.left()
        return left

    def _finish(self, own: StartFolder, left: list[int]) -> None:
        """Read the pages a last time and settle this start for good."""
        uid = own.record.uid
        if left:
            pids = ", ".join(str(pid) for pid in left[:10])
            self.sayer.say(
                "left",
                f"the command has ended, but processes of it still run ({pids}): what"
                " they count is settled by the next start of this program",
            )
        try:
            told = sidecar.read(own.pages, uid)
            self.looking.take(uid, told, final=not left)
            with self._own_ledger() as store:
                self.books.load(store)
                # Under the lock: the last of several to end proves the hold.
                self.looking.at_others()
                plan = self._commit(store, settle=True)
        except _TROUBLE as error:
            self._complain(f"{error}. The next start of this program settles this one")
            return
        self._doubt()
        now = self._progress(plan)
        proven = self.books.account.proven
        over = proven.overshoot if proven and plan.hold else 0
        self.sayer.say("ended", now.line, **now.document, overshoot=str(over))
        if plan.hold is not None:
            self.sayer.say("held", asking.in_options(plan.hold.message))

    def _doubt_if_unmetered(self) -> None:
        """Say so if nothing was counted for a while."""
        if not self.looking.is_metered:
            self._doubt()

    def _doubt(self) -> None:
        """Say what the count of this start lacks."""
        for sentence in self.looking.doubts():
            self.sayer.say("unmetered", sentence)

    # Each look

    def _plan(self, *, settle: bool) -> tuple[RunView, Plan]:
        """Decide, from what was read and the ledger as it was read last."""
        held = time.monotonic() - self._held_since if self._held_since else 0.0
        account, starts = self.books.account, self.looking.starts()
        view = asking.view(
            account, self.terms, self._judging(), starts, int(held * 1000)
        )
        marks = self.books.merged(self.looking.heard.values())
        told = self.looking.processes()
        return view, settling.plan(view, account, marks, told, settle_due=settle)

    def _judging(self) -> Judging:
        laws, today = rulebooks.shipped_laws(), datetime.now(UTC).date()
        law = known(self.terms.policy, laws)
        return Judging(law, self.books.noted, today.isoformat())

    def _decided(self, *, settle: bool) -> Plan:
        """Decide, and commit what is new, from what is in the ledger then."""
        _, plan = self._plan(settle=settle)
        if self._is_broken or not (plan.events or self.state.is_stale):
            return plan
        with self._own_ledger() as store:
            self.books.load(store)
            newest = self.books.account.terms_set
            if newest is not None:
                self.terms = newest.terms  # a later start may have changed them
            plan = self._commit(store, settle=settle)
        self._complaint = ""
        return plan

    @contextmanager
    def _own_ledger(self) -> Iterator[SqliteStore]:
        """Give the ledger to this process alone, unless its disk has failed before.

        What a failed disk holds is only known to a process that starts anew.
        """
        if self._is_broken:
            message = "the disk failed under the ledger"
            raise LedgerUnavailableError(message)
        try:
            with self.state.locked() as store:
                yield store
        except LedgerBrokenError:
            self._is_broken = True
            raise

    def _commit(self, store: SqliteStore, *, settle: bool) -> Plan:
        """Decide once more, and append what is new; the ledger is this process's."""
        view, plan = self._plan(settle=settle)
        laws = [view.law] if view.law else []
        notes = self.books.noted.missing(plan.events, laws)
        events = (*notes, *asking.told(plan.events))
        self.books.commit(store, events, self.books.merged(self.looking.heard.values()))
        for event in events:
            if isinstance(event, Crossing) and event.action == WARN:
                self.sayer.say("warning", event.message, reason=event.reason)
            if isinstance(event, HoldSet):
                self._held_since = time.monotonic()
            if isinstance(event, HoldReleased):
                self.sayer.say("released", "the limit was raised: the program goes on")
        self.looking.settled()
        return plan

    def _progress(self, plan: Plan) -> Progress:
        view, upper = self._plan(settle=False)[0], plan.totals.upper
        used, limit = settling.nearest(view, plan.totals)
        return Progress(
            program=self.options.program,
            measured=plan.totals.measured,
            upper=upper,
            used=used,
            limit=limit,
            flops_per_second=self._rate.take(time.monotonic(), upper),
        )

    def _is_due(self, what: str, seconds: float) -> bool:
        """Say whether something is to be done again, and note that it is."""
        now = time.monotonic()
        if now - self._looked_at.get(what, -1e9) < seconds:
            return False
        self._looked_at[what] = now
        return True

    def _complain(self, sentence: str) -> None:
        """Say what is wrong, once."""
        if sentence != self._complaint:
            self._complaint = sentence
            with suppress(OSError):
                self.sayer.say("trouble", sentence)
