"""Opens and closes the windows of every thread: measures them or replays them. Shell.

A window is the call of a root module or a run of the autograd engine. What lies between
windows (a loss, an optimizer's step, a sampler) is glue: it is measured until it is
known to count nothing there.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from flopguard_hook.batches import batch_of
from flopguard_hook.dispatch import (
    Meter,
    Operators,
    is_traced,
    meter_on_stack,
    stack_is_empty,
)
from flopguard_hook.interrupts import raise_users
from flopguard_hook.page import CELLS, cell
from flopguard_hook.polynomials import CACHE
from flopguard_hook.replay import REMEASURED_EVERY, Figure, Owner, Replay, Sites
from flopguard_hook.roots import Roots
from flopguard_hook.session import MASKED
from flopguard_hook.signature import Signature, UnsignableError, ambient
from flopguard_hook.threads import INSIDE, MEASURED, OUTSIDE, Thread, Threads

if TYPE_CHECKING:
    from types import FrameType

    from flopguard_hook.describing import Describer
    from flopguard_hook.roots import Root
    from flopguard_hook.session import Charges, Session
    from flopguard_hook.windows import Windows

_GLUE_EVERY = 64  # a quiet stretch between windows is measured again so often
_MOST_TRAINED = 16
_MOST_REASONS = 8
_CREATE_GRAPH_AT = 3  # of the engine's positional arguments
_INPUTS_AT = 4
_FORWARD_CELLS = frozenset(
    i for i, (category, _) in enumerate(CELLS) if category == "forward"
)

_engine_task = getattr(torch._C, "_current_graph_task_id", lambda: -1)
_functorch = getattr(torch._C._functorch, "peek_interpreter_stack", lambda: None)


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
        self.is_measured = False
        self.contains_others = False
        self.token = 0
        self.before = OUTSIDE


class Nested(NamedTuple):
    """A module's call or a run of the engine within a window that is measured."""

    windows: Windows
    token: int | None


class About(NamedTuple):
    """What is known of a family of root calls.

    Attributes:
        module: A weak reference to the root.
        grad: Whether gradients were recorded.
        purpose: Of a call without gradients; else empty.
    """

    module: Any
    grad: bool
    purpose: str


class Metering:
    """Measures or replays the windows of one process.

    Attributes:
        threads: The current thread's state is `threads.current`.
        operators: What is known of operators.
        replay: What is known of windows.
        roots: The root modules.
    """

    def __init__(self, session: Session, describer: Describer, *, replay: bool) -> None:
        self.session = session
        self.operators = Operators(session)
        self.replay = Replay(on=replay)
        self.sites = Sites()
        self.roots = Roots(describer)
        self.threads = Threads(lambda: Meter(session, self.operators))
        self.purposes: dict[str, int] = {}
        self._forks = 0

    # Root modules

    def enter_call(
        self, thread: Thread, module: Any, args: Any, kwargs: Any
    ) -> Window | Nested | None:
        """Open a window at a module's call; None if nothing is to be closed."""
        if thread.state == MEASURED or _engine_task() >= 0:
            return self._enter_nested()
        if is_traced():
            return None
        root = self.roots.of(module)
        if root.is_transparent:
            return None
        grad = torch.is_grad_enabled()
        self.leave_glue(thread)
        figure = None
        if stack_is_empty() and _functorch() is None:
            figure = self._figure_of_call(root, module, args, kwargs, grad=grad)
        thread.meter.windows.call_entered(grad=grad)
        window = Window(figure, root, self._forks)
        if self._start(thread, window):
            self.roots.look_at(module, args, kwargs)
            thread.meter.start(live=not window.charges)
        return window

    def _enter_nested(self) -> Nested | None:
        """Note a forward that the engine runs again, for the category."""
        meter = meter_on_stack()
        if meter is None or not meter.windows.in_engine:
            return None
        if not meter.windows.call_entered(grad=torch.is_grad_enabled()):
            return None
        return Nested(meter.windows, None)

    def leave_call(
        self, thread: Thread, window: Window | Nested, *, failed: bool
    ) -> None:
        """Close what `enter_call` opened."""
        if isinstance(window, Nested):
            window.windows.call_left()
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
        self.enter_glue(thread, _site("call", sys._getframe(2), 3))

    def _figure_of_call(
        self, root: Root, module: Any, args: Any, kwargs: Any, *, grad: bool
    ) -> Figure | None:
        signature = Signature()
        try:
            state = self.roots.state(root, module)
            now = state.now(grad=grad)
            signature.add(args)
            signature.add(kwargs)
        except UnsignableError:
            return None
        except Exception as error:  # lazy, scripted and other things without a shape
            raise_users(error)
            return None
        site = None if grad else _site("", sys._getframe(3), 3)
        structure = (
            root,
            state.structure,
            now,
            ambient(),
            site,
            tuple(signature.structure),
        )
        family = self.replay.family(structure)
        kinds = "".join(signature.kinds)
        if family is None:
            why = "" if grad else self.roots.purpose(module, sys._getframe(3))
            self.roots.note(
                root, module, args, kwargs, (state.structure, now[1:], grad)
            )
            about = About(root.module, grad, why)
            family = self.replay.add_family(structure, root.owner, kinds, about)
        figure = self.replay.figure(family, tuple(signature.sizes))
        if figure.about is None:
            past = max(
                (n for n, k in zip(figure.sizes, kinds) if k == CACHE), default=0
            )
            figure.about = batch_of(module, args, kwargs, past)
        return figure

    def _note_purpose(self, window: Window, charges: Charges) -> None:
        purpose = "other"
        if window.figure is not None:
            purpose = window.figure.family.about.purpose
        flops = sum(n for index, n in charges if index < len(CELLS))
        if flops:
            self.purposes[purpose] = self.purposes.get(purpose, 0) + flops

    # The autograd engine

    def enter_engine(self, thread: Thread, args: Any, kwargs: Any) -> Any:
        """Open a window at a run of the engine; None if nothing is to be closed."""
        create_graph = len(args) > _CREATE_GRAPH_AT and bool(args[_CREATE_GRAPH_AT])
        nested = _engine_task() >= 0
        if not nested and thread.state == OUTSIDE and is_traced():
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
            self.leave_glue(thread)
            if stack_is_empty() and _functorch() is None:
                figure = self._figure_of_backward(thread, args, kwargs)
            else:
                thread.take_pending()
        window = Window(figure, None, self._forks)
        window.token = thread.meter.windows.engine_entered(create_graph=create_graph)
        if self._start(thread, window):
            thread.meter.start(live=not window.charges)
        return window

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
            self.enter_glue(thread, _site("engine", sys._getframe(2), 5))

    def _figure_of_backward(
        self, thread: Thread, args: Any, kwargs: Any
    ) -> Figure | None:
        feeds, ordinal = thread.take_pending()
        sizes: list[int] = []
        structure: list[Any] = [ordinal, args[2:4], len(kwargs), *kwargs.values()]
        kinds = []
        for feed in feeds:
            if isinstance(feed, Figure):
                if feed.family.owner.off:
                    return None
                structure.append(feed.family)
                sizes += feed.sizes
                kinds.append(feed.family.kinds)
            elif feed is None:
                return None
            else:
                structure.append(feed)
        for tensor in args[0]:
            structure += (tensor.dtype, tensor.ndim)
            sizes += tensor.shape
            kinds.append("d" * tensor.ndim)
        for tensor in args[_INPUTS_AT] if len(args) > _INPUTS_AT else ():
            structure.append(id(tensor) if tensor.is_leaf else tuple(tensor.shape))
        site = _site("backward", sys._getframe(3), 4)
        key = (site, ambient(), tuple(structure))
        family = self.replay.family(key)
        if family is None:
            owner = Owner("backward " + _place(sys._getframe(3)))
            family = self.replay.add_family(key, owner, "".join(kinds))
        return self.replay.figure(family, tuple(sizes))

    # Windows of either kind

    def _start(self, thread: Thread, window: Window) -> bool:
        """Begin a window; return whether it is to be measured."""
        window.before = thread.state
        thread.window = window
        figure = window.figure
        if figure is not None and figure.is_proven:
            window.charges = figure.charges or ()
        window.is_measured = figure is None or not self.replay.is_replayed(figure)
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
            self._learn(window.figure, charges, varies=meter.varies)
        return charges

    def _learn(self, figure: Figure, charges: Any, *, varies: bool) -> None:
        if varies:
            figure.family.owner.off = "its cost depends on what its tensors hold"
            self.replay.measured += 1
        elif self.replay.learn(figure, charges) is not None:
            self.session.flag("replay_drift")

    # What lies between windows

    def enter_glue(self, thread: Thread, site: Any, every: int = _GLUE_EVERY) -> None:
        """Measure from here to the next window, unless it is known to count nothing."""
        thread.glue = site
        thread.glue_since = perf_counter()
        thread.glue_is_measured = not (
            self.replay.on and self.sites.is_skipped(site, every)
        )
        if thread.glue_is_measured:
            thread.meter.start(live=True)

    def leave_glue(self, thread: Thread) -> None:
        """End that."""
        site = thread.glue
        if site is None:
            return
        thread.glue = None
        seconds = perf_counter() - thread.glue_since
        if not thread.glue_is_measured:
            self.sites.skipped(site, seconds)
            return
        meter = thread.meter
        charges = meter.stop()
        if any(index in _FORWARD_CELLS for index, _ in charges):
            thread.add_pending(meter.digest)
        if self.sites.learn(site, seconds, quiet=not meter.counted):
            self.session.flag("replay_drift")

    # Optimizers

    def enter_step(
        self, thread: Thread, optimizer: Any, charges: Charges, *, nested: bool
    ) -> None:
        """Note that an optimizer steps, and what its formula says."""
        self.session.begin(charges)
        if thread.state != OUTSIDE:
            if thread.window is not None:
                thread.window.contains_others |= thread.window.root is not None
            return
        self.leave_glue(thread)
        thread.meter.windows.step_entered(nested=nested)
        site = ("step", id(optimizer), tuple(map(id, thread.trained)))
        self.enter_glue(thread, site, REMEASURED_EVERY)

    def leave_step(self, thread: Thread, charges: Charges) -> None:
        """Note that it returned."""
        outermost = True
        inside = thread.state != OUTSIDE
        if not inside:
            self.leave_glue(thread)
            outermost = thread.meter.windows.step_left()
            thread.trained = []
        self.session.finish_step(charges, outermost=outermost)
        if not inside:
            self.enter_glue(thread, _site("step", sys._getframe(2), 5))

    # The process

    def enter_thread(self) -> None:
        """Measure from the start of a thread."""
        thread = self.threads.current
        if thread.glue is None and thread.state == OUTSIDE:
            self.enter_glue(thread, _site("thread", sys._getframe(2), 3))

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

    def note_facts(self) -> None:
        """Note what changes too often to be noted when it does."""
        self.roots.describer.flush(
            (family.about.module, figure.about, family.about.grad, figure.calls)
            for family, figure in self.replay.figures()
            if isinstance(family.about, About) and figure.about is not None
        )
        note = self.session.note
        replay = self.replay
        off = sorted({f"{o.name}: {o.off}" for o in self.roots.owners() if o.off})
        drifts = [
            {
                "window": drift.window,
                "expected": str(drift.expected),
                "measured": str(drift.measured),
                "replayed": drift.replayed,
            }
            for drift in replay.drifts
        ]
        found: dict[str, Any] = {"state": "off" if off or not replay.on else "on"}
        if off:
            found["why"] = "; ".join(off[:_MOST_REASONS])
        found.update(measured=replay.measured, replayed=replay.replayed)
        found["unwatched_seconds"] = round(self.sites.unwatched, 3)
        note("replay", {**found, "drift": drifts} if drifts else found)
        if self.operators.unknown:
            note("unknown_operators", self.operators.described())
        if self.purposes:
            note(
                "no_grad_purposes",
                {k: str(n) for k, n in sorted(self.purposes.items())},
            )
        if self.session.masked:
            note("causal_adjusted", str(self.session.trained() - self.session.masked))

    def run_graph(self, run: Any, costs: Any) -> Any:
        """Run a compiled graph, which says itself what it costs."""
        if not self.session.armed:
            return run()
        meter = meter_on_stack()
        thread = self.threads.current
        if meter is None and (thread.state == INSIDE or _engine_task() >= 0):
            return run()  # what is replayed contains it
        charges = _charges_of_graph(meter, costs())
        if meter is None:
            self.session.begin(charges)
            out = run()
            self.session.finish(charges)
            if any(index in _FORWARD_CELLS for index, _ in charges):
                thread.add_pending(hash(charges))
            return out
        meter.add(charges)
        meter.muted += 1
        try:
            out = run()
        finally:
            meter.muted -= 1
        meter.added(charges)
        return out

    def note_uncounted(self, name: str) -> None:
        """Note an operator within a compiled graph that cannot be counted."""
        self.operators.note_unknown(name).calls += 1

    def run_step(self, run: Any, costs: Any) -> Any:
        """Run a compiled graph that an optimizer's step was traced into."""
        if not self.session.armed:
            return run()
        charges = _charges_of_graph(None, costs())
        window = self.threads.current.window
        if window is not None:
            window.contains_others |= window.root is not None
        self.session.begin(charges)
        out = run()
        self.session.finish_step(charges, outermost=True)
        return out


def _charges_of_graph(meter: Meter | None, costs: Any) -> tuple[tuple[int, int], ...]:
    charges: dict[int, int] = {}
    for role, numeric_format, flops, causal in costs:
        category = role
        if meter is not None and role in {"forward", "no_grad"}:
            category = meter.windows.category(grad=role == "forward")
        index = cell(category, numeric_format)
        charges[index] = charges.get(index, 0) + flops
        if causal != flops and category in {"forward", "backward"}:
            charges[MASKED] = charges.get(MASKED, 0) + flops - causal
    return tuple(sorted(charges.items()))


def _site(kind: str, frame: FrameType | None, depth: int) -> tuple[Any, ...]:
    """Return where the program is: some frames outwards."""
    parts: list[Any] = [kind]
    while frame is not None and depth:
        parts += (id(frame.f_code), frame.f_lasti)
        frame = frame.f_back
        depth -= 1
    return tuple(parts)


def _place(frame: FrameType | None) -> str:
    """Return the nearest place outside of torch, for people."""
    while frame is not None and f"{'torch'}/" in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return "somewhere"
    name = frame.f_code.co_filename.rsplit("/", maxsplit=1)[-1]
    return f"at {name}:{frame.f_lineno}"


def _excess(charges: Charges, begun: Charges) -> Charges:
    """Return what was measured beyond what had been begun."""
    expected = dict(begun)
    over = [(index, flops - expected.get(index, 0)) for index, flops in charges]
    return tuple((index, flops) for index, flops in over if flops > 0)
