"""Attaches the hook to a torch that was just imported. Shell.

Attached are: the meter of the importing thread, wrappers around `Module.__call__` and
the one entry of the autograd engine, hooks on optimizer steps, and the ends of the
process. Each entry below first lets torch.compile pass: what it traces is not run.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
from typing import TYPE_CHECKING, Any, Callable, Iterable

import torch
from torch.optim import optimizer as torch_optimizers

from flopguard_hook import facts
from flopguard_hook.compiling import hide_from_dynamo
from flopguard_hook.describing import Describer
from flopguard_hook.dispatch import Meters
from flopguard_hook.numerics import numeric
from flopguard_hook.optimizers import step_cost
from flopguard_hook.session import Charge, Session

if TYPE_CHECKING:
    from types import FrameType

    from flopguard_hook.windows import Windows

_CREATE_GRAPH_AT = 3  # of the engine's positional arguments

_is_compiling = torch.compiler.is_compiling
_engine_task = getattr(torch._C, "_current_graph_task_id", None)


def attach(folder: str) -> Session:
    """Start counting in this process, into a page in this folder."""
    session = Session(folder)
    try:
        session.note("torch", str(torch.__version__))
        meters = Meters(session)
        _attach_modules(session, meters)
        _attach_engine(session, meters)
        _attach_optimizers(session, meters)
        os.register_at_fork(after_in_child=meters.start_anew)
        os.register_at_fork(after_in_child=session.start_anew)
        atexit.register(session.close)
        hide_from_dynamo()
        meters.current()
    except Exception as error:  # a torch that is unlike all known ones
        session.fail(error)
    return session


def _attach_modules(session: Session, meters: Meters) -> None:
    """Open and close windows at the calls of root modules.

    By replacing `Module.__call__`: torch's global hooks slow every call of every
    module down, make torch.compile warn, and are given no keyword arguments.
    """
    original = torch.nn.Module.__call__
    describer = Describer(session)

    def entered() -> Windows | None:
        try:
            meter = meters.current()
            if meter is None:
                return None
            _forget_interrupted(meter.windows)
            if not meter.windows.call_entered(grad=torch.is_grad_enabled()):
                return None
        except Exception as error:
            session.fail(error)
            return None
        return meter.windows

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _is_compiling() or not session.armed:
            return original(self, *args, **kwargs)
        windows = entered()
        if windows is None:
            return original(self, *args, **kwargs)
        try:
            if not windows.in_engine:
                describer.describe(self, args, kwargs)
            return original(self, *args, **kwargs)
        finally:
            windows.call_left()

    torch.nn.Module.__call__ = call


def _attach_engine(session: Session, meters: Meters) -> None:
    """Note every run of the autograd engine, in whichever thread."""
    original = torch.autograd.graph._engine_run_backward

    @functools.wraps(original)
    def run_backward(*args: Any, **kwargs: Any) -> Any:
        left = None if _is_compiling() else _engine_entered(session, meters, args)
        if left is None:
            return original(*args, **kwargs)
        try:
            return original(*args, **kwargs)
        finally:
            left()

    torch.autograd.graph._engine_run_backward = run_backward
    torch.autograd._engine_run_backward = run_backward


def _engine_entered(
    session: Session, meters: Meters, args: Any
) -> Callable[[], None] | None:
    """Note that the engine starts; return what to call when it left; never raise."""
    try:
        # Tracing runs the engine on tensors that hold no data.
        if not session.armed or torch._guards.TracingContext.try_get() is not None:
            return None
        meter = meters.current()
        if meter is None:
            return None
        windows = meter.windows
        _forget_interrupted(windows)
        create_graph = len(args) > _CREATE_GRAPH_AT and bool(args[_CREATE_GRAPH_AT])
        token = windows.engine_entered(create_graph=create_graph)
    except Exception as error:
        session.fail(error)
        return None

    def left() -> None:
        try:
            session.backwards += int(windows.engine_left(token))
        except Exception as error:
            session.fail(error)

    return left


def _forget_interrupted(windows: Windows) -> None:
    """Forget engine runs whose end was cut off by what a signal handler raised."""
    if windows.expects_engine and _engine_task is not None and _engine_task() < 0:
        windows.engine_is_idle()


def _attach_optimizers(session: Session, meters: Meters) -> None:
    """Charge every optimizer step by its formula."""
    begun: dict[int, list[Charge]] = {}

    def entered(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if _is_compiling() or not session.armed:
            return
        try:
            charges = _step_charges(session, optimizer)
            begun[id(optimizer)] = charges
            meter = meters.current()
            if meter is not None:
                meter.windows.step_entered(nested=_is_nested(sys._getframe(1)))
            session.begin(charges)
        except Exception as error:
            session.fail(error)

    def left(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if _is_compiling() or not session.armed:
            return
        try:
            charges = begun.pop(id(optimizer), [])
            meter = meters.current()
            outermost = meter is None or meter.windows.step_left()
            session.finish_step(charges, outermost=outermost)
        except Exception as error:
            session.fail(error)

    torch_optimizers.register_optimizer_step_pre_hook(entered)
    torch_optimizers.register_optimizer_step_post_hook(left)


def _step_charges(session: Session, optimizer: Any) -> list[Charge]:
    """Return the cost of a step over the parameters that have a gradient."""
    names = [base.__name__ for base in type(optimizer).__mro__]
    flops: dict[str, int] = {}
    for group in optimizer.param_groups:
        cost = step_cost(names, group)
        if not cost.known:
            session.flag("unknown_optimizer")
        for dtype, elements in _elements(group["params"]):
            of = numeric(dtype)
            charged = cost.per_element * elements * of.factor
            flops[of.format] = flops.get(of.format, 0) + charged
    known = session.noted("optimizers", [])
    session.note("optimizers", facts.with_name(known, names[0]))
    return [Charge("optimizer", name, n) for name, n in flops.items() if n]


def _elements(parameters: Iterable[Any]) -> Iterable[tuple[str, int]]:
    for parameter in parameters:
        if parameter.grad is not None:
            yield str(parameter.dtype), facts.local_elements(parameter)


def _is_nested(step: FrameType) -> bool:
    """Say whether a frame that steps an optimizer lies within another such frame."""
    frame = step.f_back
    while frame is not None and frame.f_code is not step.f_code:
        frame = frame.f_back
    return frame is not None
