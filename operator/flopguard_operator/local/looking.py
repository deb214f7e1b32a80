"""Look at the starts of one program: its own, others, and what crashes left."""

from dataclasses import dataclass, field, replace

from flopguard_operator.heard import Heard
from flopguard_operator.local import command, sidecar, telling
from flopguard_operator.local.asking import Start
from flopguard_operator.local.saying import Sayer
from flopguard_operator.local.state import StartFolder, State
from flopguard_operator.marks import Mark
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.processes import Process


@dataclass
class Looking:
    """What was read last of each start that is not settled for good."""

    state: State
    program: str
    sayer: Sayer
    own: StartFolder | None = None
    heard: dict[str, Mark] = field(default_factory=dict)  # by start
    _processes: dict[str, tuple[Process, ...]] = field(default_factory=dict)
    _others: list[StartFolder] = field(default_factory=list)
    _over: set[str] = field(default_factory=set)  # starts of which nothing is left

    def begin(self, own: StartFolder) -> StartFolder:
        """Take in the start that this process looks after.

        One of which nothing is ever heard stays in the ledger, unmetered.
        """
        self.own, uid = own, own.record.uid
        self.heard[uid] = Mark(uid, dict.fromkeys(CATEGORIES, 0), source="sidecar")
        return own

    def at_others(self, *, orphans_too: bool = True) -> None:
        """Read the marks of the other starts.

        Args:
            orphans_too: those as well that nobody looks after: it takes longer.

        Raises:
            SidecarError: the pages of one cannot be read.
        """
        own = self.own.record.uid if self.own else ""
        found = self.state.starts(self.program)
        self._others = [start for start in found if start.record.uid != own]
        for start in self._others:
            uid = start.record.uid
            if start.is_looked_after:
                self.take(uid, sidecar.ask(start.log, uid, whole=False))
            elif orphans_too:
                self._at_orphan(start)

    def _at_orphan(self, start: StartFolder) -> None:
        uid = start.record.uid
        is_over = not command.orphans(start.pages, start.record.group)
        if not start.exists:
            return  # another start has just settled it
        if is_over and not start.pages.is_dir():
            self.sayer.say(
                "lost",
                f"the pages of {start.record.name} are gone ({start.pages}): what it"
                " counted after its last settlement is not known",
            )
            start.remove()
            return
        self.take(uid, sidecar.read(start.pages, uid), final=is_over)

    def take(self, uid: str, told: Heard | None, *, final: bool = False) -> None:
        """Take in what a sidecar told of a start.

        Args:
            uid: of the start.
            told: None where it did not answer.
            final: no process of the start is left.
        """
        if told is None:
            return
        self.heard[uid] = replace(told.mark, final=final)
        if told.processes or final:
            self._processes[uid] = told.processes
        if final:
            self._over.add(uid)

    def starts(self) -> list[Start]:
        """Return the starts as the core takes them."""
        return [
            Start(
                start.record.uid,
                start.record.name,
                start.record.node,
                over=start.record.uid in self._over,
            )
            for start in self._folders()
        ]

    def processes(self) -> tuple[Process, ...]:
        """Return the processes of all starts, as last heard."""
        return tuple(each for told in self._processes.values() for each in told)

    def settled(self) -> None:
        """Remove the starts that are over: their final marks are in the ledger."""
        for start in self._folders():
            if start.record.uid in self._over:
                start.remove()

    @property
    def is_metered(self) -> bool:
        """Whether a page of the own start was seen."""
        return self.own is not None and self.heard[self.own.record.uid].pages > 0

    def doubts(self) -> list[str]:
        """Return what the count of the own start lacks, in sentences."""
        if self.own is None:
            return []
        uid = self.own.record.uid
        return telling.doubts(self.heard[uid], self._processes.get(uid, ()))

    def _folders(self) -> list[StartFolder]:
        return [*self._others, *([self.own] if self.own else [])]
