"""Attaches the hook to a torch that was just imported. Shell.

Attached are: wrappers around `Module.__call__` and the one entry of the autograd
engine, hooks on optimizer steps, the start of threads, and the ends of the process.
Each entry below first lets torch.compile pass: what it traces is not run.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable

import torch
from torch.optim import optimizer as torch_optimizers

# Some of them are needed with the first facts only. But what a timer's handler raises
# while Python imports a module can get lost there, so nothing is imported in mid-run.
from flopguard_hook import (
    architecture,  # noqa: F401 - see above
    compiled,
    dataset,
    known,
    layers,  # noqa: F401 - see above
    methods,  # noqa: F401 - see above
    parallel,  # noqa: F401 - see above
    resolving,
    saves,  # noqa: F401 - see above
    saving,
    surroundings,  # noqa: F401 - see above
    underlay,
)
from flopguard_hook.compiling import hide_from_dynamo
from flopguard_hook.describing import Describer
from flopguard_hook.dispatch import Meter, function_modes, unseen
from flopguard_hook.graphs import Graphs
from flopguard_hook.imports import while_imported
from flopguard_hook.metering import Metering
from flopguard_hook.noting import note_facts
from flopguard_hook.session import Session
from flopguard_hook.steps import Steps
from flopguard_hook.threads import INSIDE, OUTSIDE
from flopguard_hook.wrapping import wrap

if TYPE_CHECKING:
    from types import FrameType

    from flopguard_hook.threads import Thread

REPLAY_VARIABLE = "FLOPGUARD_REPLAY"
PROFILER_VARIABLE = "FLOPGUARD_PROFILER"

_is_compiling = torch.compiler.is_compiling


def attach(folder: str) -> Session:
    """Start counting in this process, into a page in this folder."""
    session = Session(folder)
    try:
        session.note("torch", str(torch.__version__))
        replay = os.environ.get(REPLAY_VARIABLE, "").lower() not in {"off", "0"}
        why = known.why_unknown(torch)
        metering = Metering(session, Describer(session), replay=replay and not why)
        metering.replay.why = why
        guard = _Guard(session, metering)
        _attach_modules(guard, metering)
        _attach_engine(guard, metering)
        _attach_optimizers(guard, metering)
        _attach_threads(guard, metering)
        _attach_inference(guard, metering)
        os.register_at_fork(after_in_child=metering.start_anew)
        os.register_at_fork(after_in_child=session.start_anew)
        atexit.register(session.close)
        session.before_facts.append(functools.partial(note_facts, metering))
        saving.attach(session)
        dataset.attach(session)
        graphs = Graphs(metering)
        underlay.attach(Meter)
        if not underlay.KNOWS_MODES:
            from flopguard_hook import subclassing

            subclassing.attach(Meter)
        _attach_import(metering)
        tell_lost = compiled.attach(
            graphs.run, graphs.run_step, graphs.note_uncounted, graphs.note_optimizer
        )
        session.before_facts.insert(0, tell_lost)
        hide_from_dynamo()
        if os.environ.get(PROFILER_VARIABLE, "").lower() == "sample":
            from flopguard_hook import profiling

            profiling.attach(metering)
        guard.run(metering.enter_thread, metering.threads.current)
    except Exception as error:  # a torch that is unlike all known ones
        session.fail(error)
    return session


class _Guard:
    """Runs the hook's own code within the user's: its failures end here."""

    def __init__(self, session: Session, metering: Metering) -> None:
        self.session = session
        self._metering = metering

    def run(
        self, function: Callable[..., Any], thread: Thread, *args: Any, **kwargs: Any
    ) -> Any:
        """Call a function with a thread; None if it failed. Raises what is the user's.

        After a failure, or an interrupt, the thread is as if no window had been open.
        """
        try:
            if function_modes():  # what the hook reads of tensors is nothing to them
                with unseen():
                    return function(thread, *args, **kwargs)
            return function(thread, *args, **kwargs)
        except BaseException as error:
            self._metering.forget_interrupted(thread)
            if not isinstance(error, Exception):
                raise
            self.session.fail(error)
            return None


def _attach_modules(guard: _Guard, metering: Metering) -> None:
    """Open and close windows at the calls of root modules.

    By replacing `Module.__call__`: torch's global hooks slow every call of every
    module down, make torch.compile warn, and are given no keyword arguments.
    """
    original = torch.nn.Module.__call__
    session, threads = guard.session, metering.threads
    # Older torch traces this where a layer's own `__call__` calls it, and would compile
    # again when the thread's state changes.
    is_traced = not underlay.KNOWS_MODES
    only_chooses = _only_chooses(original)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if is_traced and _is_compiling():
            return original(self, *args, **kwargs)
        thread = threads.current
        if thread.state == INSIDE:
            # Every module of a replayed step comes here: what the original would do,
            # without its frame.
            if only_chooses and self._compiled_call_impl is None:
                return self._call_impl(*args, **kwargs)
            return original(self, *args, **kwargs)
        if not session.armed or _is_compiling():
            return original(self, *args, **kwargs)
        window = guard.run(metering.enter_call, thread, self, args, kwargs)
        if window is None:
            return original(self, *args, **kwargs)
        failed = True
        try:
            out = original(self, *args, **kwargs)
            failed = False
            return out
        finally:
            guard.run(metering.leave_call, thread, window, failed=failed)

    torch.nn.Module.__call__ = call


def _only_chooses(call: Any) -> bool:
    """Say whether `Module.__call__` is the one of torch 2.0 to 2.15.

    It calls what `Module.compile` made if that is not None, else `_call_impl`.
    """
    code = getattr(call, "__code__", None)
    return getattr(code, "co_names", ()) == ("_compiled_call_impl", "_call_impl")


def _attach_engine(guard: _Guard, metering: Metering) -> None:
    """Open and close windows at every run of the autograd engine."""
    original = torch.autograd.graph._engine_run_backward
    session, threads = guard.session, metering.threads

    @functools.wraps(original)
    def run_backward(*args: Any, **kwargs: Any) -> Any:
        if not session.armed or _is_compiling():
            return original(*args, **kwargs)
        thread = threads.current
        window = guard.run(metering.enter_engine, thread, args, kwargs)
        if window is None:
            return original(*args, **kwargs)
        failed = True
        try:
            out = original(*args, **kwargs)
            failed = False
            return out
        finally:
            guard.run(metering.leave_engine, thread, window, failed=failed)

    torch.autograd.graph._engine_run_backward = run_backward
    torch.autograd._engine_run_backward = run_backward


def _attach_optimizers(guard: _Guard, metering: Metering) -> None:
    """Charge every optimizer step by its formula."""
    session, threads = guard.session, metering.threads
    steps = Steps(session)
    begun: dict[int, Any] = {}

    def enter(thread: Thread, optimizer: Any, step: FrameType) -> None:
        charges = begun[id(optimizer)] = steps.charges(optimizer, thread.trained)
        nested = len(begun) > 1 and _is_nested(step)
        metering.enter_step(thread, optimizer, charges, nested=nested)

    def entered(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if session.armed and not _is_compiling():
            guard.run(enter, threads.current, optimizer, sys._getframe(1))

    def left(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if session.armed and not _is_compiling():
            charges = begun.pop(id(optimizer), ())
            guard.run(metering.leave_step, threads.current, charges)

    torch_optimizers.register_optimizer_step_pre_hook(entered)
    torch_optimizers.register_optimizer_step_post_hook(left)


def _is_nested(step: FrameType) -> bool:
    """Say whether a frame that steps an optimizer lies within another such frame."""
    frame = step.f_back
    while frame is not None and frame.f_code is not step.f_code:
        frame = frame.f_back
    return frame is not None


def _attach_inference(guard: _Guard, metering: Metering) -> None:
    """End what is measured between windows where inference mode begins and ends.

    Its guard puts the thread's dispatch keys back as they were: a meter that came onto
    the stack, or left it, in between would be dead, or called while it is not there.
    """

    def switching(original: Callable[..., Any]) -> Callable[..., Any]:
        def switch(self: Any, *exception: Any) -> Any:
            thread = metering.threads.current
            armed = guard.session.armed
            if not armed or thread.state != OUTSIDE or _is_compiling():
                return original(self, *exception)
            guard.run(metering.glue.leave, thread)
            try:
                return original(self, *exception)
            finally:
                guard.run(metering.enter_guard, thread, original.__name__)

        return switch

    for name in ("__enter__", "__exit__"):
        wrap(torch.inference_mode, name, switching)


def _attach_import(metering: Metering) -> None:
    """Count nothing while torch._dynamo is imported: some multiply to set it up."""

    def mute(_: Any) -> None:
        metering.threads.current.meter.muted += 1

    def unmute(_: Any) -> None:
        metering.threads.current.meter.muted -= 1

    while_imported("torch._dynamo", mute, unmute)


def _attach_threads(guard: _Guard, metering: Metering) -> None:
    """Measure threads from their start: some multiply and call no module.

    `_set_ident` is the first thing that runs in a new thread, and adds no frame to it;
    who started it waits until it is done.
    """
    is_needed = resolving.is_needed(torch)

    def enter(thread: Thread) -> None:
        if is_needed:
            resolving.look_up_once(torch)
        metering.enter_thread(thread)

    def starting(original: Callable[..., Any]) -> Callable[..., Any]:
        def set_ident(self: Any) -> None:
            original(self)
            if guard.session.armed:
                guard.run(enter, metering.threads.current)

        return set_ident

    if hasattr(threading.Thread, "_set_ident"):
        wrap(threading.Thread, "_set_ident", starting)
