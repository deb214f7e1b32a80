"""Drive a real headless Chromium by its DevTools protocol, without a library for it."""

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_START_SECONDS = 120.0  # on a machine that is busy with a cluster
_ANSWER_SECONDS = 90.0


def executable() -> str | None:
    """Return the path of a browser, None where none is installed (`make browser`)."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@dataclass
class Page:
    """One page, with all that the browser said while it was open."""

    send: Any
    session: str
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    loaded: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol in this page."""
        found: dict[str, Any] = await self.send(method, params, self.session)
        return found

    async def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, which the test brings."""
        told = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def show(self, url: str, width: int, height: int = 900) -> None:
        """Open an address in a window of a width, and wait until it is drawn."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.loaded.clear()
        told = await self.call("Page.navigate", url=url)
        assert "errorText" not in told, told
        await asyncio.wait_for(self.loaded.wait(), _ANSWER_SECONDS)

    async def press(self, key: str, code: int) -> None:
        """Press and let go a key, as a person without a mouse does."""
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
            )

    async def picture(self, file: Path, top: int = 0, height: int = 0) -> None:
        """Write a picture of the page, or of a part of it."""
        size = await self.ask(
            "[document.documentElement.clientWidth,"
            " document.documentElement.scrollHeight]"
        )
        clip = {
            "x": 0,
            "y": top,
            "width": size[0],
            "height": height or size[1] - top,
            "scale": 1,
        }
        told = await self.call(
            "Page.captureScreenshot", clip=clip, captureBeyondViewport=True
        )
        await asyncio.to_thread(file.write_bytes, base64.b64decode(told["data"]))

    async def printed(self) -> bytes:
        """Return the page as a PDF on A4."""
        told = await self.call(
            "Page.printToPDF",
            paperWidth=8.27,
            paperHeight=11.69,
            preferCSSPageSize=True,
        )
        return base64.b64decode(told["data"])

    def heard(self, method: str, params: dict[str, Any]) -> None:
        """Take in an event of the protocol."""
        if method == "Page.loadEventFired":
            self.loaded.set()
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.console.append(json.dumps(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(json.dumps(params["exceptionDetails"]))


@asynccontextmanager
async def opened() -> AsyncIterator[Page]:
    """Start a browser with a profile of its own, and give an empty page of it."""
    binary = executable()
    assert binary is not None
    with tempfile.TemporaryDirectory() as profile:
        process = await asyncio.create_subprocess_exec(
            binary,
            "--headless",
            "--no-sandbox",  # the tests run as root in a container
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            address = await _address(Path(profile) / "DevToolsActivePort")
            async with (
                aiohttp.ClientSession() as client,
                client.ws_connect(address, max_msg_size=2**27) as socket,
                _page(socket) as page,
            ):
                yield page
        finally:
            process.kill()
            await process.wait()


async def _address(file: Path) -> str:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            lines = await asyncio.to_thread(_lines, file)
            if len(lines) == 2:  # the browser writes it once it listens
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            await asyncio.sleep(0.1)


def _lines(file: Path) -> list[str]:
    return file.read_text().split("\n") if file.exists() else []


@asynccontextmanager
async def _page(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Page]:
    waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
    numbers = itertools.count(1)
    pages: dict[str, Page] = {}

    async def send(
        method: str, params: dict[str, Any], session: str = ""
    ) -> dict[str, Any]:
        number = next(numbers)
        waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await socket.send_json(message | ({"sessionId": session} if session else {}))
        told = await asyncio.wait_for(waiting[number], _ANSWER_SECONDS)
        assert "error" not in told, (method, told)
        found: dict[str, Any] = told["result"]
        return found

    async def listen() -> None:
        async for message in socket:
            told = json.loads(message.data)
            if "id" in told and told["id"] in waiting:
                waiting[told["id"]].set_result(told)
            elif told.get("sessionId") in pages:
                pages[told["sessionId"]].heard(told["method"], told["params"])

    listening = asyncio.create_task(listen())
    try:
        target = await send("Target.createTarget", {"url": "about:blank"})
        told = await send("Target.attachToTarget", {**target, "flatten": True})
        page = pages[told["sessionId"]] = Page(send, told["sessionId"])
        for domain in ("Page", "Network", "Log", "Runtime"):
            await page.call(f"{domain}.enable")
        yield page
    finally:
        listening.cancel()
