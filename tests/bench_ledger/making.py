"""Make a large ledger as an operator would: a thousand runs that settle by turns."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flopguard_operator.ledger import note
from flopguard_operator.ledger.entries import AttemptOpened, Event, RunRef, Settlement
from flopguard_operator.ledger.keys import SigningKey, from_raw
from flopguard_operator.ledger.store import SqliteStore
from unit.story import TERMS, terms_set

RUNS = 1000
AT = "2026-11-22T00:20:00.000Z"
STEP = 10**15  # FLOPs between two settlements: below every line of the policy
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

Progress = Callable[[str], None]


def key() -> SigningKey:
    """Return the key of the ledgers that are timed."""
    return from_raw(note.origin("11111111-2222-3333-4444-555555555555"), bytes(32))


def run(number: int) -> RunRef:
    """Return one of the runs."""
    return RunRef(f"5d1f6f0e-0000-4000-8000-{number:012d}", "ml", f"support-{number}")


def settlement(number: int, count: int) -> Settlement:
    """Return the n-th settlement of a run, with categories as of a LoRA step."""
    flops = count * STEP
    done = {
        "forward": flops * 3 // 10,
        "backward": flops * 4 // 10,
        "recompute": flops * 3 // 10,
        "no_grad": 0,
        "optimizer": 1000 * count,
    }
    stream = f"7e0c1a52-0000-4000-8000-{number:012d}"
    begun = flops + 10**13 + 1000 * count
    return Settlement(
        run(number), stream, done, begun, count * 10, 8, "prometheus", final=False
    )


def make(path: Path, entries: int, progress: Progress) -> None:
    """Write a ledger of so many entries through the store, a thousand to a commit."""
    with closing(SqliteStore(path, key(), connect=_careless)) as store:
        first: list[Event] = []
        for number in range(RUNS):
            ref = run(number)
            stream = settlement(number, 1).stream
            attempt = AttemptOpened(ref, stream, f"{ref.name}-x", "job", "", "Started")
            first += [terms_set(TERMS, 1, ref), attempt]
        store.commit(first, [], _time(0))
        for count in range(1, (entries - 2 * RUNS) // RUNS + 1):
            events = [settlement(number, count) for number in range(RUNS)]
            store.commit(events, [], _time(count))
            if count % 100 == 0:
                progress(f"{store.head.size:,} entries")


def _time(count: int) -> str:
    moment = _BEGIN + timedelta(minutes=5 * count)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _careless(path: Path) -> sqlite3.Connection:
    """Open a file without syncs: only its making is faster, not what is in it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    return connection
