"""Serve reports read-only: `GET /reports/`, `/reports/NAME`, `/reports/NS/NAME`.

Only what the ledger knows is asked for; each page is made by a process of its own
(`rendering`), one at a time, and kept until the ledger has grown. There is no log-in:
whoever reaches the port can read, so it is off unless it is asked for.
"""

import asyncio
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import structlog
from aiohttp import web

from flopguard_operator.report.escaping import as_html
from flopguard_operator.report.html import shell
from flopguard_operator.report.style import POLICY

KEPT = 8  # pages
FRESH_SECONDS = 30.0  # a page is not made anew before, however fast the ledger grows
MOST_BYTES = 4 * 2**20  # of a page
MOST_WAITING = 4  # requests for a page that has to be made
MOST_NAMES = 2000  # in the list
TIMEOUT_SECONDS = 90.0

HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_log = structlog.get_logger()


@dataclass(frozen=True)
class _Made:
    """A page, and of what ledger it is."""

    body: bytes
    size: int
    at: float


@dataclass
class Reports:
    """Makes pages and keeps the last ones.

    Attributes:
        ledger: its file, which is only read.
        names: gives what there are reports on: programs, and runs as "NS/NAME".
        size: gives the number of the ledger's entries.
        policies: folder of custom rule sets, None for none.
    """

    ledger: Path
    names: Callable[[], Iterable[str]]
    size: Callable[[], int]
    policies: Path | None = None
    _pages: OrderedDict[str, _Made] = field(default_factory=OrderedDict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: int = 0

    def routes(self) -> list[web.RouteDef]:
        """Return what the web server is to answer; `GET` and `HEAD` only."""
        return [
            web.get("/reports/", self.index),
            web.get("/reports/{name}", self.show),
            web.get("/reports/{namespace}/{name}", self.show),
        ]

    async def index(self, _: web.Request) -> web.Response:
        """List what there are reports on."""
        names = sorted(set(self.names()))
        items = "".join(
            f'<li><a href="/reports/{quote(name)}">{as_html(name)}</a></li>\n'
            for name in names[:MOST_NAMES]
        )
        more = len(names) - MOST_NAMES
        left_out = f"<p>{more} more are not listed.</p>\n" if more > 0 else ""
        told = f"<ul>\n{items}</ul>\n{left_out}" if names else "<p>None yet.</p>\n"
        title = "flopguard reports"
        return _page(shell(title, f"<main>\n<h1>{title}</h1>\n{told}</main>\n"))

    async def show(self, request: web.Request) -> web.Response:
        """Show the report on one program or run."""
        parts = request.match_info.get("namespace"), request.match_info["name"]
        name = "/".join(part for part in parts if part is not None)
        if name not in set(self.names()):
            return _plain(404, "The ledger holds no such program or run.")
        found = self._kept(name)
        if found is not None:
            return _page(found.body)
        if self._waiting >= MOST_WAITING:
            return _plain(503, "Too many reports are being made; try again soon.")
        self._waiting += 1
        try:
            async with self._turn:
                found = self._kept(name) or await self._make(name)
        finally:
            self._waiting -= 1
        if found is None:
            return _plain(
                503,
                "This report cannot be made here, see the operator's log; make it with"
                " `flopguard report` from an exported ledger.",
            )
        return _page(found.body)

    def _kept(self, name: str) -> _Made | None:
        found = self._pages.get(name)
        if found is None:
            return None
        young = time.monotonic() - found.at < FRESH_SECONDS
        return found if young or found.size == self.size() else None

    async def _make(self, name: str) -> _Made | None:
        size = self.size()
        body = await rendered(self.ledger, name, self.policies)
        if body is None:
            return None
        made = self._pages[name] = _Made(body, size, time.monotonic())
        self._pages.move_to_end(name)
        while len(self._pages) > KEPT:
            self._pages.popitem(last=False)
        return made


async def rendered(
    ledger: Path, name: str, policies: Path | None = None
) -> bytes | None:
    """Return a page as a process of its own makes it; None if it cannot."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "flopguard_operator.rendering",
        str(ledger),
        name,
        str(policies or ""),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            body = await _bounded(process.stdout)
            code = await process.wait() if body is not None else 1
    except TimeoutError:
        body, code = None, 1
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code:
        _log.warning("a report could not be made", subject=name, code=code)
        return None
    return body


async def _bounded(stream: asyncio.StreamReader | None) -> bytes | None:
    """Return what a stream holds; None where that is too much."""
    body = b""
    while stream is not None and (part := await stream.read(2**16)):
        body += part
        if len(body) > MOST_BYTES:
            return None
    return body


def _page(body: str | bytes) -> web.Response:
    data = body.encode() if isinstance(body, str) else body
    return web.Response(
        body=data, content_type="text/html", charset="utf-8", headers=HEADERS
    )


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=HEADERS)
