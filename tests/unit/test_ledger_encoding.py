"""The encoding of entries: exact both ways, one spelling, one error on bad bytes."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.ledger.encoding import (
    decode,
    decode_mark,
    encode,
    encode_mark,
)
from flopguard_operator.ledger.entries import (
    MAX_ENTRY_BYTES,
    AttemptOpened,
    Crossing,
    EnergyNoted,
    Entry,
    Event,
    FactChanged,
    FactsNoted,
    HoldProven,
    HoldReleased,
    HoldSet,
    RunRef,
    Settlement,
    TermsSet,
    WeightsSaved,
)
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.marks import Mark
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy.terms import Approach, BaseModel, Budget, Terms
from vectors.ledger_story import A, attempt, entries, settled, story, terms

AT = "2026-11-22T00:20:00.000Z"
STORY = entries(story())

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
flops = st.integers(0, 2**140)
counts = st.integers(0, 2**70)
percents = st.lists(st.integers(0, 100), max_size=4).map(tuple)
limits = st.fractions(min_value=0, max_value=2**90).map(str)
refs = st.builds(RunRef, texts, texts, texts)
done = st.dictionaries(st.sampled_from(CATEGORIES), flops)
all_terms = st.builds(
    Terms,
    texts,
    st.builds(BaseModel, texts, st.none() | flops, texts, st.booleans()),
    st.none()
    | st.builds(Budget, st.none() | flops, st.none() | counts, percents, texts, texts),
    st.builds(Approach, percents, counts, texts),
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(TermsSet, refs, counts, texts, texts, all_terms, limits, texts, texts),
    st.builds(AttemptOpened, refs, texts, texts, texts, texts, texts),
    st.builds(
        Settlement, refs, texts, done, flops, counts, counts, texts, st.booleans()
    ),
    st.builds(Crossing, refs, texts, texts, counts, limits, flops, flops, texts),
    st.builds(HoldSet, refs, texts, texts, texts, st.booleans()),
    st.builds(HoldProven, refs, texts, flops, flops, counts),
    st.builds(HoldReleased, refs, texts, texts),
    st.builds(
        FactsNoted,
        *(refs, texts, texts, texts, st.booleans(), texts, texts, flops, counts),
    ),
    st.builds(FactChanged, refs, texts, texts, texts, texts, texts, counts, flops),
    st.builds(
        EnergyNoted,
        *(refs, texts, texts, counts, counts, flops, texts),
        *(st.booleans(), st.booleans()),
    ),
    st.builds(WeightsSaved, refs, texts, texts, texts, texts, counts, flops, flops),
)
whole_entries = st.builds(Entry, counts, st.just(AT), events)


@given(whole_entries)
def test_every_entry_comes_back_as_it_was(entry: Entry) -> None:
    """Decoding is the exact inverse of encoding."""
    data = encode(entry)

    assert decode(data) == entry
    assert encode(decode(data)) == data


def test_an_entry_reads_like_this() -> None:
    """The encoding is fixed: changing it would break every ledger that exists."""
    entry = Entry(7, AT, settled(A, "pod-1", 2**53 + 1, 2**53 + 1))

    assert encode(entry) == (
        b'{"at":"2026-11-22T00:20:00.000Z","begun":"9007199254740993",'
        b'"done":{"backward":"3002399751580331","forward":"6004799503160662"},'
        b'"final":false,"index":7,"pages":1,'
        b'"run":{"name":"support-sft","namespace":"ml","uid":"uid-a"},'
        b'"source":"sidecar","steps":90071992547409,"stream":"pod-1",'
        b'"type":"Settlement","v":1}'
    )


@given(whole_entries)
def test_every_number_of_flops_is_a_string(entry: Entry) -> None:
    """Readers that keep numbers as float64 lose nothing: no FLOPs figure is one."""
    document = json.loads(encode(entry))
    names = {"begun", "measured", "upper", "overshoot", "limit"} & set(document)

    assert all(isinstance(document[name], str) for name in names)
    assert all(isinstance(each, str) for each in document.get("done", {}).values())


@given(whole_entries)
def test_a_leaf_is_one_line(entry: Entry) -> None:
    """No text in an entry can break the lines of an export."""
    assert b"\n" not in encode(entry)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_with_the_one_error(data: bytes) -> None:
    """Nothing but `LedgerError` comes out of bytes that are not an entry."""
    with pytest.raises(LedgerError):
        decode(data)


@given(st.data(), st.sampled_from(STORY))
def test_mutated_bytes_never_read_as_the_same_entry(data: Any, entry: Entry) -> None:
    """A changed byte is refused, or it is another entry: two spellings never agree."""
    good = encode(entry)
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(bad))
    except LedgerError:
        return

    assert other != entry
    assert encode(other) == bytes(bad)


DOCUMENT: dict[str, Any] = json.loads(encode(Entry(0, AT, settled(A, "p", 9, 9))))


def dumped(**changes: Any) -> bytes:
    """Return a settlement's bytes with fields changed, in the right spelling."""
    document = DOCUMENT | changes
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


HOSTILE = {
    "nothing": b"",
    "not UTF-8": b"\xff\xfe",
    "not an object": b"[]",
    "only a brace": b"{",
    "nested beyond the parser": b"[" * 60_000,
    "nested objects": b'{"v":' * 10_000,
    "larger than an entry may be": b" " * (MAX_ENTRY_BYTES + 1),
    "a number of more digits than Python converts": b'{"v":' + b"9" * 5000 + b"}",
    "no version": dumped(v=None),
    "a version that is true": dumped(v=True),
    "a version of tomorrow": dumped(v=2),
    "a type nobody knows": dumped(type="Refund"),
    "a type that is a list": dumped(type=["Settlement"]),
    "a field too many": dumped(bonus="1"),
    "another event's field": dumped(overshoot="1"),
    "an index below zero": dumped(index=-1),
    "an index that is a float": dumped(index=1.0),
    "an index that is true": dumped(index=True),
    "a time without milliseconds": dumped(at="2026-11-22T00:20:00Z"),
    "a time in another zone": dumped(at="2026-11-22T00:20:00.000+01:00"),
    "a month that is not": dumped(at="2026-13-22T00:20:00.000Z"),
    "FLOPs as a number": dumped(begun=9),
    "FLOPs below zero": dumped(begun="-9"),
    "FLOPs with a leading zero": dumped(begun="09"),
    "FLOPs in exponent form": dumped(begun="9e3"),
    "FLOPs in digits of another script": dumped(begun="٩"),
    "FLOPs of 61 digits": dumped(begun="9" * 61),
    "a category nobody knows": dumped(done={"sideways": "1"}),
    "categories as a list": dumped(done=["forward"]),
    "final as a number": dumped(final=1),
    "a run without its UID": dumped(run={"name": "a", "namespace": "b"}),
    "a run that is a text": dumped(run="ml/support-sft"),
    "a stream that is null": dumped(stream=None),
    "a lone surrogate": dumped(stream="\ud800"),
    "space between the fields": encode(Entry(0, AT, settled(A, "p", 9, 9))).replace(
        b'"v":1', b'"v": 1'
    ),
    "a key twice": encode(Entry(0, AT, settled(A, "p", 9, 9))).replace(
        b'"v":1', b'"v":1,"v":1'
    ),
    "a line feed behind": encode(Entry(0, AT, settled(A, "p", 9, 9))) + b"\n",
    "an escape where none is needed": encode(
        Entry(0, AT, settled(A, "p", 9, 9))
    ).replace(b'"stream":"p"', b'"stream":"\\u0070"'),
    "not a number": dumped(index=float("nan")),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_refused(data: bytes) -> None:
    """Each is refused with the one error, and a message of bounded size."""
    with pytest.raises(LedgerError) as refusal:
        decode(data)

    assert len(str(refusal.value)) < 200
    assert str(refusal.value).isprintable()


UNWRITABLE: dict[str, Callable[[], Entry]] = {
    "FLOPs below zero": lambda: Entry(0, AT, settled(A, "p", 9, -9)),
    "FLOPs of 61 digits": lambda: Entry(0, AT, settled(A, "p", 9, 10**60)),
    "a limit that is a float": lambda: Entry(0, AT, replace(terms(A, 9), limit="1.5")),
    "a limit over nothing": lambda: Entry(0, AT, replace(terms(A, 9), limit="1/0")),
    "a time in words": lambda: Entry(0, "now", settled(A, "p", 9, 9)),
    "a message of 70,000 characters": lambda: Entry(
        0, AT, HoldReleased(A, "uid", "x" * 70_000)
    ),
    "a lone surrogate": lambda: Entry(0, AT, attempt(A, "\ud800", "", "Started")),
}


@pytest.mark.parametrize("entry", UNWRITABLE.values(), ids=UNWRITABLE.keys())
def test_what_cannot_be_read_back_is_not_written(entry: Callable[[], Entry]) -> None:
    """Encoding refuses whatever decoding would refuse."""
    with pytest.raises(LedgerError):
        encode(entry())


@given(
    st.builds(Mark, texts, done, flops, counts, counts, texts, st.booleans()),
)
def test_every_mark_comes_back_as_it_was(mark: Mark) -> None:
    """A high-water mark survives the store unchanged."""
    assert decode_mark(encode_mark(mark)) == mark


@given(st.binary(max_size=100))
def test_a_row_that_is_no_mark_is_refused(data: bytes) -> None:
    """Nothing but `LedgerError` comes out of bytes that are not a mark."""
    with pytest.raises(LedgerError):
        decode_mark(data)
