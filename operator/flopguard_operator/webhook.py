"""Serve the admission webhook: AdmissionReview in, injection, AdmissionReview out.

A pipe around `injection`: it knows no policy. It fails open, always: a pod that cannot
be judged starts unmetered, which the operator finds and shows; a pod that cannot start
because its meter is broken would be worse.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

from flopguard_operator import injection
from flopguard_operator.injected import Images
from flopguard_operator.observed import Raw, at, text

ListRuns = Callable[[str], Awaitable[list[dict[str, Any]]]]
"""Return the raw FineTuneRuns of a namespace, asked live."""

MAX_BODY_BYTES = 3 * 1024 * 1024  # the API server's own limit for a request
LIST_SECONDS = 3.0  # of the five that the API server waits for us

_log = structlog.get_logger()


def application(list_runs: ListRuns, images: Images) -> web.Application:
    """Return the web application: `POST /mutate` and `GET /healthz`."""

    async def mutate(request: web.Request) -> web.Response:
        try:
            review = json.loads(await request.read())
        except (ValueError, RecursionError):
            review = None
        uid = text(review, "request", "uid")
        if not uid:  # then no answer would count, and the API server goes on without
            raise web.HTTPBadRequest(text="not an AdmissionReview")
        answer = await _answer(at(review, "request"), list_runs, images)
        body = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {"uid": uid, "allowed": True, **answer},
        }
        return web.json_response(body)

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes([web.post("/mutate", mutate), web.get("/healthz", healthz)])
    return app


async def _answer(
    request: Raw, list_runs: ListRuns, images: Images
) -> dict[str, object]:
    """Return patch and warnings for a request; a failure becomes a warning."""
    namespace = text(request, "namespace")
    pod = at(request, "object")
    try:
        async with asyncio.timeout(LIST_SECONDS):
            runs = await list_runs(namespace)
        operations = injection.admit(pod, runs, images)
    except Exception as error:  # noqa: BLE001 - whatever broke, the pod starts
        name = text(pod, "metadata", "name") or text(pod, "metadata", "generateName")
        _log.warning("not_injected", namespace=namespace, pod=name, error=repr(error))
        return {"warnings": ["flopguard could not look at this pod; it is not metered"]}
    if not operations:
        return {}
    patch = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"patchType": "JSONPatch", "patch": patch}


async def serve(
    list_runs: ListRuns,
    images: Images,
    tls: ssl.SSLContext,
    port: int,
    host: str | None = None,
) -> None:
    """Serve on `host` (left out: every address) and `port` until cancelled.

    Requests under way are answered first. `tls` is a server context, as
    `certificates.server_context` makes it.
    """
    runner = web.AppRunner(application(list_runs, images), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        _log.info("webhook_serving", port=port)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
