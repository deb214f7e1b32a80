"""Reading marks from pods directly: from those that behave, and from the others."""

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from flopguard_operator import energy, hardware, sidecars
from flopguard_operator.ledger.machines import Machine
from flopguard_operator.marks import Mark
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.observed import Pod, pod
from flopguard_sidecar.serving import (
    CPU_HEADER,
    DEVICES_HEADER,
    ENERGY_HEADER,
    UID_HEADER,
)
from standins import objects

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]

FLOPS = dict.fromkeys(CATEGORIES, "10")
MARKS = {"schema": 1, "done": FLOPS, "begun": FLOPS, "steps": 2, "pages": [{}]}
BODY = json.dumps(MARKS).encode()


def running(number: int = 1, **changes: Any) -> Pod:
    """Return a running pod with an address of its own on this machine."""
    found = replace(pod(objects.pod(f"pod-{number}")), ip=f"127.0.0.{number}")
    return replace(found, **changes)


def head(*lines: str, status: str = "200 OK", length: int = len(BODY)) -> bytes:
    """Return the head of a stand-in sidecar's answer."""
    all_lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", *lines]
    return "\r\n".join([*all_lines, "Connection: close", "", ""]).encode()


def own(number: int = 1) -> str:
    """Return the header line by which a pod says who it is."""
    return f"{UID_HEADER}: pod-{number}"


@asynccontextmanager
async def standin(respond: Respond) -> AsyncIterator[int]:
    """Answer on every address of this machine as `respond` does; gives the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await respond(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client hung up, as some tests want it to
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "0.0.0.0", 0)  # noqa: S104 - all of 127.0.0.0/8
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def read(respond: Respond, *pods: Pod) -> dict[str, Mark]:
    """Return what the operator reads from stand-in sidecars."""

    async def run() -> dict[str, Mark]:
        async with standin(respond) as port:
            told = await sidecars.read(pods, port)
            return {uid: each.mark for uid, each in told.items()}

    return asyncio.run(run())


def saying(answer: bytes) -> Respond:
    """Return what sends these bytes."""

    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return respond


async def silent(_: asyncio.StreamWriter) -> None:
    """Say nothing."""
    await asyncio.sleep(60)


def test_a_mark_is_read_from_the_pod_that_says_who_it_is() -> None:
    """The header of the sidecar names the pod that was asked."""
    found = read(saying(head(own()) + BODY), running())

    assert found["pod-1"].measured == 50
    assert found["pod-1"].source == "sidecar"


def listened(*lines: str) -> hardware.Told | None:
    """Return what the operator hears of the devices from an answer's header."""

    async def run() -> hardware.Told | None:
        async with standin(saying(head(own(), *lines) + BODY)) as port:
            return (await sidecars.listen([running()], port))["pod-1"].devices

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("lines", "devices"),
    [
        pytest.param(("nvml 8 12345",), hardware.Told("nvml", 8, 12345), id="devices"),
        pytest.param(("dcgm 0 0",), hardware.Told("dcgm", 0, 0), id="the node's"),
        pytest.param((), None, id="no header"),
        pytest.param(("nvml 8",), None, id="a part of it"),
        pytest.param(("amd 8 5",), None, id="another source"),
        pytest.param(("nvml 8 -5",), None, id="a negative figure"),
        pytest.param(("nvml 8 1e9",), None, id="no whole number"),
        pytest.param(("nvml 8 " + "9" * 13,), None, id="longer than a life"),
        pytest.param(("nvml 9999 5",), None, id="more devices than there are"),
        pytest.param(("nvml \u0668 5",), None, id="digits that are not ASCII"),
    ],
)
def test_the_devices_are_told_beside_the_marks(
    lines: tuple[str, ...], devices: hardware.Told | None
) -> None:
    """What is malformed is left out; the mark counts all the same."""
    assert listened(*(f"{DEVICES_HEADER}: {line}" for line in lines)) == devices


def test_the_energy_is_told_beside_the_marks() -> None:
    """As one line in a header (`test_sidecar_energy` has the malformed ones)."""
    body = "energy/1 nvml 1 1700000000000 1700000005000 000000000000001000 GPU-a"
    line = f"{body} {zlib.crc32(body.encode()):08x}"

    async def run(line: str) -> energy.Told | None:
        async with standin(saying(head(own(), f"{ENERGY_HEADER}: {line}") + BODY)) as p:
            return (await sidecars.listen([running()], p))["pod-1"].energy

    told = asyncio.run(run(line))
    assert told is not None
    assert (told.millijoules, told.devices) == (1000, ("GPU-a",))
    assert asyncio.run(run(line.replace("GPU-a", "GPU-b"))) is None


@pytest.mark.parametrize(
    ("line", "machine"),
    [
        pytest.param("2 avx2 3000", Machine(2, "avx2", 3000), id="a processor"),
        pytest.param("2 avx2", Machine(), id="a part of it"),
        pytest.param("-2 avx2 3000", Machine(), id="a negative figure"),
        pytest.param("2 AVX2; 3000", Machine(), id="other characters"),
        pytest.param(f"2 avx2 {'9' * 8}", Machine(), id="too many digits"),
        pytest.param("9999999 avx2 3", Machine(0, "avx2", 3), id="too many cores"),
    ],
)
def test_the_nodes_processor_is_told_beside_the_marks(
    line: str, machine: Machine
) -> None:
    """What is malformed is nothing; the mark counts all the same."""

    async def run() -> Machine:
        answer = saying(head(own(), f"{CPU_HEADER}: {line}") + BODY)
        async with standin(answer) as port:
            return (await sidecars.listen([running()], port))["pod-1"].machine

    assert asyncio.run(run()) == machine


NESTED = b"[" * 1_000_000
LARGE = b" " * sidecars.MAX_ANSWER_BYTES + BODY
ANSWERS: dict[str, bytes] = {
    "another pod has the address now": head(own(2)) + BODY,
    "nobody says who answers": head() + BODY,
    "two say who answers": head(own(), own(2)) + BODY,
    "a status that is not OK": head(own(), status="503 Ill") + BODY,
    "a body that is not JSON": head(own(), length=1) + b"x",
    "JSON that is nested too deeply": head(own(), length=len(NESTED)) + NESTED,
    "a body above the bound": head(own(), length=len(LARGE)) + LARGE,
    "a body that is cut off": head(own()) + BODY[:-1],
    "a length that is no number": head(own(), "Content-Length: x") + BODY,
    "no HTTP": b"\x16\x03\x01\x02\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_what_is_not_the_pods_own_answer_is_none(answer: bytes) -> None:
    """A pod's address is used again, and what runs there is a tenant's."""
    assert read(saying(answer), running()) == {}


def test_nobody_is_sent_elsewhere() -> None:
    """A redirect would let a tenant choose whom the operator asks."""
    asked = []

    async def respond(writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        there = "Location: /elsewhere"
        first = head(there, status="302 Found", length=0)
        writer.write(first if len(asked) == 1 else head(own()) + BODY)

    assert read(respond, running()) == {}
    assert len(asked) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"ended": True},
        {"over": True},
        {"gone": True},
        {"injected": False},
        {"ip": ""},
        {"ip": "localhost"},
    ],
    ids=[
        "whose programs have ended",
        "that is over",
        "that is deleted",
        "without a sidecar",
        "without an address",
        "with a name for an address",
    ],
)
def test_a_pod_is_not_asked(changes: dict[str, Any]) -> None:
    """Its address may be another pod's by now."""
    asked = []

    async def respond(writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        writer.write(head(own()) + BODY)

    assert read(respond, running(**changes)) == {}
    assert asked == []


def test_who_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte now and then keeps every single read alive; the whole is bounded."""
    monkeypatch.setattr(sidecars, "ANSWER_SECONDS", 0.5)

    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(head(own()))
        for byte in BODY:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    began = time.monotonic()

    assert read(respond, running()) == {}
    assert time.monotonic() - began < 5, "the whole answer takes longer than that"


def test_as_many_as_promised_are_asked_at_once() -> None:
    """All answers come only when the last question is there."""
    waiting = asyncio.Barrier(sidecars.PARALLEL)

    async def respond(writer: asyncio.StreamWriter) -> None:
        await waiting.wait()
        address = writer.get_extra_info("sockname")[0]
        writer.write(head(own(int(address.rsplit(".", 1)[1]))) + BODY)

    numbers = range(1, sidecars.PARALLEL + 1)

    assert len(read(respond, *map(running, numbers))) == sidecars.PARALLEL


def test_many_silent_pods_do_not_hold_up_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One deadline bounds them together; what was answered by then is kept."""
    monkeypatch.setattr(sidecars, "PARALLEL", 100)
    monkeypatch.setattr(sidecars, "ANSWER_SECONDS", 60.0)
    monkeypatch.setattr(sidecars, "ALL_SECONDS", 1.0)

    async def respond(writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("sockname")[0] != "127.0.0.7":
            await silent(writer)
        writer.write(head(own(7)) + BODY)

    began = time.monotonic()

    assert list(read(respond, *map(running, range(1, 51)))) == ["pod-7"]
    assert time.monotonic() - began < 10, "each of the silent pods was waited for"
