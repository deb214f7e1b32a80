"""Make and load the certificate by which the API server trusts the webhook.

Its authority signs once and its private key is thrown away, so nothing in the cluster
can sign a second certificate for the webhook's name. Who stores it is another module's
matter (`webhook_secret`).
"""

import os
import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
SERVING_DAYS = 365
_SKEW = timedelta(hours=1)  # the API server's clock may be behind ours


class CertificateError(Exception):
    """No usable certificate; the message says what to do."""


@dataclass(frozen=True)
class Certificate:
    """A serving certificate with its key and the authority that signed it, as PEM."""

    authority: bytes
    certificate: bytes
    key: bytes


def make(names: list[str], now: datetime) -> Certificate:
    """Return a fresh certificate for DNS `names`, valid from an hour before `now`."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _authority(authority_key, now)
    serving = _serving(names, key.public_key(), authority_key, authority, now)
    return Certificate(
        authority.public_bytes(Encoding.PEM),
        serving.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = _name("flopguard webhook")
    return (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _serving(
    names: list[str],
    key: ec.EllipticCurvePublicKey,
    authority_key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    now: datetime,
) -> x509.Certificate:
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(
        authority_key.public_key()
    )
    dns = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        _builder(_name(names[0][:64]), authority.subject, key, now, SERVING_DAYS)
        .add_extension(dns, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(server, critical=False)
        .add_extension(signer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def expires(certificate: Certificate) -> datetime:
    """Return when the serving certificate expires, in UTC.

    Raises:
        CertificateError: the PEM text is no certificate.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate.certificate)
    except ValueError as error:
        message = f"not a certificate: {error}"
        raise CertificateError(message) from error
    return found.not_valid_after_utc


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """Return a TLS server context (TLS 1.2 or later).

    Raises:
        CertificateError: the PEM texts are no matching certificate and key.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        with ExitStack() as stack:
            # The ssl module reads files only, and the key shall not touch a disk.
            paths = [
                _in_memory(stack, pem)
                for pem in (certificate.certificate, certificate.key)
            ]
            context.load_cert_chain(*paths)
    except ssl.SSLError as error:
        message = f"certificate and key are not usable: {error.reason}"
        raise CertificateError(message) from error
    return context


def _in_memory(stack: ExitStack, content: bytes) -> str:
    descriptor = os.memfd_create("flopguard")
    stack.callback(os.close, descriptor)
    os.write(descriptor, content)
    return f"/proc/self/fd/{descriptor}"
