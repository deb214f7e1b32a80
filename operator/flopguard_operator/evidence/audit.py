"""Take from a cluster's audit log the lines about some runs, and nothing private.

The log is the API server's (audit.k8s.io/v1, a JSON object per line). Who did what to
which object, when, and whether it was allowed is kept; bodies are not.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from flopguard_operator import naming
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.export import dumped
from flopguard_operator.observed import at, text

MAX_LINE_BYTES = 1 << 21  # an audit event with both bodies of 1 MiB is skipped
MOST_LINES = 10_000
_LONGEST = 256
_KEPT = (
    ("auditID",),
    ("stage",),
    ("requestReceivedTimestamp",),
    ("verb",),
    ("userAgent",),
    ("user", "username"),
    ("impersonatedUser", "username"),
    ("objectRef", "apiGroup"),
    ("objectRef", "resource"),
    ("objectRef", "subresource"),
    ("objectRef", "namespace"),
    ("objectRef", "name"),
    ("objectRef", "uid"),
    ("annotations", "authorization.k8s.io/decision"),
)

_Object = tuple[str, str, str]  # resource, namespace, name


def extract(stream: BinaryIO, accounts: Mapping[str, Account]) -> bytes:
    """Return the lines of a log that are about these runs' objects, redacted.

    Lines that are no audit events are skipped: a log has been cut and joined often.
    """
    known = {thing for account in accounts.values() for thing in _objects(account)}
    kept = (_redacted(event) for event in _events(stream) if _about(event) in known)
    return b"".join(line for line, _ in zip(kept, range(MOST_LINES), strict=False))


def _objects(account: Account) -> Iterator[_Object]:
    namespace = account.ref.namespace
    yield naming.RUN_PLURAL, namespace, account.ref.name
    if account.terms_set is not None:
        yield "jobs", namespace, account.terms_set.workload.rsplit("/", 1)[-1]
    for attempt in account.attempts:
        yield "pods", namespace, attempt.pod


def _about(event: Mapping[str, Any]) -> _Object:
    where = at(event, "objectRef")
    return text(where, "resource"), text(where, "namespace"), text(where, "name")


def _events(stream: BinaryIO) -> Iterator[Mapping[str, Any]]:
    for line in _lines(stream):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, Mapping):
            yield event


def _lines(stream: BinaryIO) -> Iterable[bytes]:
    """Yield the lines that are not too long."""
    whole = True
    while line := stream.readline(MAX_LINE_BYTES):
        ended = line.endswith(b"\n")
        if whole and (ended or len(line) < MAX_LINE_BYTES):
            yield line
        whole = ended


def _redacted(event: Mapping[str, Any]) -> bytes:
    kept = {".".join(path): text(event, *path)[:_LONGEST] for path in _KEPT}
    code = at(event, "responseStatus", "code")
    kept["responseStatus.code"] = str(code) if isinstance(code, int) else ""
    return dumped({name: value for name, value in kept.items() if value})
