"""The page format, both ways, and against hostile bytes."""

import binascii
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_hook.page import (
    CATEGORIES,
    ERROR_FLAGS,
    FORMATS,
    SLOT_BYTES,
    Counters,
    Page,
    PageError,
    encode_slot,
    read_page,
    zero_counters,
)

NONCE = "0123456789abcdef0123456789abcdef"
LARGEST = 2**128 - 1
EMPTY_SLOT = bytes(SLOT_BYTES)

counters = st.fixed_dictionaries(
    {
        category: st.fixed_dictionaries(
            {name: st.integers(0, LARGEST // 2) for name in FORMATS}
        )
        for category in CATEGORIES
    }
)


pages = st.builds(
    lambda nonce, generation, done, in_flight, steps, closed, errors: Page(
        nonce.hex(),
        generation,
        done,
        plus(done, in_flight),
        steps,
        closed,
        tuple(name for name in ERROR_FLAGS if name in errors),
    ),
    nonce=st.binary(min_size=16, max_size=16),
    generation=st.integers(0, 2**64 - 1),
    done=counters,
    in_flight=counters,
    steps=st.integers(0, 2**64 - 1),
    closed=st.booleans(),
    errors=st.sets(st.sampled_from(ERROR_FLAGS)),
)


def page(flops: int = 7, **changes: Any) -> Page:
    """Return a page with one counter set, with `changes` made to it."""
    counted = {"forward": {"fp32": flops}}
    plain = Page(NONCE, 0, counted, counted, 3, closed=False, errors=())
    return plain._replace(**changes)


def file_of(*pages: Page) -> bytes:
    """Return a page file that holds these pages in their slots."""
    slots = [EMPTY_SLOT, EMPTY_SLOT]
    for one in pages:
        slots[one.generation & 1] = encode_slot(one)
    return b"".join(slots)


def plus(left: Counters, right: Counters) -> Counters:
    """Return the sum of two sets of counters."""
    return {c: {f: left[c][f] + right[c][f] for f in FORMATS} for c in CATEGORIES}


@given(pages)
def test_a_page_reads_back_as_it_was_written(written: Page) -> None:
    """Every field survives, up to the largest value that it can hold."""
    assert read_page(file_of(written)) == written


def test_counters_that_are_absent_read_back_as_zero() -> None:
    """A reader finds every category and every format."""
    read = read_page(file_of(page(flops=7)))

    expected = zero_counters()
    expected["forward"]["fp32"] = 7
    assert (read.done, read.begun) == (expected, expected)


@pytest.mark.parametrize("newest", [1, 2, 9, 10])
def test_the_slot_with_the_highest_generation_is_read(newest: int) -> None:
    """Whichever of the two slots it lies in."""
    older, newer = page(1, generation=newest - 1), page(2, generation=newest)

    assert read_page(file_of(older, newer)).done["forward"]["fp32"] == 2


@pytest.mark.parametrize("kept", [0, 1, 8, 63, 64, 1343, 1344, 2043, 2047])
def test_a_torn_write_leaves_the_older_slot(kept: int) -> None:
    """A crash in mid-write costs that write and nothing else."""
    before = file_of(page(1, generation=4), page(2, generation=5))
    torn = encode_slot(page(3, generation=6))[:kept] + before[kept:SLOT_BYTES]

    read = read_page(torn + before[SLOT_BYTES:])

    assert read.done["forward"]["fp32"] == 2


def test_a_slot_in_the_wrong_place_is_not_valid() -> None:
    """A copied slot must not pass for a newer one."""
    with pytest.raises(PageError, match="neither slot"):
        read_page(EMPTY_SLOT + encode_slot(page(generation=4)))


def test_more_done_than_begun_is_not_valid() -> None:
    """Such a slot would make measured exceed upper."""
    forged = page(7, begun={"forward": {"fp32": 6}})

    with pytest.raises(PageError, match="neither slot"):
        read_page(file_of(forged))


@pytest.mark.parametrize("bit", range(SLOT_BYTES * 8)[:: 8 * 31 + 1])
def test_a_flipped_bit_is_noticed(bit: int) -> None:
    """The CRC covers the whole slot."""
    data = bytearray(file_of(page()))
    data[bit // 8] ^= 1 << bit % 8

    with pytest.raises(PageError):
        read_page(bytes(data))


@pytest.mark.parametrize("size", [0, 1, 2048, 4095, 4097, 8192])
def test_a_file_of_another_size_is_refused(size: int) -> None:
    """The message says what was found."""
    with pytest.raises(PageError, match=f"these are {size}"):
        read_page(bytes(size))


@given(pages, st.dictionaries(st.integers(0, SLOT_BYTES - 5), st.binary(min_size=1)))
def test_forged_slots_with_a_right_crc_give_a_page_or_the_one_error(
    written: Page, patches: dict[int, bytes]
) -> None:
    """Whoever can write the file can compute the CRC too."""
    slot = bytearray(encode_slot(written._replace(generation=0)))
    for at, patch in patches.items():
        slot[at : at + len(patch)] = patch
    body = bytes(slot[: SLOT_BYTES - 4])
    forged = body + binascii.crc32(body).to_bytes(4, "little") + EMPTY_SLOT

    try:
        read = read_page(forged)
    except PageError:
        return

    assert all(
        0 <= read.done[category][name] <= read.begun[category][name] <= LARGEST
        for category in CATEGORIES
        for name in FORMATS
    )


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"nonce": "xyz"}, id="a nonce that is not hexadecimal"),
        pytest.param({"nonce": "00"}, id="a nonce that is too short"),
        pytest.param({"nonce": NONCE[:-1] + " "}, id="a nonce with a blank"),
        pytest.param({"generation": 2**64}, id="a generation above 64 bit"),
        pytest.param({"generation": -1}, id="a negative generation"),
        pytest.param({"steps": 2**64}, id="steps above 64 bit"),
        pytest.param({"errors": ("nonsense",)}, id="an unknown error flag"),
        pytest.param({"done": {"sideways": {"fp32": 1}}}, id="an unknown category"),
        pytest.param({"done": {"forward": {"fp31": 1}}}, id="an unknown format"),
        pytest.param({"begun": {"forward": {"fp32": 2**128}}}, id="above 128 bit"),
        pytest.param({"begun": {"forward": {"fp32": -1}}}, id="a negative figure"),
    ],
)
def test_values_that_do_not_fit_are_refused(bad: dict[str, Any]) -> None:
    """Writing must not wrap round in silence."""
    with pytest.raises(PageError):
        encode_slot(page(**bad))
