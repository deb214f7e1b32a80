"""Asking Prometheus: one kind of error for all that an address can turn out to be."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flopguard_operator import prometheus
from flopguard_operator.prometheus import PrometheusError

VECTOR = {"status": "success", "data": {"resultType": "vector", "result": [{}]}}


@asynccontextmanager
async def standin(*parts: bytes, pause: float = 0.0) -> AsyncIterator[str]:
    """Answer one request with these bytes, part by part; gives the base address."""
    done = asyncio.Event()

    async def connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client hung up, as some tests want it to
        finally:
            writer.close()
            done.set()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await asyncio.wait_for(done.wait(), 20)
    finally:
        server.close()


def query(*parts: bytes, pause: float = 0.0) -> list[Any]:
    """Return what the operator understands of a stand-in's answer."""

    async def run() -> list[Any]:
        async with standin(*parts, pause=pause) as url:
            return list(await prometheus.query(url))

    return asyncio.run(run())


def answer(body: bytes, status: str = "200 OK") -> bytes:
    """Return a whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def test_a_vector_is_returned_as_it_is() -> None:
    """The series of the answer, unread."""
    assert query(answer(json.dumps(VECTOR).encode())) == [{}]


REFUSED = {"status": "error", "error": "query timed out"}
ANSWERS: dict[str, tuple[bytes, str]] = {
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n", "did not answer"),
    "nothing": (b"", "did not answer"),
    "JSON that is nested too deeply": (answer(b"[" * 1_000_000), "too deeply"),
    "a web page": (answer(b"<html>"), "did not answer"),
    "JSON in no encoding": (answer(b'"\xff"'), "did not answer"),
    "a cut-off body": (answer(b"{}")[:-1], "did not answer"),
    "an HTTP error": (answer(b"", "404 Not Found"), "HTTP 404 Not Found"),
    "an error of Prometheus": (
        answer(json.dumps(REFUSED).encode()),
        "query timed out",
    ),
    "another shape": (answer(b"[]"), "no vector"),
}


@pytest.mark.parametrize(("said", "sentence"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_answer_is_one_kind_of_error(said: bytes, sentence: str) -> None:
    """Whatever listens at the address; then the sidecars are read directly."""
    with pytest.raises(PrometheusError, match=sentence):
        query(said)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "prometheus:9090",
        "http://127.0.0.1:port",
        "http://[::1",
        "http://a b:9090",
        "ftp://127.0.0.1",
        "http://127.0.0.1:1",
        f"http://{'x' * 70}.invalid",
    ],
    ids=[
        "no host",
        "no scheme",
        "a port that is no number",
        "half an address",
        "a blank in the host",
        "another scheme",
        "a port where nobody listens",
        "a label too long for DNS",
    ],
)
def test_an_address_that_leads_nowhere_is_the_same_error(url: str) -> None:
    """A typing error in the chart's values must not stop all metering."""
    with pytest.raises(PrometheusError, match="Prometheus at"):
        asyncio.run(prometheus.query(url))


def test_an_answer_above_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off, it could not be told from a smaller one."""
    monkeypatch.setattr(prometheus, "MAX_ANSWER_BYTES", 10)

    with pytest.raises(PrometheusError, match="larger than 10 bytes"):
        query(answer(json.dumps(VECTOR).encode()))


def test_an_answer_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for the whole answer, not for each of its bytes."""
    monkeypatch.setattr(prometheus, "SECONDS", 0.3)

    with pytest.raises(PrometheusError, match="within"):
        query(*(bytes([byte]) for byte in answer(b"[" * 50)), pause=0.05)
