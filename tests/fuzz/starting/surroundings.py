"""What else watches a process, and what it sees of itself."""

import os
import signal
import sys
from typing import Any

from fuzz.starting.basics import FILE, program, say, work


@program
def inspects_process() -> None:
    """Say what the process looks like from inside."""
    import gc
    import random
    import threading
    import warnings

    random.seed(1)
    say(work())
    say(random.random())  # noqa: S311 # whether the state was touched
    say(sys.argv[1:], sys.flags, sys.dont_write_bytecode)
    say([t.name for t in threading.enumerate()], sys.gettrace(), sys.getprofile())
    say(sys.excepthook is sys.__excepthook__, sys.getrecursionlimit())
    say([str(signal.getsignal(number)) for number in (1, 2, 10, 15, 17)])
    say(gc.isenabled(), gc.get_threshold(), len(warnings.filters))
    say(sys.stdout.encoding, sys.getswitchinterval(), os.getcwd() != "/")
    say("sitecustomize" in sys.modules, __name__, sys.getdefaultencoding())
    umask = os.umask(0o22)
    say(oct(umask))


@program
def traces_itself() -> None:
    """Trace and profile its own frames."""
    events: list[str] = []

    def trace(frame: Any, event: str, _arg: object) -> Any:
        if frame.f_code.co_filename == __file__:
            events.append(f"{event} {frame.f_code.co_name}")
            return trace
        return None

    sys.settrace(trace)
    result = work()
    sys.settrace(None)
    say(result, len(events), *events[:40])


@program
def recurses() -> None:
    """Run close to the limit of recursion."""
    sys.setrecursionlimit(400)

    def deep(level: int) -> str:
        return deep(level - 1) if level else work(1)

    say(work(1))
    for level in (10, 100):
        say(deep(level))
    try:
        deep(500)
    except RecursionError:
        say("too deep")


@program
def listens_to_debugger() -> None:
    """Work with a debugger loaded."""
    try:
        import debugpy
    except ImportError:
        say("no debugger")
        return
    debugpy.configure(subProcess=False)
    debugpy.listen(("127.0.0.1", 0), in_process_debug_adapter=True)
    debugpy.trace_this_thread(should_trace=True)
    say(work())


@program
def measures_coverage() -> None:
    """Work while its own lines are measured."""
    try:
        import coverage
    except ImportError:
        say("no coverage")
        return
    measured = coverage.Coverage(data_file=None, include=[FILE])
    measured.start()
    result = work()
    measured.stop()
    _, lines, missing, _ = measured.analysis(FILE)
    say(result, len(lines), len(missing))
