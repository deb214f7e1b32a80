"""Tell the story of two runs as ledger entries, as an honest operator writes them.

Run A has a budget of 1,000 FLOPs: it is warned at 50, 80 and 95 %, held above 100 %,
proven at 1,050, released by a budget of 5,000, and resumed. Run B has no budget and
just counts. Tests take this ledger, and change it.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from flopguard_operator.ledger import note, tree
from flopguard_operator.ledger.accounts import Account, apply, due, totals
from flopguard_operator.ledger.encoding import encode
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
from flopguard_operator.ledger.export import (
    Header,
    head_line,
    header_line,
    leaf_line,
)
from flopguard_operator.ledger.keys import SigningKey, from_raw
from flopguard_operator.policy.checks import evaluate, holds
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.terms import Approach, BaseModel, Budget, Terms

KEY = from_raw(note.origin("11111111-2222-3333-4444-555555555555"), bytes(range(32)))
A = RunRef(uid="uid-a", namespace="ml", name="support-sft")
B = RunRef(uid="uid-b", namespace="ml", name="other")
JOB = "uid-job"


@dataclass(frozen=True)
class Commit:
    """Events that were committed together."""

    second: int
    events: tuple[Event, ...]


def terms(run: RunRef, budget: int | None, generation: int = 1) -> TermsSet:
    """Return the terms of a run on an unknown base model."""
    base = BaseModel(name="example/base")
    threshold = governing(base)
    return TermsSet(
        run=run,
        generation=generation,
        program="support-bot",
        workload=f"batch/v1/Job/{run.name}",
        terms=Terms(
            base=base,
            budget=None if budget is None else Budget(max_flops=budget),
            approach=Approach(),
        ),
        limit=str(threshold.limit),
        rule=threshold.rule,
        citation=threshold.citation,
    )


def attempt(run: RunRef, stream: str, predecessor: str, cause: str) -> AttemptOpened:
    """Return the opening of an attempt; the pod is called like its stream."""
    return AttemptOpened(run, stream, stream, JOB, predecessor, cause)


def settled(
    run: RunRef, stream: str, done: int, begun: int, *, final: bool = False
) -> Settlement:
    """Return a settlement: a third backward, the rest forward."""
    parts = {"forward": done - done // 3, "backward": done // 3}
    return Settlement(run, stream, parts, begun, done // 100, 1, "sidecar", final)


def with_crossings(
    accounts: dict[str, Account], events: Iterable[Event]
) -> list[Event]:
    """Return the events, and after them the crossings that they make due.

    Whatever is due is due to this ledger's policy; `accounts` follows along.
    """
    written: list[Event] = []
    for event in events:
        account = accounts.get(event.run.uid, Account(event.run))
        accounts[event.run.uid] = apply(account, event)
        written.append(event)
    for uid in dict.fromkeys(event.run.uid for event in events):
        account = accounts[uid]
        if account.terms_set is not None:
            verdicts = evaluate(account.terms_set.terms, totals(account))
            crossings = list(due(account, verdicts))
            for crossing in crossings:
                account = apply(account, crossing)
            accounts[uid] = account
            written += crossings
    return written


def story() -> list[Commit]:
    """Return the story, commit by commit."""
    accounts: dict[str, Account] = {}
    plain: list[list[Event]] = [
        [terms(A, 1000), attempt(A, "pod-1", "", "Started")],
        [terms(B, None), attempt(B, "pod-b", "", "Started")],
        [settled(A, "pod-1", 500, 520), settled(B, "pod-b", 7, 7)],
        [settled(A, "pod-1", 800, 810)],
        [settled(A, "pod-1", 1010, 1040), settled(B, "pod-b", 9, 10)],
        [settled(A, "pod-1", 1030, 1050, final=True)],
        [terms(A, 5000, generation=2)],
        [
            attempt(A, "pod-2", "pod-1", "Resumed"),
            settled(A, "pod-2", 300, 320),
            settled(B, "pod-b", 11, 11, final=True),
        ],
    ]
    commits = []
    for second, events in enumerate(plain):
        written = with_crossings(accounts, events)
        for event in _holding(accounts[A.uid]):
            accounts[A.uid] = apply(accounts[A.uid], event)
            written.append(event)
        commits.append(Commit(second, tuple(written)))
    return commits


def _holding(account: Account) -> Iterator[Event]:
    """Yield what an operator does about the hold of run A."""
    if account.terms_set is None:
        return
    total = totals(account)
    demanded = holds(evaluate(account.terms_set.terms, total))
    if demanded is not None and account.hold is None:
        workload = account.terms_set.workload
        yield HoldSet(A, workload, JOB, demanded.reason, already_suspended=False)
    elif demanded is None and account.hold is not None:
        yield HoldReleased(A, JOB, "TermsChanged")
    elif demanded is not None and account.streams["pod-1"].final:
        over = total.upper - int(demanded.limit)
        yield HoldProven(A, JOB, total.upper, over, milliseconds=2500)


def entries(commits: Sequence[Commit]) -> list[Entry]:
    """Return the entries of the commits, numbered and with their times."""
    return [
        Entry(index, f"2026-11-22T00:00:{second:02d}.000Z", event)
        for index, (second, event) in enumerate(
            (commit.second, event) for commit in commits for event in commit.events
        )
    ]


def exported(written: Sequence[Entry], key: SigningKey = KEY) -> bytes:
    """Return an export of entries with an honest tree and signature over them."""
    return exported_leaves([encode(entry) for entry in written], key)


def exported_leaves(leaves: Sequence[bytes], key: SigningKey = KEY) -> bytes:
    """Return an export of any leaves with an honest tree and signature over them."""
    frontier = tree.extend(tree.Frontier(), map(tree.leaf_hash, leaves))
    head = note.Head(key.name, frontier.size, tree.root(frontier))
    out = io.BytesIO()
    out.write(header_line(Header(key.name, key.verifier.text)))
    out.writelines(leaf_line(leaf) for leaf in leaves)
    out.write(head_line(note.sign_head(head, key.verifier, key.sign)))
    return out.getvalue()


def renumbered(written: Iterable[Entry]) -> list[Entry]:
    """Return the entries numbered anew, as a forger who holds the key would."""
    return [replace(entry, index=index) for index, entry in enumerate(written)]
