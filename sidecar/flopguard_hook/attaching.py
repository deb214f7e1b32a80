"""Attaches the hook to a torch that was just imported. Shell.

Attached are: wrappers around `Module.__call__` and the one entry of the autograd
engine, hooks on optimizer steps, the start of threads, and the ends of the process.
Each entry below first lets torch.compile pass: what it traces is not run.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import optimizer as torch_optimizers

from flopguard_hook import compiled, dataset, saving
from flopguard_hook.compiling import hide_from_dynamo
from flopguard_hook.describing import Describer
from flopguard_hook.graphs import Graphs
from flopguard_hook.metering import Metering
from flopguard_hook.noting import note_facts
from flopguard_hook.session import Session
from flopguard_hook.steps import Steps
from flopguard_hook.threads import INSIDE, OUTSIDE

if TYPE_CHECKING:
    from types import FrameType

    from flopguard_hook.threads import Thread

REPLAY_VARIABLE = "FLOPGUARD_REPLAY"

_is_compiling = torch.compiler.is_compiling
_function_modes = getattr(torch._C, "_len_torch_function_stack", lambda: 0)
_no_function_mode = contextlib.nullcontext()


def _unseen() -> Any:
    """Return a context in which no function mode of the user's sees a read."""
    return torch._C.DisableTorchFunction() if _function_modes() else _no_function_mode


def attach(folder: str) -> Session:
    """Start counting in this process, into a page in this folder."""
    session = Session(folder)
    try:
        session.note("torch", str(torch.__version__))
        replay = os.environ.get(REPLAY_VARIABLE, "").lower() not in {"off", "0"}
        metering = Metering(session, Describer(session), replay=replay)
        _attach_modules(session, metering)
        _attach_engine(session, metering)
        _attach_optimizers(session, metering)
        _attach_threads(session, metering)
        _attach_inference(session, metering)
        os.register_at_fork(after_in_child=metering.start_anew)
        os.register_at_fork(after_in_child=session.start_anew)
        atexit.register(session.close)
        session.before_facts.append(functools.partial(note_facts, metering))
        saving.attach(session)
        dataset.attach(session)
        graphs = Graphs(metering)
        compiled.attach(graphs.run, graphs.run_step, graphs.note_uncounted)
        hide_from_dynamo()
        metering.enter_thread()
    except Exception as error:  # a torch that is unlike all known ones
        session.fail(error)
    return session


def _attach_modules(session: Session, metering: Metering) -> None:
    """Open and close windows at the calls of root modules.

    By replacing `Module.__call__`: torch's global hooks slow every call of every
    module down, make torch.compile warn, and are given no keyword arguments.
    """
    original = torch.nn.Module.__call__
    threads = metering.threads

    def entered(thread: Thread, module: Any, args: Any, kwargs: Any) -> Any:
        try:
            # What the hook reads of tensors is nothing to the user's function modes.
            with _unseen():
                return metering.enter_call(thread, module, args, kwargs)
        except BaseException as error:
            _give_up(session, metering, thread, error)
            return None

    def left(thread: Thread, window: Any, *, failed: bool) -> None:
        try:
            with _unseen():
                metering.leave_call(thread, window, failed=failed)
        except BaseException as error:
            _give_up(session, metering, thread, error)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        thread = threads.current
        if thread.state == INSIDE or not session.armed or _is_compiling():
            return original(self, *args, **kwargs)
        window = entered(thread, self, args, kwargs)
        if window is None:
            return original(self, *args, **kwargs)
        failed = True
        try:
            out = original(self, *args, **kwargs)
            failed = False
            return out
        finally:
            left(thread, window, failed=failed)

    torch.nn.Module.__call__ = call


def _give_up(
    session: Session, metering: Metering, thread: Thread, error: BaseException
) -> None:
    """Leave the thread as if no window had been open; raise what is the user's."""
    metering.forget_interrupted(thread)
    if not isinstance(error, Exception):
        raise error
    session.fail(error)


def _attach_engine(session: Session, metering: Metering) -> None:
    """Open and close windows at every run of the autograd engine."""
    original = torch.autograd.graph._engine_run_backward
    threads = metering.threads

    def entered(thread: Thread, args: Any, kwargs: Any) -> Any:
        try:
            with _unseen():
                return metering.enter_engine(thread, args, kwargs)
        except BaseException as error:
            _give_up(session, metering, thread, error)
            return None

    def left(thread: Thread, window: Any, *, failed: bool) -> None:
        try:
            metering.leave_engine(thread, window, failed=failed)
        except BaseException as error:
            _give_up(session, metering, thread, error)

    @functools.wraps(original)
    def run_backward(*args: Any, **kwargs: Any) -> Any:
        if not session.armed or _is_compiling():
            return original(*args, **kwargs)
        thread = threads.current
        window = entered(thread, args, kwargs)
        if window is None:
            return original(*args, **kwargs)
        failed = True
        try:
            out = original(*args, **kwargs)
            failed = False
            return out
        finally:
            left(thread, window, failed=failed)

    torch.autograd.graph._engine_run_backward = run_backward
    torch.autograd._engine_run_backward = run_backward


def _attach_optimizers(session: Session, metering: Metering) -> None:
    """Charge every optimizer step by its formula."""
    steps = Steps(session)
    begun: dict[int, Any] = {}
    threads = metering.threads

    def entered(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if not session.armed or _is_compiling():
            return
        thread = threads.current
        try:
            with _unseen():
                charges = steps.charges(optimizer, thread.trained)
            begun[id(optimizer)] = charges
            nested = len(begun) > 1 and _is_nested(sys._getframe(1))
            metering.enter_step(thread, optimizer, charges, nested=nested)
        except BaseException as error:
            _give_up(session, metering, thread, error)

    def left(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if not session.armed or _is_compiling():
            return
        thread = threads.current
        try:
            metering.leave_step(thread, begun.pop(id(optimizer), ()))
        except BaseException as error:
            _give_up(session, metering, thread, error)

    torch_optimizers.register_optimizer_step_pre_hook(entered)
    torch_optimizers.register_optimizer_step_post_hook(left)


def _attach_inference(session: Session, metering: Metering) -> None:
    """End what is measured between windows where inference mode begins and ends.

    Its guard puts the thread's dispatch keys back as they were: a meter that came onto
    the stack, or left it, in between would be dead, or called while it is not there.
    """
    guard: Any = torch.inference_mode
    enter, leave = guard.__enter__, guard.__exit__
    threads = metering.threads

    def switch(kind: str, original: Any, *args: Any) -> Any:
        thread = threads.current
        if not session.armed or thread.state != OUTSIDE or _is_compiling():
            return original(*args)
        try:
            metering.glue.leave(thread)
        except BaseException as error:
            _give_up(session, metering, thread, error)
        try:
            return original(*args)
        finally:
            metering.enter_guard(thread, kind)

    @functools.wraps(enter)
    def entering(self: Any) -> Any:
        return switch("enter", enter, self)

    @functools.wraps(leave)
    def leaving(self: Any, *exception: Any) -> Any:
        return switch("exit", leave, self, *exception)

    guard.__enter__, guard.__exit__ = entering, leaving


def _is_nested(step: FrameType) -> bool:
    """Say whether a frame that steps an optimizer lies within another such frame."""
    frame = step.f_back
    while frame is not None and frame.f_code is not step.f_code:
        frame = frame.f_back
    return frame is not None


def _attach_threads(session: Session, metering: Metering) -> None:
    """Measure threads from their start: some multiply and call no module.

    `_set_ident` is the first thing that runs in a new thread, and adds no frame to it.
    """
    original = getattr(threading.Thread, "_set_ident", None)
    if original is None:
        return

    @functools.wraps(original)
    def set_ident(self: Any) -> None:
        original(self)
        if not session.armed:
            return
        try:
            metering.enter_thread()
        except BaseException as error:
            _give_up(session, metering, metering.threads.current, error)

    threading.Thread._set_ident = set_ident  # type: ignore[attr-defined] # private
