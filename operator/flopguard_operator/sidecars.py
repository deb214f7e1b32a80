"""Read marks from the sidecars directly, where Prometheus is absent or silent.

`GET http://<pod IP>:9464/marks` is answered by a tenant's pod: bounded in size and
time, and anything but the agreed shape is no answer.
"""

import asyncio
import ipaddress
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import aiohttp
from yarl import URL

from flopguard_operator import bounded, energy, hardware
from flopguard_operator.heard import Heard, parse, parse_mark, parse_whole
from flopguard_operator.ledger import machines
from flopguard_operator.naming import SIDECAR_PORT
from flopguard_operator.observed import Pod

__all__ = ["Heard", "listen", "parse", "parse_mark", "parse_whole", "read"]

MAX_ANSWER_BYTES = 8 * 1024 * 1024
ANSWER_SECONDS = 2.0  # from the connection to the last byte
ALL_SECONDS = 10.0  # for all pods together; who has not answered by then is silent
PARALLEL = 32  # each answer is in memory whole
UID_HEADER = "X-Flopguard-Pod-Uid"
AGE_HEADER = "X-Flopguard-Mark-Age-Ms"
DEVICES_HEADER = "X-Flopguard-Tensor-Active"
ENERGY_HEADER = "X-Flopguard-Energy"
CPU_HEADER = "X-Flopguard-Cpu"
UNTOLD_AGE = 5_000  # milliseconds, of a sidecar that does not say its own
LARGEST_AGE = 10**9


@dataclass(frozen=True)
class _Answer:
    """What one pod answered; `raw` is None where it did not."""

    uid: str
    raw: Any = None
    asked: int = 0
    age: int = UNTOLD_AGE
    devices: str = ""  # the header
    energy: str = ""  # likewise
    cpu: str = ""  # likewise


async def read(pods: Iterable[Pod], port: int = SIDECAR_PORT) -> dict[str, Heard]:
    """Return the marks of the pods that answered, by pod UID; silence is left out."""
    return await _ask(pods, port, parse_mark)


async def listen(pods: Iterable[Pod], port: int = SIDECAR_PORT) -> dict[str, Heard]:
    """Return the marks with the processes behind them, in the same way.

    The facts of processes are large: to be asked for now and then, not every cycle.
    """
    return await _ask(pods, port, parse_whole)


async def _ask(
    pods: Iterable[Pod], port: int, parsed: Callable[[Any, str], Heard | None]
) -> dict[str, Heard]:
    """Return what the pods answered, by pod UID.

    Only the sidecar of a pod whose programs still run is asked: the address of an
    ended pod may be another's by now.
    """
    asked = [pod for pod in pods if pod.ip and _speaks(pod)]
    secrets.SystemRandom().shuffle(asked)  # else the same pods would always come last
    gate = asyncio.Semaphore(PARALLEL)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=PARALLEL),
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        tasks = [asyncio.create_task(_read(session, gate, pod, port)) for pod in asked]
        answers = await _within(ALL_SECONDS, tasks)
    # In a thread: a large answer must not hold up the loop.
    return await asyncio.to_thread(_parsed, answers, parsed)


def _parsed(
    answers: Iterable[_Answer], parsed: Callable[[Any, str], Heard | None]
) -> dict[str, Heard]:
    found = {}
    for one in answers:
        heard = parsed(one.raw, one.uid)
        if heard is not None:
            devices = hardware.told(one.devices)
            found[one.uid] = replace(
                heard,
                asked=one.asked,
                age=one.age,
                devices=devices,
                energy=energy.told(one.energy),
                machine=machines.told(one.cpu),
            )
    return found


def _speaks(pod: Pod) -> bool:
    return pod.injected and not (pod.ended or pod.over or pod.gone)


async def _within(seconds: float, tasks: list[asyncio.Task[_Answer]]) -> list[_Answer]:
    """Return the results of the tasks that end in time; cancel the others."""
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        return [task.result() for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(
    session: aiohttp.ClientSession, gate: asyncio.Semaphore, pod: Pod, port: int
) -> _Answer:
    """Return the pod's UID with the JSON that it answered, None where it did not."""
    nothing = _Answer(pod.uid)
    async with gate:
        try:
            asked = time.monotonic_ns() // 1_000_000
            host = str(ipaddress.ip_address(pod.ip))  # never a name to look up
            url = URL.build(scheme="http", host=host, port=port, path="/marks")
            async with session.get(url, allow_redirects=False) as answer:
                if answer.status != HTTPStatus.OK:
                    return nothing
                if answer.headers.getall(UID_HEADER, []) != [pod.uid]:
                    return nothing  # the address belongs to another pod by now
                age = _age(answer.headers.get(AGE_HEADER, ""))
                devices = answer.headers.get(DEVICES_HEADER, "")
                drawn = answer.headers.get(ENERGY_HEADER, "")
                cpu = answer.headers.get(CPU_HEADER, "")
                raw = await bounded.read_json(answer, MAX_ANSWER_BYTES)
                return _Answer(pod.uid, raw, asked, age, devices, drawn, cpu)
        except (aiohttp.ClientError, OSError, ValueError):
            return nothing


def _age(told: str) -> int:
    """Return the age of a mark in milliseconds, as its sidecar says; never negative."""
    if not (told.isascii() and told.isdigit()) or len(told) > len(str(LARGEST_AGE)):
        return UNTOLD_AGE
    return min(int(told), LARGEST_AGE)
