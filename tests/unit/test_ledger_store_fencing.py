"""Two operators on one file, of which one is stopped and comes back: nothing stale."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from flopguard_operator.ledger.accounts import fold
from flopguard_operator.ledger.entries import EpochOpened
from flopguard_operator.ledger.store import SqliteStore
from standins.ledgers import AT, assert_whole
from vectors.ledger_story import KEY, B, settled

LIMIT_SECONDS = 60.0
TRIALS = 6
LEADER = """
    import sys
    from pathlib import Path
    from flopguard_operator.ledger import keys
    from flopguard_operator.ledger.entries import RunRef, Settlement
    from flopguard_operator.ledger.errors import FencedError, LedgerUnavailableError
    from flopguard_operator.ledger.store import SqliteStore

    at = "2026-11-22T00:20:00.000Z"
    store = SqliteStore(Path(sys.argv[1]), keys.from_raw(sys.argv[2], bytes(range(32))))
    epoch = store.claim("leader", "0.1.0", at)
    run, count = RunRef("uid-a", "ml", "support-sft"), epoch * 1_000_000
    while True:
        count += 1
        done = {"forward": count}
        event = Settlement(run, "pod-1", done, count, 1, 1, "sidecar", False)
        try:
            store.commit([event], [], at)
        except FencedError:
            print("fenced", flush=True)
            raise SystemExit(7)
        except LedgerUnavailableError:
            continue  # the other one is in the middle of a transaction
        print(count, flush=True)
"""


@contextmanager
def leader(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run an operator that appends as fast as it can, in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(LEADER), str(path), KEY.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_paused_leader_appends_nothing_when_it_comes_back(tmp_path: Path) -> None:
    """SIGSTOP at any instant, another takes over and writes, SIGCONT."""
    path = tmp_path / "ledger.db"
    last = 0
    for trial in range(TRIALS):
        with leader(path) as old:
            assert old.stdout is not None
            told = [int(old.stdout.readline()) for _ in range(1 + trial * 3 % 7)]
            old.send_signal(signal.SIGSTOP)
            os.waitpid(old.pid, os.WUNTRACED)  # it has stopped
            with closing(taken_over(path, old)) as store:
                size = store.head.size
                old.send_signal(signal.SIGCONT)
                rest = old.stdout.read().split()
                store.commit([settled(B, f"successor-{trial}", 2, 2)], [], AT)
                assert old.wait(20) == 7
                assert rest[-1] == "fenced"
                # What it had committed before it was stopped it may say afterwards.
                last = max([last, *told, *map(int, rest[:-1])])

                assert store.head.size == size + 1
                assert_whole(store)
                accounts = fold(store.load().entries)
                assert accounts["uid-a"].streams["pod-1"].measured >= last
    with closing(SqliteStore(path, KEY)) as store:
        entries = [entry.event for entry in store.load().entries]
        epochs = [e.epoch for e in entries if isinstance(e, EpochOpened)]
    stale = stale_entries(entries)

    assert epochs == list(range(1, 2 * TRIALS + 1))
    assert stale == []


def taken_over(path: Path, old: "subprocess.Popen[str]") -> SqliteStore:
    """Take the ledger over; a leader stopped in a transaction holds SQLite's lock."""
    end = time.monotonic() + LIMIT_SECONDS
    retry = 0
    while is_locked(path):
        # Nobody can write now, so nothing stale either: let it end what it is at, and
        # stop it somewhere else: a fast disk is nearly always in a transaction.
        assert time.monotonic() < end, "the leader was always in a transaction"
        old.send_signal(signal.SIGCONT)
        assert old.stdout is not None
        old.stdout.readline()
        time.sleep(0.0001 * (retry * 7 % 31))
        old.send_signal(signal.SIGSTOP)
        os.waitpid(old.pid, os.WUNTRACED)
        retry += 1
    store = SqliteStore(path, KEY)
    store.claim("successor", "0.1.0", AT)
    return store


def is_locked(path: Path) -> bool:
    """Say whether somebody is in a transaction that writes; waits for nobody."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
    return False


def stale_entries(events: Sequence[object]) -> list[tuple[int, object]]:
    """Return what the leader wrote after its successor's first entry."""
    epoch, holder = 0, ""
    stale: list[tuple[int, object]] = []
    for event in events:
        if isinstance(event, EpochOpened):
            epoch, holder = event.epoch, event.holder
        elif getattr(event, "stream", "") == "pod-1" and holder != "leader":
            stale.append((epoch, event))
    return stale
