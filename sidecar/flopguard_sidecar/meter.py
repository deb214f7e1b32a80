"""The meter: pages → one cumulative mark.

Core. A mark is the sum over the pages of one folder, per category and per numeric
format. Figures are cumulative since the start of each process, so reading twice, late
or out of order changes nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from flopguard_hook.page import CATEGORIES, FORMATS, PageError, read_page

UNREADABLE = "unreadable"
_ERROR = (UNREADABLE,)
NO_FACTS = "{}"
FACTS_BYTES = 64 * 1024


class FactsError(ValueError):
    """The bytes are no facts: not one JSON object, or longer than FACTS_BYTES."""


@dataclass(frozen=True, slots=True)
class PageMark:
    """What one page says, summed over what the operator does not ask for.

    Attributes:
        nonce: 32 hexadecimal digits; the name of the file.
        generation: Number of the write that the figures are from; -1 if there is none.
        done: FLOPs of work that returned, by category.
        begun: FLOPs of work that was dispatched, by category.
        by_format: FLOPs of work that returned, by numeric format.
        steps: Optimizer steps.
        closed: Whether the process exited cleanly.
        errors: Error flags of the hook, then UNREADABLE if the page is damaged.
        facts: The facts file as JSON text of one object.
    """

    nonce: str
    generation: int
    done: Mapping[str, int]
    begun: Mapping[str, int]
    by_format: Mapping[str, int]
    steps: int
    closed: bool
    errors: tuple[str, ...]
    facts: str = NO_FACTS


@dataclass(frozen=True, slots=True)
class Mark:
    """The cumulative count of a stream: the sum of its pages, sorted by nonce."""

    done: Mapping[str, int]
    begun: Mapping[str, int]
    by_format: Mapping[str, int]
    steps: int
    pages: tuple[PageMark, ...]

    @property
    def begun_total(self) -> int:
        """FLOPs of work that was dispatched, over all categories."""
        return sum(self.begun.values())


def read(nonce: str, data: bytes) -> PageMark:
    """Read the bytes of the page file `<nonce>.page`.

    Raises:
        PageError: No valid page, or the page of another process under this name.
    """
    page = read_page(data)
    if page.nonce != nonce:
        msg = "the page belongs to another nonce than its file name says"
        raise PageError(msg)
    return PageMark(
        nonce=nonce,
        generation=page.generation,
        done={c: sum(page.done[c].values()) for c in CATEGORIES},
        begun={c: sum(page.begun[c].values()) for c in CATEGORIES},
        by_format={f: sum(page.done[c][f] for c in CATEGORIES) for f in FORMATS},
        steps=page.steps,
        closed=page.closed,
        errors=page.errors,
    )


def unreadable(nonce: str, previous: PageMark | None) -> PageMark:
    """Return what stands for a damaged page: its last valid figures, or zeros."""
    if previous is None:
        zero = dict.fromkeys(CATEGORIES, 0)
        none = dict.fromkeys(FORMATS, 0)
        return PageMark(nonce, -1, zero, zero, none, 0, closed=False, errors=_ERROR)
    if UNREADABLE in previous.errors:
        return previous
    return replace(previous, errors=previous.errors + _ERROR)


def readable(page: PageMark) -> PageMark:
    """Return a page without the mark of damage that `unreadable` put on it."""
    if UNREADABLE not in page.errors:
        return page
    return replace(page, errors=tuple(e for e in page.errors if e != UNREADABLE))


def is_older(page: PageMark, previous: PageMark | None) -> bool:
    """Return whether a page is of an earlier write than the one read before."""
    return previous is not None and page.generation < previous.generation


def is_whole(pages: Iterable[PageMark]) -> bool:
    """Return whether the pages tell all that had begun when they were read.

    A damaged page does not, unless its process had exited before: what it did since its
    last readable figures is unknown.
    """
    return all(page.closed or UNREADABLE not in page.errors for page in pages)


def total(pages: Iterable[PageMark]) -> Mark:
    """Return the mark of a stream from its pages, in any order."""
    ordered = tuple(sorted(pages, key=lambda page: page.nonce))
    return Mark(
        done={c: sum(p.done[c] for p in ordered) for c in CATEGORIES},
        begun={c: sum(p.begun[c] for p in ordered) for c in CATEGORIES},
        by_format={f: sum(p.by_format[f] for p in ordered) for f in FORMATS},
        steps=sum(p.steps for p in ordered),
        pages=ordered,
    )


def facts_text(data: bytes) -> str:
    """Return a facts file as compact JSON text with sorted keys.

    Raises:
        FactsError: Not a JSON object, a number JSON cannot say, or above FACTS_BYTES.
    """
    try:
        facts = json.loads(data.decode()) if len(data) <= FACTS_BYTES else None
        text = json.dumps(facts, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        msg = f"the facts are not valid JSON: {type(error).__name__}"
        raise FactsError(msg) from error
    if not isinstance(facts, dict) or len(text) > FACTS_BYTES:
        msg = f"the facts are not a JSON object of at most {FACTS_BYTES} bytes"
        raise FactsError(msg)
    return text


def marks_json(mark: Mark) -> bytes:
    """Return the marks JSON document of docs/formats.md, newline included."""
    head = json.dumps(
        {
            "schema": 1,
            "done": _strings(mark.done),
            "begun": _strings(mark.begun),
            "by_format": _strings(mark.by_format),
            "steps": mark.steps,
        },
        separators=(",", ":"),
    )
    pages = ",".join(_page_json(page) for page in mark.pages)
    return f'{head[:-1]},"pages":[{pages}]}}\n'.encode()


def _page_json(page: PageMark) -> str:
    body = json.dumps(
        {
            "nonce": page.nonce,
            "done": _strings(page.done),
            "begun": _strings(page.begun),
            "steps": page.steps,
            "closed": page.closed,
            "errors": page.errors,
        },
        separators=(",", ":"),
    )
    # Spliced as text: facts are parsed once when they change, not at every scan.
    return f'{body[:-1]},"facts":{page.facts}}}'


def _strings(counters: Mapping[str, int]) -> dict[str, str]:
    return {name: str(flops) for name, flops in counters.items()}
