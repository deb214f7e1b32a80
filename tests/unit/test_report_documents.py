"""Markdown, HTML and JSON of one report: the same story, and no tenant's markup."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.ledger.accounts import fold
from flopguard_operator.ledger.entries import Entry
from flopguard_operator.policy.terms import Approach, Terms
from flopguard_operator.report.as_json import as_json
from flopguard_operator.report.blocks import MOST_ROWS, Document
from flopguard_operator.report.chart import thin
from flopguard_operator.report.document import compose
from flopguard_operator.report.escaping import as_markdown
from flopguard_operator.report.facts import (
    CheckFact,
    LedgerFacts,
    Point,
    ReportFacts,
)
from flopguard_operator.report.gathering import gather
from flopguard_operator.report.html import page
from flopguard_operator.report.judgement import criterion
from flopguard_operator.report.markdown import markdown
from unit.programstory import program_story
from unit.story import (
    BASE,
    RUN,
    TERMS,
    entries,
    held_story,
    opened,
    settled,
    terms_set,
    whole_story,
)

CHECKS = (CheckFact("root", "ok", "the leaves make the signed root"),)
LEDGER = LedgerFacts(17, "cm9vdA==", "flopguard.dev/c/ledger+0+A", "ok", CHECKS)
HOSTILE = '"><script>alert(1)</script>|`\n# [x](http://evil.test) \u202e &amp;'

VOID = {"meta", "path"}  # elements that are not closed; `path` closes itself


class Outline(HTMLParser):
    """Read a page strictly: every element closed in order; keep what a test asks."""

    def __init__(self, text: str) -> None:
        """Read `text` to its end."""
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag, and whatever in it could make a browser fetch something."""
        self.tags.append(tag)
        self.links += [
            f"{tag} {n} {value}"
            for n, value in attrs
            if n in {"src", "href", "action"} and not (value or "").startswith("#")
        ]
        self.links += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that closes itself."""
        self.tags.append(tag)
        self.links += [f"{tag} {n}" for n, _ in attrs if n in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element, which has to be this one."""
        if tag not in VOID:
            assert self.open.pop() == tag


def facts(story: tuple[Entry, ...]) -> ReportFacts:
    """Return the facts of a story's report."""
    accounts = fold(story)
    return gather(accounts, story, LEDGER, only=accounts.keys())


def document(story: tuple[Entry, ...]) -> Document:
    """Return the report in words on a story's runs, and not on their programs."""
    return compose(facts(story))


def whole(story: tuple[Entry, ...]) -> Document:
    """Return the report in words on all that a story tells of."""
    return compose(gather(fold(story), story, LEDGER))


def hostile_story() -> tuple[Entry, ...]:
    """Return the story of a tenant who writes markup wherever text is free."""
    terms = replace(TERMS, base=replace(BASE, name=HOSTILE, source=HOSTILE))
    run = replace(RUN, name=HOSTILE)
    attempt = opened("s", HOSTILE, "Started", run=run)
    mark = replace(settled("s", 10**22, 10**22), run=run)
    return entries([replace(terms_set(terms, run=run), program=HOSTILE), attempt, mark])


STORIES = {
    "a whole life": whole_story(),
    "a run that is held": held_story(),
    "a run that only began": whole_story()[:2],
    "a run without terms": entries([opened("s", "p", "Started")]),
    "a hostile tenant": hostile_story(),
    "a program": program_story(),
    "an empty ledger": (),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_page_is_well_formed_and_asks_nobody_for_anything(
    story: tuple[Entry, ...],
) -> None:
    """Every element is closed, none is a script, and no attribute is an address."""
    outline = Outline(page(whole(story)))

    assert outline.open == []
    assert "script" not in outline.tags
    followed = [link for link in outline.links if link.startswith("a href https://")]
    assert outline.links == followed  # evidence, by whoever clicks on it


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_page_is_accessible(story: tuple[Entry, ...]) -> None:
    """Language, one h1, no level of heading left out, a caption on every table."""
    text = page(whole(story))
    outline = Outline(text)
    levels = [int(tag[1]) for tag in outline.tags if tag in {"h1", "h2", "h3"}]

    assert '<html lang="en">' in text
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert outline.tags.count("caption") == outline.tags.count("table") > 0
    assert outline.tags.count("svg") == text.count('role="img"')


@pytest.mark.parametrize("name", ["a whole life", "a run that is held"])
def test_chart_is_valid_xml_with_its_limits_labelled(name: str) -> None:
    """The picture stands in any reader of SVG, and colour is not its only sign."""
    text = page(document(STORIES[name]))
    svg = ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])  # noqa: S314 - our own
    labels = "".join(svg.itertext())

    assert "budget:" in labels
    assert "budget 80 %:" in labels
    assert "Hold" in labels
    assert "Not drawn, far above: threshold, 2.4e24 FLOPs." in text


def test_verdict_stands_before_every_figure() -> None:
    """The first thing said of a run is what was decided."""
    lines = markdown(document(held_story())).splitlines()
    verdict = next(n for n, line in enumerate(lines) if line.startswith("**Held"))

    assert verdict < lines.index("### Figures and bounds")
    assert "Raise spec.budget.maxFlops above 1.01e22 to resume" in lines[verdict]


def test_hold_that_is_not_proven_says_so() -> None:
    """Asking for a suspension is not proof of one."""
    text = markdown(document(held_story()))

    assert "not yet proven" in text
    assert "overshoot is not final" in text


CRITERIA = {
    "far below": (10**18, 10**18, "): not met. At most 1e18 FLOPs count, 0.00 %"),
    "measured exactly at the line, which has to be passed": (
        33 * 10**21,
        33 * 10**21,
        "): not met.",
    ),
    "proven one FLOP above": (33 * 10**21 + 1, 33 * 10**21 + 1, "): met. 3.3e22"),
    "possible, but not proven": (10**22, 34 * 10**21, "): may be met. 1e22"),
}


@pytest.mark.parametrize(
    ("done", "begun", "expected"), CRITERIA.values(), ids=CRITERIA.keys()
)
def test_criterion_is_strict_and_knows_both_bounds(
    done: int, begun: int, expected: str
) -> None:
    """It is met when proven, may be met when possible, and never calls names."""
    quiet = Approach(warn_at_percent=(), on_approach="Nothing")
    story = entries(
        [
            terms_set(Terms(approach=quiet)),
            opened("s", "p", "Started"),
            settled("s", done, begun),
        ]
    )
    (run,) = facts(story).runs
    text = markdown(document(story))

    assert expected in criterion(run)
    assert "you are a provider" not in text


def test_hostile_names_stay_text_in_html() -> None:
    """A tenant's markup arrives as the characters that were written."""
    text = page(document(hostile_story()))

    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\u202e" not in text


def test_hostile_names_stay_text_in_markdown() -> None:
    """No link, heading, table cell or HTML can be made from a name."""
    text = markdown(document(hostile_story()))

    assert "\\<script\\>" in text
    assert "\\[x\\](http\\://evil.test)" in text
    assert all(line.count(" | ") == 4 for line in text.splitlines() if "no\\_g" in line)


@given(st.text())
def test_escaped_markdown_is_one_line_without_bare_markup(text: str) -> None:
    """Every special character is escaped, whatever the text."""
    escaped = as_markdown(text)

    assert len(escaped.splitlines()) <= 1
    bare = escaped.replace("\\\\", "")
    for special in "`*_[]<>|#&":
        assert bare.count(special) == bare.count(f"\\{special}")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("5.38e9", "5.38e9"),
        ("1. item", "1\\. item"),
        ("12) item", "12\\) item"),
        ("- item", "\\- item"),
        ("=====", "\\====="),
        ("3-4", "3-4"),
    ],
)
def test_only_what_begins_a_list_or_a_rule_is_escaped(text: str, escaped: str) -> None:
    """A figure stays readable in a terminal."""
    assert as_markdown(text) == escaped


def test_json_is_exact_and_says_what_the_page_says() -> None:
    """FLOPs are strings of digits; verdict and criterion are the page's sentences."""
    found: dict[str, Any] = json.loads(json.dumps(as_json(facts(whole_story()))))
    (run,) = found["runs"]

    assert run["measured"] == str(13_150 * 10**18)
    assert run["upper"] == str(13_200 * 10**18)
    assert sum(map(int, run["by_category"].values())) == 13_150 * 10**18
    assert run["threshold"]["limit"] == str(24 * 10**23)
    assert run["overshoot"] == str(200 * 10**18)
    assert as_markdown(run["verdict"]) in markdown(document(whole_story()))
    assert found["ledger"]["outcome"] == "ok"


def test_one_ledger_gives_one_report() -> None:
    """No clock and no order of a set is in it: an auditor gets the same bytes."""
    assert page(document(whole_story())) == page(document(whole_story()))


def test_ledger_that_does_not_verify_is_said_at_the_top() -> None:
    """Nobody reads on without knowing."""
    bad = replace(LEDGER, outcome="mismatch")
    story = whole_story()
    text = markdown(compose(gather(fold(story), story, bad)))

    assert "does NOT verify" in text.splitlines()[2]


def test_long_tables_keep_the_newest_rows_and_say_so() -> None:
    """A run of a thousand attempts still prints."""
    many = [opened(f"s{n}", f"pod-{n}", "Retried") for n in range(MOST_ROWS + 50)]
    text = markdown(document(entries([terms_set(TERMS), *many])))

    assert f"The newest {MOST_ROWS} of {MOST_ROWS + 50} attempts" in text
    assert f"| pod-{MOST_ROWS + 49} |" in text
    assert "| pod-0 |" not in text


@given(st.integers(0, 3000))
def test_thinned_curve_keeps_its_ends(count: int) -> None:
    """A long run is drawn with few points, from its first to its last."""
    points = tuple(Point(str(n), n, n) for n in range(count))
    kept = thin(points)

    assert len(kept) <= 601
    assert kept[:1] == points[:1]
    assert kept[-1:] == points[-1:]
