"""Bring a cluster up, and take it down to the last trace."""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from cluster import controlplane, host, node, tools
from cluster.addresses import SLOTS, Addresses
from cluster.delivery import deliver
from cluster.processes import stop_all
from cluster.progress import say, step
from cluster.state import (
    ClusterError,
    Kind,
    ProcessId,
    State,
    check_name,
    every,
    find,
    forget,
    machine_lock,
)


def up(name: str, kind: Kind, owner: ProcessId | None = None) -> State:
    """Bring up the cluster of this name, or find it running.

    Args:
        name: a DNS label; one cluster per name on a machine.
        kind: "node" for all of it, "control-plane" for the API without a kubelet.
        owner: the process that it must not outlive; None to keep it until `down`.

    Raises:
        ClusterError: if this machine cannot, or a part does not start.
    """
    reason = host.unsupported_reason(kind)
    if reason:
        raise ClusterError(reason)
    sweep()
    existing = find(check_name(name))
    if existing is not None:
        if existing.phase == "starting":
            message = f"cluster {name} is being started by {existing.starter.pid}: wait"
            raise ClusterError(message)
        if _healthy(existing, kind):
            if kind == "node":
                deliver(existing)
            return existing
        down(existing)
    prepare(kind)
    state = _claim(name, kind, owner)
    try:
        with step(f"cluster {name} up"):
            _boot(state)
    except BaseException:
        # Also on Ctrl-C: half a cluster is of no use to anybody.
        down(state)
        raise
    return state


def prepare(kind: Kind) -> None:
    """Install and build all that a cluster of this kind needs, if it is not there."""
    if kind == "node":
        node.install_packages()
        tools.ensure()
    else:
        tools.ensure(tools.CONTROL_PLANE)


def down(state: State) -> None:
    """Stop every process of a cluster and give the host back as it was.

    Does nothing if somebody else took it down meanwhile.
    """
    with machine_lock():
        current = find(state.name)
        if current is not None and current.run == state.run:
            _down(current)


def _down(state: State) -> None:
    with step(f"cluster {state.name} down"):
        stop_all(state)
        if state.kind == "node":
            host.restore(state, Addresses(state.slot, with_node=True))
        forget(state)


def sweep() -> None:
    """Take down every cluster whose owner, or whose starter half-way, is dead."""
    with machine_lock():
        for state in every():
            if state.abandoned:
                say(f"cluster {state.name} was left behind by a process that is gone")
                _down(state)


@contextlib.contextmanager
def borrowed(name: str, kind: Kind) -> Iterator[State]:
    """A cluster for as long as the block runs, and never longer than this process."""
    state = up(name, kind, owner=ProcessId.current())
    try:
        yield state
    finally:
        down(state)


def _healthy(state: State, kind: Kind) -> bool:
    enough = kind in {state.kind, "control-plane"}
    return enough and all(process.alive for process in state.processes.values())


def _claim(name: str, kind: Kind, owner: ProcessId | None) -> State:
    """Record a new cluster under the first slot that nobody uses."""
    with machine_lock():
        if find(name) is not None:
            message = f"cluster {name} is being started by somebody else: wait for it"
            raise ClusterError(message)
        taken = {state.slot for state in every()}
        for slot in range(SLOTS):
            addresses = Addresses(slot, with_node=kind == "node")
            if slot not in taken and _free(addresses):
                starter = ProcessId.current()
                state = State(name, kind, slot, starter=starter, owner=owner)
                state.save()
                return state
    message = f"all {SLOTS} slots for clusters on this machine are taken"
    raise ClusterError(message)


def _free(addresses: Addresses) -> bool:
    """Whether no other user of this machine has the slot's ports or namespace."""
    if addresses.with_node and host.occupied(addresses):
        return False
    for port in addresses.ports.values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))  # noqa: S104 - a probe: it never listens
            except OSError:
                return False
    return True


def _boot(state: State) -> None:
    addresses = Addresses(state.slot, with_node=state.kind == "node")
    controlplane.write_credentials(state, addresses)
    if state.kind == "node":
        host.borrow(state, addresses)
        node.open_namespaces(state, addresses)
    controlplane.start_etcd(state, addresses)
    controlplane.start_api_server(state, addresses)
    controlplane.start_controller_manager(state, addresses)
    if state.kind == "node":
        controlplane.start_scheduler(state, addresses)
        node.start_runtime(state)
    with ThreadPoolExecutor(1) as beside:
        delivery = beside.submit(_deliver, state) if state.kind == "node" else None
        with step("control plane"):
            controlplane.wait_for_api_server(state, addresses)
        if state.kind == "node":
            node.join(state, addresses)
        if delivery is not None:
            delivery.result()
    state.phase = "running"
    state.save()


def _deliver(state: State) -> None:
    node.wait_for_runtime(state)
    deliver(state)
