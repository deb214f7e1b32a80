"""The webhook's certificate: made once, shared, and refused when it is no good."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from flopguard_operator.certificates import (
    Certificate,
    CertificateError,
    expires,
    make,
    server_context,
)
from flopguard_operator.webhook_secret import (
    ensure_certificate,
    publish,
    service_names,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Store:
    """Stand-in for the API server: Secrets in a dict; `late` loses every race."""

    def __init__(self, data: dict[str, str] | None, *, late: bool = False) -> None:
        self.data = data
        self.late = late
        self.bundle = ""

    def read_secret(self, namespace: str, name: str) -> dict[str, str] | None:
        """Return the data; what another replica writes is seen after `create`."""
        assert (namespace, name) == ("flopguard", "cert")
        return None if self.late else self.data

    def create_secret(self, namespace: str, manifest: Mapping[str, Any]) -> bool:
        """Store the data unless somebody was faster."""
        assert (namespace, manifest["metadata"]["name"]) == ("flopguard", "cert")
        if self.late:
            self.late = False
            return False
        self.data = manifest["data"]
        return True

    def patch_ca_bundle(self, configuration: str, ca_bundle: str) -> None:
        """Remember the bundle."""
        assert configuration == "flopguard"
        self.bundle = ca_bundle


def ensure(store: Store, now: datetime = NOW) -> Certificate:
    """Return the certificate of Secret flopguard/cert."""
    return ensure_certificate(store, "flopguard", "cert", "webhook", now)


def test_the_second_replica_reads_what_the_first_made() -> None:
    """One Secret, one authority, whichever replica the API server calls."""
    store = Store(None)

    first, second = ensure(store), ensure(store)

    assert first == second


def test_a_replica_that_loses_the_race_uses_the_winners() -> None:
    """Both saw no Secret; the API server lets one of them create it."""
    store = Store(None)
    winner = ensure(store)

    store.late = True

    assert ensure(store) == winner


def test_the_authority_is_published_as_base64_pem() -> None:
    """CaBundle is the PEM text in base64."""
    store = Store(None)
    made = ensure(store)

    publish(store, "flopguard", made)

    assert base64.b64decode(store.bundle) == made.authority


def test_the_certificate_is_signed_for_the_services_names() -> None:
    """The authority verifies it, for a server, for a year; itself for ten."""
    made = make(service_names("webhook", "flopguard"), NOW)
    authority = x509.load_pem_x509_certificate(made.authority)
    serving = x509.load_pem_x509_certificate(made.certificate)

    serving.verify_directly_issued_by(authority)
    names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName)[0] == "webhook.flopguard.svc"
    assert expires(made) == NOW + timedelta(days=365)
    assert authority.not_valid_after_utc == NOW + timedelta(days=3650)


def test_the_authoritys_key_is_nowhere() -> None:
    """Nothing that is kept can sign another certificate."""
    made = make(["webhook"], NOW)
    authority = x509.load_pem_x509_certificate(made.authority)

    assert load_pem_private_key(made.key, None).public_key() != authority.public_key()


REMEDY = "delete Secret flopguard/cert and restart the webhook"
BAD: dict[str, tuple[dict[str, str], str]] = {
    "an empty Secret": ({}, "the Secret holds no certificate: KeyError('ca.crt')"),
    "no base64": (
        {"ca.crt": "a", "tls.crt": "", "tls.key": ""},
        "the Secret holds no certificate",
    ),
    "no PEM": ({"ca.crt": "", "tls.crt": "aGk=", "tls.key": ""}, "not a certificate"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD)
def test_a_secret_that_is_no_certificate_says_what_to_do(
    data: dict[str, str], message: str
) -> None:
    """Nothing is overwritten: whose Secret it is, is not for the webhook to guess."""
    with pytest.raises(CertificateError) as caught:
        ensure(Store(data))

    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(REMEDY)


def test_an_expired_certificate_says_what_to_do() -> None:
    """Serving it would leave pods unmetered without a word."""
    store = Store(None)
    ensure(store)

    with pytest.raises(CertificateError) as caught:
        ensure(store, NOW + timedelta(days=366))

    assert str(caught.value) == (
        f"the webhook's certificate expired on 2027-11-22; {REMEDY}"
    )


def test_a_key_of_another_certificate_cannot_serve() -> None:
    """The one error of this module, not one of the ssl module's."""
    one, other = (make(["webhook"], NOW) for _ in range(2))
    mixed = Certificate(one.authority, one.certificate, other.key)

    with pytest.raises(CertificateError, match="certificate and key are not usable"):
        server_context(mixed)
