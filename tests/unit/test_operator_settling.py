"""What new marks mean: attempts and their causes, settlements, order of entries."""

from dataclasses import replace

import pytest

from flopguard_operator.ledger.accounts import Account, apply
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    Event,
    HoldReleased,
    HoldSet,
    RunRef,
    Settlement,
    TermsSet,
)
from flopguard_operator.marks import Mark
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.observed import pod
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.terms import Budget, Terms
from flopguard_operator.settling import RunView, plan
from standins import objects

REF = RunRef("run-1", "ml", "sft")
TERMS = Terms(budget=Budget(max_flops=1000, warn_at_percent=(50,)))


def view(*pods: tuple[str, str, bool]) -> RunView:
    """Return the run with pods given as (UID, Job UID, ended)."""
    return RunView(
        ref=REF,
        generation=1,
        program="",
        workload="batch/v1/Job/train",
        terms=TERMS,
        governing=governing(TERMS.base, TERMS.policy),
        jobs=(),
        pods=tuple(pod(objects.pod(u, job_uid=j, ended=e)) for u, j, e in pods),
    )


def mark(stream: str, flops: int, begun: int | None = None) -> Mark:
    """Return a mark of forward FLOPs."""
    done = {**dict.fromkeys(CATEGORIES, 0), "forward": flops}
    return Mark(stream, done, flops if begun is None else begun)


def after(account: Account, events: tuple[Event, ...]) -> Account:
    """Return the account with events applied."""
    for event in events:
        account = apply(account, event)
    return account


def attempts(account: Account, seen: RunView) -> list[tuple[str, str]]:
    """Return (cause, predecessor) of the attempts that a cycle opens."""
    marks = {one.uid: mark(one.uid, 1) for one in seen.pods}
    events = plan(seen, account, marks, settle_due=False).events
    return [(e.cause, e.predecessor) for e in events if isinstance(e, AttemptOpened)]


def opened(*streams: tuple[str, str]) -> Account:
    """Return an account with attempts of (pod UID, Job UID)."""
    account = Account(REF)
    for stream, job_uid in streams:
        event = AttemptOpened(REF, stream, stream, job_uid, "", "Started")
        account = apply(account, event)
    return account


@pytest.mark.parametrize(
    ("account", "pods", "expected"),
    [
        (opened(), [("a", "j", False)], [("Started", "")]),
        (
            opened(),
            [("a", "j", False), ("b", "j", False)],
            [("Started", ""), ("Parallel", "")],
        ),
        (opened(("a", "j")), [("a", "j", True), ("b", "j", False)], [("Retried", "a")]),
        (opened(("a", "j")), [("b", "k", False)], [("Recreated", "a")]),
        (
            replace(opened(("a", "j")), attempts_at_release=1),
            [("b", "j", False)],
            [("Resumed", "a")],
        ),
    ],
    ids=[
        "the first pod starts the run",
        "a second pod beside a running one is parallel",
        "a pod after an ended one of the same Job is a retry",
        "a pod of another Job recreates",
        "a pod after a release resumes",
    ],
)
def test_each_stream_has_a_cause_and_a_predecessor(
    account: Account, pods: list[tuple[str, str, bool]], expected: list[tuple[str, str]]
) -> None:
    """A stream continues at most one earlier stream, and only one that has ended."""
    assert attempts(account, view(*pods)) == expected


def test_terms_come_first_and_only_once() -> None:
    """A replay needs the terms before it can judge; only a change repeats them."""
    first = plan(view(), Account(REF), {}, settle_due=False).events
    again = plan(view(), after(Account(REF), first), {}, settle_due=False).events

    assert [type(e) for e in first] == [TermsSet]
    assert again == ()


def test_a_crossing_settles_every_stream_before_it() -> None:
    """The verdict can be replayed from the entries in front of it."""
    seen = view(("a", "j", False), ("b", "j", False))
    marks = {"a": mark("a", 300), "b": mark("b", 300)}

    kinds = [type(e) for e in plan(seen, Account(REF), marks, settle_due=False).events]

    assert kinds == [
        TermsSet,
        AttemptOpened,
        AttemptOpened,
        Settlement,
        Settlement,
        Crossing,
    ]


def test_nothing_is_settled_before_its_time() -> None:
    """Between two settlements the high-water marks are enough."""
    seen = view(("a", "j", False))

    events = plan(seen, Account(REF), {"a": mark("a", 3)}, settle_due=False).events

    assert not any(isinstance(e, Settlement) for e in events)


def test_a_settled_mark_is_not_settled_again() -> None:
    """An entry that says nothing new is not written."""
    seen, marks = view(("a", "j", False)), {"a": mark("a", 3)}
    account = after(
        Account(REF), plan(seen, Account(REF), marks, settle_due=True).events
    )

    assert plan(seen, account, marks, settle_due=True).events == ()


def test_verdicts_are_judged_on_what_may_have_been_executed() -> None:
    """Work that was begun and never reported done counts against the budget."""
    seen = view(("a", "j", False))

    decided = plan(seen, Account(REF), {"a": mark("a", 1, 1000)}, settle_due=False)

    assert decided.hold is not None
    assert decided.totals.measured == 1


def test_a_run_that_must_not_be_held_is_released() -> None:
    """A deleted run with onDelete Release lets its workload go, spent or not."""
    held = apply(Account(REF), HoldSet(REF, "w", "j", "BudgetExceeded", False))  # noqa: FBT003 - a field
    seen = replace(view(("a", "j", True)), release_because="RunDeleted")

    events = plan(seen, held, {"a": mark("a", 5000)}, settle_due=False).events

    (released,) = [e for e in events if isinstance(e, HoldReleased)]
    assert released.reason == "RunDeleted"
