"""Addresses and ports of a cluster, all derived from its slot number."""

from dataclasses import dataclass

SLOTS = 64
SERVICE_RANGE = "10.96.0.0/16"  # exists only inside the node's network namespace
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
_FIRST_PORT = 21000  # below the range from which the kernel takes outgoing ports
_PORTS_PER_SLOT = 10


@dataclass(frozen=True)
class Addresses:
    """What cluster number `slot` may use on this machine."""

    slot: int
    with_node: bool

    @property
    def host(self) -> str:
        """Where the control plane listens: seen from the node, else loopback only."""
        return f"10.99.{self.slot}.1" if self.with_node else "127.0.0.1"

    @property
    def node(self) -> str:
        """The node's address."""
        return f"10.99.{self.slot}.2"

    @property
    def pods(self) -> str:
        """The pods' network."""
        return f"10.88.{self.slot}.0/24"

    @property
    def ports(self) -> dict[str, int]:
        """The TCP ports of the control plane, by component."""
        first = _FIRST_PORT + self.slot * _PORTS_PER_SLOT
        names = ("etcd", "etcd-peer", "apiserver", "controller-manager", "scheduler")
        return {name: first + offset for offset, name in enumerate(names)}

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.host}:{self.ports['apiserver']}"

    @property
    def host_link(self) -> str:
        """The host's end of the veth pair (a device's name has at most 15 letters)."""
        return f"fg{self.slot}-host"

    @property
    def node_link(self) -> str:
        """The node's end of the veth pair."""
        return f"fg{self.slot}-node"

    @property
    def cgroup(self) -> str:
        """The cgroup under which all pods run, in every hierarchy."""
        return f"flopguard-{self.slot}"
