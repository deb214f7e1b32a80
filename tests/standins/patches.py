"""Pods to inject, and injection's patch applied to them as RFC 6902 says."""

import copy
import json
from typing import Any

from flopguard_operator import injection
from flopguard_operator.injected import Images

Raw = dict[str, Any]

IMAGES = Images("registry.example/flopguard-sidecar:0.1.0")


def apply(operations: list[Raw], document: Raw) -> Raw:
    """Apply `add` operations as RFC 6902 section 4.1 says; anything else fails."""
    document = copy.deepcopy(document)
    for operation in operations:
        assert operation["op"] == "add", operation
        *path, last = [
            part.replace("~1", "/").replace("~0", "~")
            for part in operation["path"].split("/")[1:]
        ]
        parent: Any = document
        for part in path:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        if not isinstance(parent, list):
            parent[last] = operation["value"]
        else:
            index = len(parent) if last == "-" else int(last)
            assert index <= len(parent), operation
            parent.insert(index, operation["value"])
    return document


def patched(pod: Raw, **metering: str) -> Raw:
    """Return `pod` as injection makes it for run `support-sft`."""
    operations = injection.patch(pod, "support-sft", metering, IMAGES)
    assert not isinstance(operations, injection.NotInjected), operations
    return apply(json.loads(json.dumps(operations)), pod)


def trainer(**fields: Any) -> Raw:
    """Return a pod of one container `trainer` with these fields."""
    container = {"name": "trainer", "image": "t", **fields}
    return {"metadata": {}, "spec": {"containers": [container]}}
