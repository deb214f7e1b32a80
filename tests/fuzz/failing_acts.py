"""Acts: what goes wrong in programs, and is caught there.

Not steady, most of them: of a replayed window that raised, only bounds are known.
"""

import ctypes
import signal
import threading
from typing import Any, NoReturn

import torch
from torch import nn

from fuzz.acts import act
from fuzz.module_acts import one_linear
from fuzz.stage import Stage


class OwnError(Exception):
    """An exception of the program's own."""


@act(steady=False)
def raising_forward(stage: Stage) -> None:
    """Raise in the middle of a forward, catch it, train on."""
    part = stage.dice.choice(list(stage.module.modules()))
    kind = stage.dice.choice([OwnError, KeyError, RuntimeError, StopIteration])

    def fail(*_: Any) -> NoReturn:
        raise kind

    stage.train(most=3)
    register = stage.dice.choice(["forward_hook", "forward_pre_hook"])
    handle = getattr(part, f"register_{register}")(fail)
    for _ in range(stage.dice.randint(1, 3)):
        with stage.caught():
            stage.step()
    handle.remove()
    stage.train(most=3)


@act(steady=False)
def raising_backward(stage: Stage) -> None:
    """Raise in the middle of a backward, from a hook of a tensor or a module."""
    parameter = next(p for p in stage.module.parameters() if p.requires_grad)

    def fail(*_: Any) -> NoReturn:
        msg = "in the engine"
        raise OwnError(msg)

    handle = parameter.register_hook(fail)
    for _ in range(stage.dice.randint(1, 3)):
        with stage.caught(OwnError):
            stage.step()
    handle.remove()
    stage.optimizer.zero_grad()
    stage.train(most=3)


@act(steady=False)
def raising_step(stage: Stage) -> None:
    """Raise out of an optimizer's step, from its closure or a hook of its own."""

    def fail(*_: Any) -> NoReturn:
        msg = "in the step"
        raise OwnError(msg)

    for _ in range(stage.dice.randint(1, 2)):
        stage.loss().backward()
        handle = stage.optimizer.register_step_post_hook(fail)
        with stage.caught(OwnError):
            stage.optimizer.step()
        handle.remove()
        with stage.caught(OwnError):
            stage.optimizer.step(fail)
    stage.optimizer.zero_grad()
    stage.train(most=3)


@act(steady=False)
def wrong_shapes(stage: Stage) -> None:
    """Multiply what does not fit; torch refuses it."""
    place = one_linear(stage)
    for _ in range(stage.dice.randint(1, 3)):
        with stage.caught(RuntimeError):
            torch.ones(2, 3) @ torch.ones(2, 3)
        if place is not None:
            with stage.caught(RuntimeError):
                place[2](torch.ones(2, place[2].in_features + 1))
        with stage.caught(TypeError):
            stage.module(1, 2, 3, 4, 5, unknown=6)
    stage.train(most=3)


@act()
def out_of_memory(stage: Stage) -> None:
    """Ask for more memory than there is, in torch and in Python."""

    class Huge(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            column = rows.new_ones(1, 1).expand(2**27, 1)
            return column @ column.T  # 2^56 bytes

    for _ in range(stage.dice.randint(1, 2)):
        try:
            Huge()(torch.ones(1))
        except RuntimeError as error:
            stage.say("refused", type(error).__name__, "memory" in str(error))
        with stage.caught(MemoryError):
            bytearray(2**60)
    stage.train(most=3)


@act(steady=False)
def memory_error_in_forward(stage: Stage) -> None:
    """Raise MemoryError in a forward, as an allocator of Python's does."""
    for kind in (MemoryError, OverflowError, RecursionError):

        class Greedy(nn.Module):
            error = kind

            def forward(self, rows: torch.Tensor) -> torch.Tensor:
                rows @ rows.T
                raise self.error

        with stage.caught(kind):
            Greedy()(torch.ones(2, 2))
    stage.train(most=2)


@act(steady=False)
def base_exceptions(stage: Stage) -> None:
    """Let SystemExit, KeyboardInterrupt and GeneratorExit pass through a model."""
    for kind in (SystemExit, KeyboardInterrupt, GeneratorExit):

        def fail(*_: Any, kind: type[BaseException] = kind) -> NoReturn:
            raise kind

        handle = stage.module.register_forward_hook(fail)
        with stage.caught(BaseException):
            stage.step()
        handle.remove()
    stage.train(most=2)


@act(steady=False)
def too_deep(stage: Stage) -> None:
    """Recurse through modules without end."""

    class Endless(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self(rows)
            return out

    try:
        Endless()(torch.ones(1))
    except RecursionError as error:
        stage.say("too deep", type(error).__name__)  # where it struck depends on frames
    stage.train(most=3)


@act(steady=False)
def signals(stage: Stage) -> None:
    """Interrupt training at any moment by a handler that raises; train on."""

    class Alarm(Exception):  # noqa: N818 # as timeouts are named
        pass

    def ring(_number: int, _frame: Any) -> NoReturn:
        raise Alarm

    old = signal.signal(signal.SIGALRM, ring)
    rung = 0
    torch.set_grad_enabled(True)
    for _ in range(stage.dice.randint(1, 3)):
        module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        try:
            signal.setitimer(signal.ITIMER_REAL, stage.dice.uniform(0.0002, 0.008))
            while True:
                optimizer.zero_grad()
                module(torch.ones(2, 4)).sum().backward()
                optimizer.step()
        except Alarm:
            rung += 1
    signal.signal(signal.SIGALRM, old)
    torch.set_grad_enabled(True)
    stage.say("rung", rung)
    stage.train(most=3)


@act()
def signal_in_forward(stage: Stage) -> None:
    """Raise a signal within a forward, a backward and a step."""
    heard: list[int] = []
    side = torch.ones(2, 3)

    def listen(number: int, _frame: Any) -> None:
        heard.append(number)
        side @ side.T  # a handler may multiply

    old = signal.signal(signal.SIGUSR1, listen)
    parameter = next(p for p in stage.module.parameters() if p.requires_grad)

    def shout(*_: Any) -> None:
        signal.raise_signal(signal.SIGUSR1)

    handles = [
        stage.module.register_forward_hook(shout),
        parameter.register_hook(shout),
        stage.optimizer.register_step_pre_hook(shout),
    ]
    stage.train(most=3)
    for handle in handles:
        handle.remove()
    signal.signal(signal.SIGUSR1, old)
    stage.say("heard", len(heard))


@act(steady=False)
def asynchronous_exception(stage: Stage) -> None:
    """Let another thread's exception strike a thread that trains."""

    class Stop(Exception):  # noqa: N818 # it is a request
        pass

    started = threading.Event()
    ends: list[str] = []

    def work() -> None:
        layer = nn.Linear(3, 3)
        try:
            while True:
                layer(torch.ones(2, 3)).sum().backward()
                started.set()
        except Stop:
            ends.append("stopped")

    thread = threading.Thread(target=work)
    thread.start()
    started.wait(10)
    identity = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(Stop))
    thread.join(10)
    stage.say("the other thread", *ends, thread.is_alive())
    stage.train(most=2)


@act(steady=False)
def exception_groups(stage: Stage) -> None:
    """Raise from an exception while another is handled, through a model."""

    def fail(*_: Any) -> NoReturn:
        try:
            torch.ones(2, 3) @ torch.ones(2, 3)
        except RuntimeError as error:
            msg = "the outer one"
            raise OwnError(msg) from error
        raise AssertionError

    handle = stage.module.register_forward_pre_hook(fail)
    with stage.caught(OwnError):
        stage.step()
    handle.remove()
    stage.train(most=2)
