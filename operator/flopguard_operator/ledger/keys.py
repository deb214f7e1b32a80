"""Sign tree heads with Ed25519 (the `cryptography` package), and check signatures.

The private key comes from a Secret; this module never writes it anywhere.
"""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.note import VerifierKey


@dataclass(frozen=True)
class SigningKey:
    """A private key with the name (the ledger's origin) that it signs under."""

    name: str
    private: Ed25519PrivateKey = field(repr=False)

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self.private.public_key().public_bytes_raw())

    def sign(self, text: bytes) -> bytes:
        """Return the 64-byte signature of a text."""
        return self.private.sign(text)

    def pem(self) -> bytes:
        """Return the private key in PKCS #8 PEM, for the Secret that keeps it."""
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def generate(name: str) -> SigningKey:
    """Return a new key."""
    return SigningKey(name, Ed25519PrivateKey.generate())


def from_pem(name: str, data: bytes) -> SigningKey:
    """Return the key in an unencrypted PKCS #8 PEM.

    Raises:
        LedgerError: it is not one, or not an Ed25519 key.
    """
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = "the ledger's key is not an unencrypted private key in PEM"
        raise LedgerError(message) from error
    if not isinstance(private, Ed25519PrivateKey):
        message = "the ledger's key is not an Ed25519 key"
        raise LedgerError(message)
    return SigningKey(name, private)


def from_raw(name: str, seed: bytes) -> SigningKey:
    """Return the key with this 32-byte seed.

    Raises:
        LedgerError: the seed does not have 32 bytes.
    """
    try:
        return SigningKey(name, Ed25519PrivateKey.from_private_bytes(seed))
    except ValueError as error:
        message = "the ledger's key does not have 32 bytes"
        raise LedgerError(message) from error


def check_signature(public: bytes, signature: bytes, text: bytes) -> bool:
    """Tell whether a signature holds; the `CheckSignature` of the real thing."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
