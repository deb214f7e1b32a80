"""The sidecar's loop: scan, publish, write the termination log; at SIGTERM once more.

Shell. One snapshot is swapped in whole after each scan, and everything that is
published comes from it, so no reader ever sees figures fall.
"""

import asyncio
import hashlib
import math
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from flopguard_hook import versions
from flopguard_sidecar import final, logs, meter
from flopguard_sidecar.exposition import PodCollector, State, metrics_page
from flopguard_sidecar.folder import Folder, Problem, Scan
from flopguard_sidecar.meter import Mark
from flopguard_sidecar.sampling import Sampler
from flopguard_sidecar.server import JSON, METRICS, Answer, Server
from flopguard_sidecar.termination import TerminationLog

STALE_SECONDS = 30.0
LINGER_SECONDS = 10.0  # the kubelet kills before, two seconds after the grace period
_LINGER_PAUSE = 0.05
UID_HEADER = "X-Flopguard-Pod-Uid"  # the operator's check of whom it has reached
AGE_HEADER = "X-Flopguard-Mark-Age-Ms"  # how long ago the pages of a mark were read
CPU_HEADER = "X-Flopguard-Cpu"  # cores of the node, widest vector unit, highest MHz
DEVICES_HEADER = "X-Flopguard-Tensor-Active"  # source, devices, milliseconds
ENERGY_HEADER = "X-Flopguard-Energy"  # the line of `energy`
_CLOCK_SECONDS = 0.005  # the ticks of a wall clock that is read without a system call
_MOST_ERRORS = 999_999  # what the final record can say


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the environment say.

    Attributes:
        folder: The folder of pages.
        pod_uid: Value of the label `pod_uid`.
        port: Port of the HTTP server; 0 takes a free one.
        interval_seconds: Pause between two scans.
        termination_log: The file that the kubelet reads.
        dcgm_url: The node's dcgm-exporter page, or "".
        samples_gpu: Whether the devices are looked at.
        address: The one address to serve on; "" for all.
        is_attached: Whether the end of standard input is the end of this process.
    """

    folder: Path
    pod_uid: str
    port: int
    interval_seconds: float
    termination_log: Path
    dcgm_url: str
    address: str = ""
    is_attached: bool = False
    samples_gpu: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The outcome of one scan; replaced whole, never changed.

    Attributes:
        scanned_at: When all pages were last read; a page that cannot be read lets it
            grow old.
        is_scanned: False: not in this life of the sidecar, so nothing is known.
    """

    mark: Mark
    marks_json: bytes
    problems: frozenset[Problem]
    errors: int
    scanned_at: float
    is_scanned: bool = True
    is_whole: bool = True  # the newest scan read all pages


class Sidecar:
    """Carries the marks of one folder; see `run`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = logs.configure()
        self._folder = Folder(settings.folder)
        self._sampler = Sampler(settings.dcgm_url, self._log)
        self._termination = self._open_termination_log()
        self._sequence = 0
        self._written = b""  # digest of the marks that the termination log holds
        self._is_failing = False
        mark = meter.total(())
        self._snapshot = Snapshot(
            mark,
            meter.marks_json(mark),
            frozenset(),
            0,
            time.monotonic(),
            is_scanned=False,
        )
        self._processor = _processor()

    async def run(self, stop_early: threading.Event) -> None:
        """Scan and serve until SIGTERM or SIGINT, then write the final record.

        Args:
            stop_early: Set if the signal came before this function could catch it.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if self._settings.is_attached:  # nobody writes: it only ends
            loop.add_reader(sys.stdin.fileno(), stop.set)
        if stop_early.is_set():
            stop.set()
        self.scan()
        if self._settings.samples_gpu:
            self._sampler.start()
        server = await self._serve()
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.interval_seconds):
                    await stop.wait()
            if not stop.is_set():
                self.scan()
        if not self._settings.is_attached:  # then there is a kubelet
            await self._outlive_writers()
            self._sampler.end()
            self.scan()  # nobody knows how long it waits
            await asyncio.sleep(_until_next_second(time.time()))
        self.scan(is_last=True)
        server.close()
        self._log.info(
            "final", pages=len(self._snapshot.mark.pages), sequence=self._sequence
        )

    async def _outlive_writers(self) -> None:
        """Scan on while a process lives that may still count, for as long as is left.

        A pod that is evicted, or out of its grace period, has its containers told to
        stop all at once, and the trainer may be the last to go.
        """
        end = time.monotonic() + LINGER_SECONDS
        while self._folder.is_written() and time.monotonic() < end:
            self.scan()
            await asyncio.sleep(_LINGER_PAUSE)

    def scan(self, *, is_last: bool = False) -> None:
        """Read the folder, publish what it says, and keep the termination log current.

        A folder that cannot be read leaves the last mark standing, and growing old.
        """
        # The last scan is what `final` vouches for: of processes that write no more.
        is_last = is_last and not self._folder.is_written()
        try:
            self._publish(self._folder.scan())
            self._is_failing = False
            is_last = is_last and self._snapshot.is_whole
            is_last = is_last and not self._folder.is_written()  # nor a new one
        except OSError as error:
            self._warn_once("the folder of pages cannot be read", error)
            is_last = False
        self._write_termination_log(is_last=is_last)

    def _publish(self, scan: Scan) -> None:
        mark = meter.total(scan.pages)
        before, whole = self._snapshot, meter.is_whole(scan.pages)
        appeared = scan.problems - before.problems
        for nonce, problem in sorted(appeared)[:10]:
            self._log.warning("page problem", nonce=nonce, problem=problem)
        self._snapshot = Snapshot(
            mark,
            before.marks_json if mark == before.mark else meter.marks_json(mark),
            scan.problems,
            min(before.errors + len(appeared), _MOST_ERRORS),
            time.monotonic() if whole else before.scanned_at,
            is_scanned=whole or before.is_scanned,
            is_whole=whole,
        )

    def _write_termination_log(self, *, is_last: bool) -> None:
        snapshot, mark = self._snapshot, self._snapshot.mark
        digest = hashlib.sha256(snapshot.marks_json)
        if self._termination is None or (
            digest.digest() == self._written and not is_last
        ):
            return
        record = final.FinalRecord(
            final=is_last,
            sequence=self._sequence + 1,
            done=mark.done,
            begun=mark.begun_total,
            steps=mark.steps,
            pages=len(mark.pages),
            errors=snapshot.errors,
            digest=digest.hexdigest(),
        )
        try:
            energy = self._sampler.energy.line()
            tail = f"{energy}\n".encode() if energy else b""
            self._termination.write(final.encode(record) + tail)
        except OSError as error:
            self._warn_once("the termination log cannot be written", error)
            return
        self._sequence += 1
        self._written = digest.digest()

    def _open_termination_log(self) -> TerminationLog | None:
        path = self._settings.termination_log
        try:
            return TerminationLog(path)
        except OSError as error:
            self._log.warning(
                "no termination log: the final record is not kept",
                path=str(path),
                error=error.strerror,
            )
            return None

    def _warn_once(self, event: str, error: OSError) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._log.error(event, error=error.strerror or str(error))

    async def _serve(self) -> Server:
        """Start the HTTP server; without one, the termination log still carries."""
        page = metrics_page(PodCollector(self._settings.pod_uid, self._state))
        server = Server(
            {
                "/metrics": lambda: Answer(page(), METRICS),
                "/marks": self._marks,
                "/healthz": self._healthz,
            }
        )
        try:
            port = await server.start(self._settings.port, self._settings.address)
        except OSError as error:
            self._log.error(
                "the port is taken: no /metrics and no /marks",
                port=self._settings.port,
                error=error.strerror,
            )
            return server
        self._log.info("serving", port=port, folder=str(self._settings.folder))
        return server

    def _marks(self) -> Answer:
        snapshot = self._snapshot
        if not snapshot.is_scanned:  # after a restart zeros would look like a fall
            text = b"the pages were never read\n"
            return Answer(text, status=HTTPStatus.SERVICE_UNAVAILABLE)
        age = math.ceil((time.monotonic() - snapshot.scanned_at) * 1000)
        headers = {UID_HEADER: self._settings.pod_uid, AGE_HEADER: str(age)}
        more = {
            DEVICES_HEADER: self._sampler.active.header(),
            ENERGY_HEADER: self._sampler.energy.line(),
            CPU_HEADER: self._processor,
        }
        headers |= {name: value for name, value in more.items() if value}
        return Answer(snapshot.marks_json, JSON, headers=headers)

    def _state(self) -> State:
        snapshot = self._snapshot
        age = time.monotonic() - snapshot.scanned_at
        mark = snapshot.mark if snapshot.is_scanned else meter.total(())
        return State(mark, snapshot.errors, age, self._sampler.reading)

    def _healthz(self) -> Answer:
        age = self._state().age_seconds
        if age > STALE_SECONDS:
            text = f"the pages were last read {age:.0f} s ago\n"
            return Answer(text.encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Answer(b"ok\n")


def _processor() -> str:
    """Return the node's processor for CPU_HEADER; empty where it is not known.

    A trainer whose hook cannot write tells nothing of it. All cores of the node: the
    quota is the sidecar's own.
    """
    cpu = versions.cpu()
    known = cpu["vector"] and cpu["mhz_max"]
    return f"{os.cpu_count() or 1} {cpu['vector']} {cpu['mhz_max']}" if known else ""


def _until_next_second(now: float) -> float:
    """Return the seconds until the clock shows another second, rather too many.

    The pod's status says the ends of containers in whole seconds. A sidecar that reads
    the pages for the last time in a later second than its main containers ended in has
    seen all that they did.
    """
    return 1.0 - now % 1.0 + _CLOCK_SECONDS


def serve(settings: Settings, stop_early: threading.Event) -> None:
    """Run the sidecar until SIGTERM."""
    asyncio.run(Sidecar(settings).run(stop_early))
