"""The offline verifier: an honest ledger, tampered bytes, and a forger with the key."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopguard_operator.ledger import keys
from flopguard_operator.ledger.encoding import encode
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    Entry,
    HoldProven,
    HoldReleased,
    HoldSet,
    RunRef,
    Settlement,
    TermsSet,
)
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.export import MAX_LINE_BYTES, lines_of, read
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.verify import verify_lines
from vectors.ledger_story import (
    KEY,
    A,
    Commit,
    attempt,
    entries,
    exported,
    exported_leaves,
    renumbered,
    settled,
    story,
    terms,
)

STORY = entries(story())
GOOD = exported(STORY)
SMALL = exported(entries(story()[:2]))


def verified(data: bytes, vkey: str = "") -> Report:
    """Verify an export that is in memory."""
    return verify_lines(lines_of(io.BytesIO(data)), check_signature, vkey)


def outcomes(report: Report) -> dict[str, str]:
    """Return the checks that did not pass."""
    return {c.name: c.outcome for c in report.checks if c.outcome != "ok"}


def test_an_honest_ledger_verifies() -> None:
    """Every check passes, with a sentence for each."""
    report = verified(GOOD, KEY.verifier.text)

    assert outcomes(report) == {}
    assert report.exit_code == 0
    assert report.size == len(STORY)
    assert [check.name for check in report.checks] == [
        "format",
        "leaves",
        "order",
        "custody",
        "signature",
        "root",
        "runs",
        "marks",
        "bounds",
        "attempts",
        "terms",
        "crossings",
        "verdicts owed",
        "holds",
        "overshoot",
        "gaps",
        "facts",
        "saved weights",
        "energy",
        "rule sets",
        "forecasts",
        "programs and decisions",
        "counts",
    ]
    assert all(
        check.message[0].isupper() and check.message.endswith(".")
        for check in report.checks
    )


def test_every_prefix_of_commits_verifies() -> None:
    """A ledger is sound at every one of its heads, the empty one included."""
    for size in range(len(story()) + 1):
        report = verified(exported(entries(story()[:size])))

        assert outcomes(report) == {}, f"after {size} commits"


def test_a_key_that_nobody_vouched_for_is_told() -> None:
    """Without a trusted key the report says whose word the signature is."""
    told = {c.name: c.message for c in verified(GOOD).checks}["signature"]

    assert "compare that key with one you trust" in told
    assert KEY.verifier.text in told


def test_a_ledger_of_another_key_is_a_mismatch() -> None:
    """Whoever signs a forged ledger with an own key is found by the trusted key."""
    mallory = keys.from_raw(KEY.name, bytes(32))
    report = verified(exported(STORY, mallory), KEY.verifier.text)

    assert outcomes(report)["signature"] == "mismatch"
    assert report.exit_code == 1


@pytest.mark.parametrize("bit", [0, 5], ids=lambda bit: f"bit {bit}")
def test_every_flipped_byte_is_detected(bit: int) -> None:
    """No byte of an export can change without the report changing."""
    for place in range(len(SMALL)):
        bad = bytearray(SMALL)
        bad[place] ^= 1 << bit

        assert verified(bytes(bad)).exit_code != 0, f"byte {place} of {SMALL[:place]!r}"


@settings(max_examples=300)
@given(st.data())
def test_edited_bytes_are_detected(data: Any) -> None:
    """Cutting, inserting and repeating bytes anywhere is found."""
    start = data.draw(st.integers(0, len(SMALL)))
    end = data.draw(st.integers(start, min(len(SMALL), start + 400)))
    inserted = data.draw(st.binary(max_size=20) | st.just(SMALL[start:end] * 2))
    bad = SMALL[:start] + inserted + SMALL[end:]

    assert (verified(bad).exit_code == 0) == (bad == SMALL)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_without_an_exception(data: bytes) -> None:
    """Whatever the file holds, the verifier answers."""
    assert verified(data).exit_code != 0


@given(st.binary(max_size=300))
def test_random_leaves_under_a_good_head_are_refused(data: bytes) -> None:
    """A signature over nonsense does not make it a ledger."""
    assert verified(exported_leaves([data])).exit_code == 1


LINES = GOOD.splitlines(keepends=True)
BROKEN = {
    "an empty file": (b"", "mismatch"),
    "the first line is missing": (b"".join(LINES[1:]), "mismatch"),
    "the head is missing": (b"".join(LINES[:-1]), "incomplete"),
    "the last line is cut": (GOOD[:-7], "incomplete"),
    "a leaf is missing": (b"".join(LINES[:3] + LINES[4:]), "mismatch"),
    "a leaf stands twice": (b"".join(LINES[:3] + LINES[2:]), "mismatch"),
    "two leaves changed places": (
        b"".join([*LINES[:2], LINES[3], LINES[2], *LINES[4:]]),
        "mismatch",
    ),
    "a line follows the head": (GOOD + LINES[1], "mismatch"),
    "two ledgers in one file": (GOOD + GOOD, "mismatch"),
    "another format": (GOOD.replace(b"flopguard-ledger", b"x-ledger", 1), "mismatch"),
    "a format of tomorrow": (
        GOOD.replace(b'"version":1', b'"version":2', 1),
        "mismatch",
    ),
    "carriage returns": (GOOD.replace(b"\n", b"\r\n"), "mismatch"),
    "a line without an end": (b"{" * (MAX_LINE_BYTES + 5), "mismatch"),
    "a first line nested beyond the parser": (b"[" * 50_000 + b"\n", "mismatch"),
    "another spelling of the head": (
        GOOD.replace(b'"head":"f', b'"head":"\\u0066', 1),
        "mismatch",
    ),
    "a head nested beyond the parser": (
        LINES[0] + b'{"head":' + b"[" * 50_000 + b"\n",
        "mismatch",
    ),
    "a head with a lone surrogate": (
        LINES[0] + b'{"head":"\\ud800\\n\\n\\u2014 a b\\n"}\n',
        "mismatch",
    ),
}


@pytest.mark.parametrize(("data", "outcome"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_told_as_what_it_is(data: bytes, outcome: str) -> None:
    """Half a file is incomplete; a changed one is a mismatch."""
    assert verified(data).outcome == outcome


Rewrite = Callable[[list[Entry]], Sequence[Entry]]


def where(kind: type, nth: int = 0) -> int:
    """Return the index of the n-th entry of a kind in the story."""
    return [e.index for e in STORY if isinstance(e.event, kind)][nth]


def changed(kind: type, nth: int = 0, **fields: Any) -> Rewrite:
    """Return a forger who changes fields of one event."""

    def rewrite(written: list[Entry]) -> list[Entry]:
        place = where(kind, nth)
        event = replace(written[place].event, **fields)
        written[place] = replace(written[place], event=event)
        return written

    return rewrite


def removed(kind: type, nth: int = 0) -> Rewrite:
    """Return a forger who leaves one event out."""

    def rewrite(written: list[Entry]) -> list[Entry]:
        del written[where(kind, nth)]
        return written

    return rewrite


def repeated(kind: type, nth: int = 0) -> Rewrite:
    """Return a forger who writes one event twice."""

    def rewrite(written: list[Entry]) -> list[Entry]:
        written.insert(where(kind, nth), written[where(kind, nth)])
        return written

    return rewrite


def added(*events: Any) -> Rewrite:
    """Return a forger who appends a commit."""
    return lambda written: [*written, *entries([Commit(59, events)])]


FORGERIES: dict[str, tuple[Rewrite, str]] = {
    "a total was lowered": (
        changed(Settlement, 2, done={"forward": 1, "backward": 1}, begun=2),
        "marks",
    ),
    "steps fell": (changed(Settlement, 2, steps=0), "marks"),
    "a final mark is not final any more": (
        added(settled(A, "pod-1", 1030, 1050)),
        "marks",
    ),
    "more is done than was begun": (changed(Settlement, 0, begun=1), "bounds"),
    "an attempt is opened twice": (
        added(attempt(A, "pod-1", "", "Started")),
        "attempts",
    ),
    "an attempt continues one that never was": (
        changed(AttemptOpened, 2, predecessor="pod-x"),
        "attempts",
    ),
    "a threshold was raised": (changed(TermsSet, limit="34" + "0" * 21), "terms"),
    "a threshold carries another rule's name": (
        changed(TermsSet, rule="known-base"),
        "terms",
    ),
    "a warning was left out": (removed(Crossing), "verdicts owed"),
    "the hold's crossing was left out": (removed(Crossing, 2), "verdicts owed"),
    "a warning was invented": (
        added(Crossing(A, "Warn", "BudgetWarning", 80, "5000", 1330, 1370, "")),
        "crossings",
    ),
    "a crossing tells other totals": (changed(Crossing, upper=519), "crossings"),
    "a hold was softened to a warning": (
        changed(Crossing, 2, action="Warn"),
        "crossings",
    ),
    "a crossing is recorded twice": (repeated(Crossing), "crossings"),
    "a hold nobody demands": (
        added(
            HoldSet(
                A,
                "batch/v1/Job/support-sft",
                "uid-job",
                "BudgetExceeded",
                already_suspended=False,
            )
        ),
        "holds",
    ),
    "a hold for another reason": (
        changed(HoldSet, reason="ThresholdApproached"),
        "holds",
    ),
    "a hold is set twice": (repeated(HoldSet), "holds"),
    "a hold is proven that was never set": (removed(HoldSet), "holds"),
    "a hold is released that was never set": (
        added(HoldReleased(A, "uid-job", "TermsChanged")),
        "holds",
    ),
    "the overshoot was lowered": (changed(HoldProven, overshoot=0), "overshoot"),
    "the total at the proof was lowered": (
        changed(HoldProven, upper=1000),
        "overshoot",
    ),
    "a run takes another one's UID": (
        added(settled(RunRef(A.uid, "ml", "elsewhere"), "pod-9", 1, 1)),
        "runs",
    ),
}


@pytest.mark.parametrize(("forge", "check"), FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forger_with_the_key_contradicts_himself(forge: Rewrite, check: str) -> None:
    """With bytes, tree and signature in order, the replay still finds what is wrong."""
    report = verified(exported(renumbered(forge(list(STORY)))), KEY.verifier.text)
    found = outcomes(report)

    assert check in found
    assert not {"format", "leaves", "order", "signature", "root"} & set(found)
    assert report.exit_code == 1


def test_terms_beyond_this_version_are_not_judged() -> None:
    """A policy that this version does not know leaves it unproven, not wrong."""
    event = replace(terms(A, 9), terms=replace(terms(A, 9).terms, policy="2031"))
    report = verified(exported(entries([Commit(0, (event,))])))

    assert outcomes(report) == {"terms": "incomplete"}
    assert report.exit_code == 2


def test_findings_are_counted_not_piled_up() -> None:
    """A file with a thousand contradictions gives one sentence, and their number."""
    events = tuple(settled(A, "pod-1", 10_000 - n, 10_000 - n) for n in range(1000))
    report = verified(exported(entries([Commit(0, events)])))
    told = {check.name: check.message for check in report.checks}["marks"]

    assert told.endswith("(and 998 more).")
    assert "entry 1:" in told.lower()


def test_misnumbered_entries_are_found() -> None:
    """An entry's own number has to be its place, whatever the tree says."""
    moved = [replace(entry, index=entry.index + 1) for entry in STORY]

    assert outcomes(verified(exported(moved))) == {"order": "mismatch"}


def test_an_export_is_read_as_it_was_written() -> None:
    """A report takes entries, origin, key and head from the file."""
    contents = read(lines_of(io.BytesIO(GOOD)))

    assert list(contents.entries) == STORY
    assert contents.header.origin == KEY.name
    assert contents.header.vkey == KEY.verifier.text
    assert contents.note.startswith(f"{KEY.name}\n{len(STORY)}\n")


@pytest.mark.parametrize("data", [b"", b"{}\n", GOOD[:-7], GOOD + b"x"])
def test_reading_a_broken_export_is_one_error(data: bytes) -> None:
    """A report refuses what is no export."""
    with pytest.raises(LedgerError):
        read(lines_of(io.BytesIO(data)))


def test_the_leaves_of_an_export_are_the_bytes_that_are_hashed() -> None:
    """A line of an export, less its line feed, is a leaf."""
    assert LINES[1:-1] == [encode(entry) + b"\n" for entry in STORY]
