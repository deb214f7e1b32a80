"""Runs a program in a child forked from this process, whose torch is not hooked."""

import atexit
import gc
import hashlib
import os
import runpy
import select
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fuzz.outcome import Outcome, outcome

CHILD_SECONDS = 60.0


class Place(NamedTuple):
    """The folders of one run.

    Attributes:
        root: Holds the others.
        work: Where the program runs and saves.
        pages: Where the hook writes.
    """

    root: Path
    work: Path
    pages: Path


def place(root: Path) -> Place:
    """Make the folders of one run."""
    made = Place(root, root / "work", root / "pages")
    for folder in made:
        folder.mkdir(parents=True, exist_ok=True)
    return made


def run_forked(
    play: Callable[[Path], None],
    where: Place,
    *,
    hook: Path | None,
    finalize: bool,
    **environment: str,
) -> Outcome:
    """Run something in a forked child and return what came of it.

    Args:
        play: What to run; is given the folder to save in.
        where: The run's folders.
        hook: The hook's folder, to arm it in the child as a deployment does.
        finalize: Whether the interpreter is finalized, which takes a while.
        environment: Variables of the child beside those of this process.
    """
    pid = os.fork()
    if pid == 0:
        _live(play, where, hook, environment, finalize=finalize)
    code = _wait(pid, CHILD_SECONDS)
    return outcome(
        code,
        _text(where.root / "stdout", where),
        _text(where.root / "stderr", where),
        digests(where.work),
    )


def digests(folder: Path) -> dict[str, str]:
    """Return a digest of every file in a folder, by its path there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _text(path: Path, where: Place) -> str:
    text = path.read_text(errors="replace") if path.exists() else ""
    return text.replace(str(where.root), "ROOT")


def _wait(pid: int, seconds: float) -> int | None:
    """Return the exit code of a child; None after killing it at its limit."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        ended = bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)
    try:
        os.killpg(pid, signal.SIGKILL)  # and whatever it left behind
    except ProcessLookupError:
        if not ended:
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if ended else None


def _live(
    play: Callable[[Path], None],
    where: Place,
    hook: Path | None,
    environment: dict[str, str],
    *,
    finalize: bool,
) -> None:
    """Be the child. Never returns but by SystemExit."""
    os.setsid()
    for number, name in ((1, "stdout"), (2, "stderr")):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        os.dup2(os.open(where.root / name, flags), number)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.chdir(where.work)
    os.environ.update(environment)
    code = 1
    try:
        if hook is not None:
            os.environ["FLOPGUARD_DIR"] = str(where.pages)
            runpy.run_path(str(hook / "bootstrap" / "sitecustomize.py"))
        play(where.work)
        code = 0
    except SystemExit as leaving:
        code = _code_of(leaving)
    except BaseException:  # noqa: BLE001 # as the interpreter would
        traceback.print_exc()
    sys.stdout.flush()
    if finalize:
        sys.exit(code)
    _join_threads()
    atexit._run_exitfuncs()  # noqa: SLF001 # as the interpreter would
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _join_threads() -> None:
    limit = time.monotonic() + CHILD_SECONDS / 2
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, limit - time.monotonic()))


def _code_of(leaving: SystemExit) -> int:
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or 0
    sys.stderr.write(f"{leaving.code}\n")
    return 1


def warm_up() -> None:
    """Import here what programs would otherwise import in every child: 3 s for some."""
    import importlib

    import torch

    torch.set_num_threads(1)
    for name in (
        "torch._dynamo",
        "torch._functorch.apis",
        "torch._subclasses.fake_tensor",
        "torch.distributed.tensor",
        "torch.fx.experimental.proxy_tensor",
        "torch.nn.attention",
        "torch.profiler",
        "torch.utils.checkpoint",
        "torch.utils.flop_counter",
        "safetensors.torch",
    ):
        importlib.import_module(name)
    settle()


def settle() -> None:
    """Spare the children what they would do with what they inherit, each anew."""
    gc.collect()
    gc.freeze()  # a collection need not look at it
    registry = weakref.finalize._registry  # type: ignore[attr-defined] # noqa: SLF001 # no other list
    for finalizer in registry:
        finalizer.atexit = False  # torch takes its operators apart: 50 ms
