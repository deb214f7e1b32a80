"""Set a report in Markdown (CommonMark with tables)."""

from flopguard_operator.report.blocks import Document, Part, Section, Table
from flopguard_operator.report.escaping import as_markdown


def markdown(document: Document) -> str:
    """Return the report as Markdown; names of tenants cannot become markup."""
    blocks = [f"# {as_markdown(document.title)}", as_markdown(document.lead)]
    for part in document.parts:
        blocks += _part(part)
    blocks += _section(document.ledger, level=2)
    return "\n\n".join(blocks) + "\n"


def _part(part: Part) -> list[str]:
    blocks = [
        f"## {as_markdown(f'{part.kind} {part.title}')}",
        f"**Indicative criterion: {as_markdown(part.state)}.**",
        as_markdown(part.criterion),
        f"**{as_markdown(part.verdict)}**",
    ]
    for section in part.sections:
        if section.chart is None or section.paragraphs:  # a chart cannot be set
            blocks += _section(section, level=3)
    return blocks


def _section(section: Section, level: int) -> list[str]:
    blocks = [f"{'#' * level} {as_markdown(section.heading)}"]
    blocks += [as_markdown(paragraph) for paragraph in section.paragraphs]
    tables = [section.table] if section.table is not None else []
    blocks += [_table(table) for table in (*tables, *section.more)]
    if section.bullets:
        blocks.append(
            "\n".join(f"- {as_markdown(bullet)}" for bullet in section.bullets)
        )
    return blocks


def _table(table: Table) -> str:
    rows = [table.head, tuple("---" for _ in table.head)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += [
        f"| {' | '.join(as_markdown(cell) for cell in row)} |" for row in table.rows
    ]
    return "\n".join(lines)
