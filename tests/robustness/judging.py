"""What must hold in `simulation`: after each cycle, and at the end."""

import io
from pathlib import Path

from flopguard_operator.books import Books
from flopguard_operator.cycle import Cycle
from flopguard_operator.ledger import database
from flopguard_operator.ledger.accounts import Account, fold, totals
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.reading import export_file
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.marks import Mark
from robustness.chaos import Fleet
from standins.apiserver import Api
from standins.fleet import PEAK, Pod

__all__ = ["Judge"]


class Judge:
    """Compares what the operator says with what the pods have really done."""

    def __init__(self, fleet: Fleet, path: Path) -> None:
        self.fleet, self.path = fleet, path
        self.seen: set[str] = set()  # pods that the operator has looked at
        self.marks: dict[str, Mark] = {}

    def size(self) -> int:
        """Return the number of entries that are durable."""
        connection = database.connect_to_read(self.path)
        try:
            return int(connection.execute("SELECT count(*) FROM leaves").fetchone()[0])
        finally:
            connection.close()

    def look(self, cycle: Cycle, pods: set[str]) -> None:
        """Check each stream after a cycle."""
        books, hearing = cycle.books, cycle.auditor.hearing
        if cycle.auditor._before is None:  # noqa: SLF001 - the commit took place
            self.seen |= pods
        for pod in self.fleet.pods:
            run = books.owner.get(pod.uid)
            if run is None or cycle.auditor._before is not None:  # noqa: SLF001 - see above
                continue
            mark = books.of_run(run).get(pod.uid, Mark(pod.uid))
            self._check_mark(pod, mark)
            proven = hearing.proven.get(pod.uid)
            if proven is not None and not pod.removed and not mark.final:
                self._check_bound(pod, mark, books.accounts.get(run), proven)

    def _check_mark(self, pod: Pod, mark: Mark) -> None:
        truth = pod.computing.executed(self.fleet.clock.now)
        assert mark.measured <= truth, f"{pod.uid} counts {mark.measured} of {truth}"
        before = self.marks.get(pod.uid, mark)
        assert mark.begun >= before.begun, f"the mark of {pod.uid} fell"
        assert mark.measured >= before.measured, f"the mark of {pod.uid} fell"
        self.marks[pod.uid] = mark

    def _check_bound(
        self, pod: Pod, mark: Mark, account: Account | None, proven: int
    ) -> None:
        now = self.fleet.clock.now
        truth, begun = pod.computing.executed(now), max(mark.begun, mark.measured)
        charged = account.gaps.get(pod.uid) if account is not None else None
        closed = account is not None and pod.uid in account.closed
        upper = begun + (charged.flops if charged else 0)
        if not closed:
            upper = max(upper, begun + PEAK * (now - proven))
        assert truth <= upper, f"{pod.uid}: {truth} executed, {upper} at most"

    def end(self, books: Books, api: Api) -> tuple[int, int, int]:
        """Check the whole, once everything has settled.

        Returns:
            FLOPs lost and declared, and the number of runs that count too much.
        """
        accounts = self._durable()
        assert accounts == books.accounts, "the memory is another"
        out = io.BytesIO()
        export_file(self.path, out)
        report = verify_lines(lines_of(io.BytesIO(out.getvalue())), check_signature)
        wrong = [check for check in report.checks if check.outcome != "ok"]
        assert not wrong, wrong
        self._check_status(accounts, api)
        truth = self._truth(accounts, books)
        totaled = [totals(account) for account in accounts.values()]
        upper = sum(total.upper for total in totaled)
        measured = sum(total.measured for total in totaled)
        lost, twice = max(0, truth - upper), int(measured > truth)
        assert not lost, f"{lost} FLOPs are lost"
        assert not twice, "FLOPs are counted twice"
        return lost, upper - measured, twice

    def _check_status(self, accounts: dict[str, Account], api: Api) -> None:
        """Check that the run shows what is durable, and that no other is held."""
        shown = api.run["metadata"]["uid"] if api.has_run else ""
        held = {uid for uid, each in accounts.items() if each.hold is not None}
        assert held <= {shown}, f"{held} are held, and only {shown} is there"
        if not shown:
            return
        account, status = accounts[shown], api.run["status"]
        told = status["flops"]["upper"], bool(status["holds"])
        durable = str(totals(account).upper), account.hold is not None
        assert told == durable, f"the status says {told}, the ledger {durable}"
        if held:
            assert api.job["spec"]["suspend"], "held, and not suspended"

    def _durable(self) -> dict[str, Account]:
        """Return the fold of the file."""
        connection = database.connect_to_read(self.path)
        try:
            rows = connection.execute("SELECT data FROM leaves ORDER BY idx").fetchall()
        finally:
            connection.close()
        return fold(decode(data) for (data,) in rows)

    def _truth(self, accounts: dict[str, Account], books: Books) -> int:
        """Return what all pods have executed; check each of them."""
        now, whole = self.fleet.clock.now, 0
        for pod in self.fleet.pods:
            truth = pod.computing.executed(now)
            if pod.uid not in books.owner:
                known = pod.uid in self.seen and truth > 0
                assert not known, f"{pod.uid} was seen, and is not charged"
                continue
            whole += truth
            account = accounts[books.owner[pod.uid]]
            mark = account.streams.get(pod.uid, Mark(pod.uid))
            gap = account.gaps.get(pod.uid)
            upper = max(mark.begun, mark.measured) + (gap.flops if gap else 0)
            what = f"{pod.uid}: {truth} executed, {upper} at most; {mark}, {gap}"
            assert truth <= upper, what
        return whole
