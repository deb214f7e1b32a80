"""Set the figures of a report as one long table for a spreadsheet (RFC 4180).

FLOPs are digits: a spreadsheet that makes numbers of them rounds, so the rounded form
stands beside. A cell that a spreadsheet would take for a formula gets an apostrophe.
"""

import csv
import io
from collections.abc import Iterator

from flopguard_operator.flops import display
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.report.escaping import as_line
from flopguard_operator.report.facts import (
    ProgramFacts,
    ReportFacts,
    RunFacts,
    SubjectFacts,
)
from flopguard_operator.report.form import form
from flopguard_operator.report.judgement import criteria

HEAD = ("kind", "name", "uid", "item", "value", "rounded", "unit", "note")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
Row = tuple[str, ...]


def as_csv(facts: ReportFacts) -> str:
    """Return one row for each figure of each program and run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(HEAD)
    for kind, subjects in (("program", facts.programs), ("run", facts.runs)):
        for subject in subjects:
            ref = subject.account.ref
            for row in _rows(subject):
                cells = (kind, subject.name, ref.uid, *row)
                writer.writerow([_harmless(cell) for cell in cells])
    return out.getvalue()


def _rows(subject: SubjectFacts) -> Iterator[Row]:
    total = subject.totals
    yield _flops("measured", total.measured, "proven")
    yield _flops("upper", total.upper, "may have been executed")
    yield _flops("gaps", total.gaps, "of the upper bound")
    for category in CATEGORIES:
        yield _flops(category, total.done.get(category, 0), "of measured")
    for found in criteria(subject):
        verdict = found.verdict
        note = f"{found.state}; {verdict.percent} %; rule {verdict.rule}"
        yield _flops(f"counted by {verdict.policy}", verdict.counted, note)
        limit = str(verdict.limit)
        item = f"threshold of {verdict.policy}"
        yield item, limit, display(verdict.limit), "FLOPs", verdict.citation
    if isinstance(subject, ProgramFacts):
        yield from _imported(subject)
    if isinstance(subject, RunFacts):
        yield from _weights(subject)
    usage = subject.usage
    yield "wall clock", str(usage.wall), "", "milliseconds", ""
    for name, spent in usage.devices:
        yield f"device time: {name}", str(spent), "", "milliseconds", ""
    energy = subject.energy
    if energy.measured:
        pods = f"measured on {energy.measured} of {energy.pods} pod(s)"
        yield "energy", str(energy.millijoules), energy.amount, "millijoules", pods
    filled = form(subject)
    for one in filled.items if filled is not None else ():
        yield f"form, AI Office: {one.name}", one.ai_office, "", "", ""
        yield f"form, national authorities: {one.name}", one.national, "", "", ""


def _imported(program: ProgramFacts) -> Iterator[Row]:
    """Yield the jobs that were not metered, named so."""
    for job in program.account.imported:
        for bound, flops in (("low", job.low), ("", job.flops), ("high", job.high)):
            item = f"imported, not measured: {job.name} {bound}".rstrip()
            yield _flops(item, flops, f"{job.method}; evidence {job.evidence}")


def _weights(run: RunFacts) -> Iterator[Row]:
    """Yield the last saved weights below each line, once one is near."""
    for one in run.rollbacks:
        item = f"weights to go back to: {one.line.name}"
        if one.saved is None:
            yield item, "", "", "FLOPs", "no saved weights lie below it"
        else:
            yield _flops(
                item, one.saved.upper, f"step {one.saved.step}: {one.saved.path}"
            )


def _flops(item: str, flops: int, note: str) -> Row:
    return item, str(flops), display(flops), "FLOPs", note


def _harmless(cell: str) -> str:
    text = as_line(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text
