"""The fold of a ledger: maxima, totals, holds."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.ledger.accounts import (
    Account,
    apply,
    due,
    fold,
    mark_of,
    raised,
    totals,
)
from flopguard_operator.ledger.entries import Entry, Event, HoldReleased, Settlement
from flopguard_operator.marks import Mark
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy.checks import evaluate
from vectors.ledger_story import A, B, attempt, entries, settled, story, terms

AT = "2026-11-22T00:20:00.000Z"
counters = st.integers(0, 2**90)
settlements = st.builds(
    lambda stream, done, begun, steps, final: Settlement(
        A, stream, done, begun, steps, 1, "sidecar", final
    ),
    st.sampled_from(["pod-1", "pod-2", "pod-3"]),
    st.dictionaries(st.sampled_from(CATEGORIES), counters),
    counters,
    counters,
    st.booleans(),
)


def folded(events: list[Event]) -> Account:
    """Return run A's account after these events."""
    account = Account(A)
    for event in events:
        account = apply(account, event)
    return account


def counted(account: Account) -> dict[str, Any]:
    """Return everything that a count rests on; the source is told, not counted."""
    return {
        stream: (mark.done, mark.begun, mark.steps, mark.pages, mark.final)
        for stream, mark in account.streams.items()
    }


@given(st.lists(settlements, max_size=12), st.data())
def test_the_order_of_settlements_changes_nothing(
    events: list[Event], data: Any
) -> None:
    """I4: any order and any repetition of the same marks gives the same account."""
    again = data.draw(
        st.lists(st.sampled_from(events), max_size=6) if events else st.just([])
    )
    shuffled = data.draw(st.permutations([*events, *again]))

    assert counted(folded(shuffled)) == counted(folded(events))
    assert totals(folded(shuffled)) == totals(folded(events))


@given(st.lists(settlements, max_size=12), settlements)
def test_totals_never_fall(events: list[Event], one_more: Settlement) -> None:
    """I5: an entry more is never a FLOP less, and done never passes upper."""
    before, after = totals(folded(events)), totals(folded([*events, one_more]))

    assert before.measured <= after.measured <= after.upper
    assert before.upper <= after.upper


@given(st.lists(settlements, max_size=12))
def test_totals_are_the_sum_of_the_best_of_each_stream(
    events: list[Settlement],
) -> None:
    """I1 and I7: per stream and category the maximum, over the streams the sum."""
    expected = dict.fromkeys(CATEGORIES, 0)
    for category in CATEGORIES:
        for stream in {event.stream for event in events}:
            seen = [e.done.get(category, 0) for e in events if e.stream == stream]
            expected[category] += max(seen)

    assert totals(folded([*events])).done == expected


def test_the_story_folds_into_what_it_tells() -> None:
    """Two runs, one held at 1,050 of 1,000 FLOPs, proven, released and resumed."""
    accounts = fold(entries(story()))
    run_a, run_b = accounts[A.uid], accounts[B.uid]

    assert (totals(run_a).measured, totals(run_a).upper) == (1330, 1370)
    assert totals(run_b).upper == 11
    assert [attempt.cause for attempt in run_a.attempts] == ["Started", "Resumed"]
    assert [(c.action, c.percent, c.upper) for c in run_a.crossings] == [
        ("Warn", 50, 520),
        ("Warn", 80, 810),
        ("Hold", 100, 1040),
        ("Warn", 95, 1040),
    ]
    assert run_a.hold is None
    assert run_a.hold_reason == ""
    assert run_a.proven is not None
    assert run_a.proven.overshoot == 50
    assert (run_a.releases, run_a.attempts_at_release) == (1, 1)
    assert not run_b.crossings


def test_a_hold_is_what_the_last_hold_event_says() -> None:
    """Up to the release the account is held; a new hold is not proven yet."""
    written = entries(story())
    release = next(e.index for e in written if isinstance(e.event, HoldReleased))
    held = fold(written[:release])[A.uid]
    assert held.hold is not None
    again = apply(fold(written)[A.uid], held.hold)

    assert held.hold_reason == "BudgetExceeded"
    assert held.proven is not None
    assert again.hold is held.hold
    assert again.proven is None


def test_what_is_due_is_due_once() -> None:
    """A verdict that is recorded is not recorded again; a raised budget's is."""
    account = folded([terms(A, 1000), settled(A, "pod-1", 600, 600)])
    assert account.terms_set is not None
    verdicts = evaluate(account.terms_set.terms, totals(account))
    first = list(due(account, verdicts))
    for crossing in first:
        account = apply(account, crossing)
    raised = apply(account, terms(A, 1001, generation=2))
    assert raised.terms_set is not None
    new = evaluate(raised.terms_set.terms, totals(raised))

    assert [(c.percent, c.limit, c.measured) for c in first] == [(50, "1000", 600)]
    assert not list(due(account, verdicts))
    assert [c.limit for c in due(raised, new)] == ["1001"]


def test_marks_are_observed_like_settlements() -> None:
    """The live state takes marks by the rule by which the ledger takes settlements."""
    event = settled(A, "pod-1", 9, 10, final=True)

    assert raised(Account(A), mark_of(event), 0) == apply(Account(A), event)
    assert mark_of(event).final


@pytest.mark.parametrize("begun", [0, 9], ids=["begun is missing", "begun is lower"])
def test_done_work_was_begun(begun: int) -> None:
    """`upper` covers what is done, also when a reading lacks what was begun."""
    mark = Mark("pod-1", {"forward": 10}, begun)
    account = raised(Account(A), mark, 0)

    assert totals(account).upper == 10


def test_what_one_stream_lacks_another_does_not_hide() -> None:
    """Each stream's upper bound counts for itself, also before marks are merged."""
    marks = {"a": Mark("a", {"forward": 10}, 0), "b": Mark("b", {}, 10)}

    assert totals(replace(Account(A), streams=marks)).upper == 20


def test_runs_are_told_apart_by_uid() -> None:
    """A run that was deleted and made again under its name begins at nothing."""
    again = type(A)(uid="uid-new", namespace=A.namespace, name=A.name)
    events: list[Event] = [
        settled(A, "pod-1", 9, 9),
        attempt(again, "pod-9", "", "Started"),
    ]
    accounts = fold(Entry(index, AT, event) for index, event in enumerate(events))

    assert totals(accounts["uid-a"]).upper == 9
    assert totals(accounts["uid-new"]).upper == 0
