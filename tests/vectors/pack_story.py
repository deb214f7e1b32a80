"""Make ledgers for evidence packs in memory: heads, counts, documents, keys."""

import hashlib
import io
import random
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from flopguard_operator.evidence import pack
from flopguard_operator.evidence.archive import write
from flopguard_operator.evidence.pack import Made, Request
from flopguard_operator.evidence.source import Source
from flopguard_operator.ledger import census, note, tree
from flopguard_operator.ledger.accounts import Account, fold
from flopguard_operator.ledger.encoding import encode
from flopguard_operator.ledger.entries import (
    NO_RUN,
    DocumentNoted,
    Entry,
    Event,
    KeyRotated,
    RunRef,
    RunsCounted,
)
from flopguard_operator.ledger.keys import SigningKey, from_raw
from vectors.ledger_story import (
    KEY,
    A,
    B,
    attempt,
    settled,
    story,
    terms,
    with_crossings,
)

VERIFIER = b"#!/usr/bin/env python3\n# stands for verify.pyz where none is run\n"
PROGRAM = "support-bot"
NEW_KEY = from_raw(KEY.name, bytes(range(32, 64)))


@dataclass
class Ledger:
    """A ledger in memory, written commit by commit."""

    key: SigningKey = KEY
    entries: list[Entry] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    documents: dict[str, bytes] = field(default_factory=dict)
    _accounts: dict[str, Account] = field(default_factory=dict)

    def commit(self, *events: Event, counted: bool = False) -> None:
        """Append events, and the count of the runs' entries if asked; sign the head."""
        at = (
            f"2026-11-22T{len(self.heads) // 60:02d}:{len(self.heads) % 60:02d}:00.000Z"
        )
        for event in events:
            self.entries.append(Entry(len(self.entries), at, event))
        if counted:
            event = census.entry(census.of(fold(self.entries)), own(self.entries))
            self.entries.append(Entry(len(self.entries), at, event))
        self.heads.append(self._signed(self.key))

    def judged(self, *events: Event, counted: bool = False) -> None:
        """Append events of runs, and the crossings that they make due."""
        self.commit(*with_crossings(self._accounts, events), counted=counted)

    def rotate(self, key: SigningKey) -> None:
        """Hand over to another key; both sign the head of that entry."""
        before, after = self.key.verifier.text, key.verifier.text
        self.commit(KeyRotated(before, after, "yearly"))
        second = self._signed(key).partition("\n\n")[2]
        self.heads[-1] += second
        self.key = key

    def noted(self, run: RunRef, kind: str, text: bytes) -> DocumentNoted:
        """Keep a document and return the event that notes it."""
        digest = hashlib.sha256(text).hexdigest()
        self.documents[digest] = text
        name = f"{run.name}-{kind.lower()}"
        return DocumentNoted(
            run, kind, name, f"uid-{name}", digest, len(text), "kubectl"
        )

    def _signed(self, key: SigningKey) -> str:
        leaves = (tree.leaf_hash(encode(entry)) for entry in self.entries)
        frontier = tree.extend(tree.Frontier(), leaves)
        head = note.Head(key.name, frontier.size, tree.root(frontier))
        return note.sign_head(head, key.verifier, key.sign)

    def source(self) -> Source:
        """Return the ledger as a pack is made of it."""
        leaves = [encode(entry) for entry in self.entries]
        vkey = self.key.verifier.text
        return Source(vkey, tuple(self.heads), lambda: iter(leaves), self.documents)


def own(entries: Iterable[Entry]) -> int:
    """Return how many entries are about the ledger itself, without counts."""
    events = (entry.event for entry in entries)
    return sum(e.run == NO_RUN and not isinstance(e, RunsCounted) for e in events)


def told(*, rotates: bool = True) -> Ledger:
    """Return the story of two runs, with documents, another program and two keys."""
    ledger = Ledger()
    for number, each in enumerate(story()):
        manifest = b'{"kind":"Job","spec":{"parallelism":%d}}' % number
        ledger.commit(*each.events, ledger.noted(A, "Job", manifest))
    if rotates:
        ledger.rotate(NEW_KEY)
    other = RunRef("uid-c", "vision", "ocr-sft")
    begin = replace(terms(other, 70), program="ocr")
    ledger.judged(begin, attempt(other, "pod-c", "", "Started"))
    ledger.judged(settled(other, "pod-c", 60, 61), counted=True)
    ledger.judged(settled(B, "pod-b", 11, 12, final=True))
    return ledger


def random_ledger(seed: int, runs: int = 12, commits: int = 40) -> Ledger:
    """Return a ledger of many runs in three programs, the same for the same seed."""
    choose = random.Random(seed)  # noqa: S311 - it has to be the same each time
    ledger = Ledger()
    refs = [RunRef(f"uid-{seed}-{n}", f"team-{n % 3}", f"run-{n}") for n in range(runs)]
    spent = dict.fromkeys(refs, 0)
    for n, ref in enumerate(refs):
        begin = replace(
            terms(ref, choose.choice([None, 900])), program=f"program-{n % 3}"
        )
        ledger.judged(begin, attempt(ref, f"pod-{n}", "", "Started"))
    for n in range(commits):
        some = choose.sample(refs, choose.randrange(1, 4))
        for ref in some:
            spent[ref] += choose.randrange(1, 60)
        events: list[Event] = [
            settled(ref, f"pod-{refs.index(ref)}", spent[ref], spent[ref] + 3)
            for ref in some
        ]
        text = b'{"kind":"Pod","spec":{"number":%d}}' % n
        events.append(ledger.noted(some[0], "Pod", text))
        ledger.judged(*events, counted=n % 7 == 0 or n == commits - 1)
    return ledger


def packed(
    source: Source, name: str = PROGRAM, *, newest: bool = False
) -> tuple[bytes, Made]:
    """Return a pack of a ledger, and what was made."""
    out = io.BytesIO()
    made = pack.make(source, Request(name, "0.1.0", VERIFIER, newest=newest), out)
    return out.getvalue(), made


def files_of(data: bytes) -> dict[str, bytes]:
    """Return the files of a pack, read by another implementation than ours."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        opened = {member.name: archive.extractfile(member) for member in archive}
        return {name: stream.read() for name, stream in opened.items() if stream}


def archived(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of these files, in the one spelling."""
    out = io.BytesIO()
    write(out, {name: (len(data), [data]) for name, data in files.items()})
    return out.getvalue()
