"""Read marks from the sidecars directly, where Prometheus is absent or silent.

`GET http://<pod IP>:9464/marks` is answered by a tenant's pod: bounded in size and
time, and anything but the agreed shape is no answer.
"""

import asyncio
import http.client
import json
from collections.abc import Iterable
from typing import Any

from flopguard_operator.marks import LARGEST_STEPS, MAX_DIGITS, Mark
from flopguard_operator.naming import CATEGORIES, SIDECAR_PORT
from flopguard_operator.observed import Pod, at, text

MAX_ANSWER_BYTES = 8 * 1024 * 1024
SECONDS = 2.0
PARALLEL = 32


async def read(pods: Iterable[Pod]) -> dict[str, Mark]:
    """Return the marks of the pods that answered, by pod UID; silence is left out."""
    gate = asyncio.Semaphore(PARALLEL)

    async def one(pod: Pod) -> Mark | None:
        async with gate:
            return await asyncio.to_thread(_read, pod)

    found = await asyncio.gather(*(one(pod) for pod in pods if pod.ip))
    return {mark.stream: mark for mark in found if mark is not None}


def _read(pod: Pod) -> Mark | None:
    connection = http.client.HTTPConnection(pod.ip, SIDECAR_PORT, timeout=SECONDS)
    try:
        connection.request("GET", "/marks")
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            return None
        return parse(json.loads(answer.read(MAX_ANSWER_BYTES)), pod.uid)
    except (OSError, ValueError, http.client.HTTPException, RecursionError):
        return None
    finally:
        connection.close()


def parse(raw: Any, stream: str) -> Mark | None:
    """Return the stream's mark from the JSON of `/marks`; None if it is not one."""
    schema, steps, pages = at(raw, "schema"), at(raw, "steps"), at(raw, "pages")
    if type(schema) is not int or schema != 1:  # to JSON, true is not 1
        return None
    if type(steps) is not int or not 0 <= steps <= LARGEST_STEPS:
        return None
    done = {c: _count(text(raw, "done", c)) for c in CATEGORIES}
    begun = {c: _count(text(raw, "begun", c)) for c in CATEGORIES}
    flops = [*done.values(), *begun.values()]
    if None in flops:
        return None  # a figure out of bounds must not pass for a zero
    counted = {c: flops or 0 for c, flops in done.items()}
    return Mark(
        stream=stream,
        done=counted,
        begun=max(sum(n or 0 for n in begun.values()), sum(counted.values())),
        steps=steps,
        pages=len(pages) if isinstance(pages, list) else 0,
        source="sidecar",
    )


def _count(digits: str) -> int | None:
    ok = digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS
    return int(digits) if ok else None
