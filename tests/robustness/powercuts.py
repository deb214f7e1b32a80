"""Power cuts and I/O errors under the ledger's real store, one seed a trial.

Each trial is three lives of one ledger on one disk: commits of a few marks and entries,
until the power fails at a change of the disk that chance chose. Whatever `commit`
returned must be there in the next life, under a head that extends the one it returned.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from flopguard_operator.ledger import keys
from flopguard_operator.ledger import store as keeping
from flopguard_operator.ledger.accounts import fold
from flopguard_operator.ledger.custody import KnownHead
from flopguard_operator.ledger.entries import RunRef, Settlement
from flopguard_operator.ledger.errors import (
    LedgerBrokenError,
    LedgerError,
    LedgerUnavailableError,
)
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.marks import Mark
from robustness.apswdb import Connection
from robustness.disk import Disk, Vfs, no_fault
from robustness.rows import Row

LIVES = 3
_MOST_CHANGES = 160
_MOST_COMMITS = 40
_CHECKPOINT_EVERY = 4  # commits; the product waits longer
EIO, FULL, SHORT, FSYNC = (
    "EIO of a write",
    "full disk",
    "short write",
    "EIO of an fsync",
)
ENDED = "the process has ended"
_RUNS = (RunRef("run-0", "ml", "a"), RunRef("run-1", "ml", "b"))
_KEY = keys.from_raw("flopguard.dev/robustness/ledger", bytes(range(32)))
_NUMBERS = itertools.count()


@dataclass
class Trial:
    """One ledger through its lives.

    Attributes:
        disk: Where it is.
        chance: Decides everything.
        synchronous: Of SQLite.
        acknowledged: FLOPs per (run UID, stream) that a commit has promised to keep.
        tried: FLOPs per (run UID, stream) that a commit was asked to keep.
        head: Size and root that a commit returned last.
        cuts: How often the power failed.
        lost: FLOPs that were acknowledged and are gone.
        twice: FLOPs that are there and were never asked for.
        refused: Whether the ledger noticed that it is not whole.
        connections: That its store has opened in this life.
    """

    disk: Disk
    chance: random.Random
    synchronous: str = "FULL"
    acknowledged: dict[tuple[str, str], int] = field(default_factory=dict)
    tried: dict[tuple[str, str], int] = field(default_factory=dict)
    head: tuple[int, bytes] | None = None
    cuts: int = 0
    lost: int = 0
    twice: int = 0
    refused: bool = False
    connections: list[Connection] = field(default_factory=list)


def power_cuts(seeds: range, synchronous: str = "FULL") -> Iterator[Row]:
    """Cut the power three times per seed; yield a row for each seed.

    With NORMAL, the control, acknowledged commits are lost: were they not, the disk
    would be too kind to show anything.
    """
    for seed in seeds:
        trial = _trial(seed, synchronous)
        with _vfs(trial.disk) as vfs:
            for _ in range(LIVES):
                _arm_cut(trial)
                _live(trial, vfs)
                trial.disk.power_cycle(trial.chance)
                trial.cuts += 1
            _look(trial, vfs)
        yield _row("power cut", trial)


def io_errors(seeds: range) -> Iterator[Row]:
    """Let one change of the disk fail per life, in one of four ways."""
    for seed in seeds:
        trial = _trial(seed)
        kind = (EIO, FULL, SHORT, FSYNC)[seed % 4]
        with _vfs(trial.disk) as vfs:
            for _ in range(LIVES):
                _arm_error(trial, kind)
                _live(trial, vfs)
                trial.disk.fault = no_fault
                trial.cuts += 1
            trial.disk.power_cycle(trial.chance)
            _look(trial, vfs)
        yield _row(kind, trial)


class _vfs:  # noqa: N801 - used as a function
    """Register a VFS for a disk, under a name of its own."""

    def __init__(self, disk: Disk) -> None:
        self.name = f"power-{next(_NUMBERS)}"
        self._vfs = Vfs(self.name, disk)

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: object) -> None:
        self._vfs.unregister()


def _trial(seed: int, synchronous: str = "FULL") -> Trial:
    chance = random.Random(seed)  # noqa: S311 # repeatable
    return Trial(Disk(), chance, synchronous)


def _row(fault: str, trial: Trial) -> Row:
    return Row(
        fault=fault,
        layer="disk",
        trials=trial.cuts,
        flops_lost=trial.lost,
        counted_twice=int(trial.twice > 0),
        undetected=int(bool(trial.lost) and not trial.refused),
    )


def _arm_cut(trial: Trial) -> None:
    at = trial.disk.changes + trial.chance.randint(1, _MOST_CHANGES)

    def fault(_kind: str) -> None:
        if trial.disk.changes >= at:
            raise apsw.IOError(ENDED)

    trial.disk.fault = fault


def _arm_error(trial: Trial, kind: str) -> None:
    """Let one change fail; of what a failed fsync was to save, nothing is left."""
    at = trial.disk.changes + trial.chance.randint(1, _MOST_CHANGES)
    failed: list[str] = []

    def fault(change: str) -> None:
        fits = change.startswith("sync") if kind == FSYNC else change == "write"
        if failed or trial.disk.changes < at or not fits:
            return
        failed.append(change)
        if kind == FSYNC:
            trial.disk.lose_unsynced(change.removeprefix("sync "))
        error = apsw.FullError if kind == FULL else apsw.IOError
        raise error(kind)

    trial.disk.fault = fault


def _ended(_kind: str) -> None:
    raise apsw.IOError(ENDED)


def _open(trial: Trial, vfs: str) -> SqliteStore:
    def connect(path: Path) -> Any:
        connection = Connection(path.name, vfs, trial.synchronous)
        trial.connections.append(connection)
        return connection

    known = [KnownHead(*trial.head)] if trial.head else []
    keeping.CHECKPOINT_EVERY = _CHECKPOINT_EVERY
    return SqliteStore(Path("ledger.db"), _KEY, known, connect)


def _live(trial: Trial, vfs: str) -> None:
    """Open the ledger and commit, as a process does that ends when the disk fails."""
    try:
        store = _open(trial, vfs)
    except (LedgerError, LedgerUnavailableError) as error:
        trial.refused |= isinstance(error, LedgerError)
        _end_process(trial)
        return
    for _ in range(_MOST_COMMITS):
        try:
            _commit(trial, store)
        except LedgerBrokenError:
            break
        except LedgerUnavailableError:
            continue  # there may be room again
        except LedgerError:
            trial.refused = True
            break
    _end_process(trial)


def _end_process(trial: Trial) -> None:
    """Close what the store has left open, as a process that ends does: unwritten."""
    trial.disk.fault = _ended
    for connection in trial.connections:
        connection.close()
    trial.connections.clear()


def _commit(trial: Trial, store: SqliteStore) -> None:
    raised = {}
    for _ in range(trial.chance.randint(1, 5)):
        run = trial.chance.choice(_RUNS)
        stream = f"{run.uid}-pod-{trial.chance.randint(0, 2)}"
        key = (run.uid, stream)
        flops = trial.tried.get(key, 0) + trial.chance.randint(1, 10**20)
        trial.tried[key] = flops
        raised[key] = (run, flops)
    marks = [
        (uid, Mark(stream, {"forward": flops}, flops))
        for (uid, stream), (_, flops) in raised.items()
    ]
    settled = trial.chance.random() < 0.5
    events = [
        Settlement(run, stream, {"forward": flops}, flops, 1, 1, "sidecar", final=False)
        for (_, stream), (run, flops) in raised.items()
        if settled
    ]
    head = store.commit(events, marks, "2026-11-22T00:00:00.000Z")
    trial.head = head.size, head.root
    for key, (_, flops) in raised.items():
        trial.acknowledged[key] = flops


def _look(trial: Trial, vfs: str) -> None:
    """Compare what is there with what was promised, and with what was asked for."""
    try:
        store = _open(trial, vfs)
        loaded = store.load()
        settled = {
            (uid, stream): mark.measured
            for uid, account in fold(loaded.entries).items()
            for stream, mark in account.streams.items()
        }
        found = {
            (uid, stream): mark.measured
            for uid, marks in loaded.marks.items()
            for stream, mark in marks.items()
        }
        store.close()
    except LedgerError:  # an acknowledged head is gone, and the store says so
        trial.refused = True
        trial.head = None
        trial.lost += sum(trial.acknowledged.values())
        return
    for key, flops in trial.acknowledged.items():
        trial.lost += max(0, flops - found.get(key, 0))
    for key, flops in [*found.items(), *settled.items()]:
        trial.twice += max(0, flops - trial.tried.get(key, 0))
