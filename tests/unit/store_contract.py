"""What every store of the ledger has to do, whatever it is kept in.

A test module subclasses `StoreContract` and gives it a `place`: see
`test_ledger_store_contract.py`. Nothing here knows of files or of SQLite.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from flopguard_operator.ledger import keys, note
from flopguard_operator.ledger.accounts import fold
from flopguard_operator.ledger.custody import KnownHead
from flopguard_operator.ledger.documents import MAX_DOCUMENT_BYTES, digest
from flopguard_operator.ledger.entries import (
    DocumentNoted,
    Entry,
    EpochOpened,
    Event,
    HoldReleased,
    KeyRotated,
    LedgerRecovered,
)
from flopguard_operator.ledger.errors import FencedError, ForkedError, LedgerError
from flopguard_operator.ledger.export import lines_of, read
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.keys import SigningKey, check_signature
from flopguard_operator.ledger.store import Store
from flopguard_operator.ledger.tree import EMPTY_ROOT
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.marks import Mark
from standins.ledgers import AT, assert_whole, tell
from vectors.ledger_story import KEY, A, B, entries, settled, story

VERSION = "0.1.0"
NEXT = keys.from_raw(KEY.name, bytes(range(1, 33)))


class Open(Protocol):
    """Open the store of one place, made if it is absent."""

    def __call__(self, key: SigningKey = KEY, **more: Any) -> Store:
        """Open it with a key and, in `more`, `known` heads or a `successor`."""


@dataclass
class Place:
    """Where one ledger is kept during a test; its stores are closed afterwards."""

    opener: Open
    opened: list[Store] = field(default_factory=list)

    def open(self, key: SigningKey = KEY, **more: Any) -> Store:
        """Open it once more, as another process would."""
        store = self.opener(key, **more)
        self.opened.append(store)
        return store

    def close(self) -> None:
        """Close whatever was opened."""
        for store in self.opened:
            store.close()


def verified(store: Store, vkey: str = "") -> Report:
    """Verify what the store exports."""
    out = io.BytesIO()
    store.export(out)
    return verify_lines(lines_of(io.BytesIO(out.getvalue())), check_signature, vkey)


def everything(store: Store) -> list[Entry]:
    """Return all entries, as an export has them."""
    out = io.BytesIO()
    store.export(out)
    return list(read(lines_of(io.BytesIO(out.getvalue()))).entries)


class StoreContract:
    """The tests; `place` is the one thing that a subclass provides."""

    @pytest.fixture
    def place(self) -> Iterator[Place]:
        """Return where nothing is kept yet."""
        raise NotImplementedError

    def test_a_new_ledger_is_empty_and_signed(self, place: Place) -> None:
        """Before the first entry there is a head of nothing, by our key."""
        store = place.open()

        assert store.head == note.Head(KEY.name, 0, EMPTY_ROOT)
        assert store.vkey == KEY.verifier.text
        assert_whole(store)

    def test_what_was_committed_is_there_when_it_is_opened_again(
        self, place: Place
    ) -> None:
        """Entries, marks and head come back as they were."""
        store = place.open()
        tell(store)
        store.close()
        again = place.open()
        loaded = again.load()

        told = entries(story())
        assert everything(again) == told
        assert fold(loaded.entries) == fold(told)
        assert loaded.head == store.head == again.head
        assert loaded.marks[A.uid]["pod-1"].begun == 1050
        assert_whole(again)

    def test_a_commit_that_cannot_be_encoded_leaves_nothing(self, place: Place) -> None:
        """Neither the entries before it, nor marks, nor documents."""
        store, text = place.open(), b"{}"
        before = store.head
        events: list[Event] = [settled(A, "p", 1, 1), HoldReleased(A, "", "x" * 70_000)]
        with pytest.raises(LedgerError, match="bytes"):
            store.commit(
                events, [(A.uid, Mark("q", {"forward": 1}))], AT, {digest(text): text}
            )

        assert (store.head, store.load().marks) == (before, {})
        assert store.document(digest(text)) is None

    def test_marks_only_rise(self, place: Place) -> None:
        """I5: a late or replayed reading changes nothing."""
        store = place.open()
        store.commit([], [(A.uid, Mark("s", {"forward": 9, "backward": 2}, 20))], AT)
        store.commit([], [(A.uid, Mark("s", {"forward": 5, "backward": 4}, 1))], AT)
        mark = store.load().marks[A.uid]["s"]

        assert (mark.done["forward"], mark.done["backward"], mark.begun) == (9, 4, 20)

    def test_nothing_new_changes_nothing(self, place: Place) -> None:
        """The head stays, and what it covers."""
        store = place.open()
        tell(store)
        before = store.head

        assert store.commit([], [], AT) == before

    def test_figures_beyond_64_bits_are_exact(self, place: Place) -> None:
        """FLOPs pass every integer type of a database."""
        store, huge = place.open(), 10**30 + 1
        store.commit([settled(A, "pod-1", huge, huge)], [], AT)

        assert store.load().marks[A.uid]["pod-1"].measured == huge

    def test_a_document_is_kept_with_the_entry_that_names_it(
        self, place: Place
    ) -> None:
        """In one transaction, under the digest that is in the leaf; twice is once."""
        store, text = place.open(), b'{"kind":"Job"}'
        name = digest(text)
        noted = DocumentNoted(A, "Job", "sft", "u", name, len(text), "kubectl")
        for _ in range(2):
            store.commit([noted], [], AT, {name: text})
        store.close()

        assert place.open().document(name) == text
        assert place.open().document("0" * 64) is None

    def test_a_document_is_what_its_digest_says(self, place: Place) -> None:
        """Nor is it longer than an object of Kubernetes can be."""
        store, long = place.open(), bytes(MAX_DOCUMENT_BYTES + 1)
        for name, text in (("0" * 64, b"{}"), (digest(long), long)):
            with pytest.raises(LedgerError, match="a document"):
                store.commit([settled(A, "p", 1, 1)], [], AT, {name: text})

        assert store.head.size == 0

    def test_a_claim_is_an_entry_with_the_next_epoch(self, place: Place) -> None:
        """Who wrote when can be read for ever."""
        assert place.open().claim("pod-a", VERSION, AT) == 1
        store = place.open()

        assert store.claim("pod-b", VERSION, AT) == 2
        assert [entry.event for entry in everything(store)] == [
            EpochOpened(1, "pod-a", VERSION),
            EpochOpened(2, "pod-b", VERSION),
        ]
        assert verified(store).outcome == "ok"

    def test_a_writer_that_was_followed_appends_nothing(self, place: Place) -> None:
        """Neither entries nor marks nor a claim, now or after it is opened again."""
        late = place.open()
        late.claim("pod-a", VERSION, AT)
        successor = place.open()
        successor.claim("pod-b", VERSION, AT)
        tries = (
            lambda: late.commit([settled(A, "p", 1, 1)], [], AT),
            lambda: late.commit([], [(A.uid, Mark("p", {"forward": 1}))], AT),
            lambda: late.claim("pod-a", VERSION, AT),
        )
        for each in (*tries, *tries):
            with pytest.raises(FencedError, match="run one operator only"):
                each()

        assert successor.commit([settled(B, "q", 1, 1)], [], AT).size == 3
        assert list(successor.load().marks) == [B.uid]
        assert_whole(successor)

    def test_a_writer_without_a_claim_is_noticed_too(self, place: Place) -> None:
        """The head is compared and swapped: a tree is never forked."""
        late, other = place.open(), place.open()
        other.commit([settled(B, "pod-b", 1, 1)], [], AT)
        with pytest.raises(LedgerError, match="run one operator only"):
            late.commit([settled(A, "pod-1", 1, 1)], [], AT)

        assert_whole(other)

    def test_a_ledger_extends_each_of_its_heads(self, place: Place) -> None:
        """Whichever of them somebody has seen."""
        store = place.open()
        heads = [store.commit(each.events, [], AT) for each in story()]
        store.close()
        known = [KnownHead(head.size, head.root) for head in heads]
        for each in known:
            cut = KnownHead(each.size, each.root[:6])  # as a metric shows it
            assert place.open(known=[each, cut]).head == heads[-1]
        assert place.open(known=known).head == heads[-1]

    def test_a_head_that_is_not_in_it_is_named(self, place: Place) -> None:
        """An older copy, or another ledger: with the command that accepts the loss."""
        tell(place.open())
        lost = KnownHead(1000, bytes(32), "ConfigMap flopguard-ledger-head")
        with pytest.raises(ForkedError, match="in ConfigMap flopguard") as refusal:
            place.open(known=[lost])

        assert "flopguard ledger recover --head 1000:AAAA" in str(refusal.value)

    def test_a_loss_that_was_accepted_is_known_no_more(self, place: Place) -> None:
        """That head, and no other."""
        store = place.open()
        tell(store)
        lost = KnownHead(1000, bytes(32))
        root = lost.text.partition(":")[2]
        store.commit([LedgerRecovered(1000, root, "ana", "the disk died")], [], AT)
        store.close()

        assert place.open(known=[lost]).head == store.head
        with pytest.raises(ForkedError, match="1001 leaves"):
            place.open(known=[lost, KnownHead(1001, bytes(32))])

    def test_the_wrong_key_is_refused(self, place: Place) -> None:
        """A lost Secret shows at start, not at the audit."""
        tell(place.open())
        with pytest.raises(LedgerError, match="give the operator that key"):
            place.open(NEXT)

    def test_a_key_follows_another_by_an_entry(self, place: Place) -> None:
        """Its head is signed by both; from there on the new key is needed."""
        store = place.open()
        tell(store)
        before = store.head.size
        store.rotate(NEXT, "yearly", AT)
        store.commit([settled(B, "q", 12, 12)], [], AT)
        store.close()
        with pytest.raises(LedgerError, match="give the operator that key"):
            place.open()
        for again in (place.open(NEXT), place.open(KEY, successor=NEXT)):
            assert again.vkey == NEXT.verifier.text
            assert again.head.size == before + 2
        rotated = KeyRotated(KEY.verifier.text, NEXT.verifier.text, "yearly")

        assert everything(again)[before].event == rotated
        assert_whole(again)

    def test_either_key_verifies_a_ledger_with_two(self, place: Place) -> None:
        """Whoever trusts the first one is led to the second; strangers are not."""
        store = place.open()
        tell(store)
        store.rotate(NEXT, "yearly", AT)
        store.commit([settled(B, "q", 12, 12)], [], AT)
        for key in (KEY, NEXT):
            assert verified(store, key.verifier.text).outcome == "ok"
        stranger = keys.generate(KEY.name).verifier.text

        assert verified(store, stranger).outcome == "mismatch"
