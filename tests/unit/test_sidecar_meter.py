"""The meter: pages become one mark, and the mark becomes the marks JSON."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_hook.page import CATEGORIES, ERROR_FLAGS, FORMATS, PageError
from flopguard_sidecar import meter
from flopguard_sidecar.folder import MAX_FACTS_BYTES, MAX_PAGES
from flopguard_sidecar.meter import FactsError, PageMark
from standins.pages import NONCE, file_bytes, forward, nonce, page

FULL = 2**128 - 1


def read(number: int, flops: int, steps: int = 1) -> PageMark:
    """Return the page with this number and this much forward work."""
    written = forward(flops, nonce=nonce(number), steps=steps)
    return meter.read(nonce(number), file_bytes(written))


def test_a_page_is_summed_per_category_and_per_format() -> None:
    """The operator asks for categories; formats are shown beside them."""
    written = page(
        {"forward": {"bf16": 100, "fp32": 20}, "optimizer": {"fp32": 3}},
        {"forward": {"bf16": 150, "fp32": 20}, "optimizer": {"fp32": 3}},
        steps=7,
        closed=True,
        errors=("unknown_operator",),
    )

    mark = meter.read(NONCE, file_bytes(written))

    assert mark.done == {**dict.fromkeys(CATEGORIES, 0), "forward": 120, "optimizer": 3}
    assert mark.begun == {**mark.done, "forward": 170}
    assert mark.by_format == {**dict.fromkeys(FORMATS, 0), "bf16": 100, "fp32": 23}
    assert (mark.steps, mark.closed, mark.errors) == (7, True, ("unknown_operator",))


def test_a_page_under_the_name_of_another_is_refused() -> None:
    """A copied page would be counted twice."""
    with pytest.raises(PageError, match="another nonce"):
        meter.read(nonce(2), file_bytes(forward(1, nonce=nonce(1))))


@given(st.lists(st.integers(0, FULL), max_size=6), st.randoms())
def test_the_mark_is_the_exact_sum_in_any_order(
    flops: list[int], random: Random
) -> None:
    """Folders list their files in any order."""
    pages = [read(number, count) for number, count in enumerate(flops)]
    shuffled = list(pages)
    random.shuffle(shuffled)

    mark = meter.total(shuffled)

    assert mark.done["forward"] == sum(flops)
    assert mark.begun_total == sum(flops)
    assert sum(mark.by_format.values()) == sum(mark.done.values())
    assert mark.steps == len(flops)
    assert mark.pages == tuple(pages)


def test_a_damaged_page_keeps_its_last_figures_and_says_so_once() -> None:
    """Damage must not lower the mark; reading it again must not add errors."""
    valid = read(1, 50)

    damaged = meter.unreadable(valid.nonce, valid)

    assert damaged.done == valid.done
    assert damaged.errors == ("unreadable",)
    assert meter.unreadable(valid.nonce, damaged) == damaged
    assert meter.readable(damaged) == valid


def test_a_page_that_was_never_valid_is_listed_with_zeros() -> None:
    """Somebody put it there; hiding it would hide that."""
    damaged = meter.unreadable(NONCE, None)

    mark = meter.total([damaged])

    assert mark.begun_total == 0
    assert mark.pages[0].errors == ("unreadable",)


def test_the_marks_json_is_the_documented_document() -> None:
    """The shape of docs/formats.md, to the byte."""
    written = page({"forward": {"bf16": 2**60}}, steps=3, errors=("hook_failed",))
    mark = meter.total([meter.read(NONCE, file_bytes(written))])

    document = meter.marks_json(mark)

    counted = dict.fromkeys(CATEGORIES, "0") | {"forward": str(2**60)}
    expected = {
        "schema": 1,
        "done": counted,
        "begun": counted,
        "by_format": dict.fromkeys(FORMATS, "0") | {"bf16": str(2**60)},
        "steps": 3,
        "pages": [
            {
                "nonce": NONCE,
                "done": counted,
                "begun": counted,
                "steps": 3,
                "closed": False,
                "errors": ["hook_failed"],
                "facts": {},
            }
        ],
    }
    assert document.decode() == json.dumps(expected, separators=(",", ":")) + "\n"


def test_the_largest_marks_json_stays_within_what_the_operator_reads() -> None:
    """4,000 pages of full counters and 1 MiB of facts: below 8 MiB."""
    full = {category: dict.fromkeys(FORMATS, FULL) for category in CATEGORIES}
    written = page(full, steps=2**64 - 1, errors=ERROR_FLAGS)
    one = meter.unreadable(NONCE, meter.read(NONCE, file_bytes(written)))

    document = meter.marks_json(meter.total([one] * MAX_PAGES))

    assert len(document) + MAX_FACTS_BYTES < 8 * 1024 * 1024
    assert len(json.loads(document)["done"]["forward"]) <= 44


def test_the_marks_json_of_an_empty_folder_is_a_mark_of_zero() -> None:
    """A pod whose hook has not counted yet is a pod at zero, not an error."""
    document = json.loads(meter.marks_json(meter.total([])))

    assert document["pages"] == []
    assert set(document["done"].values()) == {"0"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(b"{}", "{}", id="an empty object"),
        pytest.param(b'{"b": 1,\n "a": [2.5]}', '{"a":[2.5],"b":1}', id="keys sorted"),
        pytest.param('{"gpu": "é"}'.encode(), '{"gpu":"\\u00e9"}', id="ASCII only"),
        pytest.param(b'{"x": "\\ud800"}', '{"x":"\\ud800"}', id="half a character"),
    ],
)
def test_facts_become_canonical_json(data: bytes, text: str) -> None:
    """So that the same facts give the same digest."""
    assert meter.facts_text(data) == text


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"a": 1', id="cut off"),
        pytest.param(b"\xff\xfe{}", id="not UTF-8"),
        pytest.param(b'{"a": NaN}', id="a number JSON cannot say"),
        pytest.param(b'{"a": 1e999}', id="a number that overflows"),
        pytest.param(b'{"a": ' + b"9" * 5_000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b"[" * 60_000, id="60,000 lists deep"),
        pytest.param(b'{"a": "' + b"x" * 65_536 + b'"}', id="above 64 KiB"),
        pytest.param(
            b'{"a": "' + "é".encode() * 30_000 + b'"}',
            id="above 64 KiB once escaped",
        ),
    ],
)
def test_hostile_facts_raise_one_error(data: bytes) -> None:
    """The training process writes them; nobody vouches for it."""
    with pytest.raises(FactsError):
        meter.facts_text(data)


@given(st.binary(max_size=200))
def test_random_facts_are_an_object_or_the_one_error(data: bytes) -> None:
    """No other exception escapes."""
    try:
        text = meter.facts_text(data)
    except FactsError:
        return
    assert isinstance(json.loads(text), dict)
