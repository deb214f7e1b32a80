"""Acts: work in other threads and in forked children."""

import asyncio
import concurrent.futures
import contextvars
import os
import queue
import sys
import threading

import torch
from torch import nn

from fuzz.acts import act
from fuzz.stage import Stage


@act()
def forward_elsewhere(stage: Stage) -> None:
    """Run forwards in other threads, one after the other, backwards here."""
    for _ in range(stage.dice.randint(1, 4)):
        losses: list[torch.Tensor] = []
        thread = threading.Thread(target=lambda: losses.append(stage.loss()))  # noqa: B023 # joined below
        thread.start()
        thread.join()
        losses[0].backward()
        stage.say("elsewhere", losses[0])
    stage.optimizer.step()


@act()
def backward_elsewhere(stage: Stage) -> None:
    """Run backwards and steps in another thread."""
    for _ in range(stage.dice.randint(1, 4)):
        loss = stage.loss()
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
        step = threading.Thread(target=stage.optimizer.step)
        step.start()
        step.join()
        stage.optimizer.zero_grad()
        stage.say("behind", loss)


@act()
def trains_elsewhere(stage: Stage) -> None:
    """Hand the whole training to a worker thread and its queue."""
    work: queue.Queue[int | None] = queue.Queue()

    def serve() -> None:
        torch.set_grad_enabled(True)
        while work.get() is not None:
            stage.step()

    thread = threading.Thread(target=serve)
    thread.start()
    for number in range(stage.dice.randint(1, 5)):
        work.put(number)
    work.put(None)
    thread.join()
    stage.train(most=2)


@act()
def many_threads(stage: Stage) -> None:
    """Train models of their own in several threads at once."""

    def train(seed: int) -> str:
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(3, 3, generator=generator, requires_grad=True)
        module = nn.Linear(3, 2, bias=False)
        module.weight = nn.Parameter(torch.ones(2, 3))
        for _ in range(4):
            loss = module(torch.ones(2, 3) @ weight).square().sum()
            loss.backward()
        assert weight.grad is not None
        return float(weight.grad.sum()).hex()

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        stage.say("threads", *pool.map(train, range(stage.dice.randint(2, 6))))


@act()
def shared_model(stage: Stage) -> None:
    """Evaluate one model from several threads at once."""
    stage.module.eval()
    args, kwargs = stage.model.batch(stage.dice)

    def evaluate(_: int) -> str:
        with torch.no_grad():
            return float(stage.model.loss(stage.module(*args, **kwargs))).hex()

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        stage.say("shared", *pool.map(evaluate, range(stage.dice.randint(2, 6))))
    stage.module.train()
    stage.train(most=2)


@act(steady=False)
def raising_thread(stage: Stage) -> None:
    """Let a thread die of an exception in a model; its hook is told."""
    told: list[str] = []
    old = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        told.append(args.exc_type.__name__)

    threading.excepthook = tell
    thread = threading.Thread(target=lambda: stage.module(1, 2, 3, 4, 5, 6, 7))
    thread.start()
    thread.join()
    threading.excepthook = old
    stage.say("told", *told)
    stage.train(most=2)


@act()
def coroutines(stage: Stage) -> None:
    """Interleave two models in coroutines, windows open across awaits."""

    async def train(module: nn.Module, width: int) -> float:
        loss = torch.zeros(())
        for _ in range(3):
            loss = module(torch.ones(2, width)).square().sum()
            await asyncio.sleep(0)
            loss.backward()
        return float(loss)

    async def both() -> list[float]:
        first, second = nn.Linear(3, 2), nn.Linear(4, 2)
        return list(await asyncio.gather(train(first, 3), train(second, 4)))

    stage.say("coroutines", *asyncio.run(both()))


@act()
def contexts(stage: Stage) -> None:
    """Run the model within a copied context."""
    for _ in range(2):
        stage.say("context", contextvars.copy_context().run(stage.loss))


@act()
def forks(stage: Stage) -> None:
    """Fork in mid-training; the child trains a little and leaves."""
    stage.train(most=2)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        stage.say("child")
        stage.train(most=3)
        stage.state()
        sys.stdout.flush()
        os._exit(7)
    _, status = os.waitpid(pid, 0)
    stage.say("left with", os.waitstatus_to_exitcode(status))
    stage.train(most=2)


@act()
def fork_within_forward(stage: Stage) -> None:
    """Fork in the middle of a forward; the child finishes it."""
    parent = os.getpid()

    def split(*_: object) -> None:
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            stage.say("left", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    handle = stage.module.register_forward_pre_hook(split)
    stage.step()
    handle.remove()
    if os.getpid() != parent:
        sys.stdout.flush()
        os._exit(0)
    stage.train(most=2)


@act()
def thread_alive(stage: Stage) -> None:
    """Leave a daemon thread behind that has multiplied and waits."""
    ready = threading.Event()

    def wait() -> None:
        nn.Linear(3, 3)(torch.ones(2, 3)).sum().backward()
        ready.set()
        threading.Event().wait()

    threading.Thread(target=wait, daemon=True).start()
    stage.say("ready", ready.wait(10))
