"""Clusters beside each other share no address, port, link or cgroup."""

import ipaddress
from itertools import combinations

from cluster.addresses import SLOTS, Addresses

ALL = [Addresses(slot, with_node=True) for slot in range(SLOTS)]


def test_slots_are_disjoint() -> None:
    """Two people may use one machine."""
    for one, other in combinations(ALL, 2):
        pods = ipaddress.ip_network(one.pods)
        assert not pods.overlaps(ipaddress.ip_network(other.pods))
        assert not set(one.ports.values()) & set(other.ports.values())
        assert one.host_link != other.host_link
        assert one.cgroup != other.cgroup


def test_the_link_is_a_network_of_two() -> None:
    """Host and node must be the two addresses of one /30."""
    for addresses in ALL:
        link = ipaddress.ip_interface(f"{addresses.host}/30").network
        assert ipaddress.ip_address(addresses.node) in set(link.hosts())


def test_names_fit_the_kernel() -> None:
    """A network device's name has at most 15 letters."""
    for addresses in ALL:
        assert len(addresses.host_link) <= 15
        assert len(addresses.node_link) <= 15


def test_ports_are_not_taken_by_outgoing_connections() -> None:
    """Linux takes those from 32768 upwards."""
    assert max(port for a in ALL for port in a.ports.values()) < 32768


def test_without_a_node_only_this_machine_is_listened_to() -> None:
    """A control plane alone has no network to offer the API on."""
    assert Addresses(0, with_node=False).server.startswith("https://127.0.0.1:")
