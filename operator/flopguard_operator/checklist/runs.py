"""Walk one run, or one imported job, through the checklist."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flopguard_operator.checklist import comparing, formula
from flopguard_operator.checklist.items import (
    ESTIMATE,
    EVIDENCE,
    IMPORTED,
    REFERENCE,
    RUN,
    Audited,
    Item,
    missing,
    note,
    ok,
)
from flopguard_operator.flops import display, percent
from flopguard_operator.ledger import coverage
from flopguard_operator.ledger.accounts import Account, totals
from flopguard_operator.ledger.entries import Entry, Imported
from flopguard_operator.ledger.gating import accepted_gaps
from flopguard_operator.ledger.policies import Noted
from flopguard_operator.policy.rulesets import PolicyError, RuleSet
from flopguard_operator.report.opinion import Law, opinion

MARGIN_PERCENT = 30  # of the Guidelines, Annex A.2
_SHOWN = 5  # names of pods
_LOCAL = "local/"  # a workload of `flopguard run`, which has no manifests


@dataclass(frozen=True)
class Ledger:
    """What the whole ledger tells, beside the entries of one run."""

    noted: Noted
    laws: Sequence[RuleSet]
    counted_at: int = -1  # index of the newest count of all entries; -1 for none


def run(account: Account, entries: Sequence[Entry], ledger: Ledger) -> Audited:
    """Return what is there of a run, and what is missing.

    Args:
        account: the fold of the entries.
        entries: all of this run, in order.
        ledger: that they are from.
    """
    found = [
        *_compared(account, ledger),
        *_hook(account, entries),
        *_gaps(account),
        *formula.second_opinion(formula.processes(entries)),
        *_documents(account),
        _pack(account, entries, ledger),
        _weights(account),
    ]
    name = f"{account.ref.namespace}/{account.ref.name}"
    return Audited(RUN, name, _state(account), tuple(found))


def _compared(account: Account, ledger: Ledger) -> Iterator[Item]:
    terms, total = account.terms_set, totals(account)
    if terms is None:
        yield missing(REFERENCE, "terms", "The ledger holds no terms for this run.")
        return
    yield from comparing.reference(terms.terms.base)
    found = opinion(terms, total, Law(ledger.noted, ledger.laws))
    yield from comparing.comparison(found.policies, found.problem, terms.citation)
    try:
        yield from comparing.decision(account, terms, total, ledger.noted)
    except PolicyError:
        return  # said by the comparison


def _state(account: Account) -> str:
    if account.hold is not None:
        return "held"
    if not account.attempts:
        return "not started"
    closed = account.closed | {s for s, m in account.streams.items() if m.final}
    is_over = all(one.stream in closed for one in account.attempts)
    return "over" if is_over else "running"


def _hook(account: Account, entries: Sequence[Entry]) -> Iterator[Item]:
    """Yield what was measured, and what was not."""
    total = totals(account)
    if not account.attempts:
        yield note(ESTIMATE, "hook", "Nothing ran yet.")
        return
    said = f"{display(total.measured)} FLOPs measured, {display(total.upper)} at most"
    yield ok(ESTIMATE, "hook", f"{said}, in {len(account.attempts)} pod(s).")
    heard = {s for s, mark in account.streams.items() if mark.pages} | set(account.gaps)
    silent = [one.pod for one in account.attempts if one.stream not in heard]
    if silent:
        names = ", ".join(silent[:_SHOWN])
        more = f" and {len(silent) - _SHOWN} more" if len(silent) > _SHOWN else ""
        yield missing(ESTIMATE, "metering", f"Nothing was heard of {names}{more}.")
    proven, allocated = coverage.parts(coverage.of_entries(entries))
    if allocated:
        part = f"{percent(proven, allocated)} % of the device-time is proven"
        kind = ok if proven == allocated else note
        yield kind(ESTIMATE, "coverage", f"{part}.")


def _gaps(account: Account) -> Iterator[Item]:
    accepted = accepted_gaps(account)
    for stream, gap in sorted(account.gaps.items()):
        if not gap.flops:
            continue
        said = f"{display(gap.flops)} FLOPs of pod {gap.pod} are not proven"
        if stream in accepted:
            yield ok(ESTIMATE, "gap", f"{said}; a decision accepts the charge.")
        else:
            advice = f"flopguard decide AcceptGap --stream {stream}"
            yield missing(ESTIMATE, "gap", f"{said}: {advice}.")


def _documents(account: Account) -> Iterator[Item]:
    terms = account.terms_set
    if _is_local(account):
        said = "A command on one machine: there are no manifests."
        yield note(EVIDENCE, "documents", said)
        return
    kinds = sorted({one.kind for one in account.documents})
    job = terms.workload.split("/")[-2] if terms and "/" in terms.workload else "Job"
    lacking = [kind for kind in ("FineTuneRun", job) if kind not in kinds]
    if lacking:
        names = " and ".join(lacking)
        said = f"The ledger notes no manifest of the {names}."
        yield missing(EVIDENCE, "documents", said)
    if kinds:
        count = len(account.documents)
        yield ok(EVIDENCE, "documents", f"{count} noted: {', '.join(kinds)}.")


def _pack(account: Account, entries: Sequence[Entry], ledger: Ledger) -> Item:
    last = entries[-1].index if entries else -1
    name = "pack"
    if ledger.counted_at > last:
        said = "A pack can show that none of its entries is left out."
        return ok(EVIDENCE, name, said)
    if entries and ledger.counted_at > entries[0].index:
        later = sum(entry.index > ledger.counted_at for entry in entries)
        said = f"{later} of its entries wait for the ledger's next count."
        return note(EVIDENCE, name, said)
    said = "Its entries were never counted: no pack can show that none is left out."
    return (note if _is_local(account) else missing)(EVIDENCE, name, said)


def _is_local(account: Account) -> bool:
    """Say whether it is a program of `flopguard run`, which keeps no such evidence."""
    terms = account.terms_set
    return terms is not None and terms.workload.startswith(_LOCAL)


def _weights(account: Account) -> Item:
    saves = account.saves
    if saves:
        last = saves[-1]
        said = f"{last.path} at step {last.step}, {display(last.upper)} FLOPs"
        return ok(EVIDENCE, "saved weights", f"{len(saves)} noted; last {said}.")
    if not totals(account).measured:
        return note(EVIDENCE, "saved weights", "Nothing was trained that is known.")
    advice = "there is nothing known to roll back to"
    return missing(EVIDENCE, "saved weights", f"None noted: {advice}.")


def imported(job: Imported) -> Audited:
    """Return what is there of a job that was not metered."""
    high, flops = job.high, job.flops
    bounds = f"{display(job.low)} to {display(high)}"
    said = f"By {job.method}: {display(flops)} FLOPs, {bounds}; the high one counts."
    found = [ok(ESTIMATE, "imported", said)]
    if 100 * high > (100 + MARGIN_PERCENT) * flops:
        over = 100 * (high - flops) // max(1, flops)
        wide = f"The high bound is {over} % above the estimate"
        law = f"the Guidelines accept {MARGIN_PERCENT} % for a figure that is reported"
        found.append(note(ESTIMATE, "margin", f"{wide}; {law}."))
    if job.period:
        found.append(ok(ESTIMATE, "period", f"{job.period}."))
    else:
        found.append(missing(ESTIMATE, "period", "When it ran is not said."))
    why = f"Brought in by {job.by}: {job.reason}"
    found.append(ok(EVIDENCE, "reason", why))
    digest = f"Keep the file with SHA-256 {job.evidence}."
    found.append(note(EVIDENCE, "file", digest))
    return Audited(IMPORTED, job.name, "over", tuple(found))
