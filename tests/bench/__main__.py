"""Measure what the hook costs: `make bench-hook`. Shell."""

import argparse
import ctypes
import importlib.metadata
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.crew import ROOT, Measured, crew, environment, run
from bench.evaluating import evaluate
from bench.plan import ARMS, BARE, HOOK, PIECES, PROGRAMS, QUICK, SETTLE, Workload
from bench.report import page
from bench.single import Deployed, measure
from flopguard_sidecar.install import install

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_ATTRIBUTES = 128  # bytes of perf_event_attr
_EXCLUDE_KERNEL_AND_HYPERVISOR = 0b1100000


def main() -> None:
    """Measure, evaluate, write both files and say the verdicts."""
    options = parse(sys.argv[1:])
    began = time.monotonic()
    with folder(options.pages) as temporary:
        machine = describe(temporary)
        install(hook_in(temporary))
        found = [session(n, options, temporary) for n in range(options.sessions)]
        single: dict[str, Any] = {}
        if not options.quick:
            say("start, memory, imports")
            single = measure(deployed(temporary), temporary, count=16, steps=1000)
    results = evaluate(chosen(options), found, single)
    machine["minutes"] = round((time.monotonic() - began) / 60, 1)
    write(options.output, {"machine": machine, **results})
    for target in results["targets"]:
        say(f"{target['verdict']:>12}: {target['figure']} ({target['value']:.3g})")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument(
        "--pages", type=Path, help="folder for pages (default: $TMPDIR)"
    )
    parser.add_argument("--quick", action="store_true", help="a few rounds of little")
    parser.add_argument("--only", action="append", help="a workload; may be repeated")
    parser.add_argument("--sessions", type=int, help="default: 3, with --quick 1")
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="of a workload of share 1, per session",
    )
    options = parser.parse_args(arguments)
    options.sessions = options.sessions or (1 if options.quick else 3)
    if options.quick:
        options.seconds = 0.0
    return options


def chosen(options: argparse.Namespace) -> list[Workload]:
    """Return the workloads that are asked for."""
    loads = QUICK if options.quick else PROGRAMS + PIECES
    return [load for load in loads if not options.only or load.name in options.only]


def session(
    number: int, options: argparse.Namespace, temporary: Path
) -> dict[str, Measured]:
    """Start new processes and run everything once."""
    arms = (BARE, HOOK) if options.quick else ARMS
    measured = {}
    with crew(arms, hook_in(temporary), temporary / f"session-{number}") as workers:
        for load in chosen(options):
            say(f"session {number + 1} of {options.sessions}: {load.title}")
            seconds = options.seconds * load.share
            measured[load.name] = run(workers, load, SETTLE, seconds)
    return measured


def hook_in(temporary: Path) -> Path:
    """Return where the hook is installed; its parent can go on the path as well."""
    return temporary / "installed" / "flopguard_hook"


def deployed(temporary: Path) -> Deployed:
    """Return the environments of a start."""
    pages = temporary / "starts"
    pages.mkdir()
    uncached = temporary / "uncached"
    install(uncached)
    return Deployed(
        environment(BARE, hook_in(temporary), pages),
        environment(HOOK, hook_in(temporary), pages),
        {**environment(HOOK, uncached, pages), "PYTHONDONTWRITEBYTECODE": "1"},
    )


@contextmanager
def folder(parent: Path | None) -> Iterator[Path]:
    """Make a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=parent, prefix="flopguard-bench-") as name:
        yield Path(name)


def describe(pages: Path) -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip() or "unknown",
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{
            name: importlib.metadata.version(name) for name in ("torch", "transformers")
        },
        "pages_on": file_system(pages),
        "instruction_counter": "yes"
        if counts_instructions()
        else "no: CPU time instead",
    }


def processor() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", maxsplit=1)[1].strip()
    return platform.machine()


def file_system(path: Path) -> str:
    """Return the type of the file system that holds a path."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    within = [m for m in mounts if path.is_relative_to(m[1])]
    return max(within, key=lambda mount: len(mount[1]))[2]


def counts_instructions() -> bool:
    """Say whether the kernel counts instructions here; few virtual machines do."""
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        return False
    attributes = bytearray(_ATTRIBUTES)
    struct.pack_into("<IIQ", attributes, 0, 0, _ATTRIBUTES, 1)
    struct.pack_into("<Q", attributes, 40, _EXCLUDE_KERNEL_AND_HYPERVISOR)
    buffer = (ctypes.c_char * _ATTRIBUTES).from_buffer(attributes)
    descriptor = ctypes.CDLL(None).syscall(number, buffer, 0, -1, -1, 0)
    if descriptor >= 0:
        os.close(descriptor)
    return bool(descriptor >= 0)


def write(output: Path, results: dict[str, Any]) -> None:
    """Write the page and the figures."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "hook.json").write_text(json.dumps(results, indent=1) + "\n")
    (output / "hook.md").write_text(page(results))


def say(line: str) -> None:
    """Print a line of progress."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
