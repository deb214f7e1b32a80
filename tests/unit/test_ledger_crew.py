"""Does a verification by several processes say what one process says?"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopguard_operator.ledger import crew
from flopguard_operator.ledger.encoding import encode
from flopguard_operator.ledger.entries import Entry, Event, RunRef, Settlement
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.verify import Digest, digested, verify_lines
from flopguard_operator.naming import CATEGORIES
from vectors.ledger_story import A, B, attempt, exported_leaves, terms

STRANGER = RunRef("uid-a", "ml", "a namesake")


class StandInPool:
    """A pool that works at once, in this process: thousands of ledgers fit a test."""

    def apply_async(
        self, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> Any:
        """Return what holds the result."""
        result = function(*arguments)
        return type("Result", (), {"get": lambda _: result})()


def report(leaves: list[bytes], digest: Digest) -> Report:
    """Verify an honest tree over these leaves."""
    lines = lines_of(io.BytesIO(exported_leaves(leaves)))
    return verify_lines(lines, check_signature, digest=digest)


def leaves_of(commits: list[list[Event]]) -> list[bytes]:
    """Return the leaves of commits, a second apart."""
    timed = [
        (f"2026-11-22T00:00:{second:02d}.000Z", event)
        for second, events in enumerate(commits)
        for event in events
    ]
    return [encode(Entry(i, at, event)) for i, (at, event) in enumerate(timed)]


def rising(run: RunRef, stream: str, flops: int) -> Settlement:
    """Return a settlement with all categories."""
    done = {**dict.fromkeys(CATEGORIES, 0), "forward": flops}
    return Settlement(run, stream, done, flops + 2, flops, 1, "sidecar", final=False)


SETTLEMENT = st.builds(
    rising,
    st.sampled_from((A, A, A, B, B, STRANGER)),
    st.sampled_from(("s", "t", "\u00fc")),
    st.integers(0, 1100),
)
STEADY = st.lists(SETTLEMENT, max_size=40).map(
    lambda them: sorted(them, key=lambda event: event.steps)
)
BEGINNING: list[Event] = [
    terms(A, 1000),
    attempt(A, "s", "", "Started"),
    terms(B, None),
    attempt(B, "t", "", "Started"),
]


@given(st.lists(st.one_of(STEADY, st.lists(SETTLEMENT, max_size=9)), max_size=6))
@settings(deadline=None)
def test_both_say_the_same(commits: list[list[Event]]) -> None:
    """Marks that rise and fall, lines that are crossed, runs that nobody knows."""
    leaves = leaves_of([BEGINNING, *commits])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crew, "_BATCH", 8)
        patch.setattr(crew, "_LEAST_BATCH", 2)
        pool: Any = StandInPool()
        assert report(leaves, crew._Crew(pool, 2).digest) == report(leaves, digested)  # noqa: SLF001 - the pool is the only difference


@given(st.integers(0, 60), st.sampled_from([b"", b" ", b"9", b'"', b"x"]), st.data())
@settings(deadline=None)
def test_both_find_what_was_changed(place: int, instead: bytes, data: Any) -> None:
    """In a leaf of a long stretch, whichever it is."""
    calm: list[list[Event]] = [[rising(B, "t", count)] for count in range(58)]
    leaves = leaves_of([BEGINNING, *calm])
    where = place % len(leaves)
    at = data.draw(st.integers(0, len(leaves[where]) - 1))
    leaves[where] = leaves[where][:at] + instead + leaves[where][at + 1 :]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crew, "_BATCH", 8)
        patch.setattr(crew, "_LEAST_BATCH", 2)
        pool: Any = StandInPool()
        assert report(leaves, crew._Crew(pool, 2).digest) == report(leaves, digested)  # noqa: SLF001 - the same


def test_a_long_ledger_is_verified_by_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real ones; with a cut file the reason comes after the leaves before it."""
    monkeypatch.setattr(crew, "_BATCH", 600)
    calm: list[list[Event]] = [
        [rising(B, f"t{n}", count) for n in range(50)] for count in range(59)
    ]
    leaves = leaves_of([BEGINNING, *calm])
    data = exported_leaves(leaves)
    with crew.digesting(crew.LEAST_BYTES) as digest:
        whole = verify_lines(lines_of(io.BytesIO(data)), check_signature, "", digest)
        cut = data[: len(data) // 2]
        half = verify_lines(lines_of(io.BytesIO(cut)), check_signature, "", digest)

    assert (whole.outcome, whole.size) == ("ok", len(leaves))
    assert half == verify_lines(lines_of(io.BytesIO(cut)), check_signature)
    assert half.outcome == "incomplete"


def test_a_short_ledger_starts_no_process(tmp_path: Path) -> None:
    """It would take longer than the work."""
    with crew.digesting(tmp_path.stat().st_size) as digest:
        assert digest is digested
