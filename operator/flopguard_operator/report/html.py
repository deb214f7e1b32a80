"""Set a report as one HTML page that needs nothing else and prints on A4.

The page forbids itself every request and script (Content-Security-Policy), so what a
tenant writes into a name can neither run nor phone home, and an archived page still
shows the same in ten years.
"""

from flopguard_operator.report.chart import chart
from flopguard_operator.report.document import Document, Part, Section, Table
from flopguard_operator.report.escaping import as_html

_STYLE = """
:root { color-scheme: light; --good: #1a6b2f; --warn: #8a4b00; --bad: #a11212; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-top: 2px solid #1b1b1b; padding-top: 1rem; }
.verdict { border-left: .5rem solid; padding: .6rem 1rem; font-size: 1.15rem;
  background: #f5f5f5; }
.good { border-color: var(--good); } .warn { border-color: var(--warn); }
.bad { border-color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; color: #444; padding: .3rem 0; }
th, td { border-bottom: 1px solid #bbb; padding: .3rem .5rem; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
p, li { overflow-wrap: anywhere; }
svg { width: 100%; height: auto; }
@page { size: A4; margin: 16mm; }
@media print { body { font-size: 10pt; margin: 0; max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; } tr, svg { break-inside: avoid; }
  .part { break-before: page; } .part:first-of-type { break-before: auto; } }
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(document: Document) -> str:
    """Return the report as a self-contained, accessible HTML page."""
    title = as_html(document.title)
    parts = "".join(_part(part) for part in document.parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n<p>{as_html(document.lead)}</p>\n{parts}"
        f"{_section(document.ledger, level=2)}</main>\n</body>\n</html>\n"
    )


def _part(part: Part) -> str:
    sections = "".join(_section(section, level=3) for section in part.sections)
    return (
        f'<section class="part">\n<h2>{as_html(part.title)}</h2>\n'
        f'<p class="verdict {part.tone}"><strong>{as_html(part.verdict)}</strong></p>\n'
        f"<p>{as_html(part.criterion)}</p>\n{sections}</section>\n"
    )


def _section(section: Section, level: int) -> str:
    blocks = [f"<h{level}>{as_html(section.heading)}</h{level}>\n"]
    blocks += [f"<p>{as_html(paragraph)}</p>\n" for paragraph in section.paragraphs]
    if section.chart is not None:
        blocks.append(chart(section.chart))
    if section.table is not None:
        blocks.append(_table(section.table))
    if section.bullets:
        items = "".join(f"<li>{as_html(bullet)}</li>\n" for bullet in section.bullets)
        blocks.append(f"<ul>\n{items}</ul>\n")
    return "".join(blocks)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{as_html(cell)}</th>' for cell in table.head)
    rows = "".join(
        f'<tr><th scope="row">{as_html(row[0])}</th>'
        + "".join(f"<td>{as_html(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in table.rows
    )
    # A wide table scrolls in its own box; the keyboard reaches it by the tabindex.
    return (
        f'<div class="wide" role="region" tabindex="0"'
        f' aria-label="{as_html(table.caption)}">\n<table>\n'
        f"<caption>{as_html(table.caption)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n"
    )
