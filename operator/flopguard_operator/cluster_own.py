"""Read and write the operator's own objects: its Lease, and the ConfigMap of the head.

A part of `Cluster`. What is read carries a resourceVersion, and what is written with it
is refused if somebody else wrote meanwhile.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flopguard_operator.cluster_calls import (
    PLAIN,
    SECONDS,
    plain,
    status_of,
    translated,
)
from flopguard_operator.observed import Raw

_LEASES = ("coordination.k8s.io", "v1")


class OwnObjects:
    """The calls; `Cluster` makes the clients."""

    _custom: Any
    _core: Any

    @translated
    def read_lease(self, namespace: str, name: str) -> Raw | None:
        """Return a Lease; None where there is none."""
        return _found(
            lambda: self._custom.get_namespaced_custom_object(
                *_LEASES, namespace, "leases", name, _request_timeout=SECONDS
            )
        )

    @translated
    def write_lease(self, namespace: str, lease: Raw) -> bool:
        """Create or replace a Lease; False if somebody else was faster."""
        name = lease["metadata"]["name"]
        if "resourceVersion" in lease["metadata"]:
            return _done(
                lambda: self._custom.replace_namespaced_custom_object(
                    *_LEASES, namespace, "leases", name, lease, _request_timeout=SECONDS
                )
            )
        return _done(
            lambda: self._custom.create_namespaced_custom_object(
                *_LEASES, namespace, "leases", lease, _request_timeout=SECONDS
            )
        )

    @translated
    def read_config_map(self, namespace: str, name: str) -> Raw | None:
        """Return a ConfigMap; None where there is none."""
        return _found(
            lambda: plain(
                self._core.read_namespaced_config_map(name, namespace, **PLAIN)
            )
        )

    @translated
    def write_config_map(self, namespace: str, config_map: Raw) -> bool:
        """Create or replace a ConfigMap; False if somebody else was faster."""
        name = config_map["metadata"]["name"]
        if "resourceVersion" in config_map["metadata"]:
            return _done(
                lambda: plain(
                    self._core.replace_namespaced_config_map(
                        name, namespace, config_map, **PLAIN
                    )
                )
            )
        return _done(
            lambda: plain(
                self._core.create_namespaced_config_map(namespace, config_map, **PLAIN)
            )
        )


def _found(call: Callable[[], Raw]) -> Raw | None:
    try:
        return call()
    except Exception as error:
        if status_of(error) == HTTPStatus.NOT_FOUND:
            return None
        raise


def _done(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception as error:
        if status_of(error) == HTTPStatus.CONFLICT:
            return False
        raise
    return True
