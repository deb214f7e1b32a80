"""A real Prometheus on the throwaway cluster, with the scrape jobs of the examples."""

from pathlib import Path
from typing import Any

NAMESPACE = "monitoring"
URL = f"http://prometheus.{NAMESPACE}.svc:9090"
IMAGE = "localhost/flopguard-prometheus:dev"
CONFIGURATION = (
    Path(__file__).resolve().parents[2] / "examples" / "prometheus" / "prometheus.yml"
)
WORKLOAD = "deployment/prometheus"
SELECTOR = "app.kubernetes.io/name=prometheus"
_LABELS = {"app.kubernetes.io/name": "prometheus"}


def manifests(scrape_interval: str = "2s") -> list[dict[str, Any]]:
    """Return namespace, rights, configuration, Deployment and Service."""
    text = CONFIGURATION.read_text()
    config = text.replace("scrape_interval: 15s", f"scrape_interval: {scrape_interval}")
    named = {"name": "prometheus", "namespace": NAMESPACE}
    subject = {"kind": "ServiceAccount", **named}
    rights = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "prometheus"},
            "rules": rights,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "prometheus"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "prometheus",
            },
            "subjects": [subject],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": named,
            "data": {"prometheus.yml": config},
        },
        _deployment(named),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": named,
            "spec": {"selector": _LABELS, "ports": [{"port": 9090}]},
        },
    ]


def _deployment(named: dict[str, str]) -> dict[str, Any]:
    container = {
        "name": "prometheus",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "args": [
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/data",
            "--storage.tsdb.retention.time=1h",
        ],
        "ports": [{"containerPort": 9090}],
        "readinessProbe": {
            "httpGet": {"path": "/-/ready", "port": 9090},
            "periodSeconds": 1,
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus"},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    pod = {
        "serviceAccountName": "prometheus",
        "terminationGracePeriodSeconds": 2,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "fsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": "prometheus"}},
            {"name": "data", "emptyDir": {}},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": named,
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }
