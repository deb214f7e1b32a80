"""Take the ledger over: find its keys, ask the anchors, open it, claim it."""

import asyncio
import base64
import importlib.metadata
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from flopguard_operator.anchors import Anchor, decoded, known_heads
from flopguard_operator.books import Books, utc_now
from flopguard_operator.cluster import Cluster
from flopguard_operator.ledger import checking, keys, note
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.settings import Settings

KEY_NAME = "ed25519.pem"
NEXT_NAME = "ed25519.next.pem"
ROTATION = f"the Secret names a successor, {NEXT_NAME}"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Keys:
    """The key that signs, and the one that is to follow it, or has."""

    first: keys.SigningKey
    successor: keys.SigningKey | None = None


def holder() -> str:
    """Return who this process is: of one pod there is never more than one at a time.

    A container that was started anew in its pod has the same name, and need not wait
    for its own Lease.
    """
    pod, uid = (os.environ.get(f"FLOPGUARD_POD_{part}", "") for part in ("NAME", "UID"))
    return f"{pod or 'operator'}/{uid or secrets.token_hex(8)}"


def signing_keys(cluster: Cluster, settings: Settings) -> Keys:
    """Return the ledger's keys from their Secret, which is made if it is absent.

    Raises:
        LedgerError: the Secret holds no key.
        ClusterError: the API server does not answer.
    """
    origin = note.origin(cluster.cluster_uid())
    namespace, name = settings.namespace, settings.key_secret
    data = cluster.read_secret(namespace, name)
    if data is None:
        made = keys.generate(origin)
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "data": {KEY_NAME: base64.b64encode(made.pem()).decode()},
        }
        if cluster.create_secret(namespace, manifest):
            _log.info("ledger key made", secret=f"{namespace}/{name}")
            return Keys(made)
        data = cluster.read_secret(namespace, name) or {}
    if KEY_NAME not in data:
        message = f"Secret {namespace}/{name} has no {KEY_NAME}: restore the ledger key"
        raise LedgerError(message)
    found = {
        part: keys.from_pem(
            origin, decoded(data[part], f"{part} of Secret {namespace}/{name}")
        )
        for part in (KEY_NAME, NEXT_NAME)
        if part in data
    }
    return Keys(found[KEY_NAME], found.get(NEXT_NAME))


def open_ledger(
    settings: Settings, signing: Keys, anchors: Iterable[Anchor]
) -> SqliteStore:
    """Open the ledger, unless it is older than what some anchor has seen.

    Raises:
        LedgerError: the file is not this ledger, was changed, or is older than known.
        LedgerUnavailableError: an anchor or the file cannot be read now.
    """
    known = known_heads(anchors)
    try:
        settings.ledger.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the folder of {settings.ledger} cannot be made: {error.strerror}"
        raise LedgerUnavailableError(message) from error
    return SqliteStore(
        settings.ledger, signing.first, known, successor=signing.successor
    )


def take_over(
    settings: Settings, signing: Keys, anchors: Iterable[Anchor], name: str
) -> SqliteStore:
    """Open the ledger, and become its only writer. Runs on the ledger's thread.

    Raises:
        LedgerError, LedgerUnavailableError: as `open_ledger`.
    """
    store = open_ledger(settings, signing, anchors)
    try:
        epoch = store.claim(name, version(), utc_now())
        successor = signing.successor
        if successor is not None and store.vkey == signing.first.verifier.text:
            store.rotate(successor, ROTATION, utc_now())
            _log.info("ledger key rotated", vkey=store.vkey)
    except BaseException:
        store.close()
        raise
    checked = f"leaves from {store.hashed_from} on" if store.hashed_from else "all"
    _log.info("ledger opened", epoch=epoch, size=store.head.size, checked=checked)
    return store


async def check_rest(settings: Settings, books: Books) -> None:
    """Check what a start by the tail left out, beside the work; on damage, stop it."""
    await books.opened.wait()
    if not books.hashed_from:
        return
    try:
        wrong = await asyncio.to_thread(checking.damage, settings.ledger)
    except LedgerUnavailableError as error:
        _log.warning("the whole ledger could not be checked", why=str(error))
        return
    if wrong:
        books.distrust(wrong)
        _log.error("the ledger was changed: nothing more is appended", why=wrong)
    else:
        _log.info("the whole ledger is intact")


def version() -> str:
    """Return the version of flopguard, "unknown" where it is not installed."""
    try:
        return importlib.metadata.version("flopguard")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
