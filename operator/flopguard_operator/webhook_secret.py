"""Share one webhook certificate among the replicas, through one Secret.

The first replica that finds no Secret makes one; the others lose that race and read
it. Nothing else is agreed between them.
"""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from flopguard_operator.certificates import (
    Certificate,
    CertificateError,
    expires,
    make,
)


class SecretStore(Protocol):
    """The three calls that the certificate needs; `cluster.Cluster` has them."""

    def read_secret(self, namespace: str, name: str) -> dict[str, str] | None:
        """Return the base64 data of a Secret; None where there is none."""

    def create_secret(self, namespace: str, manifest: Mapping[str, Any]) -> bool:
        """Create a Secret; False if one of that name exists already."""

    def patch_ca_bundle(self, configuration: str, ca_bundle: str) -> None:
        """Set the base64 CA bundle of all webhooks of a configuration."""


def service_names(service: str, namespace: str) -> list[str]:
    """Return the DNS names by which the API server may call a Service."""
    short = f"{service}.{namespace}.svc"
    return [short, f"{short}.cluster.local", f"{service}.{namespace}", service]


def secret_manifest(
    name: str, certificate: Certificate, labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return the Secret (type kubernetes.io/tls) that carries `certificate`."""
    data = {
        "ca.crt": certificate.authority,
        "tls.crt": certificate.certificate,
        "tls.key": certificate.key,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": dict(labels)},
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(pem).decode() for key, pem in data.items()},
    }


def parse_secret(data: Mapping[str, str]) -> Certificate:
    """Return the certificate of a Secret's base64 data.

    Raises:
        CertificateError: a part is missing or is no base64.
    """
    try:
        parts = [base64.b64decode(data[k]) for k in ("ca.crt", "tls.crt", "tls.key")]
    except (KeyError, ValueError) as error:
        message = f"the Secret holds no certificate: {error!r}"
        raise CertificateError(message) from error
    return Certificate(*parts)


def ensure_certificate(
    store: SecretStore, namespace: str, secret: str, service: str, now: datetime
) -> Certificate:
    """Return the certificate that all replicas share, made if there is none.

    Raises:
        CertificateError: the Secret holds no certificate, or one that has expired.
    """
    data = store.read_secret(namespace, secret)
    if data is None:
        made = make(service_names(service, namespace), now)
        labels = {"app.kubernetes.io/name": "flopguard"}
        if store.create_secret(namespace, secret_manifest(secret, made, labels)):
            return made
        data = store.read_secret(namespace, secret) or {}
    remedy = f"delete Secret {namespace}/{secret} and restart the webhook"
    try:
        shared = parse_secret(data)
        expiry = expires(shared)
    except CertificateError as error:
        message = f"{error}; {remedy}"
        raise CertificateError(message) from error
    if expiry <= now:
        message = f"the webhook's certificate expired on {expiry:%Y-%m-%d}; {remedy}"
        raise CertificateError(message)
    return shared


def publish(store: SecretStore, configuration: str, certificate: Certificate) -> None:
    """Tell the API server which authority to trust; the same from every replica."""
    bundle = base64.b64encode(certificate.authority).decode()
    store.patch_ca_bundle(configuration, bundle)
