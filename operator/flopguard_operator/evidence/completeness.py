"""Show that a pack holds every entry of its runs up to its head, or say why it may not.

Other runs' entries stay out of a pack, so nobody sees what they are about. The ledger
counts the entries of each run from time to time (`RunsCounted`): the pack ends at such
a count, carries its text, and holds as many entries of its runs as were counted.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flopguard_operator.evidence.manifest import About
from flopguard_operator.ledger import census
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.census import Counted
from flopguard_operator.ledger.entries import Entry, RunRef, RunsCounted
from flopguard_operator.ledger.findings import INCOMPLETE, MISMATCH

_FIELDS = 4
_MOST_DIGITS = 18

Problem = tuple[str, str]  # sentence, outcome


@dataclass
class Seen:
    """How many entries a pack holds, in all and up to its newest count."""

    entries: int = 0
    newest: int = -1  # index
    counts: int = 0
    counted: int = 0  # up to the newest count, and with it

    def take(self, entry: Entry) -> None:
        """Count an entry."""
        self.entries += 1
        self.newest = max(self.newest, entry.index)
        if isinstance(entry.event, RunsCounted):
            self.counted, self.counts = self.entries, self.counts + 1


def sentence(seen: Seen, size: int, about: About) -> str:
    """Return what to say if nothing is missing."""
    if seen.entries == size:
        return "the pack holds every entry of the ledger, so none is missing"
    whose = "the program" if about.kind == "program" else "these runs"
    return (
        f"the pack holds every entry of {whose} that the ledger has counted;"
        f" {size - seen.entries} others of the ledger are not in it"
    )


@dataclass(frozen=True)
class _Line:
    """What a line of a count says, as digests."""

    uid: str
    name: str
    program: str
    entries: int


@dataclass(frozen=True)
class Shown:
    """All that tells whether entries are missing."""

    seen: Seen
    size: int  # of the signed tree
    about: About
    accounts: Mapping[str, Account]  # of the runs in the pack, by UID
    counted: tuple[Entry, tuple[Counted, ...], int] | None
    """The newest count in the pack, and what the pack held there: see `Replay`."""
    text: bytes | None  # of that count, if the pack has it


def problems(shown: Shown) -> Iterator[Problem]:
    """Yield why an entry of the runs may be missing, or is."""
    yield from _strangers(shown)
    seen, size = shown.seen, shown.size
    if seen.entries == size:
        return
    if shown.counted is None or shown.text is None:
        why = (
            f"{size - seen.entries} entries are not in the pack, and no count of the"
            " runs' entries shows what they are about"
        )
        yield why, INCOMPLETE
        return
    entry, runs, own = shown.counted
    if seen.entries - seen.counted != size - 1 - entry.index:
        why = f"after entry {entry.index} the runs' entries were not counted any more"
        yield why, INCOMPLETE
    event = entry.event
    digest = event.digest if isinstance(event, RunsCounted) else ""
    if hashlib.sha256(shown.text).hexdigest() == digest:
        yield from _against(tuple(_lines(shown.text)), runs, shown)
        if isinstance(event, RunsCounted) and event.own != own:
            yield "entries about the ledger itself are missing", MISMATCH
    else:
        yield "the count of the runs' entries is not the one in the ledger", MISMATCH


def is_about(about: About, ref: RunRef, program: str) -> bool:
    """Tell whether a run belongs to what a pack is about."""
    if about.kind == "program":
        return program == about.name
    return about.kind == "runs" and about.name in {
        ref.uid,
        f"{ref.namespace}/{ref.name}",
    }


def _strangers(shown: Shown) -> Iterator[Problem]:
    if not shown.accounts:
        yield "the pack holds no run", MISMATCH
    for account in shown.accounts.values():
        if not is_about(shown.about, account.ref, census.program_of(account)):
            yield f"run {account.ref.name[:80]!a} is not what was asked for", MISMATCH


def _against(
    lines: tuple[_Line, ...], runs: tuple[Counted, ...], shown: Shown
) -> Iterator[Problem]:
    """Hold the runs of the pack against the lines of a count."""
    told = {line.uid: line for line in lines}
    present = {census.hidden(run.ref.uid): run for run in runs}
    for uid, run in present.items():
        if uid not in told or told[uid].entries != run.entries:
            yield f"run {run.ref.name[:80]!a} has another number of entries", MISMATCH
    name, program = census.hidden(shown.about.name), shown.about.kind == "program"
    missing = {
        line.uid
        for line in lines
        if name in ({line.program} if program else {line.uid, line.name})
    } - set(present)
    if missing:
        yield f"{len(missing)} runs that were asked for are not in the pack", MISMATCH


def _lines(text: bytes) -> Iterator[_Line]:
    """Yield what the lines say; their digest was right, so the keeper wrote them."""
    for line in text.decode("latin-1").splitlines():
        fields = line.split(" ")
        if len(fields) == _FIELDS and fields[-1].isascii() and fields[-1].isdecimal():
            uid, name, program, entries = fields
            yield _Line(uid, name, program, int(entries[:_MOST_DIGITS]))
