"""Forged packs are told from good ones; what cannot be told is on the list."""

import io
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flopguard_operator.evidence import layout
from flopguard_operator.evidence.archive import (
    BLOCK,
    CutError,
    PackError,
    header,
    open_archive,
)
from flopguard_operator.evidence.verify import verify_pack
from flopguard_operator.ledger.entries import Settlement
from flopguard_operator.ledger.keys import check_signature
from robustness.forging import mended, signed_anew
from robustness.tampering import FORGERIES, UNDETECTABLE, detected, forged, subjects
from vectors.ledger_story import KEY
from vectors.pack_story import NEW_KEY, archived, packed, told

TIMES = 3


@pytest.mark.parametrize("place", range(len(FORGERIES)), ids=list(FORGERIES))
def test_a_forged_pack_fails_a_check(place: int) -> None:
    """A few of each kind here; `make robustness` does thousands."""
    for seed in range(place, len(FORGERIES) * TIMES, len(FORGERIES)):
        fault, data = forged(seed)

        assert detected(data), f"seed {seed}: {fault}"


def test_a_pack_that_is_only_mended_is_good() -> None:
    """The forger's tools make good packs: what fails is what he changes."""
    for one in subjects():
        assert mended(one.files) == one.data


def test_whoever_holds_the_key_can_write_another_ledger() -> None:
    """Undetectable: less in the newest settlement, and everything else made to fit."""
    honest = told(rotates=False)
    places = [
        at
        for at, entry in enumerate(honest.entries)
        if isinstance(entry.event, Settlement) and entry.event.stream == "pod-2"
    ]
    entries = list(honest.entries)
    event = entries[places[-1]].event
    less = replace(event, done={"forward": 1}, begun=1, steps=0)  # type: ignore[arg-type]  # a Settlement, as looked for
    entries[places[-1]] = replace(entries[places[-1]], event=less)
    data, _ = packed(signed_anew(honest, entries, KEY).source())

    assert detected(data) == ""


def test_an_older_pack_verifies() -> None:
    """Undetectable: it was true when it was made."""
    whole = told(rotates=False)
    older = signed_anew(whole, whole.entries[:10], KEY)

    assert detected(packed(older.source())[0]) == ""


def test_heads_of_other_times_may_be_missing() -> None:
    """Undetectable: a pack of an export has none either."""
    (one, *_) = [s for s in subjects() if s.files[layout.HEADS]]
    lines = one.files[layout.HEADS].splitlines(keepends=True)
    alone = [line for line in lines if line.count(b"\\u2014") == 2]

    assert detected(mended({**one.files, layout.HEADS: b"".join(alone)})) == ""


def test_what_no_entry_speaks_of_can_be_replaced() -> None:
    """Undetectable, and the report names the files each time."""
    (one, *_) = subjects()
    other = {layout.VERIFY: b"trust me\n", layout.VERIFIER: b"print('ok')\n"}
    data = mended({**one.files, **other})
    report = verify_pack(io.BytesIO(data), check_signature, KEY.verifier.text)
    said = {check.name: check.message for check in report.checks}["not in ledger"]

    assert report.exit_code == 0
    assert all(name in said for name in other)


def test_the_list_of_what_is_undetectable_has_a_test_each() -> None:
    """Four tests above, four lines in docs/robustness-notes.json."""
    assert len(UNDETECTABLE) == 4


@given(data=st.binary(max_size=2000))
@settings(max_examples=300, deadline=None)
def test_noise_is_no_pack(data: bytes) -> None:
    """Whatever the bytes are, the answer is a report."""
    assert verify_pack(io.BytesIO(data), check_signature).exit_code in (1, 2)


@given(
    name=st.sampled_from(sorted({*layout.ALWAYS, layout.MANIFEST, layout.CENSUS})),
    data=st.binary(max_size=300),
    mend=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_noise_in_a_file_is_a_mismatch(name: str, data: bytes, *, mend: bool) -> None:
    """Each file may hold anything, also where all digests fit."""
    (one, *_) = subjects()
    assume(one.files[name] != data)
    files = {**one.files, name: data}
    if mend and name in (layout.MANIFEST, layout.HEAD, layout.VKEY):
        mend = False  # the forger cannot read them himself
    packed_anew = mended(files) if mend else archived(files)
    report = verify_pack(io.BytesIO(packed_anew), check_signature)

    free = mend and name in (*layout.NOT_IN_LEDGER, *layout.DERIVED)
    assert report.exit_code == 0 if free else report.exit_code in (1, 2)


@given(
    lines=st.lists(st.binary(max_size=60).filter(lambda b: b"\n" not in b), max_size=6),
    name=st.sampled_from((layout.LEAVES, layout.PROOFS, layout.HEADS, layout.CENSUS)),
)
@settings(max_examples=60, deadline=None)
def test_noise_in_lines_is_never_a_crash(lines: list[bytes], name: str) -> None:
    """Lines of entries, proofs, heads and counts are read one by one."""
    (one, *_) = subjects()
    joined = b"".join(line + b"\n" for line in lines)
    report = verify_pack(
        io.BytesIO(mended({**one.files, name: joined})), check_signature
    )

    assert report.exit_code in (0, 1, 2)


BAD_NAMES = ["/etc/passwd", "../up", "a/../b", "a//b", ".hidden", "", "a/b/c/d", "é"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_no_name_leads_out_of_an_archive(name: str) -> None:
    """Neither written nor read."""
    with pytest.raises(PackError):
        header(name, 0)


def test_a_file_that_claims_more_than_there_is_takes_no_memory() -> None:
    """The size is believed only as far as there are bytes."""
    with pytest.raises(CutError):
        open_archive(io.BytesIO(header("a", 1 << 32) + bytes(3 * BLOCK)))
    with pytest.raises(PackError):
        header("a", (1 << 32) + 1)


def test_two_files_of_one_name_are_refused() -> None:
    """Readers disagree on which of them counts."""
    one = header("a", 0)

    with pytest.raises(PackError):
        open_archive(io.BytesIO(one + one + bytes(2 * BLOCK)))


def test_a_ledger_without_its_key_makes_no_good_pack() -> None:
    """The same entries signed by somebody else verify only without a trusted key."""
    one = told(rotates=False)
    data, _ = packed(signed_anew(one, one.entries, NEW_KEY).source())

    assert verify_pack(io.BytesIO(data), check_signature).exit_code == 0
    assert "keys" in detected(data)
