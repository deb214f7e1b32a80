"""Name the ways in which a ledger fails: it cannot be trusted, or not be reached.

LedgerError             wrong for good: trying again changes nothing
FencedError             another writer took the ledger over: this one stops
ForkedError             the ledger does not extend a head that is known
LedgerUnavailableError  the disk is full, read-only or failing: try again later
"""


class LedgerError(Exception):
    """Bytes are not what a ledger holds; the message says what, and what to do."""


class FencedError(LedgerError):
    """A later writer has taken the ledger over: append nothing, act on nothing."""


class ForkedError(LedgerError):
    """The file is older than a head that was seen elsewhere, or another ledger."""


class LedgerUnavailableError(Exception):
    """The store could not be read or written now; nothing is half-written."""
