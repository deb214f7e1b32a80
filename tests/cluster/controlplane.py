"""etcd, the API server, the controller manager and the scheduler."""

import ssl
import urllib.error
import urllib.request

from cluster import tools
from cluster.addresses import API_SERVICE, SERVICE_RANGE, Addresses
from cluster.certificates import (
    Authority,
    write_kubeconfig,
    write_service_account_keys,
)
from cluster.processes import spawn, wait_until
from cluster.state import State

READY_SECONDS = 60.0

_CLIENTS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "scheduler": ("system:kube-scheduler", None),
    "kubelet": ("system:node:node1", "system:nodes"),
    "proxy": ("system:kube-proxy", None),
    "dns": ("flopguard:dns", None),
}


def write_credentials(state: State, addresses: Addresses) -> None:
    """Make all certificates, keys and kubeconfigs of the cluster."""
    pki = state.folder / "pki"
    authority = Authority(pki, "flopguard throwaway cluster")
    for name, (common_name, organization) in _CLIENTS.items():
        hosts = [addresses.node, "node1"] if name == "kubelet" else []
        authority.issue(name, common_name, organization=organization, hosts=hosts)
        target = state.kubeconfig if name == "admin" else pki / f"{name}.kubeconfig"
        write_kubeconfig(target, addresses.server, pki, name)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    hosts = [*names, "127.0.0.1", addresses.host, API_SERVICE]
    authority.issue("apiserver", "kube-apiserver", hosts=hosts)
    authority.issue(
        "apiserver-kubelet", "kube-apiserver", organization="system:masters"
    )
    write_service_account_keys(pki)
    # An authority of its own: else every client of the API server could read etcd.
    etcd = Authority(pki / "etcd", "flopguard throwaway etcd")
    etcd.issue("server", "etcd", hosts=["127.0.0.1"])
    etcd.issue("apiserver", "kube-apiserver")


def start_etcd(state: State, addresses: Addresses) -> None:
    """Start etcd on an empty folder; it listens on loopback, for certificates only."""
    pki = state.folder / "pki" / "etcd"
    client = f"https://127.0.0.1:{addresses.ports['etcd']}"
    peer = f"https://127.0.0.1:{addresses.ports['etcd-peer']}"
    flags = {
        "name": state.name,
        "data-dir": state.folder / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"{state.name}={peer}",
        "cert-file": pki / "server.crt",
        "key-file": pki / "server.key",
        "trusted-ca-file": pki / "ca.crt",
        "client-cert-auth": "true",
        "peer-cert-file": pki / "server.crt",
        "peer-key-file": pki / "server.key",
        "peer-trusted-ca-file": pki / "ca.crt",
        "peer-client-cert-auth": "true",
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    spawn(state, "etcd", _command("etcd", flags))


def start_api_server(state: State, addresses: Addresses) -> None:
    """Start the API server; it waits for etcd by itself."""
    pki = state.folder / "pki"
    flags = {
        "etcd-servers": f"https://127.0.0.1:{addresses.ports['etcd']}",
        "etcd-cafile": pki / "etcd" / "ca.crt",
        "etcd-certfile": pki / "etcd" / "apiserver.crt",
        "etcd-keyfile": pki / "etcd" / "apiserver.key",
        "bind-address": addresses.host,
        "secure-port": addresses.ports["apiserver"],
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
        "service-cluster-ip-range": SERVICE_RANGE,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": pki / "sa.pub",
        "service-account-signing-key-file": pki / "sa.key",
        "kubelet-client-certificate": pki / "apiserver-kubelet.crt",
        "kubelet-client-key": pki / "apiserver-kubelet.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-preferred-address-types": "InternalIP",
        # Webhooks are dialled at pod addresses: services do not exist on the host.
        "enable-aggregator-routing": "true",
        "profiling": "false",
    }
    if addresses.with_node:
        flags["advertise-address"] = addresses.host
    else:
        # Loopback may not be advertised, and without a node nobody asks.
        flags["endpoint-reconciler-type"] = "none"
    spawn(state, "kube-apiserver", _command("kube-apiserver", flags))


def wait_for_api_server(state: State, addresses: Addresses) -> None:
    """Return once the API server is ready to serve.

    Raises:
        ClusterError: if it is not within a minute, with the end of its log.
    """
    pki = state.folder / "pki"
    context = ssl.create_default_context(cafile=pki / "ca.crt")
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    url = f"{addresses.server}/readyz"

    def ready() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2, context=context) as answer:  # noqa: S310 - the scheme is https, fixed above
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    wait_until(ready, "API server ready", READY_SECONDS, state, "kube-apiserver")


def start_controller_manager(state: State, addresses: Addresses) -> None:
    """Start the controllers: Jobs, namespaces, service accounts, garbage collection."""
    pki = state.folder / "pki"
    flags = {
        "kubeconfig": pki / "controller-manager.kubeconfig",
        "service-account-private-key-file": pki / "sa.key",
        "root-ca-file": pki / "ca.crt",
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "secure-port": addresses.ports["controller-manager"],
    }
    name = "kube-controller-manager"
    spawn(state, name, _command(name, flags))


def start_scheduler(state: State, addresses: Addresses) -> None:
    """Start the scheduler."""
    flags = {
        "kubeconfig": state.folder / "pki" / "scheduler.kubeconfig",
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "secure-port": addresses.ports["scheduler"],
    }
    spawn(state, "kube-scheduler", _command("kube-scheduler", flags))


def _command(tool: str, flags: dict[str, object]) -> list[str]:
    binary = str(tools.path_of(tool))
    return [binary, *(f"--{name}={value}" for name, value in flags.items())]
