"""What is done the quick way comes out as the long way does it."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.ledger import encoding, settlements
from flopguard_operator.ledger.accounts import upper_of
from flopguard_operator.ledger.encoding import decode, encode
from flopguard_operator.ledger.entries import Entry, RunRef, Settlement
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.replay import Replay
from flopguard_operator.marks import Mark, merge
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy.checks import evaluate, reached_at
from flopguard_operator.policy.terms import Approach, BaseModel, Budget, Terms, Totals
from vectors.ledger_story import A, entries, settled, story

texts = st.one_of(st.text(max_size=9), st.text('ab"\\/{}\x7f ', max_size=9))
counts = st.integers(0, 10**20)
SETTLEMENTS = st.builds(
    Settlement,
    st.builds(RunRef, texts, texts, texts),
    texts,
    st.fixed_dictionaries(dict.fromkeys(CATEGORIES, counts)),
    counts,
    counts,
    counts,
    texts,
    st.booleans(),
)


@given(SETTLEMENTS, counts)
def test_a_settlement_is_read_as_the_long_way_reads_it(
    event: Settlement, index: int
) -> None:
    """Whatever its texts are."""
    entry = Entry(index, "2026-11-22T00:20:00.000Z", event)
    data = encode(entry)

    assert decode(data) == entry
    swift = settlements.read(data)
    assert swift is None or (swift == entry and encode(swift) == data)


def test_a_plain_one_is_read_the_quick_way() -> None:
    """Else nothing would be gained."""
    event = settled(A, "pod-1", 9, 10)
    assert isinstance(event, Settlement)
    full = Settlement(**{**vars(event), "done": dict.fromkeys(CATEGORIES, 7)})
    entry = Entry(3, "2026-11-22T00:20:00.000Z", full)

    assert settlements.read(encode(entry)) == entry


@given(st.data(), SETTLEMENTS)
def test_bytes_that_were_changed_are_read_alike(data: Any, event: Settlement) -> None:
    """One byte more, less or other: both ways refuse, or read the same."""
    good = bytearray(encode(Entry(7, "2026-11-22T00:20:00.000Z", event)))
    place = data.draw(st.integers(0, len(good) - 1))
    instead = data.draw(st.sampled_from([b"", b"0", b" ", b'"', b"\\", b",", b"-"]))
    changed = bytes(good[:place]) + instead + bytes(good[place + 1 :])
    try:
        entry = encoding._decoded(changed)  # noqa: SLF001 - the long way
        right = encode(entry) == changed
    except LedgerError:
        right = False
    swift = settlements.read(changed)

    if swift is not None:
        assert right
        assert swift == entry


marks = st.builds(
    Mark,
    st.just("s"),
    st.dictionaries(st.sampled_from(CATEGORIES), st.integers(0, 3)),
    st.integers(0, 9),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(("prometheus", "sidecar", "pod-status")),
    st.booleans(),
)


def long_merge(a: Mark, b: Mark) -> Mark:
    """Return the maximum of two marks, counter by counter."""
    done = {c: max(a.done.get(c, 0), b.done.get(c, 0)) for c in CATEGORIES}
    ahead = b if (b.final, b.measured) > (a.final, a.measured) else a
    begun = max(a.begun, b.begun, sum(done.values()))
    steps, pages = max(a.steps, b.steps), max(a.pages, b.pages)
    return Mark("s", done, begun, steps, pages, ahead.source, a.final or b.final)


@given(st.lists(marks, max_size=8))
def test_marks_merge_as_counter_by_counter(given_marks: list[Mark]) -> None:
    """In any order of any marks."""
    quick = long = Mark("s")
    for mark in given_marks:
        quick, long = merge(quick, mark), long_merge(long, mark)

        assert quick == long


TERMS = st.builds(
    Terms,
    base=st.builds(BaseModel, pretraining_flops=st.one_of(st.none(), st.just(10**24))),
    budget=st.one_of(
        st.none(),
        st.builds(
            Budget,
            max_flops=st.one_of(st.none(), st.integers(1, 10**24)),
            percent_of_threshold=st.one_of(st.none(), st.integers(1, 100)),
            on_breach=st.sampled_from(("Suspend", "Annotate")),
        ),
    ),
    approach=st.builds(
        Approach, on_approach=st.sampled_from(("Suspend", "Annotate", "Nothing"))
    ),
)


def said(terms: Terms, upper: int) -> set[tuple[str, str, int, int | Fraction]]:
    """Return what is said of a total, without the sentences."""
    verdicts = evaluate(terms, Totals({}, upper))
    return {(v.action, v.reason, v.percent, v.limit) for v in verdicts}


@given(TERMS, st.integers(0, 10**25))
def test_between_two_lines_nothing_new_is_said(terms: Terms, upper: int) -> None:
    """The lines are where a verdict can change, and each of them is exact."""
    lines = (0, *reached_at(terms))
    below = max(line for line in lines if line <= upper)

    assert said(terms, upper) == said(terms, below)
    for line in lines[1:]:
        for near in (line - 1, line):
            start = max((each for each in lines if each <= near), default=0)
            assert said(terms, near) == said(terms, start)


def test_the_replay_of_the_story_finds_nothing() -> None:
    """And its totals are those of the marks."""
    replay = Replay()
    wrong = [each for entry in entries(story()) for each in replay.step(entry)]

    assert wrong == []
    assert upper_of(replay.accounts[A.uid]) == 1050 + 320


@pytest.mark.parametrize("after", ["begun", "steps", "pages", "final", "done"])
def test_what_falls_is_found(after: str) -> None:
    """Each counter by itself, on marks that have all categories."""
    full = dict.fromkeys(CATEGORIES, 7)
    high = Settlement(A, "s", full, 99, 9, 9, "sidecar", final=True)
    falls: dict[str, Any] = {"begun": 98, "steps": 8, "pages": 8, "final": False}
    falls["done"] = {**full, "forward": 6, "backward": 9}
    low = Settlement(**{**vars(high), after: falls[after]})
    replay = Replay()
    at = "2026-11-22T00:20:00.000Z"
    wrong = [
        each.check
        for index, event in enumerate((high, high, low))
        for each in replay.step(Entry(index, at, event))
    ]

    assert wrong == ["marks"]
