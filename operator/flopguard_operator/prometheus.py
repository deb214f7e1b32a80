"""Read the marks of all pods from Prometheus with one query: the only module that does.

Prometheus carries float64: the sidecar rounds `done` down and `begun` up before it
exposes them, so a mark read here is never above the truth nor its upper bound below it.
Samples are summed and merged as Python integers, never by PromQL.
"""

import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from flopguard_operator import bounded
from flopguard_operator.marks import LARGEST_FLOPS, Mark
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.observed import Pod, at, items, text

QUERY = (
    "max_over_time(flopguard_pod_flops_total[15m])"
    " or label_replace(max_over_time(flopguard_pod_flops_begun_total[15m]),"
    ' "category", "begun", "", "")'
    " or label_replace(timestamp(flopguard_pod_pages),"
    ' "category", "seen", "", "")'
    ' or label_replace(flopguard_pod_pages, "category", "pages", "", "")'
    ' or label_replace(flopguard_mark_age_seconds, "category", "age", "", "")'
)
MAX_ANSWER_BYTES = 64 * 1024 * 1024
SECONDS = 10.0
HEAD_DAYS = 30  # a ledger that nobody kept for longer has other witnesses
FRESH_SECONDS = 60.0  # the last scrape is no older than this, or the pod is not heard
AHEAD_SECONDS = 1.0  # by which the clocks of federated servers may differ
UNTOLD_AGE = 5.0  # seconds: of a sidecar that does not say when it read its pages
MOST_PAGES = 4_000


class PrometheusError(Exception):
    """Prometheus did not answer the query; the message says why and where."""


async def query(url: str, expression: str = QUERY) -> list[Mapping[str, Any]]:
    """Return the raw series of an expression.

    Raises:
        PrometheusError: no whole answer in 10 s, an HTTP error, or not a vector.
    """
    try:
        data = await _ask(url, expression)
    except TimeoutError as error:
        message = f"Prometheus at {url} did not answer within {SECONDS:.0f} s"
        raise PrometheusError(message) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Not all of the client's errors have a text: a bad URL, a closed connection.
        message = f"Prometheus at {url} did not answer: {str(error) or repr(error)}"
        raise PrometheusError(message) from error
    if at(data, "data", "resultType") != "vector":
        message = f"Prometheus at {url} answered {text(data, 'error') or 'no vector'}"
        raise PrometheusError(message)
    return list(items(data, "data", "result"))


async def _ask(url: str, expression: str) -> Any:
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    # The administrator's proxy settings count here, unlike for the pods.
    async with (
        aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
        session.post(
            f"{url.rstrip('/')}/api/v1/query", data={"query": expression}
        ) as found,
    ):
        if found.status >= HTTPStatus.MULTIPLE_CHOICES:
            message = f"HTTP {found.status} {found.reason}"
            raise ValueError(message)
        return await bounded.read_json(found, MAX_ANSWER_BYTES)


def marks(
    series: Iterable[Mapping[str, Any]], pods: Mapping[str, Pod]
) -> dict[str, Mark]:
    """Return one mark per pod UID; series that are not that pod's own do not count.

    A tenant can expose any `pod_uid`; the labels `namespace` and `pod` come from the
    scrape target, so only a series scraped from the pod of that UID is taken. A pod
    with a figure that is no count has no mark: it must not pass for a zero.
    """
    counted: dict[str, dict[str, int]] = {}
    wrong: set[str] = set()
    for one in series:
        labels = at(one, "metric")
        pod = pods.get(text(labels, "pod_uid"))
        if pod is None or not _own(labels, pod):
            continue
        category = text(labels, "category")
        if category not in (*CATEGORIES, "begun", "pages"):
            continue
        value = _flops(at(one, "value"))
        if value is None:
            wrong.add(pod.uid)
            continue
        kept = counted.setdefault(pod.uid, {})
        kept[category] = max(kept.get(category, 0), value)
    return {
        uid: Mark(
            stream=uid,
            done={c: flops.get(c, 0) for c in CATEGORIES},
            begun=flops.get("begun", 0),
            pages=min(flops.get("pages", 0), MOST_PAGES),
            source="prometheus",
        )
        for uid, flops in counted.items()
        if uid not in wrong
    }


def fresh(
    series: Iterable[Mapping[str, Any]], pods: Mapping[str, Pod]
) -> frozenset[str]:
    """Return the UIDs of the pods that Prometheus scrapes, by its own clock.

    `max_over_time` goes on telling for a quarter of an hour what it saw last.
    """
    found = set()
    for one in series:
        labels, value = at(one, "metric"), at(one, "value")
        pod = pods.get(text(labels, "pod_uid"))
        seen = _flops(value)
        if pod is None or seen is None or text(labels, "category") != "seen":
            continue
        now = value[0]
        is_time = isinstance(now, int | float) and not isinstance(now, bool)
        if is_time and now - seen <= FRESH_SECONDS and _own(labels, pod):
            found.add(pod.uid)
    return frozenset(found)


def ages(
    series: Iterable[Mapping[str, Any]], pods: Mapping[str, Pod]
) -> dict[str, int]:
    """Return how old the mark of each scraped pod is, in milliseconds, by pod UID.

    That is the age of its newest sample, and on top of it the longest that any replica
    says of the sidecar's own reading. A time ahead of the server's own is none: it
    comes from another server's clock, or is forged.
    """
    scraped: dict[str, float] = {}
    read: dict[str, float] = {}
    for one in series:
        labels, value = at(one, "metric"), at(one, "value")
        pod, category = pods.get(text(labels, "pod_uid")), text(labels, "category")
        if pod is None or category not in ("seen", "age") or not _own(labels, pod):
            continue
        said = _seconds(value)
        if category == "age":
            known = read.get(pod.uid, 0.0)
            read[pod.uid] = max(known, UNTOLD_AGE if said is None else said)
            continue
        now = value[0] if said is not None else None
        if said is None or isinstance(now, bool) or not isinstance(now, int | float):
            continue
        if said <= now + AHEAD_SECONDS:
            age = max(0.0, now - said)
            scraped[pod.uid] = min(age, scraped.get(pod.uid, age))
    return {
        uid: math.ceil(1000 * (age + read.get(uid, UNTOLD_AGE)))
        for uid, age in scraped.items()
    }


def heads_query(namespace: str, origin: str) -> str:
    """Return the expression for the newest samples of the ledger's head.

    Only what was scraped in the operator's own namespace: anybody can expose a metric.
    """
    which = f'{{namespace="{namespace}",origin="{origin}"}}[{HEAD_DAYS}d]'
    return (
        f"last_over_time(flopguard_ledger_size{which})"
        f' or label_replace(last_over_time(flopguard_ledger_root{which}), "part",'
        ' "root", "", "")'
    )


def heads(series: Iterable[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Return (size, first bytes of the root as a number) of each operator that told."""
    told: dict[tuple[tuple[str, str], ...], dict[str, int]] = {}
    for one in series:
        labels = at(one, "metric")
        value = _flops(at(one, "value"))
        if not isinstance(labels, Mapping) or value is None:
            continue
        source = sorted(
            (str(name), str(of))
            for name, of in labels.items()
            if name not in {"__name__", "part"}
        )
        part = text(labels, "part") or "size"
        told.setdefault(tuple(source), {})[part] = value
    return [
        (parts["size"], parts["root"])
        for parts in told.values()
        if "root" in parts and "size" in parts and parts["root"] < 2**48
    ]


def _own(labels: object, pod: Pod) -> bool:
    return (
        text(labels, "namespace") == pod.namespace and text(labels, "pod") == pod.name
    )


def _flops(value: object) -> int | None:
    """Return the integer part of what a sample [time, "value"] stands for, exactly."""
    number = _seconds(value)
    return None if number is None else int(number)


def _seconds(value: object) -> float | None:
    """Return what a sample [time, "value"] stands for; None where it is no count."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], str):  # noqa: PLR2004 - a pair
        return None
    try:
        number = float(value[1])
    except ValueError:
        return None
    if not math.isfinite(number) or number < 0 or int(number) > LARGEST_FLOPS:
        return None
    return number
