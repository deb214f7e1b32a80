"""Make an evidence pack of some runs: entries, proofs, and all that they refer to.

The same ledger and the same question give the same bytes: no clock is read, and every
file of the pack follows from the ledger.
"""

import base64
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import resources
from typing import IO, BinaryIO

from flopguard_operator.evidence import archive, heads, layout, manifest
from flopguard_operator.evidence.archive import PIECE, PackError, sha256
from flopguard_operator.evidence.completeness import is_about
from flopguard_operator.evidence.heads import History
from flopguard_operator.evidence.manifest import About, Statement
from flopguard_operator.evidence.proving import Tree
from flopguard_operator.evidence.source import Source
from flopguard_operator.ledger import census, tree
from flopguard_operator.ledger.accounts import Account, apply
from flopguard_operator.ledger.census import Counted
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import (
    NO_RUN,
    DocumentNoted,
    Entry,
    Event,
    KeyRotated,
    ProgramSet,
    RunsCounted,
    TermsSet,
)
from flopguard_operator.ledger.errors import LedgerError

MOST_HEADS = 64  # besides those that bear a rotation out


Audit = Callable[[Mapping[str, Account]], bytes]
"""The runs of a pack, by UID → what an audit log says of them, redacted."""


@dataclass(frozen=True)
class Request:
    """What a pack is to be about."""

    name: str  # of a program, of a run as namespace/name, or a run's UID
    version: str  # of flopguard
    verifier: bytes  # verify.pyz
    audit: Audit | None = None  # if a log was given
    newest: bool = False  # up to the newest head, though completeness ends earlier


@dataclass(frozen=True)
class Made:
    """What was made."""

    about: About
    runs: int
    entries: int
    size: int  # of the tree that the pack ends at
    later: int  # entries about these runs that the ledger holds after it
    complete: bool  # whether the pack proves that no entry is missing
    lacking: int  # documents that are noted and were not found


class UnknownError(PackError):
    """The ledger holds no such program or run."""


Content = bytes | IO[bytes]


@dataclass
class _Survey:
    """What a first reading of the whole ledger tells."""

    heads: Mapping[int, str]  # size → signed note
    hashes: list[bytes] = field(default_factory=list)
    runs: dict[str, Counted] = field(default_factory=dict)  # by UID
    counted: tuple[int, tuple[Counted, ...]] | None = None
    """The newest head that ends with a count of the runs' entries, and that count."""
    rotations: list[tuple[int, KeyRotated]] = field(default_factory=list)

    def take(self, entry: Entry) -> None:
        """Take in the next entry."""
        event, ref = entry.event, entry.event.run
        if isinstance(event, RunsCounted) and entry.index + 1 in self.heads:
            self.counted = entry.index + 1, tuple(self.runs.values())
        elif isinstance(event, KeyRotated):
            self.rotations.append((entry.index, event))
        if ref != NO_RUN:
            run = self.runs.get(ref.uid, Counted(ref, "", 0))
            program = _program_of(event, run.program)
            self.runs[ref.uid] = Counted(run.ref, program, run.entries + 1)

    def keys(self, vkey: str, size: int) -> History:
        """Return the key history of the first `size` entries."""
        newest = self.rotations[-1][1].after if self.rotations else vkey
        now = History(newest, tuple(self.rotations)).key_at(size)
        return History(now, tuple(each for each in self.rotations if each[0] < size))


@dataclass(frozen=True)
class _Plan:
    """What goes into the pack."""

    about: About
    size: int
    hashed: Tree
    runs: frozenset[str]  # UIDs
    counted: int  # index of the count that shows that nothing is missing, or -1

    def takes(self, index: int, entry: Entry) -> bool:
        """Tell whether an entry belongs to the runs, or is about the ledger itself.

        Of the counts only the newest does.
        """
        if entry.event.run != NO_RUN:
            return entry.event.run.uid in self.runs
        return not isinstance(entry.event, RunsCounted) or index == self.counted


@dataclass
class _Chosen:
    """The entries of a pack, and what came of them."""

    files: dict[str, Content]
    accounts: dict[str, Account] = field(default_factory=dict)
    entries: int = 0
    later: int = 0
    lacking: int = 0


def _program_of(event: Event, before: str) -> str:
    """Return the program of a run, or of a program itself, after one more event."""
    match event:
        case TermsSet():
            return event.program
        case ProgramSet():
            return event.run.name
        case _:
            return before


def make(source: Source, request: Request, out: BinaryIO) -> Made:
    """Write a pack.

    Raises:
        UnknownError: the ledger holds no such program or run.
        PackError: a file of the pack would not fit.
        LedgerError: the ledger cannot be read.
    """
    survey = _Survey({heads.claimed(signed).size: signed for signed in source.heads})
    for data in source.leaves():
        survey.hashes.append(tree.leaf_hash(data))
        survey.take(decode(data))
    plan, text = _planned(survey, request)
    with ExitStack() as stack:
        chosen = _choose(source, plan, stack)
        files = chosen.files
        history = survey.keys(source.vkey, plan.size)
        files |= _about_the_ledger(survey, plan, history)
        files[layout.VERIFIER] = request.verifier
        if text is not None:
            files[layout.CENSUS] = text
        if request.audit is not None:
            files[layout.AUDIT] = request.audit(chosen.accounts)
        said = Statement(
            about=plan.about,
            version=request.version,
            head=heads.claimed(survey.heads[plan.size]),
            vkey=history.vkey,
            entries=chosen.entries,
            accounts=tuple(chosen.accounts.values()),
        )
        digests = {name: sha256(_sized(content)[1]) for name, content in files.items()}
        files[layout.MANIFEST] = manifest.compose(said, digests)
        archive.write(out, {name: _sized(each) for name, each in files.items()})
    return Made(
        about=plan.about,
        runs=len(chosen.accounts),
        entries=chosen.entries,
        size=plan.size,
        later=chosen.later,
        complete=chosen.entries == plan.size
        or (text is not None and _ends(survey, plan)),
        lacking=chosen.lacking,
    )


def _planned(survey: _Survey, request: Request) -> tuple[_Plan, bytes | None]:
    """Return what goes in, and the text of the newest count up to there."""
    size, counted = max(survey.heads), survey.counted
    if counted is not None and not request.newest:
        size = counted[0]
    programs = {run.program for run in survey.runs.values()} - {""}
    kind = "program" if request.name in programs else "runs"
    about = About(kind, request.name)
    runs = frozenset(
        uid for uid, run in survey.runs.items() if is_about(about, run.ref, run.program)
    )
    if not runs:
        named = {f"{r.ref.namespace}/{r.ref.name}" for r in survey.runs.values()}
        known = ", ".join(sorted(named | programs)[:20]) or "none"
        message = (
            f'the ledger holds no program and no run "{request.name[:80]}"; it holds:'
            f" {known}"
        )
        raise UnknownError(message)
    text = None if counted is None else census.text(counted[1])
    hashed = Tree(survey.hashes)
    if (
        hashed.size < size
        or hashed.root(size) != heads.claimed(survey.heads[size]).root
    ):
        message = "the entries do not make the ledger's signed head: verify the ledger"
        raise LedgerError(message)
    last = -1 if counted is None else counted[0] - 1
    return _Plan(about, size, hashed, runs, last), text


def _ends(survey: _Survey, plan: _Plan) -> bool:
    return survey.counted is not None and survey.counted[0] == plan.size


def _choose(source: Source, plan: _Plan, stack: ExitStack) -> _Chosen:
    """Write the entries, their proofs and the derived files; collect the documents."""
    names = (layout.LEAVES, layout.PROOFS, *layout.DERIVED)
    spools = {name: stack.enter_context(_spool()) for name in names}
    chosen, derived = _Chosen({**spools}), layout.Derived()
    for index, data in enumerate(source.leaves()):
        entry = decode(data)
        ref = entry.event.run
        if not plan.takes(index, entry):
            continue
        if index >= plan.size:
            chosen.later += ref != NO_RUN
            continue
        chosen.entries += 1
        proof = b"".join(plan.hashed.inclusion(index, plan.size))
        spools[layout.LEAVES].write(data + b"\n")
        spools[layout.PROOFS].write(base64.b64encode(proof) + b"\n")
        for name, line in derived.take(entry, data):
            spools[name].write(line)
        if ref != NO_RUN:
            account = chosen.accounts.get(ref.uid, Account(ref))
            chosen.accounts[ref.uid] = apply(account, entry.event)
        if isinstance(entry.event, DocumentNoted):
            _keep(chosen, entry.event, source.documents)
    return chosen


def _keep(
    chosen: _Chosen, event: DocumentNoted, documents: Mapping[str, bytes]
) -> None:
    text = documents.get(event.digest)
    if text is None:
        chosen.lacking += 1
    else:
        chosen.files[layout.document(event.digest)] = text


def _about_the_ledger(
    survey: _Survey, plan: _Plan, history: History
) -> dict[str, Content]:
    """Return the files that every pack of this tree has."""
    return {
        layout.HEAD: survey.heads[plan.size].encode(),
        layout.VKEY: f"{history.vkey}\n".encode(),
        layout.HEADS: b"".join(_heads(survey, plan)),
        layout.POLICY: layout.policies(),
        layout.VERIFY: _instructions(),
    }


def _heads(survey: _Survey, plan: _Plan) -> Iterator[bytes]:
    """Yield other heads with their proofs: some that are spread, each rotation's."""
    later = [index for index, _ in survey.rotations if index >= plan.size]
    last = min(later, default=max(survey.heads))
    sizes = sorted(size for size in survey.heads if 0 < size <= last)
    spread = set(sizes[:: -(-len(sizes) // MOST_HEADS) or 1]) | set(sizes[-1:])
    for index, _ in survey.rotations:
        spread |= set([size for size in sizes if size > index][:1])
    for size in sorted(spread - {plan.size}):
        old, new = sorted((size, plan.size))
        yield heads.line(survey.heads[size], plan.hashed.consistency(old, new))


def _instructions() -> bytes:
    return (resources.files(__package__) / layout.VERIFY).read_bytes()


def _spool() -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=PIECE)


def _sized(content: Content) -> tuple[int, Iterator[bytes]]:
    """Return how long a file is, and its pieces from the first on."""
    if isinstance(content, bytes):
        return len(content), iter((content,))
    size = content.seek(0, io.SEEK_END)
    content.seek(0)
    return size, iter(lambda: content.read(PIECE), b"")
