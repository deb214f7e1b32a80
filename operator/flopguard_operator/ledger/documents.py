"""Check documents that are kept beside the ledger's leaves, under their own digest."""

import hashlib
from collections.abc import Mapping

from flopguard_operator.ledger.errors import LedgerError

MAX_DOCUMENT_BYTES = 2 * 1024 * 1024  # an object of Kubernetes has at most 1.5 MiB


def digest(data: bytes) -> str:
    """Return the SHA-256 of a document, in hexadecimal: its name in the ledger."""
    return hashlib.sha256(data).hexdigest()


def checked(documents: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Return documents that may be kept.

    Args:
        documents: texts by the digest that the ledger names them with.

    Raises:
        LedgerError: one is too long, or another than its digest says.
    """
    for name, data in documents.items():
        if len(data) > MAX_DOCUMENT_BYTES:
            message = (
                f"a document has {len(data)} bytes; at most {MAX_DOCUMENT_BYTES} fit"
            )
            raise LedgerError(message)
        if digest(data) != name:
            message = f"a document is another than its digest {name[:64]!a} says"
            raise LedgerError(message)
    return documents
