"""Names inside the cluster: CoreDNS as a process of the node."""

from typing import Any

from cluster import tools
from cluster.addresses import DNS_SERVICE, Addresses
from cluster.state import State

_LABELS = {"k8s-app": "kube-dns", "kubernetes.io/service-name": "kube-dns"}


def command(state: State) -> list[str]:
    """Write the Corefile; the command line of CoreDNS.

    It answers for the cluster's own names only: there is nowhere to forward to.
    """
    corefile = state.folder / "node" / "Corefile"
    corefile.write_text(
        f"""\
.:53 {{
    errors
    health 127.0.0.1:8053
    ready 127.0.0.1:8054
    cache 2
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {state.folder / "pki" / "dns.kubeconfig"}
        pods insecure
        ttl 2
    }}
}}
""",
        encoding="utf-8",
    )
    return [str(tools.path_of("coredns")), "-conf", str(corefile)]


def manifests(addresses: Addresses) -> list[dict[str, Any]]:
    """What CoreDNS may read, and the service that pods find it by."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole"}
    user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User"}
    verbs = ["list", "watch"]
    ports = [{"name": p.lower(), "port": 53, "protocol": p} for p in ("UDP", "TCP")]
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "flopguard:dns"},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["services", "namespaces", "pods", "endpoints"],
                    "verbs": verbs,
                },
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": verbs,
                },
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "flopguard:dns"},
            "roleRef": {**role, "name": "flopguard:dns"},
            "subjects": [{**user, "name": "flopguard:dns"}],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": DNS_SERVICE, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns",
                "namespace": "kube-system",
                "labels": _LABELS,
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [addresses.node]}],
            "ports": ports,
        },
    ]
