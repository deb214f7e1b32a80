"""Read the table of base models: CSV text in, entries out. Pure.

A line is a figure. The lines of one id follow each other; what is said of the model
itself is in the first of them.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace

from flopguard_operator.flops import FlopsError, parse
from flopguard_operator.models.catalogue import CatalogueError
from flopguard_operator.models.entries import METHODS, Entry, Figure

COLUMNS = (
    "id",
    "name",
    "hugging_face_id",
    "aliases",  # separated by spaces
    "provider",
    "released",
    "parameters",
    "active_parameters",
    "tokens",
    "access",
    "systemic_risk",  # "yes" or empty
    "version",
    "flops",
    "low",
    "high",
    "method",
    "confidence",
    "source",
    "url",
    "date",
    "dataset",
    "note",
)
_Row = Mapping[str, str]


def read_table(text: str) -> tuple[Entry, ...]:
    """Return the entries of a table.

    Raises:
        CatalogueError: the text is not such a table; the message names the line.
    """
    found: dict[str, Entry] = {}
    for line, row in _rows(text):
        try:
            known = found.get(row["id"])
            if known is None:
                found[row["id"]] = _entry(row)
            else:
                figures = (*known.figures, _figure(row))
                found[row["id"]] = replace(known, figures=figures)
        except ValueError as error:
            message = f"line {line}: {error}"
            raise CatalogueError(message) from error
    return tuple(found.values())


def _rows(text: str) -> Iterator[tuple[int, _Row]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        message = f"the columns must be: {', '.join(COLUMNS)}"
        raise CatalogueError(message)
    for row in reader:
        if None in row or None in row.values():
            message = f"line {reader.line_num}: not {len(COLUMNS)} fields"
            raise CatalogueError(message)
        yield reader.line_num, row


def _entry(row: _Row) -> Entry:
    if not row["id"] or not row["name"]:
        message = "the first line of a model needs id and name"
        raise CatalogueError(message)
    return Entry(
        id=row["id"],
        name=row["name"],
        figures=(_figure(row),),
        hugging_face_id=row["hugging_face_id"],
        aliases=tuple(row["aliases"].split()),
        provider=row["provider"],
        released=row["released"],
        parameters=_whole(row["parameters"]),
        active_parameters=_whole(row["active_parameters"]),
        tokens=_whole(row["tokens"]),
        access=row["access"],
        systemic_risk=row["systemic_risk"] == "yes",
        version=int(row["version"]),
    )


def _figure(row: _Row) -> Figure:
    if row["method"] not in METHODS:
        message = f'"{row["method"]}" is no method; choose one of: {", ".join(METHODS)}'
        raise CatalogueError(message)
    return Figure(
        value=_whole(row["flops"]),
        method=row["method"],
        source=row["source"],
        date=row["date"],
        low=_whole(row["low"]),
        high=_whole(row["high"]),
        confidence=row["confidence"],
        url=row["url"],
        dataset=row["dataset"],
        note=row["note"],
    )


def _whole(text: str) -> int | None:
    if not text:
        return None
    try:
        return parse(text)
    except FlopsError as error:
        raise CatalogueError(str(error)) from error
