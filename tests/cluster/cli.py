"""Command line of the throwaway cluster: `PYTHONPATH=tests python -m cluster.cli`."""

import argparse
import signal
import sys
from collections.abc import Sequence

from cluster import images, lifecycle, tools
from cluster.delivery import deliver
from cluster.state import ClusterError, Kind, ProcessId, State, every, find


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it did what it says, 1 with a sentence if not."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _run(options)
    except ClusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.command == "build":
        tools.ensure()
    elif options.command == "up":
        kind: Kind = "control-plane" if options.control_plane_only else "node"
        owner = _owner(options.owner_pid)
        _tell(lifecycle.up(options.name, kind, owner))
    elif options.command == "images":
        images.build()
        running = find(options.name)
        if running is not None and running.kind == "node":
            deliver(running)
    elif options.command == "down":
        lifecycle.sweep()
        state = find(options.name)
        if state is not None:
            lifecycle.down(state)
    else:
        _status()


def _owner(pid: int | None) -> ProcessId | None:
    if pid is None:
        return None
    owner = ProcessId.of(pid)
    if owner is None:
        message = f"--owner-pid {pid}: no such process"
        raise ClusterError(message)
    return owner


def _tell(state: State) -> None:
    sys.stdout.write(f"export KUBECONFIG={state.kubeconfig}\n")


def _status() -> None:
    row = "{:<20} {:<14} {:<9} {:<12} {}\n"
    sys.stdout.write(row.format("NAME", "KIND", "PHASE", "PROCESSES", "FOLDER"))
    for state in every():
        alive = sum(process.alive for process in state.processes.values())
        processes = f"{alive} of {len(state.processes)}"
        phase = "abandoned" if state.abandoned else state.phase
        columns = (state.name, state.kind, phase, processes, state.folder)
        sys.stdout.write(row.format(*(str(column) for column in columns)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start a cluster, or find it running")
    start.add_argument("--name", default="dev")
    start.add_argument("--control-plane-only", action="store_true")
    start.add_argument(
        "--owner-pid", type=int, help="the process that the cluster must not outlive"
    )
    stop = commands.add_parser("down", help="take a cluster down, to the last trace")
    stop.add_argument("--name", default="dev")
    image = commands.add_parser("images", help="build images, import them if it runs")
    image.add_argument("--name", default="dev")
    commands.add_parser("status", help="list the clusters of this machine")
    commands.add_parser("build", help="build the tools that are not in the cache")
    return parser


if __name__ == "__main__":
    sys.exit(main())
