"""The report in a real Chromium: silent, asking nobody, readable, true to the JSON."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from browser import chromium
from browser.chromium import Page
from flopguard_operator.flops import display
from flopguard_operator.ledger.accounts import fold
from flopguard_operator.ledger.entries import Entry
from flopguard_operator.policy.terms import BaseModel
from flopguard_operator.report.as_json import as_json
from flopguard_operator.report.document import compose
from flopguard_operator.report.facts import ReportFacts
from flopguard_operator.report.gathering import gather
from flopguard_operator.report.html import page
from flopguard_operator.rulebooks import shipped
from unit.programstory import program_story
from unit.story import TERMS, entries, opened, settled, terms_set, whole_story
from unit.test_report_documents import LEDGER, hostile_story
from unit.test_weights import saved_story

pytestmark = [
    pytest.mark.skipif(
        chromium.executable() is None,
        reason="NO BROWSER: the report's page was not looked at; run: make browser",
    ),
    pytest.mark.timeout(600),
]

NARROW, BROAD = 360, 1440
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e\d+|x10\^\d+)?")
_TEXT = """
document.querySelectorAll('details').forEach(d => d.open = true);
document.querySelectorAll('.tick').forEach(tick => tick.remove());
document.body.innerText
"""
_OVERFLOWING = """
[...document.querySelectorAll('body *')].filter(
  e => !e.closest('.wide') && !e.closest('.skip')
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1
).map(e => e.outerHTML.slice(0, 120))
"""


def met_story() -> tuple[Entry, ...]:
    """Return the story of a run that meets the criterion on a systemic base."""
    base = BaseModel("big/base", 2 * 10**25, "https://example.org/card", True)  # noqa: FBT003 - its order is the ledger's
    terms = replace(TERMS, base=base, budget=None)
    pod = replace(opened("s", "p-0", "Started"), devices="8 x NVIDIA H100 80GB HBM3")
    marks = (
        settled("s", 3 * 10**24, 3 * 10**24),
        settled("s", 8 * 10**24, 8 * 10**24 + 10**20),
    )
    return entries([terms_set(terms), pod, *marks])


STORIES = {
    "a whole life": whole_story,
    "a criterion that is met": met_story,
    "a hostile tenant": hostile_story,
    "a program": program_story,
    "a hold with weights to go back to": saved_story,
}


def facts(story: tuple[Entry, ...]) -> ReportFacts:
    """Return the facts of a story, with the verdicts of all that ships."""
    return gather(fold(story), story, LEDGER, tuple(shipped().values()))


@asynccontextmanager
async def shown(told: ReportFacts, folder: Path, width: int) -> AsyncIterator[Page]:
    """Give a browser that shows a report."""
    file = folder / "report.html"
    await asyncio.to_thread(file.write_text, page(compose(told)), "utf-8")
    async with chromium.opened() as browser:
        await browser.show(file.as_uri(), width)
        yield browser


@pytest.mark.parametrize("name", STORIES)
def test_page_is_silent_asks_nobody_and_fits(name: str, tmp_path: Path) -> None:
    """No word on the console, no request but for itself, nothing beyond the edge."""

    async def look() -> None:
        async with shown(facts(STORIES[name]()), tmp_path, NARROW) as browser:
            for width in (NARROW, BROAD):
                await browser.show((tmp_path / "report.html").as_uri(), width)
                wide = await browser.ask("document.documentElement.scrollWidth")
                assert wide == width
                assert await browser.ask(_OVERFLOWING) == []
            assert browser.console == []
            assert set(browser.requests) == {(tmp_path / "report.html").as_uri()}

    asyncio.run(look())


@pytest.mark.parametrize("name", STORIES)
def test_every_number_on_the_page_is_in_the_json(name: str, tmp_path: Path) -> None:
    """Exactly, or rounded for reading; and every bound of the JSON is on the page."""
    told = facts(STORIES[name]())
    found: dict[str, Any] = as_json(told)

    async def read() -> str:
        async with shown(told, tmp_path, BROAD) as browser:
            text: str = await browser.ask(_TEXT)
            return text

    text = asyncio.run(read())
    known = set(_numbers(found))
    strange = {number for number in _NUMBER.findall(text) if number not in known}
    assert strange == set()
    for run in (*found["programs"], *found["runs"]):
        for name_ in ("measured", "upper", "gaps"):
            assert run[name_] in text
        for policy in run["policies"]:
            assert display(int(policy["counted"])) in text
            assert f"{policy['percent']} %" in text


def _numbers(found: Any) -> Iterator[str]:
    """Yield each number of a JSON value, and how FLOPs are written for reading."""
    for number in _NUMBER.findall(json.dumps(found, ensure_ascii=False)):
        yield number
        if number.isdigit():
            yield display(int(number))
            yield display(int(number), 2)


def test_keyboard_reaches_the_verdicts_and_every_table(tmp_path: Path) -> None:
    """The first key leads past the contents; boxes that scroll can be reached."""

    async def look() -> None:
        async with shown(facts(whole_story()), tmp_path, NARROW) as browser:
            await browser.press("Tab", 9)
            focused = "document.activeElement.textContent"
            assert await browser.ask(focused) == "Skip to the verdicts"
            await browser.press("Tab", 9)
            assert await browser.ask(focused) == "Contents"
            unreached = (
                "[...document.querySelectorAll('.wide')].filter(e => e.tabIndex)"
            )
            assert await browser.ask(f"{unreached}.length") == 0

    asyncio.run(look())


_CONTRAST = """
(() => {
  const light = c => {
    const [r, g, b] = c.match(/[0-9.]+/g).map(Number).map(v => v / 255).map(
      v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    for (let at = e; at; at = at.parentElement) {
      const c = getComputedStyle(at).backgroundColor;
      if (c !== 'rgba(0, 0, 0, 0)') return c;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')].filter(e => e.innerText).map(e => {
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }).reduce((a, b) => Math.min(a, b));
})()
"""


def test_text_has_contrast_and_a_narrow_table_is_still_one(tmp_path: Path) -> None:
    """WCAG AA, 4.5 to 1; rows that became blocks keep their roles; one chart shows."""

    async def look() -> None:
        async with shown(facts(met_story()), tmp_path, NARROW) as browser:
            assert await browser.ask(_CONTRAST) >= 4.5
            roles = "document.querySelectorAll('td:not([role=cell])').length"
            assert await browser.ask(roles) == 0
            charts = (
                "[...document.querySelectorAll('svg')]"
                ".filter(e => getComputedStyle(e).display != 'none')"
            )
            assert await browser.ask(f"{charts}.length") == 2  # program and run

    asyncio.run(look())


_CUT = """
[...document.querySelectorAll('.wide')].filter(
  e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 200))
"""
_BROKEN = """
[...document.querySelectorAll('td.n')].filter(
  e => e.getClientRects()[0].height > 0 && [...e.childNodes].some(n => {
    const range = document.createRange();
    range.selectNodeContents(n);
    return range.getClientRects().length > 1;
  })).map(e => e.innerText)
"""
PAPER = 672  # CSS pixels between the margins of A4


@pytest.mark.parametrize("name", STORIES)
def test_page_prints_on_a4(name: str, tmp_path: Path) -> None:
    """No table is cut off, no figure is broken, and a person would print as many."""

    async def pdf() -> bytes:
        async with shown(facts(STORIES[name]()), tmp_path, PAPER) as browser:
            await browser.call("Emulation.setEmulatedMedia", media="print")
            await browser.show((tmp_path / "report.html").as_uri(), PAPER)
            assert await browser.ask(_CUT) == []
            assert await browser.ask(_BROKEN) == []
            return await browser.printed()

    printed = asyncio.run(pdf())
    sizes = re.findall(rb"/MediaBox\s*\[\s*0 0 ([0-9.]+) ([0-9.]+)", printed)

    assert 1 <= len(sizes) <= 20
    assert all(abs(float(w) - 595) < 2 and abs(float(h) - 842) < 2 for w, h in sizes)
