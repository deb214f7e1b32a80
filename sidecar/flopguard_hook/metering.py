"""Opens and closes the windows of every thread: measures them or replays them. Shell.

A window is the call of a root module or a run of the autograd engine. What lies between
windows (a loss, an optimizer's step, a sampler) is glue: it is measured until it is
known to count nothing there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from flopguard_hook.auditing import Audit, audit
from flopguard_hook.dispatch import (
    Meter,
    Operators,
    is_plain,
    is_traced,
    meter_on_stack,
)
from flopguard_hook.glue import Glue
from flopguard_hook.interrupts import raise_users
from flopguard_hook.keys import Keys
from flopguard_hook.places import site
from flopguard_hook.replay import REMEASURED_EVERY, Figure, Replay
from flopguard_hook.roots import Roots
from flopguard_hook.session import MASKED
from flopguard_hook.threads import INSIDE, MEASURED, OUTSIDE, Thread, Threads

if TYPE_CHECKING:
    from types import FrameType

    from flopguard_hook.describing import Describer
    from flopguard_hook.profiling import Sampling
    from flopguard_hook.roots import Root
    from flopguard_hook.session import Charges, Session
    from flopguard_hook.windows import Windows

_MOST_TRAINED = 16
_CREATE_GRAPH_AT = 3  # of the engine's positional arguments
_REFUSING = str(torch.__version__).startswith(("2.4.", "2.5.", "2.6.", "2.7."))
_CALLERS = 3
_CALLERS_OF_TORCH = 5  # some of them are torch's

_engine_task = getattr(torch._C, "_current_graph_task_id", lambda: -1)


def engine_is_running() -> bool:
    """Say whether the autograd engine runs in this thread."""
    return bool(_engine_task() >= 0)


class Window:
    """A window that is open.

    Attributes:
        figure: Its signature's figure; None if it has no signature.
        charges: What the page says was begun.
        is_measured: Whether the meter is on the stack for it.
        root: The root module; None if the engine runs.
        contains_others: Whether the engine or an optimizer ran within a root's call.
        token: Of the engine's run, for `Windows`.
        forks: How often this process was forked when it opened.
        before: The thread's state before.
    """

    __slots__ = (
        "before",
        "charges",
        "contains_others",
        "figure",
        "forks",
        "is_measured",
        "root",
        "token",
    )

    def __init__(self, figure: Figure | None, root: Root | None, forks: int) -> None:
        self.figure = figure
        self.root = root
        self.forks = forks
        self.charges: Charges = ()
        self.is_measured = True
        self.contains_others = False
        self.token = 0
        self.before = OUTSIDE


class Nested(NamedTuple):
    """A module's call or a run of the engine within a window that is measured."""

    windows: Windows
    token: int | None


class Metering:
    """Measures or replays the windows of one process.

    Attributes:
        threads: The current thread's state is `threads.current`.
        operators: What is known of operators.
        replay: What is known of windows.
        roots: The root modules.
        glue: What lies between windows.
        purposes: FLOPs of calls without gradients, by what they are for.
        sampling: Compares a few steps with torch's profiler; None if it does not.
    """

    def __init__(self, session: Session, describer: Describer, *, replay: bool) -> None:
        self.session = session
        self.operators = Operators(session)
        self.replay = Replay(on=replay)
        self.roots = Roots(describer)
        self.glue = Glue(session, self.replay)
        self.threads = Threads(lambda: Meter(session, self.operators))
        self.purposes: dict[str, int] = {}
        self.sampling: Sampling | None = None
        self._keys = Keys(self.replay, self.roots)
        self._forks = 0

    # Root modules

    def enter_call(
        self, thread: Thread, module: Any, args: Any, kwargs: Any
    ) -> Window | Nested | Audit | None:
        """Open a window at a module's call; None if nothing is to be closed."""
        if thread.state == MEASURED or engine_is_running():
            return _enter_nested(module, args)
        if is_traced():
            return None
        root = self.roots.of(module)
        if root.is_transparent:
            return None
        grad = torch.is_grad_enabled()
        self.glue.leave(thread)
        figure = None
        plain = is_plain()
        if plain:
            frame = sys._getframe(3)
            figure = self._keys.of_call(root, module, (args, kwargs), frame, grad=grad)
        thread.meter.windows.call_entered(grad=grad)
        window = Window(figure, root, self._forks)
        if self._start(thread, window):
            if plain:
                self.roots.look_at(module, args, kwargs)
            thread.meter.start(live=not window.charges)
        return window

    def leave_call(
        self, thread: Thread, window: Window | Nested | Audit, *, failed: bool
    ) -> None:
        """Close what `enter_call` opened."""
        if isinstance(window, Nested):
            window.windows.call_left()
            return
        if isinstance(window, Audit):
            if not failed:
                window.end(self.operators)
            return
        charges = self._end(thread, window, failed=failed)
        category = thread.meter.windows.category(grad=False)
        thread.meter.windows.call_left()
        root = window.root
        if window.contains_others and root is not None:
            root.is_transparent = True
        elif category == "no_grad":
            self._note_purpose(window, charges)
        if category == "forward" and not failed:
            thread.add_pending(window.figure)
        self.glue.enter(thread, site("call", sys._getframe(3), _CALLERS))

    def _note_purpose(self, window: Window, charges: Charges) -> None:
        purpose = "other"
        if window.figure is not None:
            purpose = window.figure.family.about.purpose
        flops = sum(n for index, n in charges if index != MASKED)
        if flops:
            self.purposes[purpose] = self.purposes.get(purpose, 0) + flops

    # The autograd engine

    def enter_engine(self, thread: Thread, args: Any, kwargs: Any) -> Any:
        """Open a window at a run of the engine; None if nothing is to be closed."""
        create_graph = len(args) > _CREATE_GRAPH_AT and bool(args[_CREATE_GRAPH_AT])
        nested = engine_is_running()
        if not nested and is_traced():
            return None
        if thread.window is not None:
            thread.window.contains_others |= not nested
        if nested or thread.state == MEASURED:
            meter = meter_on_stack()
            if meter is None:
                return None
            token = meter.windows.engine_entered(create_graph=create_graph)
            return Nested(meter.windows, token)
        figure = None
        if thread.state == OUTSIDE:
            self.glue.leave(thread)
            if is_plain():
                frame = sys._getframe(3)
                figure = self._of_backward(thread, args, kwargs, frame)
            else:
                thread.take_pending()
        window = Window(figure, None, self._forks)
        window.token = thread.meter.windows.engine_entered(create_graph=create_graph)
        if _refuses_modes():
            window.figure, window.is_measured = None, False
            self.operators.note_unknown("autograd::compiled").calls += 1
        if self._start(thread, window):
            thread.meter.start(live=not window.charges)
        return window

    def _of_backward(
        self, thread: Thread, args: Any, kwargs: Any, frame: FrameType
    ) -> Figure | None:
        try:
            return self._keys.of_backward(thread, args, kwargs, frame)
        except Exception as error:  # outputs unlike tensors are measured every time
            raise_users(error)
            return None

    def leave_engine(
        self, thread: Thread, window: Window | Nested, *, failed: bool
    ) -> None:
        """Close what `enter_engine` opened."""
        if isinstance(window, Nested):
            if window.token is not None:
                window.windows.engine_left(window.token)
            return
        self._end(thread, window, failed=failed)
        thread.meter.windows.engine_left(window.token)
        self.session.count_backward()
        family = window.figure.family if window.figure is not None else None
        if family not in thread.trained:
            thread.trained = [*thread.trained[-_MOST_TRAINED:], family]
        if thread.state == OUTSIDE:
            caller = sys._getframe(3)
            self.glue.enter(thread, site("engine", caller, _CALLERS_OF_TORCH))

    # Windows of either kind

    def _start(self, thread: Thread, window: Window) -> bool:
        """Begin a window; return whether it is to be measured."""
        if self.sampling is not None:
            self.sampling.window_opened()
        window.before = thread.state
        thread.window = window
        figure = window.figure
        if figure is not None:
            window.is_measured = not self.replay.is_replayed(figure)
            if not window.is_measured or self.replay.is_known(figure):
                window.charges = figure.charges or ()
        self.session.begin(window.charges)
        thread.state = MEASURED if window.is_measured else INSIDE
        return window.is_measured

    def _end(self, thread: Thread, window: Window, *, failed: bool) -> Charges:
        """Close a window; return what it cost."""
        thread.state = window.before
        thread.window = None
        counts = window.forks == self._forks  # else a child left its parent's window
        if not window.is_measured:
            if counts and not failed:
                self.session.finish(window.charges)
            return window.charges
        meter = thread.meter
        charges = meter.stop()
        if not counts:
            return ()
        if not meter.live:
            self.session.begin(_excess(charges, window.charges))
            self.session.finish(charges)
        if window.figure is not None and not failed and not window.contains_others:
            window.figure.family.careful |= meter.selects
            self._learn(window.figure, charges, varies=meter.varies)
        return charges

    def _learn(self, figure: Figure, charges: Any, *, varies: bool) -> None:
        if varies:
            figure.family.owner.off = "its cost depends on what its tensors hold"
            self.replay.measured += 1
        elif self.replay.learn(figure, charges) is not None:
            self.session.flag("replay_drift")

    # Optimizers

    def enter_step(
        self, thread: Thread, optimizer: Any, charges: Charges, *, nested: bool
    ) -> None:
        """Note that an optimizer steps, and what its formula says."""
        self.session.begin(charges)
        if thread.state != OUTSIDE:
            self.note_step(thread)
            return
        self.glue.leave(thread)
        thread.meter.windows.step_entered(nested=nested)
        start = ("step", id(optimizer), tuple(map(id, thread.trained)))
        self.glue.enter(thread, start, REMEASURED_EVERY)

    def note_step(self, thread: Thread) -> None:
        """Note that an optimizer steps within a window: not if the engine runs it."""
        if thread.window is not None:
            thread.window.contains_others |= thread.window.root is not None

    def leave_step(self, thread: Thread, charges: Charges) -> None:
        """Note that it returned."""
        outermost = True
        inside = thread.state != OUTSIDE
        if not inside:
            self.glue.leave(thread)
            outermost = thread.meter.windows.step_left()
            thread.trained = []
        self.session.finish_step(charges, outermost=outermost)
        if not inside:
            if self.sampling is not None and outermost:
                self.sampling.step_left()
            caller = sys._getframe(3)
            self.glue.enter(thread, site("step", caller, _CALLERS_OF_TORCH))

    # The process

    def enter_thread(self, thread: Thread) -> None:
        """Measure from the start of a thread, whatever others did before.

        All threads of a pool begin at one place, and their tasks are not told by it.
        """
        if thread.glue is None and thread.state == OUTSIDE:
            start = site("thread", sys._getframe(3), _CALLERS)
            self.glue.enter(thread, start, every=1)

    def enter_guard(self, thread: Thread, kind: str) -> None:
        """Go on between windows after inference mode began or ended."""
        if self.session.armed:
            caller = sys._getframe(3)
            self.glue.enter(thread, site(kind, caller, _CALLERS_OF_TORCH))

    def forget_interrupted(self, thread: Thread) -> None:
        """Start the thread anew: something cut a window off."""
        if meter_on_stack() is thread.meter:
            thread.meter.stop()
        thread.start_anew()

    def start_anew(self) -> None:
        """Forget what the parent was doing: in a forked child."""
        self._forks += 1
        self.purposes.clear()
        self.roots.describer.start_anew()
        thread = self.threads.current
        kept = thread.glue, thread.glue_is_measured, thread.state, thread.window
        thread.start_anew()
        thread.glue, thread.glue_is_measured, thread.state, thread.window = kept


def _enter_nested(module: Any, args: Any) -> Nested | Audit | None:
    """Note a forward that the engine runs again, or a layer within a root."""
    meter = meter_on_stack()
    if meter is None:
        return None
    if not meter.windows.in_engine:
        return audit(meter, module, args)
    grad = torch.is_grad_enabled()
    if not grad and _is_backward_graph():
        return None
    if not meter.windows.call_entered(grad=grad):
        return None
    return Nested(meter.windows, None)


def _refuses_modes() -> bool:
    """Say whether compiled autograd is on that raises where a meter is on the stack."""
    return _REFUSING and _of_compiled_autograd("compiled_autograd_enabled")


def _is_backward_graph() -> bool:
    """Say whether compiled autograd runs: what it traced of a backward is a module.

    Gradients are off in that module, and on in a forward that it runs again.
    """
    return _of_compiled_autograd("in_compiled_autograd_region")


def _of_compiled_autograd(name: str) -> bool:
    compiled = sys.modules.get("torch._dynamo.compiled_autograd")
    return bool(getattr(compiled, name, False))


def _excess(charges: Charges, begun: Charges) -> Charges:
    """Return what was measured beyond what had been begun."""
    expected = dict(begun)
    over = [(index, flops - expected.get(index, 0)) for index, flops in charges]
    return tuple((index, flops) for index, flops in over if flops > 0)
