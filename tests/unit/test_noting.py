"""What a process says of itself and goes into the ledger: once, bounded, in order."""

from dataclasses import replace
from typing import Any

import pytest

from flopguard_operator import noting
from flopguard_operator.books import refuse_unfit
from flopguard_operator.ledger.accounts import Account, apply
from flopguard_operator.ledger.entries import (
    Event,
    FactChanged,
    FactsNoted,
    RunRef,
    WeightsSaved,
)
from flopguard_operator.marks import Mark
from flopguard_operator.noting import Noting
from flopguard_operator.processes import Process
from standins.told import STEP_FLOPS, facts, process

RUN = RunRef("run-1", "ml", "sft")


def take(account: Account, *events: Event) -> Account:
    """Return the account after the events."""
    for event in events:
        account = apply(account, event)
    return account


def noted(
    account: Account, *found: Process, final: bool = False, due: bool = False
) -> list[FactsNoted]:
    """Return the facts that are entered for these processes."""
    marks = {p.stream: Mark(p.stream, final=final) for p in found}
    return list(Noting(RUN, account, marks, found).facts(due=due))


def test_the_facts_of_equal_workers_are_entered_once() -> None:
    """Eight pods of one Job tell the same; each has counters of its own."""
    first, second = process(2), process(2, stream="pod-2", nonce="b" * 32)

    (entry,) = noted(Account(RUN), first, second)

    assert (entry.stream, entry.whole, entry.steps) == ("pod-1", True, 2)
    assert entry.facts == first.texts.lasting
    assert noted(take(Account(RUN), entry), first, second) == []


def test_the_last_counters_follow_when_the_pod_has_ended() -> None:
    """They refer to the facts by digest, once for each process."""
    account = take(Account(RUN), *noted(Account(RUN), process(2)))

    (last,) = noted(account, process(9), final=True)

    assert (last.facts, last.steps) == ("", 9)
    assert last.counters == process(9).texts.growing
    assert noted(take(account, last), process(9), final=True) == []


@pytest.mark.parametrize(
    ("steps", "due", "entries"),
    [(0, False, 0), (1, False, 0), (2, False, 1), (0, True, 1)],
)
def test_facts_wait_until_they_are_complete(
    steps: int, entries: int, *, due: bool
) -> None:
    """Optimizer and accumulation are known after a step; without steps, in time."""
    assert len(noted(Account(RUN), process(steps), due=due)) == entries


def test_a_process_cannot_fill_the_ledger_with_facts() -> None:
    """It tells something else each time."""
    account = Account(RUN)
    for number in range(noting.MOST_FACTS + 9):
        told = process(2, told=facts(2, precision=str(number)))
        account = take(account, *noted(account, told))

    assert len(account.digests) == noting.MOST_FACTS


def test_the_longest_facts_fit_an_entry() -> None:
    """What a tenant writes must not keep the run's other entries out of the ledger."""
    quotes = chr(92) * 200
    told = facts(2, dataset=[quotes] * 32, replay=[quotes] * 32)
    (entry,) = noted(Account(RUN), process(2, told=told))

    assert min(len(entry.facts), len(entry.counters)) > 10_000
    refuse_unfit([replace(entry, run=RunRef("u" * 63, "n" * 63, "r" * 253))])


def changed(**more: Any) -> Process:
    """Return a process whose adapter changed at step 7."""
    event: dict[str, Any] = {
        "fact": "models[0].adapter",
        "before": None,
        "after": {"rank": 8},
    }
    event |= {"step": 7, "flops": "70"} | more
    return process(9, told=facts(9, events=[event]))


def test_a_change_is_entered_once_for_a_pod() -> None:
    """With the FLOPs at which it happened, whichever of its processes told it."""
    both = (changed(), replace(changed(), nonce="c" * 32))

    (entry,) = Noting(RUN, Account(RUN), {}, both).changes()

    assert entry == FactChanged(
        run=RUN,
        stream="pod-1",
        process=both[0].nonce,
        fact="models[0].adapter",
        before="null",
        after='{"rank":8}',
        step=7,
        flops=70,
    )
    assert Noting(RUN, take(Account(RUN), entry), {}, both).changes() == ()


def saver(*saves: dict[str, Any], made: int = 30) -> Process:
    """Return a process of so many steps that saved weights."""
    return process(made, told=facts(made, saves=list(saves)))


def save(step: int, **more: Any) -> dict[str, Any]:
    """Return what the facts say of weights saved at a step."""
    flops = str(step * STEP_FLOPS)
    return {
        "path": f"/out/{step}",
        "step": step,
        "flops": flops,
        "kind": "torch",
    } | more


def saved(account: Account, *found: Process, upper: int) -> list[WeightsSaved]:
    """Return the saved weights that are entered for these processes."""
    return list(Noting(RUN, account, {}, found).saves(upper))


def test_saved_weights_carry_what_the_run_had_spent_at_most() -> None:
    """Another worker's FLOPs count whole: nobody knows how far it was."""
    entries = saved(Account(RUN), saver(save(20), save(10)), upper=30 * STEP_FLOPS + 5)

    assert [(e.path, e.step, e.flops, e.upper) for e in entries] == [
        ("/out/10", 10, 10 * STEP_FLOPS, 10 * STEP_FLOPS + 5),
        ("/out/20", 20, 20 * STEP_FLOPS, 20 * STEP_FLOPS + 5),
    ]
    assert saved(take(Account(RUN), *entries), saver(save(10)), upper=10**9) == []


SAVES: dict[str, tuple[list[dict[str, Any]], int, str | None]] = {
    "the last one below": ([save(10), save(20)], 15, "/out/10"),
    "the newest, while all are below": ([save(10), save(20)], 99, "/out/20"),
    "none, if all are above": ([save(20)], 20, None),
    "not what is gone": ([save(10), save(20, gone=True)], 99, "/out/10"),
    "nothing was saved": ([], 99, None),
}


@pytest.mark.parametrize(("saves", "line", "path"), SAVES.values(), ids=SAVES)
def test_the_weights_to_go_back_to(
    saves: list[dict[str, Any]], line: int, path: str | None
) -> None:
    """Below the line, still there, and the newest of those."""
    told = saver(*saves)
    account = take(Account(RUN), *saved(Account(RUN), told, upper=30 * STEP_FLOPS))

    found = noting.rollback(account, (told,), line * STEP_FLOPS)

    assert (found.path if found else None) == path


@pytest.mark.parametrize(
    "odd",
    [
        {"flops": 7},
        {"flops": "-7"},
        {"flops": "9" * 45},
        {"path": ""},
        {"path": "x" * 300},
        {"path": None},
    ],
    ids=[
        "a number",
        "below zero",
        "too long a figure",
        "no path",
        "too long a path",
        "null",
    ],
)
def test_malformed_saves_are_left_out(odd: dict[str, Any]) -> None:
    """The good ones beside them stay."""
    found = saver(save(3), save(4, **odd)).saves

    assert [one.step for one in found] == [3]
