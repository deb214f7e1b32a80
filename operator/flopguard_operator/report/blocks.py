"""Define what a report is made of: headings, sentences and tables without markup.

Markdown and HTML only differ in how they set this, so they cannot tell two stories.
Every text in it is plain: the renderers escape it.
"""

from dataclasses import dataclass

from flopguard_operator.report.facts import SubjectFacts

MOST_ROWS = 200  # per table, so that a report stays one that a person can print


@dataclass(frozen=True)
class Table:
    """A table: a caption, column heads, and rows of as many cells."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it, in this order."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    table: Table | None = None
    bullets: tuple[str, ...] = ()
    chart: SubjectFacts | None = None
    """Whose use is to be drawn over time; only HTML draws."""
    more: tuple[Table, ...] = ()
    """Further tables."""


@dataclass(frozen=True)
class Part:
    """One program's or run's share of the report; the verdict stands first."""

    title: str
    criterion: str
    """Whether the indicative criterion is met, under the policy that governs."""
    state: str
    """The same in a word or two."""
    mark: str
    """good | warn | bad: how that word is marked, by a sign and by colour."""
    tone: str
    """The same for all that is said: the worse of criterion and `verdict`."""
    verdict: str
    """How it stands: held, warned, or below every line."""
    sections: tuple[Section, ...]
    kind: str = "Run"
    """Run | Program."""


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    lead: str
    parts: tuple[Part, ...]
    ledger: Section
