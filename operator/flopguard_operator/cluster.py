"""Talk to the Kubernetes API: the only module that uses the `kubernetes` client.

Every call is synchronous with a time limit; the callers run them in threads. Watching
is kopf's part. One error type leaves this module, so that nobody else has to know the
client's. Answers are read as plain JSON: the client's models refuse a whole list for
one object with a field that they know otherwise.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import kubernetes
import yaml
from kubernetes.client.exceptions import ApiException

from flopguard_operator import naming
from flopguard_operator.cluster_calls import (
    PLAIN,
    SECONDS,
    ClusterError,
    plain,
    translated,
)
from flopguard_operator.cluster_own import OwnObjects
from flopguard_operator.observed import Raw, at, items, text
from flopguard_operator.workloads.job import Patch

__all__ = ["Cluster", "ClusterError", "connected"]

PAGE = 500
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Cluster(OwnObjects):
    """The few calls that the operator and the webhook make."""

    def __init__(self, kubeconfig: str | None = None) -> None:
        # The client's types say that anything may be None and refuse plain manifests.
        config: Any = kubernetes.config
        if kubeconfig:
            config.load_kube_config(config_file=kubeconfig)
        else:
            config.load_incluster_config()
        client = kubernetes.client.ApiClient()
        self._custom = kubernetes.client.CustomObjectsApi(client)
        self._core = kubernetes.client.CoreV1Api(client)
        self._batch: Any = kubernetes.client.BatchV1Api(client)
        self._admission: Any = kubernetes.client.AdmissionregistrationV1Api(client)

    @translated
    def cluster_uid(self) -> str:
        """Return the UID of the kube-system namespace, which names the cluster."""
        return text(self._namespace("kube-system"), "metadata", "uid")

    @translated
    def list_runs(self, namespace: str) -> list[dict[str, Any]]:
        """Return the raw FineTuneRuns of a namespace."""
        found = self._custom.list_namespaced_custom_object(
            naming.GROUP,
            naming.VERSION,
            namespace,
            naming.RUN_PLURAL,
            _request_timeout=SECONDS,
        )
        return list(found.get("items", []))

    @translated
    def run_definition(self) -> str:
        """Return the UID of the CRD of FineTuneRun; "" while there is none."""
        try:
            found = self._custom.get_cluster_custom_object(
                "apiextensions.k8s.io",
                "v1",
                "customresourcedefinitions",
                f"{naming.RUN_PLURAL}.{naming.GROUP}",
                _request_timeout=SECONDS,
            )
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return ""
            raise
        return str(found["metadata"]["uid"])

    @translated
    def pods_left(self, namespace: str, selector: str) -> int:
        """Return how many pods match that have not ended; asked live, not cached."""
        list_them = functools.partial(self._core.list_namespaced_pod, namespace)
        ended = ("Succeeded", "Failed")
        return sum(
            text(pod, "status", "phase") not in ended
            for pod in self._pods(list_them, selector)
        )

    @translated
    def happenings(self, reason: str) -> list[Raw]:
        """Return the newest Kubernetes Events of one reason, of the whole cluster.

        They are what the API server remembers of the last hour, `PAGE` at most.
        """
        answer = self._core.list_event_for_all_namespaces(
            field_selector=f"reason={reason}", limit=PAGE, **PLAIN
        )
        return list(items(plain(answer), "items"))

    @translated
    def pods_of(self, namespace: str) -> list[Raw]:
        """Return the raw pods of a namespace, from the API server's own cache."""
        answer = self._core.list_namespaced_pod(
            namespace, resource_version="0", **PLAIN
        )
        page = plain(answer)
        if "items" not in page:
            message = "no list of pods"
            raise ValueError(message)
        return list(items(page, "items"))

    @translated
    def node(self, name: str) -> Raw | None:
        """Return a raw node, None where there is none of that name."""
        try:
            return plain(self._core.read_node(name, **PLAIN))
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    @translated
    def governed(self, namespace: str) -> bool:
        """Say if pods without a run are charged in a namespace: by its label."""
        labels = at(self._namespace(namespace), "metadata", "labels")
        return text(labels, naming.GOVERNED_LABEL) != "false"

    @translated
    def injected_pods(self) -> set[str]:
        """Return the UIDs of all pods of the cluster that carry the run label."""
        list_them = self._core.list_pod_for_all_namespaces
        pods = self._pods(list_them, naming.RUN_LABEL)
        return {text(pod, "metadata", "uid") for pod in pods}

    @translated
    def namespace_terminating(self, name: str) -> bool:
        """Say whether a namespace is being deleted, or is gone."""
        try:
            space = self._namespace(name)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return True
            raise
        return bool(text(space, "metadata", "deletionTimestamp"))

    @translated
    def patch_run_status(self, namespace: str, name: str, status: Patch) -> None:
        """Merge `status` into a run's status subresource."""
        self._custom.patch_namespaced_custom_object_status(
            naming.GROUP,
            naming.VERSION,
            namespace,
            naming.RUN_PLURAL,
            name,
            {"status": status},
            field_manager=naming.MANAGER,
            _content_type=MERGE_PATCH,
            _request_timeout=SECONDS,
        )

    @translated
    def patch_program_status(self, name: str, status: Patch) -> None:
        """Merge `status` into a program's status subresource."""
        self._patch_status(naming.PROGRAM_PLURAL, name, status)

    @translated
    def patch_decision_status(self, name: str, status: Patch) -> None:
        """Merge `status` into a decision's status subresource."""
        self._patch_status(naming.DECISION_PLURAL, name, status)

    def _patch_status(self, plural: str, name: str, status: Patch) -> None:
        self._custom.patch_cluster_custom_object_status(
            naming.GROUP,
            naming.VERSION,
            plural,
            name,
            {"status": status},
            field_manager=naming.MANAGER,
            _content_type=MERGE_PATCH,
            _request_timeout=SECONDS,
        )

    @translated
    def set_finalizers(
        self, namespace: str, name: str, present: list[str], wanted: list[str]
    ) -> None:
        """Replace the finalizers of a run, if they are still the `present` ones.

        Not by resourceVersion: our own status writes would outrun what was seen of it.
        """
        path = "/metadata/finalizers"
        self._custom.patch_namespaced_custom_object(
            naming.GROUP,
            naming.VERSION,
            namespace,
            naming.RUN_PLURAL,
            name,
            [
                {"op": "test", "path": path, "value": present or None},
                {"op": "add", "path": path, "value": wanted},
            ],
            field_manager=naming.MANAGER,
            _content_type="application/json-patch+json",
            _request_timeout=SECONDS,
        )

    @translated
    def patch_job(self, namespace: str, name: str, patch: Patch) -> None:
        """Merge `patch` into a Job."""
        answer = self._batch.patch_namespaced_job(
            name,
            namespace,
            patch,
            field_manager=naming.MANAGER,
            _content_type=MERGE_PATCH,
            **PLAIN,
        )
        plain(answer)

    @translated
    def event(
        self, target: Mapping[str, str], kind: str, reason: str, message: str
    ) -> None:
        """Write a core/v1 Event on `target`; kind is Normal or Warning."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "generateName": f"{target['name'][:200]}.",
                "namespace": target["namespace"],
            },
            "involvedObject": dict(target),
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": naming.MANAGER},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        plain(self._core.create_namespaced_event(target["namespace"], body, **PLAIN))

    @translated
    def read_secret(self, namespace: str, name: str) -> dict[str, str] | None:
        """Return the base64 data of a Secret; None where there is no such Secret."""
        try:
            found = self._core.read_namespaced_secret(name, namespace, **PLAIN)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return dict(at(plain(found), "data") or {})

    @translated
    def create_secret(self, namespace: str, manifest: Mapping[str, Any]) -> bool:
        """Create a Secret; False if one of that name exists already."""
        try:
            answer = self._core.create_namespaced_secret(
                namespace, dict(manifest), **PLAIN
            )
        except ApiException as error:
            if error.status == HTTPStatus.CONFLICT:
                return False
            raise
        plain(answer)
        return True

    @translated
    def patch_ca_bundle(self, configuration: str, ca_bundle: str) -> None:
        """Set the base64 CA bundle of all webhooks of a configuration."""
        found = self._admission.read_mutating_webhook_configuration(
            configuration, **PLAIN
        )
        operations = [
            {
                "op": "add",
                "path": f"/webhooks/{index}/clientConfig/caBundle",
                "value": ca_bundle,
            }
            for index, _ in enumerate(items(plain(found), "webhooks"))
        ]
        answer = self._admission.patch_mutating_webhook_configuration(
            configuration,
            operations,
            _content_type="application/json-patch+json",
            **PLAIN,
        )
        plain(answer)

    @translated
    def existing(self) -> set[str]:
        """Return the UIDs of all runs, programs, decisions and Jobs of the cluster."""
        kinds = (
            (naming.GROUP, naming.VERSION, naming.RUN_PLURAL),
            (naming.GROUP, naming.VERSION, naming.PROGRAM_PLURAL),
            (naming.GROUP, naming.VERSION, naming.DECISION_PLURAL),
            ("batch", "v1", "jobs"),
        )
        return {
            text(raw, "metadata", "uid")
            for kind in kinds
            for raw in self._listed(*kind, _headers={"Accept": METADATA_ONLY})
        }

    @translated
    def all_runs(self) -> list[Raw]:
        """Return the raw FineTuneRuns of the cluster."""
        return list(self._listed(naming.GROUP, naming.VERSION, naming.RUN_PLURAL))

    @translated
    def workloads(self) -> list[Raw]:
        """Return pods, Jobs, runs and programs of the cluster, each with its kind.

        A cluster without flopguard's kinds has no runs and no programs.
        """
        pods = self._pods(self._core.list_pod_for_all_namespaces, "")
        found: list[Raw] = [dict(raw, kind="Pod") for raw in pods]
        own = (naming.GROUP, naming.VERSION)
        for kind, *where in (
            ("Job", "batch", "v1", "jobs"),
            (naming.RUN_KIND, *own, naming.RUN_PLURAL),
            (naming.PROGRAM_KIND, *own, naming.PROGRAM_PLURAL),
        ):
            try:
                found += [dict(raw, kind=kind) for raw in self._listed(*where)]
            except ApiException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
        return found

    def _listed(self, *kind: str, **options: Any) -> Iterator[Raw]:
        """Yield the raw objects of a kind, page by page; never a typed model of one."""
        after: str | None = None
        while after != "":
            page = self._custom.list_cluster_custom_object(
                *kind, limit=PAGE, _continue=after, _request_timeout=SECONDS, **options
            )
            # An empty list would forget all there is. (Of metadata it has null items.)
            if not isinstance(page, dict) or "items" not in page:
                message = "no list of objects"
                raise ValueError(message)
            yield from items(page, "items")
            after = text(page, "metadata", "continue")

    def _namespace(self, name: str) -> Raw:
        return plain(self._core.read_namespace(name, **PLAIN))

    @staticmethod
    def _pods(list_them: Callable[..., Any], selector: str) -> Iterator[Raw]:
        """Yield the raw pods that match, page by page."""
        after: str | None = None
        while after != "":
            answer = list_them(
                label_selector=selector, limit=PAGE, _continue=after, **PLAIN
            )
            page = plain(answer)
            if "items" not in page:  # an empty list would prove that no pod is left
                message = "no list of pods"
                raise ValueError(message)
            yield from items(page, "items")
            after = text(page, "metadata", "continue")


def connected(kubeconfig: str | None) -> Cluster:
    """Return a client of a kubeconfig's cluster, or of the pod's own without one.

    Raises:
        ClusterError: there is no such file, or no cluster in it.
    """
    wrong = (kubernetes.config.ConfigException, yaml.YAMLError)
    try:
        return Cluster(kubeconfig)
    except (*wrong, OSError, ValueError, TypeError) as error:
        message = f"no cluster by the kubeconfig {kubeconfig}: {error}"[:2000]
        raise ClusterError(0, message) from error
