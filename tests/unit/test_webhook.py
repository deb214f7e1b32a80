"""The webhook over real TLS: what the API server gets back, also when things break."""

import asyncio
import base64
import contextlib
import io
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from flopguard_operator import certificates, webhook, webhook_secret
from flopguard_operator.injected import Images

Raw = dict[str, Any]
HOST = "flopguard-webhook.flopguard.svc"
WORKLOAD = {"apiVersion": "batch/v1", "kind": "Job", "name": "sft"}
RUN = {"metadata": {"name": "support-sft"}, "spec": {"workload": WORKLOAD}}
POD = {
    "metadata": {"labels": {"batch.kubernetes.io/job-name": "sft"}},
    "spec": {"containers": [{"name": "trainer"}]},
}
NOT_METERED = "flopguard could not look at this pod; it is not metered"


class Client:
    """Call a webhook that runs in this process, trusting its authority only."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._url = f"https://127.0.0.1:{port}"

    async def post(self, body: bytes) -> tuple[int, Raw]:
        """Return status and JSON answer (empty where it is none) of POST /mutate."""
        url = f"{self._url}/mutate"
        async with self._session.post(
            url, data=io.BytesIO(body), server_hostname=HOST
        ) as answer:
            content = await answer.read()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(content) if is_json else {}

    async def review(self, pod: Any) -> Raw:
        """Return the response to an AdmissionReview of `pod`."""
        request = {"uid": "u-1", "namespace": "ml", "object": pod}
        status, answer = await self.post(json.dumps({"request": request}).encode())
        assert (status, answer["kind"]) == (200, "AdmissionReview")
        response: Raw = answer["response"]
        return response

    async def health(self, hostname: str = HOST) -> int:
        """Return the status of GET /healthz, called by `hostname`."""
        url = f"{self._url}/healthz"
        async with self._session.get(url, server_hostname=hostname) as answer:
            return answer.status


@contextlib.asynccontextmanager
async def serving(list_runs: webhook.ListRuns) -> AsyncIterator[Client]:
    """Serve a webhook with a fresh certificate on a free port."""
    names = webhook_secret.service_names("flopguard-webhook", "flopguard")
    made = certificates.make(names, datetime.now(UTC))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = certificates.server_context(made)
    server = asyncio.create_task(
        webhook.serve(list_runs, Images("sidecar:1"), context, port, "127.0.0.1")
    )
    trust = ssl.create_default_context(cadata=made.authority.decode())
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(connector=connector) as session:
        client = Client(session, port)
        for _ in range(100):
            with contextlib.suppress(aiohttp.ClientConnectorError):
                await client.health()
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the webhook did not listen within 2 s")
        yield client
    server.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await server


def ask(
    list_runs: webhook.ListRuns, question: Callable[[Client], Awaitable[Any]]
) -> Any:
    """Serve, put one question and return the answer."""

    async def main() -> Any:
        async with serving(list_runs) as client:
            return await question(client)

    return asyncio.run(main())


async def one_run(namespace: str) -> list[Raw]:
    """List `RUN` in namespace ml, nothing elsewhere."""
    return [RUN] if namespace == "ml" else []


async def refused(_: str) -> list[Raw]:
    """Fail as an API server that does not answer does."""
    message = "no answer from the API server"
    raise OSError(message)


async def stuck(_: str) -> list[Raw]:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


def test_a_claimed_pod_comes_back_with_a_patch() -> None:
    """The answer carries the request's UID and a base64 JSON patch."""
    response = ask(one_run, lambda client: client.review(POD))

    operations = json.loads(base64.b64decode(response.pop("patch")))
    assert response == {"uid": "u-1", "allowed": True, "patchType": "JSONPatch"}
    assert operations[0]["path"] == "/metadata/labels/flopguard.dev~1run"


def test_a_strangers_pod_comes_back_allowed_and_unchanged() -> None:
    """No run claims it, so there is nothing to say."""
    stranger = {"metadata": {}, "spec": {"containers": [{"name": "web"}]}}

    response = ask(one_run, lambda client: client.review(stranger))

    assert response == {"uid": "u-1", "allowed": True}


@pytest.mark.parametrize("list_runs", [refused, stuck])
def test_without_the_runs_the_pod_starts_with_a_warning(
    list_runs: webhook.ListRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metering fails open: an API server that errs or hangs stops no training."""
    monkeypatch.setattr(webhook, "LIST_SECONDS", 0.1)

    response = ask(list_runs, lambda client: client.review(POD))

    assert response == {"uid": "u-1", "allowed": True, "warnings": [NOT_METERED]}


@pytest.mark.parametrize("pod", [None, [], "pod", {"spec": {"containers": [1]}}])
def test_a_pod_of_the_wrong_shape_is_allowed(pod: Any) -> None:
    """The API server judges shapes; the webhook only has nothing to add."""
    response = ask(one_run, lambda client: client.review(pod))

    assert response["allowed"] is True
    assert "patch" not in response


BODIES: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"{", 400),
    "not UTF-8": (b"\xff\xfe\xfd", 400),
    "no object": (b"[]", 400),
    "no UID": (b'{"request": {}}', 400),
    "nested beyond reason": (b"[" * 100_000, 400),
    "a number of ten thousand digits": (b"1" * 10_000, 400),
    "larger than 3 MiB": (b" " * (3 * 1024 * 1024 + 1), 413),
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_review_is_refused(body: bytes, status: int) -> None:
    """Such an answer is a failed call to the API server, which then ignores it."""
    assert ask(one_run, lambda client: client.post(body)) == (status, {})


def test_health_is_served_under_the_services_names_only() -> None:
    """The certificate names the Service, so nobody else can stand in for it."""
    status = ask(one_run, lambda client: client.health("flopguard-webhook.flopguard"))

    assert status == 200
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        ask(one_run, lambda client: client.health("other.flopguard.svc"))
