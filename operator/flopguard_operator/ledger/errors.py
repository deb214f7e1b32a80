"""Name the ways in which a ledger fails: it cannot be trusted, or not be reached.

LedgerError             wrong for good: trying again changes nothing
FencedError             another writer took the ledger over: this one stops
ForkedError             the ledger does not extend a head that is known
LedgerUnavailableError  the disk is full, read-only or failing: try again later
LedgerBrokenError       the disk failed under a write: this process has to end
"""


class LedgerError(Exception):
    """Bytes are not what a ledger holds; the message says what, and what to do."""


class FencedError(LedgerError):
    """A later writer has taken the ledger over: append nothing, act on nothing."""


class ForkedError(LedgerError):
    """The file is older than a head that was seen elsewhere, or another ledger."""


class LedgerUnavailableError(Exception):
    """The store could not be read or written now; nothing is half-written."""


class LedgerBrokenError(LedgerUnavailableError):
    """The disk failed: what is on it is only known to a process that starts anew.

    Linux forgets what a failed fsync was to save, so a connection that goes on, even
    one that is only closed, may copy what is not there into the file
    (https://wiki.postgresql.org/wiki/Fsync_Errors; tests/robustness/powercuts.py).
    """
