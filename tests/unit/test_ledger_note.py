"""Signed tree heads: the published vectors of signed notes, and forgeries."""

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.ledger import keys, note
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.note import Head
from flopguard_operator.ledger.tree import EMPTY_ROOT

NAME = "flopguard.dev/0000/ledger"
KEY = keys.from_raw(NAME, bytes(range(32)))
OTHER = keys.from_raw(NAME, bytes(32))
HEAD = Head(NAME, 42, EMPTY_ROOT)
NOTE = note.sign_head(HEAD, KEY.verifier, KEY.sign)

# The example of golang.org/x/mod/sumdb/note (doc of NewVerifier), which c2sp.org/
# signed-note was written from.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_TEXT = (
    b"If you think cryptography is the answer to your problem,\n"
    b"then you don't know what your problem is.\n"
)
PETER_SIGNATURE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6K"
    "E6RyyBwJnAM="
)


def test_a_published_key_is_read() -> None:
    """The key id is computed as the specification says, or it would be refused."""
    assert note.parse_vkey(PETER).text == PETER


def test_the_published_signature_holds() -> None:
    """The signature of the specification's example is checked over the same bytes."""
    key = note.parse_vkey(PETER)
    signature = base64.b64decode(PETER_SIGNATURE)

    assert signature[:4] == key.key_id
    assert check_signature(key.public, signature[4:], PETER_TEXT)
    assert not check_signature(key.public, signature[4:], PETER_TEXT + b"\n")


def test_a_signed_head_reads_like_this() -> None:
    """Origin, size and root; an empty line; the signature: nothing else."""
    assert NOTE == (
        "flopguard.dev/0000/ledger\n"
        "42\n"
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
        "\n"
        "— flopguard.dev/0000/ledger DcFd/s6fR09i8aF56EanL9bb/COhzfX/LJLUSGC8"
        "1+ErQTMu3dNSqKkwxeLRQB/WxLlMjabLpLHPZC8PtCuIbW6+RwU=\n"
    )
    assert note.open_note(NOTE, KEY.verifier, check_signature) == HEAD


@given(st.integers(0, 10**19 - 1), st.binary(min_size=32, max_size=32))
def test_every_head_comes_back_as_it_was(size: int, root: bytes) -> None:
    """Opening is the inverse of signing."""
    head = Head(NAME, size, root)
    signed = note.sign_head(head, KEY.verifier, KEY.sign)

    assert note.open_note(signed, KEY.verifier, check_signature) == head


def test_signatures_of_strangers_are_ignored() -> None:
    """A witness may sign too; only our key's signature decides."""
    witness = keys.from_raw("witness.example/audit", bytes(32))
    line = note.sign_head(HEAD, witness.verifier, witness.sign).split("\n\n")[1]

    assert note.open_note(NOTE + line, KEY.verifier, check_signature) == HEAD


def signed_by(key: keys.SigningKey, text: str) -> str:
    """Return any text with an honest signature under it."""
    signature = base64.b64encode(key.verifier.key_id + key.sign(text.encode()))
    return f"{text}\n— {key.name} {signature.decode()}\n"


BODY, SIGNATURES = NOTE.split("\n\n")
FORGED = {
    "nothing": "",
    "no signature": BODY + "\n",
    "no empty line": BODY + "\n" + SIGNATURES,
    "an empty signature line": NOTE + "\n",
    "the size was changed": NOTE.replace("\n42\n", "\n41\n"),
    "the root was changed": NOTE.replace("47DEQ", "48DEQ"),
    "the origin was changed": NOTE.replace("flopguard.dev/0000", "flopguard.dev/0001"),
    "the signature is cut": NOTE[:-10] + "\n",
    "the signature is only a key id": BODY
    + f"\n\n— {NAME} {base64.b64encode(KEY.verifier.key_id).decode()}\n",
    "another key of the same name signed": note.sign_head(
        HEAD, OTHER.verifier, OTHER.sign
    ),
    "another key signed under our key id": note.sign_head(
        HEAD, KEY.verifier, OTHER.sign
    ),
    "a good and a bad signature of our key": NOTE
    + note.sign_head(HEAD, KEY.verifier, OTHER.sign).split("\n\n")[1],
    "a hyphen instead of the dash": NOTE.replace("—", "-"),
    "a space too many": NOTE.replace("— ", "—  "),
    "base64 of another alphabet": NOTE.replace("+/TImW", "-_TImW"),
    "padding left out": NOTE.replace("=\n", "\n"),
    "bits that base64 leaves unused": NOTE.replace("RwU=", "RwV="),
    "100 signatures": NOTE + SIGNATURES * 100,
    "a megabyte": NOTE + "x" * 1_000_000,
    "an extension line": signed_by(KEY, BODY + "\nextension\n"),
    "a size with a leading zero": signed_by(KEY, BODY.replace("42", "042") + "\n"),
    "a negative size": signed_by(KEY, BODY.replace("42", "-42") + "\n"),
    "a size of 20 digits": signed_by(KEY, BODY.replace("42", "9" * 20) + "\n"),
    "a root of 31 bytes": signed_by(
        KEY, f"{NAME}\n42\n{base64.b64encode(bytes(31)).decode()}\n"
    ),
    "the head of another ledger": signed_by(
        KEY, BODY.replace(NAME, "flopguard.dev/0001/ledger") + "\n"
    ),
    "a lone surrogate": NOTE.replace("42", "\ud800"),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_a_forged_head_is_refused(forged: str) -> None:
    """Each is refused with the one error."""
    assert forged != NOTE

    with pytest.raises(LedgerError):
        note.open_note(forged, KEY.verifier, check_signature)


@given(st.text(max_size=300))
def test_random_text_is_refused_with_the_one_error(text: str) -> None:
    """Nothing but `LedgerError` comes out of text that is not a signed note."""
    with pytest.raises(LedgerError):
        note.open_note(text, KEY.verifier, check_signature)


BAD_VKEYS = {
    "nothing": "",
    "no plus": "name",
    "no key": "name+00000000",
    "a key id of another key": KEY.verifier.text.replace(
        KEY.verifier.key_id.hex(), OTHER.verifier.key_id.hex()
    ),
    "a name of another key": KEY.verifier.text.replace("0000", "0001", 1),
    "a space in the name": "a b+00000000+AQ==",
    "a signature type nobody knows": "n+00000000+"
    + base64.b64encode(b"\x02" + bytes(32)).decode(),
    "a key of 31 bytes": "n+00000000+" + base64.b64encode(b"\x01" + bytes(31)).decode(),
    "a megabyte": "n+" * 500_000,
}


@pytest.mark.parametrize("text", BAD_VKEYS.values(), ids=BAD_VKEYS.keys())
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    """Each is refused with the one error."""
    with pytest.raises(LedgerError):
        note.parse_vkey(text)


def test_an_origin_that_breaks_the_note_is_refused() -> None:
    """An origin with a line feed would put lines into the signed text."""
    with pytest.raises(LedgerError, match="origin"):
        note.format_head(replace(HEAD, origin="a\n7\nb"))


def test_a_key_survives_its_secret() -> None:
    """The PEM that is kept in the Secret gives the same key back."""
    key = keys.generate(NAME)

    assert keys.from_pem(NAME, key.pem()).verifier == key.verifier


def test_a_key_does_not_print_itself() -> None:
    """The private key never reaches a log through repr."""
    assert "private" not in repr(KEY)


def elliptic_pem() -> bytes:
    """Return a good private key of another kind."""
    return generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def locked_pem() -> bytes:
    """Return our private key, encrypted."""
    return KEY.private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


BAD_PEMS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "not PEM": lambda: b"\xff" * 100,
    "another kind of key": elliptic_pem,
    "an encrypted key": locked_pem,
}


@pytest.mark.parametrize("pem", BAD_PEMS.values(), ids=BAD_PEMS.keys())
def test_a_secret_without_a_key_is_refused(pem: Callable[[], bytes]) -> None:
    """Each is refused with the one error."""
    with pytest.raises(LedgerError, match="key"):
        keys.from_pem(NAME, pem())


def test_a_seed_of_the_wrong_length_is_refused() -> None:
    """A raw key has 32 bytes."""
    with pytest.raises(LedgerError, match="32 bytes"):
        keys.from_raw(NAME, bytes(31))


@given(st.binary(max_size=40), st.binary(max_size=70))
def test_no_bytes_make_the_signature_check_raise(
    public: bytes, signature: bytes
) -> None:
    """Keys and signatures of any length just do not hold."""
    assert not check_signature(public, signature, b"text")
