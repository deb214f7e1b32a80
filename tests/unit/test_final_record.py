"""The final record: exact both ways, of fixed length, safe against hostile bytes."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_hook.page import CATEGORIES, FORMATS
from flopguard_sidecar.final import (
    RECORD_BYTES,
    FinalRecord,
    FinalRecordError,
    decode,
    encode,
)

FORMATS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
# What 4,000 pages of full counters add up to in one category.
LARGEST = 4_000 * len(FORMATS) * (2**128 - 1)

RECORD = FinalRecord(
    final=True,
    sequence=17,
    done=dict.fromkeys(CATEGORIES, 2**53 + 1),
    begun=5 * (2**53 + 1) + 7,
    steps=6,
    pages=2,
    errors=1,
    digest="3b" * 32,
)

records = st.builds(
    lambda done, in_flight, **others: FinalRecord(
        done=dict(zip(CATEGORIES, done, strict=True)),
        begun=sum(done) + in_flight,
        **others,
    ),
    done=st.lists(st.integers(0, LARGEST), min_size=5, max_size=5),
    in_flight=st.integers(0, LARGEST),
    final=st.booleans(),
    sequence=st.integers(0, 10**20 - 1),
    steps=st.integers(0, 4_000 * 2**64),
    pages=st.integers(0, 4_000),
    errors=st.integers(0, 999_999),
    digest=st.binary(min_size=32, max_size=32).map(bytes.hex),
)


@given(records)
def test_what_is_encoded_is_decoded_exactly_and_has_the_fixed_length(
    record: FinalRecord,
) -> None:
    """A short rewrite over a longer record would leave a tail; none is ever shorter."""
    line = encode(record)

    assert len(line) == RECORD_BYTES
    assert decode(line) == record


def test_the_record_fits_the_share_of_each_of_12_containers() -> None:
    """12 KiB a pod, divided equally: 1 KiB."""
    assert RECORD_BYTES < 1024


def test_the_record_is_one_line_of_json_for_people() -> None:
    """`kubectl describe pod` shows it as the container's message."""
    line = encode(RECORD)

    assert line.count(b"\n") == 1
    assert json.loads(line)["done"]["forward"].lstrip("0") == str(2**53 + 1)


def test_the_example_in_the_formats_page_is_a_record() -> None:
    """The operator's decoder is written from that page."""
    examples = [
        line
        for line in FORMATS_PAGE.read_text().splitlines()
        if line.startswith('{"flopguard":"final/1"')
    ]

    assert len(examples) == 1
    assert encode(decode(examples[0].encode())).decode() == examples[0] + "\n"
    assert f"{RECORD_BYTES} bytes" in FORMATS_PAGE.read_text()


def test_a_record_without_its_newline_is_accepted() -> None:
    """What carries the message may strip it."""
    assert decode(encode(RECORD).rstrip(b"\n")) == RECORD


def test_every_flipped_bit_is_noticed() -> None:
    """The checksum covers the whole line, and the pattern the rest."""
    line = encode(RECORD)[:-1]

    for position in range(len(line)):
        for bit in range(8):
            damaged = bytearray(line)
            damaged[position] ^= 1 << bit
            with pytest.raises(FinalRecordError):
                decode(bytes(damaged))


def test_every_cut_is_noticed() -> None:
    """The kubelet cuts a message that is longer than its share."""
    line = encode(RECORD)

    for length in range(len(line) - 1):
        with pytest.raises(FinalRecordError):
            decode(line[:length])


@given(st.binary(max_size=2_000))
def test_hostile_bytes_raise_one_error(data: bytes) -> None:
    """Any container may write anything into its termination log."""
    with pytest.raises(FinalRecordError):
        decode(data)


def resealed(line: bytes, old: bytes, new: bytes) -> bytes:
    """Return a line with a part replaced and the checksum made right again."""
    body = line[: line.index(b',"crc32"')].replace(old, new, 1)
    return body + f',"crc32":"{zlib.crc32(body):08x}"}}'.encode()


def test_a_resealed_line_is_read_as_it_stands() -> None:
    """The proof that `resealed` makes valid lines, for the test that follows."""
    forged = resealed(encode(RECORD), b'"pages":"0002"', b'"pages":"0003"')

    assert decode(forged) == replace(RECORD, pages=3)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"final/1", b"final/2", id="another version"),
        pytest.param(b'"final":1', b'"final":2', id="final is neither 0 nor 1"),
        pytest.param(b'"0002"', b'" 002"', id="a blank in a number"),
        pytest.param(b'"0002"', b'"-002"', id="a negative number"),
        pytest.param(b'"0002"', b'"00002"', id="a number one digit too long"),
        pytest.param(b'"0002"', '"000٢"'.encode(), id="a digit of another script"),
        pytest.param(b"3b3b", b"3B3B", id="a digest in capitals"),
        pytest.param(b'"done":{', b'"done":{ ', id="a blank between keys"),
    ],
)
def test_a_forged_line_with_a_right_checksum_must_still_match(
    old: bytes, new: bytes
) -> None:
    """The checksum finds accidents; the pattern stands against intent."""
    forged = resealed(encode(RECORD), old, new)
    assert forged != encode(RECORD)[:-1]

    with pytest.raises(FinalRecordError):
        decode(forged)


def test_a_record_that_has_done_more_than_it_has_begun_is_refused() -> None:
    """Such a record would put the upper bound below the measured figure."""
    low = replace(RECORD, begun=sum(RECORD.done.values()) - 1)

    with pytest.raises(FinalRecordError, match="done more than it has begun"):
        decode(encode(low))


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(replace(RECORD, pages=10_000), id="10,000 pages"),
        pytest.param(replace(RECORD, begun=10**44), id="45 digits of FLOPs"),
        pytest.param(replace(RECORD, steps=-1), id="negative steps"),
        pytest.param(replace(RECORD, digest="3b"), id="a short digest"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_not_cut(record: FinalRecord) -> None:
    """A cut figure would be a wrong one."""
    with pytest.raises(FinalRecordError, match="does not fit"):
        encode(record)
