"""Reduce a Kubernetes object to what evidence needs, with its secrets taken out.

What is kept for ten years must not hold a password. Images, resources, labels, owners
and scheduling stay; values of environment variables, foreign annotations and whatever
looks like a credential go. Objects are hostile input: the answer is always bounded JSON
of one spelling. Pure.
"""

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from flopguard_operator import naming
from flopguard_operator.observed import Raw, at, items, text

MAX_BYTES = 65_536
REDACTED = "(redacted)"

_DEEPEST = 24
_MOST = 256  # of a list or an object
_LONGEST = 1024
_TOO_LARGE = 10**40

_NAMED_SECRET = re.compile(
    r"(?i)(pass(word|wd|phrase)?|secret|token|api[-_.]?key|access[-_.]?key|credential"
    r"|private[-_.]?key|auth(orization)?|bearer|cookie|session|signature|dsn)"
)
_URL_USER = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,15}://)[^/\s@]{1,512}@")
_ASSIGNED = re.compile(r"^(-{0,2}[A-Za-z0-9_.-]{1,128})([=:])(.*)$", re.DOTALL)
# Long, mixed and without spaces: keys and tokens, not paths, names or image digests.
_LOOKS_SECRET = re.compile(
    r"(?<![A-Za-z0-9_/+=])(?=[A-Za-z0-9_+=]*[0-9])(?=[A-Za-z0-9_+=]*[A-Za-z])"
    r"[A-Za-z0-9_+=]{32,}(?![A-Za-z0-9_/+=])"
)
_TOLD = re.compile(
    r"(?i)((?:password|passwd|secret|token|api[-_]?key|credential)[\w.-]{0,40}"
    r"\s{0,4}[=:]\s{0,4})\S+"
)
_KNOWN_PREFIX = re.compile(
    r"\b(hf_|sk-|ghp_|gho_|github_pat_|glpat-|xox[abp]-|AKIA|ASIA|eyJ)[A-Za-z0-9_.-]{8,}"
)

# Metadata that says nothing, or changes with our own writes.
_DROPPED = ("resourceVersion", "selfLink", "managedFields", "annotations", "finalizers")
_KEPT_STATUS = ("phase", "reason", "startTime", "completionTime", "qosClass")
_KEPT_CONTAINER = ("name", "image", "imageID", "restartCount", "state")


def redacted(raw: Raw, *, status: bool = False) -> bytes:
    """Return an object as canonical JSON (ASCII, sorted keys), at most `MAX_BYTES`.

    Args:
        raw: as the API server gave it.
        status: whether to keep how it ran: phase, exit codes, image digests.
    """
    kept: dict[str, Any] = {
        "apiVersion": text(raw, "apiVersion")[:_LONGEST],
        "kind": text(raw, "kind")[:_LONGEST],
        "metadata": _metadata(raw),
        "spec": _walk(at(raw, "spec"), 0),
    }
    if status:
        kept["status"] = _status(raw)
    return _bounded(kept)


def event(raw: Raw) -> bytes:
    """Return a Kubernetes Event: what of it stays the same when it happens again."""
    about = {
        key: text(raw, "involvedObject", key)[:_LONGEST]
        for key in ("kind", "namespace", "name", "uid")
    }
    kept = {key: text(raw, key)[:_LONGEST] for key in ("type", "reason", "action")}
    first = text(raw, "firstTimestamp") or text(raw, "eventTime")
    source = text(raw, "reportingComponent") or text(raw, "source", "component")
    return _bounded(
        {
            **kept,
            "kind": "Event",
            "uid": text(raw, "metadata", "uid")[:_LONGEST],
            "message": scrubbed(text(raw, "message")),
            "involvedObject": about,
            "first": first[:_LONGEST],
            "source": source[:_LONGEST],
        }
    )


def last_manager(raw: Raw) -> str:
    """Return who changed an object last, besides its status and flopguard itself.

    It is the field manager (`kubectl-client-side-apply`, a controller): the user's name
    is in the API server's audit log only.
    """
    newest = max(_managers(raw), key=lambda each: each["time"], default={})
    return newest.get("manager", "")


def scrubbed(line: str) -> str:
    """Return a text without what looks like a credential, at most 1,024 characters."""
    line = _URL_USER.sub(rf"\1{REDACTED}@", line[: 4 * _LONGEST])
    line = _TOLD.sub(rf"\1{REDACTED}", line)
    line = _KNOWN_PREFIX.sub(REDACTED, line)
    return _LOOKS_SECRET.sub(REDACTED, line)[:_LONGEST]


def _metadata(raw: Raw) -> dict[str, Any]:
    found = at(raw, "metadata")
    kept = {
        key: value
        for key, value in (found.items() if isinstance(found, Mapping) else ())
        if key not in _DROPPED
    }
    walked: dict[str, Any] = _walk(kept, 0)
    notes = at(raw, "metadata", "annotations")
    walked["annotations"] = sorted(
        str(name)[:_LONGEST]
        for name in list(notes if isinstance(notes, Mapping) else ())[:_MOST]
        if not str(name).startswith(f"{naming.GROUP}/")
    )
    walked["managers"] = _managers(raw)[:_MOST]
    return walked


def _managers(raw: Raw) -> list[dict[str, str]]:
    """Return who has changed the object and when, but for statuses and ourselves."""
    return [
        {key: text(each, key)[:_LONGEST] for key in ("manager", "operation", "time")}
        for each in items(raw, "metadata", "managedFields")
        if not text(each, "subresource") and text(each, "manager") != naming.MANAGER
    ]


def _status(raw: Raw) -> dict[str, Any]:
    kept = {key: text(raw, "status", key)[:_LONGEST] for key in _KEPT_STATUS}
    containers = [
        {key: _walk(at(each, key), 0, key) for key in _KEPT_CONTAINER}
        for name in ("initContainerStatuses", "containerStatuses")
        for each in list(items(raw, "status", name))[:_MOST]
    ]
    return {**kept, "containers": containers}


def _walk(value: Any, depth: int, name: str = "") -> Any:
    """Return a copy of a JSON value: bounded, and without secrets."""
    if depth > _DEEPEST:
        return REDACTED
    if name in _SPECIAL:
        return _SPECIAL[name](value, depth)
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_MOST]
        return {
            str(key)[:_LONGEST]: _named(str(key), each, depth) for key, each in pairs
        }
    if isinstance(value, (list, tuple)):
        return [_walk(each, depth + 1) for each in value[:_MOST]]
    if isinstance(value, str):
        return scrubbed(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    """Keep true, false, null and whole numbers of a sane length; others become text."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and abs(value) < _TOO_LARGE:
        return value
    return repr(value)[:40] if isinstance(value, float) else REDACTED


def _named(key: str, value: Any, depth: int) -> Any:
    """Return the value of a key; a text under a telling name goes."""
    telling = _NAMED_SECRET.search(key) is not None
    if telling and isinstance(value, str) and not _is_reference(key):
        return REDACTED
    return _walk(value, depth + 1, key)


def _is_reference(key: str) -> bool:
    """Tell whether a key names an object that holds a secret, and not the secret."""
    return key.endswith(("Name", "Ref", "Path", "Tokens"))


def _env(value: Any, depth: int) -> Any:
    """Keep the names of variables, and where a value comes from; never the value."""
    kept = []
    for each in value[:_MOST] if isinstance(value, (list, tuple)) else ():
        one = {"name": text(each, "name")[:_LONGEST]}
        if at(each, "value") is not None:
            one["value"] = REDACTED
        source = at(each, "valueFrom")
        if isinstance(source, Mapping):
            one["valueFrom"] = _walk(source, depth + 1)
        kept.append(one)
    return kept


def _arguments(value: Any, _depth: int) -> Any:
    """Keep a command line but for what follows a telling option."""
    kept: list[str] = []
    hide = False
    for each in value[:_MOST] if isinstance(value, (list, tuple)) else ():
        word = each if isinstance(each, str) else ""
        assigned = _ASSIGNED.match(word)
        asks = _NAMED_SECRET.search(word) is not None
        if hide and not word.startswith("-"):
            kept.append(REDACTED)
        elif assigned and _NAMED_SECRET.search(assigned[1]):
            kept.append(f"{assigned[1][:_LONGEST]}{assigned[2]}{REDACTED}")
        else:
            kept.append(scrubbed(word))
        hide = asks and word.startswith("-") and not assigned
    return kept


def _image(value: Any, _depth: int) -> Any:
    """Keep an image with its digest, which looks like a secret."""
    image = value if isinstance(value, str) else ""
    return _URL_USER.sub(rf"\1{REDACTED}@", image[:_LONGEST])


def _gone(_value: Any, _depth: int) -> Any:
    return REDACTED


_SPECIAL: Mapping[str, Callable[[Any, int], Any]] = MappingProxyType(
    {
        "env": _env,
        "args": _arguments,
        "command": _arguments,
        "image": _image,
        "imageID": _image,
        "annotations": _gone,  # of a pod template: anybody writes anything there
        "managedFields": _gone,
        "httpHeaders": _gone,
        "data": _gone,
        "stringData": _gone,
        "binaryData": _gone,
        "volumeAttributes": _gone,
        "options": _gone,
    }
)


def _bounded(kept: dict[str, Any]) -> bytes:
    """Return JSON; of what is too long, what it was and its metadata."""
    data = _json(kept)
    if len(data) <= MAX_BYTES:
        return data
    short = {key: kept.get(key, "") for key in ("apiVersion", "kind")}
    names = at(kept, "metadata") or {}
    about = {key: str(names.get(key, ""))[:_LONGEST] for key in ("name", "uid")}
    return _json({**short, "metadata": about, "shortened": True})


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
