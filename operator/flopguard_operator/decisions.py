"""Turn what people decided (ThresholdDecisions) into ledger entries. Pure.

A decision counts for the object that had the name when it was made: one that was made
before a run or program existed says nothing about it. Recorded once, it stands: whoever
deletes the object deletes nothing from the ledger; a later decision takes its place.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from flopguard_operator.api.decision import DecisionSpec
from flopguard_operator.api.fields import SpecError, read
from flopguard_operator.imports.job import ENTERED
from flopguard_operator.ledger import standing
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import (
    DecisionExpired,
    DecisionRecorded,
    Event,
    Imported,
    ProgramAdjusted,
    RunRef,
)
from flopguard_operator.observed import Raw, at, text
from flopguard_operator.policy.terms import Totals

EXCLUDE, MOVE, IMPORT = "Exclude", "Move", "Import"


@dataclass(frozen=True)
class Decision:
    """One ThresholdDecision as observed."""

    uid: str
    name: str
    made: str  # metadata.creationTimestamp
    spec: DecisionSpec

    def is_about(self, ref: RunRef, created: str) -> bool:
        """Tell whether a run or program is the subject.

        Args:
            ref: of the run; a program has no namespace.
            created: metadata.creationTimestamp of the run or program.
        """
        subject = self.spec.subject
        kind = "FineTuneRun" if ref.namespace else "FineTuneProgram"
        named = (subject.kind, subject.namespace or "", subject.name)
        return named == (kind, ref.namespace, ref.name) and self.made >= created


def read_all(raws: Iterable[Raw]) -> list[Decision]:
    """Return the decisions that can be read, oldest first."""
    found = []
    for raw in raws:
        try:
            spec = read(DecisionSpec, at(raw, "spec") or {}, "spec")
            _instant(spec.expires or "")
        except (SpecError, ValueError):
            continue  # the API server refuses such a one; nobody is the wiser
        uid, name = text(raw, "metadata", "uid"), text(raw, "metadata", "name")
        made = text(raw, "metadata", "creationTimestamp")
        found.append(Decision(uid, name, made, spec))
    return sorted(found, key=lambda one: (one.made, one.uid))


def news(
    account: Account, created: str, decisions: Iterable[Decision], now: str
) -> Iterator[DecisionRecorded | DecisionExpired]:
    """Yield what the ledger does not say yet of the decisions on a run or program.

    Args:
        account: of the run or program.
        created: its metadata.creationTimestamp.
        decisions: all that there are, oldest first.
        now: UTC, as the ledger writes it.
    """
    known = {one.decision for one in account.decisions}
    ending = list(standing.in_force(account))
    for one in decisions:
        if one.uid not in known and one.is_about(account.ref, created):
            entry = _recorded(account.ref, one)
            ending.append(entry)
            yield entry
    for old in ending:
        if old.expires and old.expires <= now:
            yield DecisionExpired(account.ref, old.decision)


def _recorded(ref: RunRef, one: Decision) -> DecisionRecorded:
    spec = one.spec
    return DecisionRecorded(
        run=ref,
        decision=one.uid,
        name=one.name,
        kind=spec.decision,
        to_flops=spec.to_flops or 0,
        target=_target(spec),
        reason=spec.reason,
        evidence=spec.evidence or "",
        expires=_instant(spec.expires or ""),
        decided_by=spec.decided_by,
    )


def _target(spec: DecisionSpec) -> str:
    """Return what a decision names beside its subject, "" for nothing."""
    return spec.to_program or spec.classification or spec.stream or spec.duty or ""


def _instant(expires: str) -> str:
    """Return a time of the API as the ledger writes it, so that both can be compared.

    Raises:
        ValueError: it is not a time.
    """
    if not expires:
        return ""
    when = datetime.fromisoformat(expires).astimezone(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


def adjustments(
    events: Iterable[Event], run: Account, name: str, program: Account | None
) -> Iterator[ProgramAdjusted]:
    """Yield what decisions take out of a run's program, and put into another.

    Args:
        events: news of the run.
        run: its account as of now: all of it is settled in the same commit.
        name: of its program.
        program: the account of that one, if the ledger has it: what was taken out of
            it before is not taken out again.

    Yields:
        Entries whose `run` has the program's name alone.
    """
    before = program.adjusted if program is not None else ()
    left = standing.left_of(run, before)
    for event in events:
        if not isinstance(event, DecisionRecorded) or not name:
            continue
        changes = {
            EXCLUDE: [(name, "Excluded")],
            MOVE: [(name, "MovedOut"), (event.target, standing.MOVED_IN)],
        }.get(event.kind, [])
        for program_name, change in changes:
            yield ProgramAdjusted(
                run=RunRef("", "", program_name),
                of=run.ref.uid,
                change=change,
                done=dict(left.done),
                begun=left.begun,
                gaps=left.gaps,
                decision=event.decision,
            )
        if changes:
            left = Totals()  # nothing is taken out twice


def imports(
    events: Iterable[Event], decisions: Iterable[Decision]
) -> Iterator[Imported]:
    """Yield the jobs that decisions on a program bring in."""
    by_uid = {one.uid: one for one in decisions}
    for event in events:
        if not isinstance(event, DecisionRecorded) or event.kind != IMPORT:
            continue
        job = by_uid[event.decision].spec.imported
        if job is not None:
            yield Imported(
                run=event.run,
                name=job.name,
                method=ENTERED[job.method],
                low=job.low,
                flops=job.flops,
                high=job.high,
                period=job.period or "",
                evidence=job.digest,
                decision=event.decision,
                reason=event.reason,
                by=event.decided_by,
            )
