"""Keep the state folder: ledger, key, and a folder for each start not yet settled.

    ledger.db       the ledger of all programs of this machine
    ledger.key      the key that signs it, private to its owner
    ledger.vkey     its public half, for `flopguard verify --vkey`
    lock            held while the ledger is decided on and appended to
    starts/UID/     record, pages, and a lock that the start's flopguard holds

A start's folder is removed once its final mark is in the ledger, not before.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from flopguard_operator.ledger import keys, note, reading
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.ledger.keys import SigningKey
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.observed import at, text

_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
_RECORD, _LOCK, _PAGES = "start.json", "lock", "pages"


@dataclass(frozen=True)
class Record:
    """What is written down of a start before its command runs."""

    uid: str
    program: str
    name: str
    node: str
    pages: str = ""  # the folder of pages, if it is elsewhere
    group: int = 0  # process group of the command; 0 before it runs


def default_folder(environment: Mapping[str, str]) -> Path:
    """Return where state is kept: $FLOPGUARD_STATE, else the XDG state folder."""
    given = environment.get("FLOPGUARD_STATE")
    if given:
        return Path(given)
    base = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "flopguard"


@dataclass(frozen=True)
class StartFolder:
    """The folder of one start."""

    path: Path
    record: Record
    _held: list[int] = field(default_factory=list, compare=False)

    @property
    def pages(self) -> Path:
        """The folder of pages."""
        return Path(self.record.pages) if self.record.pages else self.path / _PAGES

    @property
    def log(self) -> Path:
        """What the start's sidecar says, and at which port it serves."""
        return self.path / "sidecar.log"

    def write(self) -> None:
        """Write the record, whole or not at all."""
        _replace(self.path / _RECORD, json.dumps(asdict(self.record)).encode())

    def in_group(self, group: int) -> "StartFolder":
        """Return the folder with the command's process group in its record."""
        known = replace(self, record=replace(self.record, group=group))
        known.write()
        return known

    def hold(self) -> None:
        """Say, for as long as this process lives, that it looks after the start."""
        self._held.append(_locked(self.path / _LOCK, fcntl.LOCK_EX))

    @property
    def is_looked_after(self) -> bool:
        """Whether the flopguard of the start lives."""
        if self._held:
            return True
        try:  # shared: two who look at once do not take each other for its flopguard
            descriptor = _locked(self.path / _LOCK, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):  # or it was settled just now
            return True
        os.close(descriptor)
        return False

    @property
    def exists(self) -> bool:
        """Whether it is still to be settled."""
        return (self.path / _RECORD).exists()

    def remove(self) -> None:
        """Remove the folder; its final mark is in the ledger."""
        (self.path / _RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.pages, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)
        while self._held:
            os.close(self._held.pop())


class State:
    """The state folder; made private to its owner if absent.

    Raises:
        OSError: it cannot be made or used.
    """

    def __init__(self, folder: Path) -> None:
        # Absolute: the pages are named to a command, which may change its folder.
        self.folder = folder = folder.absolute()
        folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        self._starts = folder / "starts"
        self._starts.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
        self._seen: tuple[int, ...] = ()

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.folder / "ledger.db"

    @property
    def exists(self) -> bool:
        """Whether there is a ledger yet."""
        return self.ledger.exists() and self.ledger.stat().st_size > 0

    @property
    def is_stale(self) -> bool:
        """Whether somebody else has appended since this process had the ledger."""
        return self._seen != self._version()

    def _version(self) -> tuple[int, ...]:
        """Return something that changes whenever somebody appends to the ledger."""
        found: list[int] = []
        for name in ("ledger.db", "ledger.db-wal"):
            with contextlib.suppress(FileNotFoundError):
                status = (self.folder / name).stat()
                found += [status.st_mtime_ns, status.st_size]
        return tuple(found)

    @contextmanager
    def locked(self) -> Iterator[SqliteStore]:
        """Give the ledger to this process alone, until the block ends.

        Raises:
            LedgerError, LedgerUnavailableError: it cannot be used, or not now.
        """
        descriptor = _locked(self.folder / _LOCK, fcntl.LOCK_EX)
        try:
            with closing(SqliteStore(self.ledger, self._key())) as store:
                yield store
            self._seen = self._version()
        finally:
            os.close(descriptor)

    def _key(self) -> SigningKey:
        """Return the key that signs; made with a ledger that is new."""
        path = self.folder / "ledger.key"
        if not self.exists:
            name = note.origin(f"local-{uuid.uuid4()}")
            key = keys.generate(name)
            _replace(path, key.pem())
            _replace(self.folder / "ledger.vkey", f"{key.verifier.text}\n".encode())
            return key
        with reading.opened_to_read(self.ledger) as connection:
            vkey = reading.custody_of(connection).vkey
        try:
            return keys.from_pem(note.parse_vkey(vkey).name, path.read_bytes())
        except OSError as error:
            message = (
                f"the key {path} that signs the ledger beside it cannot be read"
                f" ({error.strerror}): put it back, or begin anew with another --state"
            )
            raise LedgerError(message) from error

    def begin(self, record: Record, pages: Path | None) -> StartFolder:
        """Make the folder of a start that this process looks after.

        To be called while the ledger is this process's.

        Args:
            record: of the start.
            pages: where its folder of pages is made instead of in the state folder.
        """
        self._sweep()
        path = self._starts / record.uid
        path.mkdir(mode=_PRIVATE_FOLDER)
        if pages is not None:
            record = replace(record, pages=str(pages.absolute() / record.uid))
        start = StartFolder(path, record)
        start.pages.mkdir(mode=_PRIVATE_FOLDER, parents=True)
        start.hold()
        start.write()
        return start

    def _sweep(self) -> None:
        """Remove what a crash left of a start that was never made, or was settled."""
        for path in self._starts.iterdir():
            if not (path / _RECORD).exists():
                shutil.rmtree(path, ignore_errors=True)

    def starts(self, program: str | None = None) -> list[StartFolder]:
        """Return the starts that are not settled for good, oldest first.

        Without a record nothing was started; that is what a crash may leave.
        """
        found = []
        for path in self._starts.iterdir():
            record = _read(path / _RECORD)
            if record is not None and program in (None, record.program):
                with contextlib.suppress(FileNotFoundError):
                    found.append((path.stat().st_ctime_ns, StartFolder(path, record)))
        return [start for _, start in sorted(found, key=lambda pair: pair[0])]


def uid() -> str:
    """Return a new name for a start or a program's run."""
    return str(uuid.uuid4())


def _read(path: Path) -> Record | None:
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    names = ("uid", "program", "name", "node")
    values = {name: text(raw, name) for name in names}
    group = at(raw, "group")
    if not all(values.values()) or type(group) is not int:
        return None
    return Record(**values, pages=text(raw, "pages"), group=group)


def _locked(path: Path, how: int) -> int:
    """Return a descriptor that holds the lock of a file; closing it gives it back.

    Raises:
        LedgerUnavailableError: the file system has no locks.
        BlockingIOError: another process holds it, and it was not to be waited for.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path, flags, _PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError as error:
        os.close(descriptor)
        message = f"{path} cannot be locked ({error.strerror}): use a local disk"
        raise LedgerUnavailableError(message) from error
    return descriptor


def _replace(path: Path, data: bytes) -> None:
    """Write a private file, whole or not at all, also through a power cut."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
