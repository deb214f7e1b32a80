"""Runs a few steps under torch's own profiler: a second opinion on the count. Shell.

Only steps whose windows are all replayed are compared: a mode that measures makes torch
dispatch, and the profiler list, every operator twice. The program's own profiler always
goes first: ours gets out of its way, and does not come back.
"""

from __future__ import annotations

import atexit
import os
import threading
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, NamedTuple

import torch
from torch.autograd import profiler as torch_profiler

from flopguard_hook import table
from flopguard_hook.interrupts import raise_users

if TYPE_CHECKING:
    from flopguard_hook.metering import Metering

_WARM_STEPS = 3  # in a row, without anything measured
_STEPS = 2
_MOST_SAMPLES = 8
# An event takes 4 kB when the profiler stops, and 8 to 50 microseconds.
_MOST_EVENTS = 60_000
_EVENTS_OF_OPERATOR = 5
_MOST_NAMES = 8
_PATIENCE_SECONDS = 5.0

_LOG_VARIABLE = "KINETO_LOG_LEVEL"
_SILENT = "99"
# With these, somebody else starts the profiler: a daemon, or torch for a trace.
_FOREIGN = ("KINETO_USE_DAEMON", "ENABLE_PYTORCH_EXECUTION_TRACE")

_BY_ELEMENT = frozenset({"aten::add", "aten::mul"})
# These run as other operators, which are listed beside them.
_WHOLES = {
    "aten::linear": frozenset({"aten::mm", "aten::addmm", "aten::bmm"}),
    "aten::convolution": frozenset({"aten::conv2d"}),
}


class Listed(NamedTuple):
    """What the profiler says of the events that it listed.

    Attributes:
        flops: All that it knows.
        by_element: The part of them that is of additions and products by element,
            which the hook does not count.
        unpriced: Operators that the hook counts and the profiler knows no cost of.
    """

    flops: int
    by_element: int
    unpriced: list[str]


def summed(events: Iterable[tuple[str, int]]) -> Listed:
    """Return the sum over events.

    Args:
        events: Name and FLOPs of each, 0 where the profiler knows none.
    """
    flops: dict[str, int] = {}
    for name, n in events:
        flops[name] = flops.get(name, 0) + n
    priced = {name for name, n in flops.items() if n}
    unpriced = [
        name
        for name in sorted(flops.keys() - priced)
        if table.find(name) is not None and not _WHOLES.get(name, frozenset()) & priced
    ]
    by_element = sum(flops.get(name, 0) for name in _BY_ELEMENT)
    return Listed(sum(flops.values()), by_element, unpriced[:_MOST_NAMES])


def attach(metering: Metering) -> Sampling:
    """Sample this process, and make way for the program's own profiler."""
    sampling = Sampling(metering)
    metering.sampling = sampling
    atexit.register(sampling.discard)
    os.register_at_fork(before=sampling.discard, after_in_child=sampling.start_anew)
    return sampling


class Sampling:
    """Samples a few steps of one process, once.

    Nothing here raises, but for what a signal handler of the user's raised.
    """

    def __init__(self, metering: Metering) -> None:
        self._metering = metering
        self._session = metering.session
        self._operators = metering.operators
        self._originals: dict[str, tuple[Any, Any]] = {}
        self._at_thread_end = threading.local()
        self._samples = 0
        self._forget()
        for name in ("_prepare_profiler", "_enable_profiler"):
            if hasattr(torch_profiler, name):
                self._watch(name)

    def _forget(self) -> None:
        self._profile: Any = None
        self._thread = 0  # whose steps are looked at
        self._starts = 0  # the thread in which we start the profiler now
        self._is_disturbed = False
        self._unwanted = ""
        self._metered = -1
        self._warm = 0
        self._windows = 0
        self._most_windows = 0
        self._steps = self._planned = 0
        self._before = 0

    def start_anew(self) -> None:
        """Begin from the start: in a forked child."""
        self._forget()
        self._samples = 0

    # What the metering tells

    def window_opened(self) -> None:
        """Note a window that is about to open: of another thread, it spoils a sample.

        An evaluation may begin within the step: what is listed is bounded.
        """
        if threading.get_ident() != self._thread:
            self._is_disturbed = True
            return
        self._windows += 1
        if self._profile is None:
            return
        if not self._is_clean() or self._windows > 2 * self._planned_windows():
            self.discard()

    def step_left(self) -> None:
        """Note the end of an outermost optimizer step."""
        thread = threading.get_ident()
        if self._profile is None:
            self._look(thread)
        elif thread != self._thread:
            self._is_disturbed = True
        elif not self._is_clean():
            self.discard()
        else:
            self._steps += 1
            if self._steps >= self._planned:
                self._finish()

    def _is_clean(self) -> bool:
        """Say whether nothing was measured, and this thread alone did anything."""
        return not self._is_disturbed and self._metered == self._operators.metered

    def _planned_windows(self) -> int:
        return max(1, self._most_windows) * self._planned

    def _look(self, thread: int) -> None:
        """Count steps without a measurement; begin a sample after enough of them."""
        clean = self._is_clean() and thread == self._thread
        self._warm = self._warm + 1 if clean else 0
        self._most_windows = max(self._windows, self._most_windows if clean else 0)
        self._thread = thread
        self._note_now()
        if self._warm >= _WARM_STEPS:
            self._begin()

    def _note_now(self) -> None:
        self._is_disturbed = False
        self._metered = self._operators.metered
        self._windows = 0

    # A sample

    def _begin(self) -> None:
        stretches = 2 * (self._most_windows + 1)  # windows, and what lies between them
        known = self._operators
        operators = known.dispatched * stretches // max(1, known.metered)
        events = operators * _EVENTS_OF_OPERATOR
        self._planned = min(_STEPS, _MOST_EVENTS // max(1, events))
        if not self._planned:
            self.give_up("a step has too many operators to list")
        elif is_occupied():
            self.give_up("another profiler is active")
        else:
            self._steps = 0
            self._samples += 1
            self._before = self._session.products()
            self._safely(self._start)

    def _start(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        quiet = _LOG_VARIABLE not in os.environ
        if quiet:  # its library writes to stderr what the program did not ask for
            os.environ[_LOG_VARIABLE] = _SILENT
        self._starts = self._thread
        try:
            self._profile = profile(
                activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True
            )
            self._at_thread_end.call = _AtEnd(self._thread_ends)
            self._profile.start()
        finally:
            self._starts = 0
            if quiet:
                os.environ.pop(_LOG_VARIABLE, None)

    def _finish(self) -> None:
        hook = self._session.products() - self._before
        found: list[Listed] = []
        self._safely(lambda: found.append(summed(self._stopped())))
        if not found:
            return
        if not hook:
            self._retry()
            return
        listed = found[0]
        fact: dict[str, Any] = {
            "steps": self._steps,
            "flops": str(listed.flops),
            "hook_flops": str(hook),
            "by_element": str(listed.by_element),
        }
        if listed.unpriced:
            fact["unpriced"] = listed.unpriced
        self._end(fact)

    def _stopped(self) -> Iterator[tuple[str, int]]:
        """Stop the profiler and yield its events."""
        profile, self._profile = self._profile, None
        self._at_thread_end.__dict__.clear()
        try:
            profile.stop()
            yield from _events(profile)
        finally:
            profile.profiler = None  # it is in a cycle, and large

    def discard(self) -> None:
        """Stop a sample that is under way in this thread, and forget it."""
        if self._profile is None or threading.get_ident() != self._thread:
            return
        self._safely(lambda: next(self._stopped(), None))
        self._retry()

    def _retry(self) -> None:
        self._warm = 0
        self._note_now()
        if self._unwanted:
            self.give_up(self._unwanted)
        elif self._samples >= _MOST_SAMPLES:
            self.give_up("something was measured in every sample")

    def _thread_ends(self) -> None:
        if self._metering.sampling is self:
            self.discard()

    def _safely(self, function: Callable[[], Any]) -> None:
        """Call a function of ours; sample no more if it fails."""
        try:
            function()
        except Exception as error:
            raise_users(error)
            self._unwanted = f"the profiler failed: {type(error).__name__}"
            if self._profile is not None:
                self.discard()
            else:
                self.give_up(self._unwanted)

    # The end

    def give_up(self, reason: str) -> None:
        """Sample no more; the facts say why."""
        self._unwanted = reason
        if self._profile is not None:
            self.discard()
        elif self._metering.sampling is self:
            self._end({"skipped": reason})

    def _end(self, fact: dict[str, Any]) -> None:
        self._metering.sampling = None
        for name, (original, ours) in self._originals.items():
            if getattr(torch_profiler, name, None) is ours:
                setattr(torch_profiler, name, original)
        self._session.note("profiler", fact)
        self._session.write_facts()

    # The program's own profiler

    def _watch(self, name: str) -> None:
        """Make way before torch's profiler starts one of the program's."""
        original = getattr(torch_profiler, name)

        def begin(*args: Any, **kwargs: Any) -> Any:
            if self._starts != threading.get_ident():
                self._make_way()
            return original(*args, **kwargs)

        self._originals[name] = (original, begin)
        setattr(torch_profiler, name, begin)

    def _make_way(self) -> None:
        try:
            reason = "the program has a profiler of its own"
            running, here = self._profile, self._thread == threading.get_ident()
            if running is None or here:
                self.give_up(reason)
                return
            # Only its own thread can stop it: at its next window or step.
            self._unwanted = reason
            self._is_disturbed = True
            limit = monotonic() + _PATIENCE_SECONDS
            while self._profile is running and monotonic() < limit:
                sleep(0.001)
        except Exception as error:
            raise_users(error)


class _AtEnd:
    """Calls back at the end of the thread in whose storage it lies."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def __del__(self) -> None:
        self._callback()


def is_occupied() -> bool:
    """Say whether somebody else profiles this process, or may at any time."""
    if any(os.environ.get(name, "0") not in ("", "0") for name in _FOREIGN):
        return True
    enabled = getattr(torch.autograd, "_profiler_enabled", lambda: False)
    return bool(enabled() or getattr(torch_profiler, "_is_profiler_enabled", False))


def _events(profile: Any) -> Iterator[tuple[str, int]]:
    """Yield the name and FLOPs of each event.

    From the profiler's results as they are, where this torch has them: a tree in
    Python of thousands of events takes seconds.
    """
    results = getattr(profile.profiler, "kineto_results", None)
    if results is not None and hasattr(results, "events"):
        for event in results.events():
            yield str(event.name()), int(event.flops())
    else:
        for event in profile.events() or ():
            yield str(event.name), int(event.flops or 0)
