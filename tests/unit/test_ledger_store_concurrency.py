"""Does the store stay whole beside other threads, writers, readers, and when killed?"""

import io
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.store import SqliteStore, export_file
from flopguard_operator.ledger.verify import verify_lines
from standins.ledgers import AT, assert_whole, tell
from vectors.ledger_story import KEY, A, B, settled


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger is to be."""
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """Return an empty store."""
    with closing(SqliteStore(path, KEY)) as empty:
        yield empty


def test_the_store_belongs_to_one_thread(store: SqliteStore) -> None:
    """Use from another thread is a mistake that shows at once."""
    caught: list[Exception] = []

    def use() -> None:
        try:
            store.load()
        except sqlite3.ProgrammingError as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(10)

    assert len(caught) == 1
    assert "thread" in str(caught[0])


def test_a_second_writer_is_noticed(store: SqliteStore, path: Path) -> None:
    """Two operators on one file never fork the tree: the slower one is refused."""
    with closing(SqliteStore(path, KEY)) as other:
        other.commit([settled(B, "pod-b", 1, 1)], [], AT)
        with pytest.raises(LedgerError, match="run one operator only"):
            store.commit([settled(A, "pod-1", 1, 1)], [], AT)

        assert_whole(other)


def test_an_export_of_a_live_ledger_is_one_moment_of_it(
    store: SqliteStore, path: Path
) -> None:
    """A reader gets a whole ledger while the operator goes on writing."""
    tell(store)

    class Interrupted(io.BytesIO):
        """A slow reader: the operator commits between two of its lines."""

        def write(self, data: Any, /) -> int:
            store.commit([settled(B, "pod-b", 12, 12, final=True)], [], AT)
            return super().write(data)

    out = Interrupted()
    size = store.head.size
    export_file(path, out)
    report = verify_lines(lines_of(io.BytesIO(out.getvalue())), check_signature)

    assert report.exit_code == 0
    assert report.size <= size + 1 < store.head.size


WRITER = """
    import sys
    from pathlib import Path
    from flopguard_operator.ledger import keys
    from flopguard_operator.ledger.entries import RunRef, Settlement
    from flopguard_operator.ledger.store import SqliteStore

    key = keys.from_raw(sys.argv[2], bytes(range(32)))
    store = SqliteStore(Path(sys.argv[1]), key)
    run = RunRef("uid-a", "ml", "support-sft")
    count = sum(1 for _ in store.load().entries)
    while True:
        count += 1
        done = {"forward": count * 10**20}
        event = Settlement(run, "pod-1", done, count * 10**20, 1, 1, "sidecar", False)
        head = store.commit([event], [], "2026-11-22T00:20:00.000Z")
        print(head.size, head.root_base64, flush=True)
"""


def test_a_killed_writer_leaves_marks_and_leaves_alike(path: Path) -> None:
    """I1 and I6: SIGKILL at any instant; what was told before is still there."""
    told: list[str] = []
    for kill_after in (1, 5, 23, 60):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), KEY.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told += [writer.stdout.readline() for _ in range(kill_after)]
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.readlines()
        with closing(SqliteStore(path, KEY)) as store:
            whole_lines = [line.split() for line in told if line.endswith("\n")]
            size, root = whole_lines[-1]

            assert store.head.size in (int(size), int(size) + 1)
            if store.head.size == int(size):
                assert store.head.root_base64 == root
            assert_whole(store)
    assert len(told) >= 89
