"""The HTTP server, with clients that do not behave."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import pytest

from flopguard_sidecar.server import JSON, MAX_CONNECTIONS, Answer, Server

LARGE = b"x" * 4_000_000
ROUTES = {
    "/marks": lambda: Answer(b'{"schema":1}\n', JSON, headers={"X-Mine": "uid-1"}),
    "/large": lambda: Answer(LARGE),
    "/ill": lambda: Answer(b"old\n", status=HTTPStatus.SERVICE_UNAVAILABLE),
}


def with_server(
    client: Callable[[int], Awaitable[None]], *, seconds: float = 10.0
) -> None:
    """Run a client against a server on a free port."""

    async def run() -> None:
        server = Server(ROUTES, seconds)
        port = await server.start(0)
        try:
            async with asyncio.timeout(30):
                await client(port)
        finally:
            server.close()

    asyncio.run(run())


async def ask(port: int, request: bytes, host: str = "127.0.0.1") -> bytes:
    """Send bytes; return all that comes back, nothing if the server hung up."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_a_route_is_answered_with_length_and_type() -> None:
    """What a scraper needs."""

    async def client(port: int) -> None:
        answer = await ask(port, b"GET /marks?x=1 HTTP/1.1\r\nHost: pod\r\n\r\n")
        head, body = answer.split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Type: application/json\r\n" in head
        assert b"Content-Length: 13\r\n" in head
        assert b"X-Mine: uid-1\r\n" in head
        assert body == b'{"schema":1}\n'

    with_server(client)


def test_a_large_answer_arrives_whole() -> None:
    """4,000 pages are some megabytes."""

    async def client(port: int) -> None:
        answer = await ask(port, b"GET /large HTTP/1.1\r\n\r\n")
        assert answer.split(b"\r\n\r\n", 1)[1] == LARGE

    with_server(client)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"GET /ill HTTP/1.1\r\n\r\n", b"503", id="a route that is ill"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"404", id="no such path"),
        pytest.param(b"GET /../marks HTTP/1.1\r\n\r\n", b"404", id="a path upwards"),
        pytest.param(b"GET /\xff HTTP/1.1\r\n\r\n", b"404", id="a path not ASCII"),
        pytest.param(b"POST /marks HTTP/1.1\r\n\r\n", b"405", id="POST"),
        pytest.param(b"HEAD /marks HTTP/1.1\r\n\r\n", b"405", id="HEAD"),
        pytest.param(b"get /marks HTTP/1.1\r\n\r\n", b"405", id="get in small letters"),
        pytest.param(b"GET /marks\r\n\r\n", b"400", id="no version"),
        pytest.param(b"GET /marks SPDY/3\r\n\r\n", b"400", id="another protocol"),
        pytest.param(b"\r\n\r\n", b"400", id="an empty head"),
        pytest.param(b"\x16\x03\x01\x02\r\n\r\n", b"400", id="the start of TLS"),
    ],
)
def test_what_is_not_a_get_of_a_known_path_is_refused(
    request_bytes: bytes, status: bytes
) -> None:
    """With the status that HTTP has for it."""

    async def client(port: int) -> None:
        assert (await ask(port, request_bytes))[9:12] == status

    with_server(client)


def test_a_head_above_the_bound_is_cut_off_and_the_next_client_served() -> None:
    """No client makes the server keep more than 8 KiB of a head."""

    async def client(port: int) -> None:
        assert await ask(port, b"GET /marks HTTP/1.1\r\nX: " + b"x" * 100_000) == b""
        assert (await ask(port, b"GET /marks HTTP/1.1\r\n\r\n"))[9:12] == b"200"

    with_server(client)


def test_a_silent_client_is_cut_off() -> None:
    """It would hold one of few connections for ever."""

    async def client(port: int) -> None:
        assert await ask(port, b"GET /marks HTTP/1.1\r\n") == b""

    with_server(client, seconds=0.1)


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """The rest of the answer is dropped with the connection."""

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.5)  # the time of the connection, five times over
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(len(LARGE))
        writer.close()

    with_server(client, seconds=0.1)


def test_connections_are_bounded_and_free_again_afterwards() -> None:
    """More than 32 at once are hung up on; a scraper comes back."""

    async def client(port: int) -> None:
        idle = [
            await asyncio.open_connection("127.0.0.1", port)
            for _ in range(MAX_CONNECTIONS)
        ]
        for _, writer in idle:
            writer.write(b"GET")
        assert await ask(port, b"GET /marks HTTP/1.1\r\n\r\n") == b""
        for reader, writer in idle:
            writer.write(b" /marks HTTP/1.1\r\n\r\n")
            assert (await reader.read())[9:12] == b"200"
            writer.close()
        assert (await ask(port, b"GET /marks HTTP/1.1\r\n\r\n"))[9:12] == b"200"

    with_server(client)
