"""Name the two ways in which a ledger fails: it cannot be trusted, or not be reached.

LedgerError             wrong for good: trying again changes nothing
LedgerUnavailableError  the disk is full, read-only or failing: try again later
"""


class LedgerError(Exception):
    """Bytes are not what a ledger holds; the message says what, and what to do."""


class LedgerUnavailableError(Exception):
    """The store could not be read or written now; nothing is half-written."""
