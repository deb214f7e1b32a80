"""Set a report as one HTML page that needs nothing else and prints on A4.

The page forbids itself every request and script (Content-Security-Policy), so what a
tenant writes into a name can neither run nor phone home, and an archived page still
shows the same in ten years.
"""

import re
from collections.abc import Iterator

from flopguard_operator.report.blocks import Document, Part, Section, Table
from flopguard_operator.report.chart import chart
from flopguard_operator.report.escaping import as_html
from flopguard_operator.report.style import POLICY, STYLE

_FIGURE = re.compile(r"-|[0-9][0-9.,/]*(e[0-9]+)?( %)?", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_LINK = re.compile(r"https://[A-Za-z0-9.-]+(/[A-Za-z0-9._~/?#=&%+:@-]*)?", re.ASCII)
_SHORT = 13  # characters: "no fixed day" beside days
_UNBROKEN = 40  # a digest may be broken anywhere
_LONG = 60  # characters: a cell with more is given a wider column
_SYMBOLS = {"good": "\u2713", "warn": "\u25b2", "bad": "\u2716"}  # not colour alone
_LEDGER = "ledger"
_LISTED = 1  # parts whose sections stand in the contents; of the others, the name


def page(document: Document) -> str:
    """Return the report as a self-contained, accessible HTML page."""
    parts = "".join(
        _part(part, f"part-{place}") for place, part in enumerate(document.parts)
    )
    return shell(
        document.title,
        '<a class="skip" href="#verdicts">Skip to the verdicts</a>\n'
        f"<header>\n<h1>{as_html(document.title)}</h1>\n"
        f"<p>{as_html(document.lead)}</p>\n{_contents(document)}</header>\n"
        f'<main id="verdicts">\n{parts}'
        f'<section id="{_LEDGER}">\n{_section(document.ledger, level=2)}</section>\n'
        "</main>\n",
    )


def shell(title: str, body: str) -> str:
    """Return a page around a body that is HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{as_html(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}</body>\n</html>\n"
    )


def _contents(document: Document) -> str:
    blocks = "".join(
        _of_part(part, f"part-{place}", whole=place < _LISTED)
        for place, part in enumerate(document.parts)
    )
    ledger = f'<p><a href="#{_LEDGER}">{as_html(document.ledger.heading)}</a></p>\n'
    return (
        '<nav aria-label="Contents">\n<details>\n<summary>Contents</summary>\n'
        f"{blocks}{ledger}</details>\n</nav>\n"
    )


def _of_part(part: Part, name: str, *, whole: bool) -> str:
    link = f'<p><a href="#{name}">{as_html(f"{part.kind} {part.title}")}</a></p>\n'
    if not whole:
        return link
    items = "".join(
        f'<li><a href="#{name}-{place}">{as_html(section.heading)}</a></li>\n'
        for place, section in enumerate(part.sections)
    )
    return f"{link}<ul>\n{items}</ul>\n"


def _part(part: Part, name: str) -> str:
    sections = "".join(
        f'<section id="{name}-{place}">\n{_section(section, level=3)}</section>\n'
        for place, section in enumerate(part.sections)
    )
    return (
        f'<section class="part" id="{name}">\n'
        f"<h2><small>{as_html(part.kind)}</small> {as_html(part.title)}</h2>\n"
        f'<div class="verdict {part.tone}">\n'
        f'<p class="word {part.mark}"><span aria-hidden="true">'
        f"{_SYMBOLS[part.mark]}</span>"
        f" Indicative criterion: {as_html(part.state)}</p>\n"
        f"<p>{as_html(part.criterion)}</p>\n"
        f"<p><strong>{as_html(part.verdict)}</strong></p>\n</div>\n"
        f"{sections}</section>\n"
    )


def _section(section: Section, level: int) -> str:
    blocks = [f"<h{level}>{as_html(section.heading)}</h{level}>\n"]
    blocks += [f"<p>{as_html(paragraph)}</p>\n" for paragraph in section.paragraphs]
    if section.chart is not None:
        blocks.append(chart(section.chart))
    blocks += [_table(table) for table in _tables(section)]
    if section.bullets:
        items = "".join(f"<li>{as_html(bullet)}</li>\n" for bullet in section.bullets)
        blocks.append(f"<ul>\n{items}</ul>\n")
    return "".join(blocks)


def _tables(section: Section) -> Iterator[Table]:
    if section.table is not None:
        yield section.table
    yield from section.more


def _table(table: Table) -> str:
    kinds = tuple(_kind(column) for column in zip(*table.rows, strict=True))
    kinds = kinds or ("",) * len(table.head)
    head = "".join(
        f'<th scope="col" role="columnheader"{kind}>{as_html(cell)}</th>'
        for cell, kind in zip(table.head, kinds, strict=True)
    )
    rows = "".join(_row(row, table.head, kinds) for row in table.rows)
    # A wide table scrolls in its own box; the keyboard reaches it by the tabindex. On a
    # narrow screen rows become blocks, and the roles say that it is a table still.
    return (
        f'<div class="wide" role="region" tabindex="0"'
        f' aria-label="{as_html(table.caption)}">\n<table role="table">\n'
        f"<caption>{as_html(table.caption)}</caption>\n"
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{rows}</tbody>\n</table>\n</div>\n'
    )


def _kind(column: tuple[str, ...]) -> str:
    """Return how the cells of a column are set: figures right, prose wide."""
    if all(_FIGURE.fullmatch(cell) for cell in column):
        return ' class="n"'
    days = [bool(_DAY.match(cell)) for cell in column]
    if any(days) and all(
        d or len(c) < _SHORT for d, c in zip(days, column, strict=True)
    ):
        return ' class="d"'
    words = (word for cell in column for word in cell.split())
    if any(len(word) > _UNBROKEN or _LINK.fullmatch(word) for word in words):
        return ' class="h"'
    return ' class="t"' if any(len(cell) > _LONG for cell in column) else ""


def _row(row: tuple[str, ...], head: tuple[str, ...], kinds: tuple[str, ...]) -> str:
    cells = "".join(
        f'<td role="cell" data-head="{as_html(name)}"{kind}>{_cell(cell)}</td>'
        for cell, name, kind in zip(row[1:], head[1:], kinds[1:], strict=True)
    )
    first = f'<th scope="row" role="rowheader"{kinds[0]}>{as_html(row[0])}</th>'
    return f'<tr role="row">{first}{cells}</tr>\n'


def _cell(text: str) -> str:
    """Return a cell; one that is an address and nothing else can be followed."""
    if _LINK.fullmatch(text):
        return f'<a href="{as_html(text)}" rel="noreferrer">{as_html(text)}</a>'
    return as_html(text)
