"""Read and write signed tree heads: c2sp.org/signed-note and c2sp.org/tlog-checkpoint.

    flopguard.dev/<cluster uid>/ledger        origin, also the name of the key
    42                                        number of leaves
    <base64 of the root hash>

    — flopguard.dev/<cluster uid>/ledger <base64 of key id and signature>

Any verifier of that format reads them. Nothing here signs or checks a signature itself:
a callable does, so this module needs no cryptography beyond SHA-256.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.tree import HASH_BYTES
from flopguard_operator.naming import GROUP

MAX_NOTE_BYTES = 16_384
MAX_SIGNATURES = 16  # the number that the specification asks verifiers to accept
ED25519 = b"\x01"  # signature type
_KEY_ID_BYTES = 4
_SIGNATURE_MARK = "\u2014 "  # an em dash and a space
_NAME = re.compile(r"[!-*,-~]{1,200}")  # printable ASCII without space and plus
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)

CheckSignature = Callable[[bytes, bytes, bytes], bool]
"""(public key, signature, signed text) → whether Ed25519 holds; never raises."""


@dataclass(frozen=True)
class Head:
    """The head of a tree: how many leaves, and the hash over all of them."""

    origin: str
    size: int
    root: bytes  # 32 bytes

    @property
    def root_base64(self) -> str:
        """The root as text, as it stands in the note and in a run's status."""
        return base64.b64encode(self.root).decode()


@dataclass(frozen=True)
class VerifierKey:
    """A public key with the name that it signs under."""

    name: str
    public: bytes  # Ed25519, 32 bytes

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that tell which key made a signature."""
        named = self.name.encode() + b"\n" + ED25519 + self.public
        return hashlib.sha256(named).digest()[:_KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """The vkey: name, key id and public key in one line, to be published."""
        public = base64.b64encode(ED25519 + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{public}"


def origin(cluster_uid: str) -> str:
    """Return the name of a cluster's ledger (cluster UID: that of kube-system)."""
    return f"{GROUP}/{cluster_uid}/ledger"


def parse_vkey(text: str) -> VerifierKey:
    """Return the key in a vkey text.

    Raises:
        LedgerError: it is not a vkey, or its key id is not the key's.
    """
    name, plus, rest = text[:1000].partition("+")
    _, _, public = rest.partition("+")
    decoded = _base64(public)
    well_formed = plus and _NAME.fullmatch(name) and decoded[:1] == ED25519
    if not well_formed or len(decoded) != 1 + HASH_BYTES:
        message = "the key is not a vkey: name+key id+Ed25519 key in base64"
        raise LedgerError(message)
    key = VerifierKey(name, decoded[1:])
    if key.text != text:
        message = "the vkey's key id does not belong to its name and key"
        raise LedgerError(message)
    return key


def format_head(head: Head) -> str:
    """Return the text that is signed.

    Raises:
        LedgerError: the origin cannot stand in a note.
    """
    if not _NAME.fullmatch(head.origin):
        message = "a ledger's origin has 1 to 200 characters without spaces and plus"
        raise LedgerError(message)
    return f"{head.origin}\n{head.size}\n{head.root_base64}\n"


def sign_head(head: Head, key: VerifierKey, sign: Callable[[bytes], bytes]) -> str:
    """Return the signed note of a head; `sign` makes the Ed25519 signature."""
    text = format_head(head)
    signature = base64.b64encode(key.key_id + sign(text.encode())).decode()
    return f"{text}\n{_SIGNATURE_MARK}{key.name} {signature}\n"


def cosigned(note: str, key: VerifierKey, sign: Callable[[bytes], bytes]) -> str:
    """Return a signed note with the signature of one more key under its own."""
    text, _ = _split(note)
    signature = base64.b64encode(key.key_id + sign(text.encode())).decode()
    return f"{note}{_SIGNATURE_MARK}{key.name} {signature}\n"


def parse_head(text: str) -> Head:
    """Return the head in the signed text of a note.

    Raises:
        LedgerError: it is not a tree head, or carries lines that nobody asked for.
    """
    name, size, encoded, *rest = [*text.split("\n"), "", ""]
    if not _NAME.fullmatch(name) or not _SIZE.fullmatch(size) or rest != [""] * 3:
        message = "the note is not a tree head: origin, size, root"
        raise LedgerError(message)
    root = _base64(encoded)
    if len(root) != HASH_BYTES:
        message = "the tree head's root is not 32 bytes in base64"
        raise LedgerError(message)
    return Head(name, int(size), root)


def open_note(note: str, key: VerifierKey, check_signature: CheckSignature) -> Head:
    """Return the tree head of a note that `key` has signed.

    Signatures by other keys are ignored, as the specification says.

    Raises:
        LedgerError: the note is malformed, not a tree head of the ledger that the key
            is named after, or not signed by the key.
    """
    text, signatures = _split(note)
    made_by_key = [
        signature[_KEY_ID_BYTES:]
        for name, signature in signatures
        if name == key.name and signature[:_KEY_ID_BYTES] == key.key_id
    ]
    if not made_by_key:
        message = f"the tree head carries no signature of the key {key.text}"
        raise LedgerError(message)
    if not all(
        check_signature(key.public, each, text.encode()) for each in made_by_key
    ):
        message = f"the tree head's signature does not hold for the key {key.text}"
        raise LedgerError(message)
    head = parse_head(text)
    if head.origin != key.name:
        message = "the tree head is of another ledger than the key"
        raise LedgerError(message)
    return head


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Return a note's signed text, and each signature: (key name, key id and rest)."""
    text, gap, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    too_long = len(note) > MAX_NOTE_BYTES
    if too_long or not gap or not text.isascii() or lines.pop() or not lines:
        message = "the tree head is not a signed note"
        raise LedgerError(message)
    if len(lines) > MAX_SIGNATURES:
        message = f"the tree head has more than {MAX_SIGNATURES} signatures"
        raise LedgerError(message)
    return text + "\n", [_signature(line) for line in lines]


def _signature(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    signature = _base64(encoded)
    marked = line.startswith(_SIGNATURE_MARK) and space and _NAME.fullmatch(name)
    if not marked or len(signature) <= _KEY_ID_BYTES:
        message = "a signature line of the tree head is malformed"
        raise LedgerError(message)
    return name, signature


def _base64(text: str) -> bytes:
    """Return what canonical base64 encodes, or nothing at all."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""
    return data if base64.b64encode(data).decode() == text else b""
