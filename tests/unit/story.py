"""A ledger's story for the tests of reports and the command line.

One run is warned, held at its budget, proven, released by a raised budget, resumed in a
second pod and ended. Crossings come from the policy itself, so the story verifies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from flopguard_operator.ledger.accounts import Account, apply, due, totals
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Entry,
    Event,
    HoldProven,
    HoldReleased,
    HoldSet,
    RunRef,
    Settlement,
    TermsSet,
)
from flopguard_operator.ledger.keys import SigningKey
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.policy.checks import evaluate
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.terms import Approach, BaseModel, Budget, Terms

RUN = RunRef("5d1f6f0e-0000-4000-8000-000000000001", "ml", "support-sft")
JOB = "batch/v1/Job/support-sft"
JOB_UID = "0b6f3c1e-0000-4000-8000-00000000000a"
BUDGET = 10**22
BASE = BaseModel("meta-llama/Llama-3.1-70B", 8 * 10**24, "model card, table 2")
TERMS = Terms(base=BASE, budget=Budget(max_flops=BUDGET), approach=Approach())
RAISED = replace(TERMS, budget=Budget(max_flops=2 * BUDGET))


def terms_set(terms: Terms, generation: int = 1, run: RunRef = RUN) -> TermsSet:
    """Return the entry with which a run begins to be judged by `terms`."""
    threshold = governing(terms.base, terms.policy)
    return TermsSet(
        run=run,
        generation=generation,
        program="support-bot",
        workload=JOB,
        terms=terms,
        limit=str(threshold.limit),
        rule=threshold.rule,
        citation=threshold.citation,
    )


def opened(
    stream: str, pod: str, cause: str, predecessor: str = "", run: RunRef = RUN
) -> AttemptOpened:
    """Return the entry of a pod that started to count."""
    return AttemptOpened(run, stream, pod, JOB_UID, predecessor, cause)


def settled(stream: str, flops: int, begun: int, **more: bool) -> Settlement:
    """Return a mark of `flops` in the ratio of a LoRA step with recomputation."""
    forward, backward = flops * 3 // 10, flops * 4 // 10
    done = {"forward": forward, "backward": backward, "no_grad": 0, "optimizer": 1000}
    done["recompute"] = flops - forward - backward - 1000
    final = more.get("final", False)
    source = "pod-status" if final else "prometheus"
    return Settlement(RUN, stream, done, begun, flops // 10**18, 1, source, final)


def whole_story() -> tuple[Entry, ...]:
    """Return the entries of the run's whole life."""
    return entries(whole_events())


def whole_events() -> list[Event]:
    """Return what happened to the run, without the crossings."""
    first, second = "stream-1", "stream-2"
    end = settled(first, 10_150 * 10**18, 10_200 * 10**18, final=True)
    overshoot = 200 * 10**18
    return [
        terms_set(TERMS),
        opened(first, "support-sft-x7k2p", "Started"),
        settled(first, 2_000 * 10**18, 2_100 * 10**18),
        settled(first, 5_100 * 10**18, 5_200 * 10**18),
        settled(first, 9_900 * 10**18, 10_010 * 10**18),
        HoldSet(RUN, JOB, JOB_UID, "BudgetExceeded", already_suspended=False),
        end,
        HoldProven(RUN, JOB_UID, 10_200 * 10**18, overshoot, 31_250),
        terms_set(RAISED, 2),
        HoldReleased(RUN, JOB_UID, "the budget was raised to 2e22 FLOPs"),
        opened(second, "support-sft-m4q8z", "Resumed", first),
        settled(second, 3_000 * 10**18, 3_000 * 10**18, final=True),
    ]


def held_story() -> tuple[Entry, ...]:
    """Return the entries up to and with the hold; nothing is proven yet."""
    story = whole_story()
    at = next(n for n, e in enumerate(story) if isinstance(e.event, HoldSet))
    return story[: at + 1]


def entries(events: Sequence[Event]) -> tuple[Entry, ...]:
    """Return events as entries, each crossing in its place."""
    flat = [(at, event) for at, together in commits(events) for event in together]
    return tuple(Entry(index, at, event) for index, (at, event) in enumerate(flat))


def commits(events: Sequence[Event]) -> Iterator[tuple[str, list[Event]]]:
    """Yield times, a minute apart, with an event and the crossings that it demands.

    What has one time was committed in one transaction, as the operator does it.
    """
    account = Account(events[0].run) if events else None
    for minute, event in enumerate(events):
        account = apply(account or Account(event.run), event)
        together = [event]
        if account.terms_set is not None:
            verdicts = evaluate(account.terms_set.terms, totals(account))
            for crossing in tuple(due(account, verdicts)):
                account = apply(account, crossing)
                together.append(crossing)
        yield f"2026-11-22T{minute // 60:02d}:{minute % 60:02d}:00.000Z", together


def write_ledger(path: Path, key: SigningKey) -> None:
    """Write the run's whole life into a real store, commit by commit."""
    store = SqliteStore(path, key)
    for at, together in commits(whole_events()):
        store.commit(together, [], at)
    store.close()
