"""A small HTTP server that strangers in the cluster may talk to.

Shell. GET only; the head of a request, the number of connections and the time of each
are bounded, and what does not fit is cut off.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

MAX_HEAD_BYTES = 8 * 1024
MAX_CONNECTIONS = 32

TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    body: bytes
    content_type: str = TEXT
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


Routes = Mapping[str, Callable[[], Answer]]


class Server:
    """Answers GET on a fixed set of paths; a connection ends after `seconds`."""

    def __init__(self, routes: Routes, seconds: float = 10.0) -> None:
        self._routes = routes
        self._seconds = seconds
        self._connections = 0
        self._server: asyncio.Server | None = None

    async def start(self, port: int, address: str = "") -> int:
        """Listen on one address, or on all of them, IPv4 and IPv6; return the port.

        Raises:
            OSError: The port is taken, or the address is not this machine's.
        """
        listener = socket.create_server((address, port)) if address else _listen(port)
        self._server = await asyncio.start_server(
            self._connected, sock=listener, limit=MAX_HEAD_BYTES
        )
        return int(listener.getsockname()[1])

    def close(self) -> None:
        """Stop listening; open connections are cut off with the event loop."""
        if self._server is not None:
            self._server.close()

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._connections >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(self._seconds):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_encode(self._answer(head)))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (
            TimeoutError,
            OSError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ):
            writer.transport.abort()
        finally:
            self._connections -= 1

    def _answer(self, head: bytes) -> Answer:
        parts = head.split(b"\r\n", 1)[0].split(b" ")
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):  # noqa: PLR2004 - method, target, version
            return _plain(HTTPStatus.BAD_REQUEST)
        if parts[0] != b"GET":
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED)
        path = parts[1].split(b"?", 1)[0].decode("ascii", errors="replace")
        route = self._routes.get(path)
        return _plain(HTTPStatus.NOT_FOUND) if route is None else route()


def _plain(status: HTTPStatus) -> Answer:
    return Answer(f"{status.phrase}\n".encode(), status=status)


def _encode(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        + ("Allow: GET\r\n" if answer.status == HTTPStatus.METHOD_NOT_ALLOWED else "")
        + "Connection: close\r\n\r\n"
    )
    return head.encode() + answer.body


def _listen(port: int) -> socket.socket:
    """Listen on [::] and 0.0.0.0, or on the latter where the node has no IPv6."""
    if socket.has_dualstack_ipv6():
        with suppress(OSError):  # IPv6 is compiled in but switched off
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True
            )
    return socket.create_server(("", port))
