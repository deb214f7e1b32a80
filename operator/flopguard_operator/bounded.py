"""Read the JSON of an HTTP answer from somebody who is not trusted: bounded in size."""

import json
from typing import Any

import aiohttp


async def read_json(answer: aiohttp.ClientResponse, most_bytes: int) -> Any:
    """Return the JSON of an answer's body; the session bounds the time.

    Raises:
        ValueError: The body is larger than `most_bytes`, or not JSON.
        aiohttp.ClientError: The connection broke off.
    """
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most_bytes:
            message = f"the answer is larger than {most_bytes} bytes"
            raise ValueError(message)
    try:
        return json.loads(body)
    except RecursionError as error:
        message = "the answer is nested too deeply"
        raise ValueError(message) from error
