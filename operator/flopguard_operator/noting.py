"""Decide which facts, changes and saved weights of a run go into the ledger. Pure.

Facts are entered once for all processes that share them, again for each process as it
ends, and whenever they are others. What a tenant's processes can write is bounded.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.facts import Change, Save
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import (
    FactChanged,
    FactsNoted,
    RunRef,
    WeightsSaved,
)
from flopguard_operator.ledger.weights import last_below
from flopguard_operator.marks import Mark
from flopguard_operator.processes import Process

MOST_FACTS, MOST_CHANGES, MOST_SAVES = 64, 256, 4_096  # entries of one run
MOST_ENDS = 16  # processes of a pod whose last facts are kept
SETTLED_STEPS = 2  # of a process, before its facts are complete

Told = FactsNoted | FactChanged | WeightsSaved


@dataclass(frozen=True)
class Noting:
    """One cycle's look at the processes of a run."""

    run: RunRef
    account: Account
    marks: Mapping[str, Mark]
    processes: tuple[Process, ...]

    def changes(self) -> tuple[FactChanged, ...]:
        """Return the changes that the account does not have yet."""
        room = MOST_CHANGES - len(self.account.changes)
        known = {_key(change) for change in self.account.changes}
        found: list[FactChanged] = []
        for process in self.processes:
            for change in process.facts.events if process.facts else ():
                entry = self._change(process, change)
                if _key(entry) not in known and len(found) < room:
                    known.add(_key(entry))
                    found.append(entry)
        return tuple(found)

    def _change(self, process: Process, change: Change) -> FactChanged:
        return FactChanged(
            run=self.run,
            stream=process.stream,
            process=process.nonce,
            fact=change.fact,
            before=change.before,
            after=change.after,
            step=change.step,
            flops=change.flops,
        )

    def facts(self, *, due: bool) -> Iterator[FactsNoted]:
        """Yield the facts that are new, and the last ones of processes that ended.

        Args:
            due: whether a settlement is; facts of a process that makes no steps wait
                for it.
        """
        digests = set(self.account.digests)
        room = MOST_FACTS - len(self.account.digests)
        ends = dict.fromkeys((p.stream for p in self.processes), MOST_ENDS)
        for process in self.processes:
            texts, noted = process.texts, self.account.noted.get(process.nonce)
            if not texts.digest:
                continue
            new = texts.digest not in digests
            complete = due or process.steps >= SETTLED_STEPS
            mark = self.marks.get(process.stream)
            over = mark is not None and mark.final and ends[process.stream] > 0
            last = over and (noted is None or noted.measured < process.measured)
            if (new and complete and room > 0) or (last and not new):
                yield FactsNoted(
                    run=self.run,
                    stream=process.stream,
                    process=process.nonce,
                    digest=texts.digest,
                    whole=texts.whole,
                    facts=texts.lasting if new else "",
                    counters=texts.growing,
                    measured=process.measured,
                    steps=process.steps,
                )
                room -= int(new)
                ends[process.stream] -= 1
                digests.add(texts.digest)

    def saves(self, upper: int) -> Iterator[WeightsSaved]:
        """Yield the saved weights that are new, oldest first.

        Args:
            upper: what the run may have spent by now. Nobody knows what the others had
                spent when one process saved: no more than they have now.
        """
        known = {(s.process, s.path, s.step, s.flops) for s in self.account.saves}
        newest = {s.process: s.flops for s in self.account.saves}
        room = MOST_SAVES - len(self.account.saves)
        for process in self.processes:
            others = max(0, upper - process.begun)
            for save in sorted(process.saves, key=lambda s: s.flops):
                key = (process.nonce, save.path, save.step, save.flops)
                late = save.flops < newest.get(process.nonce, 0)
                if key in known or late or room <= 0:
                    continue
                room -= 1
                newest[process.nonce] = save.flops
                yield self._saved(process, save, others)

    def _saved(self, process: Process, save: Save, others: int) -> WeightsSaved:
        return WeightsSaved(
            run=self.run,
            stream=process.stream,
            process=process.nonce,
            path=save.path,
            kind=save.kind,
            step=save.step,
            flops=save.flops,
            upper=others + save.flops,
        )


def _key(change: FactChanged) -> tuple[str, str, str, str, int]:
    return change.stream, change.fact, change.before, change.after, change.step


def rollback(
    account: Account, processes: tuple[Process, ...], line: int | Fraction
) -> WeightsSaved | None:
    """Return the last weights that were saved below a line and are still there.

    Args:
        account: with the saved weights of the run.
        processes: as last heard; they also tell which weights are gone.
        line: FLOPs of the run.
    """
    return last_below(account.saves, line, gone(processes))


def gone(processes: Iterable[Process]) -> set[str]:
    """Return the paths of weights that processes told to be gone."""
    return {save.path for process in processes for save in process.saves if save.gone}
