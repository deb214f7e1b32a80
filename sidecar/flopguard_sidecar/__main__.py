"""The command line: `python -m flopguard_sidecar serve | read DIR | install DEST`.

Shell. Each command imports what it needs only when it runs: the init container's
`install` starts at once, and `serve` catches SIGTERM before its slow imports. To
process 1 of a container, a SIGTERM that nobody catches yet would be lost.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_ABOUT = """\
Carry the FLOPs that the hook counted out of a pod.

The hook writes one page for each training process into a folder; this program sums the
pages into one mark, and hands it on: as Prometheus metrics, as exact JSON, and as a
final record that the kubelet delivers when the pod has ended.
"""
_EXAMPLES = """\
examples:
  FLOPGUARD_DIR=/flopguard/pages python -m flopguard_sidecar serve
  python -m flopguard_sidecar read /flopguard/pages
  python -m flopguard_sidecar install /flopguard/hook --pages /flopguard/pages

the same hook on a laptop:
  python -m flopguard_sidecar install /tmp/hook --pages /tmp/pages
  PYTHONPATH=/tmp/hook/bootstrap FLOPGUARD_DIR=/tmp/pages python train.py
  python -m flopguard_sidecar read /tmp/pages
"""
_SHORTEST_INTERVAL, _LONGEST_INTERVAL = 0.01, 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    parsed = _parser(os.environ).parse_args(arguments)
    try:
        return int(parsed.command(parsed))
    except OSError as error:
        sys.stderr.write(f"flopguard_sidecar: {error}\n")
        return 1


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flopguard_sidecar",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands, environment)
    read = commands.add_parser(
        "read", help="print the mark of a folder of pages as JSON"
    )
    read.add_argument("folder", type=Path, metavar="DIR", help="the folder of pages")
    read.set_defaults(command=_read)
    install = commands.add_parser(
        "install", help="copy the hook into a folder, for an init container"
    )
    install.add_argument("destination", type=Path, metavar="DEST")
    install.add_argument(
        "--pages", type=Path, metavar="DIR", help="also make the folder of pages"
    )
    install.set_defaults(command=_install)
    return parser


def _add_serve(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    environment: Mapping[str, str],
) -> None:
    serve = commands.add_parser(
        "serve",
        help="carry the mark until SIGTERM, then write the final record",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    folder = environment.get("FLOPGUARD_DIR", "")
    serve.add_argument(
        "--dir",
        type=Path,
        default=folder or None,
        required=not folder,
        help="the folder of pages (FLOPGUARD_DIR)",
    )
    serve.add_argument(
        "--pod-uid",
        default=environment.get("FLOPGUARD_POD_UID", ""),
        help="value of the label pod_uid (FLOPGUARD_POD_UID)",
    )
    serve.add_argument(
        "--port",
        type=int,
        default=environment.get("FLOPGUARD_PORT", "9464"),
        help="port of /metrics, /marks and /healthz (FLOPGUARD_PORT)",
    )
    serve.add_argument(
        "--interval", type=_interval, default="1", help="seconds between two scans"
    )
    _add_surroundings(serve, environment)
    serve.set_defaults(command=_serve)


def _add_surroundings(
    serve: argparse.ArgumentParser, environment: Mapping[str, str]
) -> None:
    """Add what differs between a pod, a node and a laptop."""
    serve.add_argument(
        "--address", default="", help="serve on this address only; empty: on all"
    )
    serve.add_argument(
        "--attached",
        action="store_true",
        help="also end when standard input does: with the process that started this",
    )
    serve.add_argument(
        "--dcgm-url",
        default=environment.get("FLOPGUARD_DCGM_URL", ""),
        help="the node's dcgm-exporter page, if NVML sees no device "
        "(FLOPGUARD_DCGM_URL)",
    )
    serve.add_argument(
        "--gpu",
        choices=("Auto", "Off"),
        default=environment.get("FLOPGUARD_GPU", "Auto"),
        help="whether to sample power, energy and use of the devices (FLOPGUARD_GPU)",
    )
    serve.add_argument(
        "--termination-log",
        type=Path,
        default=Path("/dev/termination-log"),
        help="the file that the kubelet reads when the container has ended",
    )


def _interval(text: str) -> float:
    seconds = float(text)
    if not _SHORTEST_INTERVAL <= seconds <= _LONGEST_INTERVAL:
        msg = f"between {_SHORTEST_INTERVAL} and {_LONGEST_INTERVAL:.0f} seconds"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _serve(arguments: argparse.Namespace) -> int:
    stop_early = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop_early.set())
    from flopguard_sidecar import serving  # noqa: PLC0415 - after the signal handler

    settings = serving.Settings(
        folder=arguments.dir,
        pod_uid=arguments.pod_uid,
        port=arguments.port,
        interval_seconds=arguments.interval,
        termination_log=arguments.termination_log,
        dcgm_url=arguments.dcgm_url,
        address=arguments.address,
        is_attached=arguments.attached,
        samples_gpu=arguments.gpu != "Off",
    )
    serving.serve(settings, stop_early)
    return 0


def _read(arguments: argparse.Namespace) -> int:
    from flopguard_sidecar import folder, meter  # noqa: PLC0415 - see the module

    # The folder itself may be named through a link by the person who reads it.
    scan = folder.Folder(arguments.folder.resolve(strict=True)).scan()
    sys.stdout.buffer.write(meter.marks_json(meter.total(scan.pages)))
    for nonce, problem in sorted(scan.problems):
        sys.stderr.write(f"{nonce or arguments.folder}: {problem}\n")
    return 0


def _install(arguments: argparse.Namespace) -> int:
    from flopguard_sidecar.install import install  # noqa: PLC0415 - see the module

    install(arguments.destination, arguments.pages)
    sys.stdout.write(f"the hook is in {arguments.destination}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
