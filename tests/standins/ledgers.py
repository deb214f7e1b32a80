"""A ledger's store for tests: filled with the story, and checked as a whole."""

import io

from flopguard_operator.ledger.accounts import fold
from flopguard_operator.ledger.encoding import encode_mark
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.store import Store
from flopguard_operator.ledger.verify import verify_lines
from vectors.ledger_story import story

AT = "2026-11-22T00:20:00.000Z"


def tell(store: Store) -> None:
    """Commit the whole story."""
    for commit in story():
        store.commit(commit.events, [], f"2026-11-22T00:00:{commit.second:02d}.000Z")


def assert_whole(store: Store) -> None:
    """Check that the store verifies, and that marks and leaves say the same."""
    out = io.BytesIO()
    store.export(out)
    report = verify_lines(lines_of(io.BytesIO(out.getvalue())), check_signature)
    wrong = [check for check in report.checks if check.outcome != "ok"]
    loaded = store.load()
    accounts = fold(loaded.entries)
    settled_marks = {
        run: {s: encode_mark(m) for s, m in account.streams.items()}
        for run, account in accounts.items()
        if account.streams
    }
    marks = {
        run: {s: encode_mark(m) for s, m in streams.items()}
        for run, streams in loaded.marks.items()
    }

    assert not wrong
    assert (report.size, report.root) == (store.head.size, store.head.root_base64)
    assert marks == settled_marks
