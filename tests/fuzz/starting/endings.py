"""How processes end."""

import os
import signal
import sys
import time

from fuzz.starting.basics import SECONDS, program, say, work


@program
def plain() -> None:
    """Work and return."""
    say(work())


@program
def nothing() -> None:
    """Do not even import torch."""
    say("nothing")


@program
def exits_with_number() -> None:
    """Exit by `sys.exit`."""
    say(work())
    sys.exit(3)


@program
def exits_with_words() -> None:
    """Exit by words."""
    say(work())
    sys.exit("these words")


@program
def exits_at_once() -> None:
    """Exit by `os._exit`, without any farewell."""
    say(work())
    os._exit(9)


@program
def raises() -> None:
    """Die of an exception with a cause."""
    say(work())
    try:
        dict[str, str]()["key"]  # raises
    except KeyError as error:
        msg = "the outer one"
        raise ValueError(msg) from error


@program
def raises_before() -> None:
    """Die before torch is imported."""
    msg = "early"
    raise RuntimeError(msg)


@program
def raises_within() -> None:
    """Die within a call of a module."""
    work()
    import torch

    class Failing(torch.nn.Module):
        def forward(self, *_: object) -> None:
            msg = "within"
            raise LookupError(msg)

    Failing()(1)


@program
def interrupted() -> None:
    """Die of Ctrl-C."""
    say(work())
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(SECONDS)


@program
def interrupted_anywhere() -> None:
    """Be interrupted by Ctrl-C at any moment of the work, and go on."""
    work(1)
    _work_until_interrupted()
    say(work())


@program
def interrupted_while_importing() -> None:
    """Be interrupted by Ctrl-C while torch is imported, perhaps, and go on."""
    _work_until_interrupted()


def _work_until_interrupted() -> None:
    parent = os.getpid()
    try:
        if os.fork() == 0:
            time.sleep((os.getpid() % 50) / 1000)
            os.kill(parent, signal.SIGINT)
            os._exit(0)
        while True:
            work(1)
    except KeyboardInterrupt:
        say("interrupted")
    os.wait()


@program
def terminated() -> None:
    """Die of SIGTERM."""
    say(work())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS)


@program
def terminated_gently() -> None:
    """Exit from a handler of SIGTERM."""

    def leave(_number: int, _frame: object) -> None:
        say("leaving")
        sys.exit(143)

    signal.signal(signal.SIGTERM, leave)
    say(work())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS)


@program
def handler_raises() -> None:
    """Catch what a handler of SIGUSR1 raised; work on."""

    def strike(_number: int, _frame: object) -> None:
        msg = "struck"
        raise TimeoutError(msg)

    signal.signal(signal.SIGUSR1, strike)
    for _ in range(3):
        try:
            say(work())
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(SECONDS)
        except TimeoutError as error:
            say("caught", error)
    say(work())


@program
def alarms_anywhere() -> None:
    """Catch what a timer's handler raised at any moment; work on."""
    work(1)

    def ring(_number: int, _frame: object) -> None:
        msg = "rung"
        raise TimeoutError(msg)

    signal.signal(signal.SIGALRM, ring)
    for delay in (0.0005, 0.001, 0.003, 0.009):
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            while True:
                work(1)
        except TimeoutError:
            say("rung")
    say(work())


@program
def killed() -> None:
    """Be killed."""
    say(work())
    os.kill(os.getpid(), signal.SIGKILL)


@program
def aborted() -> None:
    """Abort."""
    say(work())
    os.abort()


@program
def atexit_works() -> None:
    """Work in farewells that were registered before and after torch came."""
    import atexit

    atexit.register(lambda: say("first registered", work()))
    say(work())
    atexit.register(lambda: say("last registered", work()))


@program
def atexit_raises() -> None:
    """Raise in a farewell."""
    import atexit

    def fail() -> None:
        msg = "farewell"
        raise ValueError(msg)

    atexit.register(fail)
    say(work())


@program
def many_exceptions() -> None:
    """Set hooks for what is not caught, and let something not be caught."""
    import threading

    sys.excepthook = lambda kind, error, _: say("hook", kind.__name__, error)
    threading.excepthook = lambda args: say("thread hook", args.exc_type.__name__)
    sys.unraisablehook = lambda args: say("unraisable", args.exc_type.__name__)

    class Bad:
        def __del__(self) -> None:
            msg = "bad"
            raise ValueError(msg)

    say(work())
    Bad()
    thread = threading.Thread(target=lambda: dict[str, str]()["key"])
    thread.start()
    thread.join()
    msg = "uncaught"
    raise OSError(msg)
