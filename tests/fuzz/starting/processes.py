"""Processes that make others, and lose what they had open."""

import os
import sys

from fuzz.starting.basics import FILE, SECONDS, program, say, work


@program
def forks() -> None:
    """Work in forked children that exit in different ways."""
    say(work())
    for way in range(3):
        pid = os.fork()
        if pid == 0:
            say("child", work())
            if way == 1:
                os._exit(4)
            sys.exit(way)
        say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    say(work())


@program
def forks_before() -> None:
    """Fork before torch is imported; it is imported in both."""
    pid = os.fork()
    if pid == 0:
        say("child", work())
        return
    os.waitpid(pid, 0)
    say(work())


@program
def daemonizes() -> None:
    """Fork twice, close every descriptor, write files of its own."""
    say(work())
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os.read(reader, 1)  # ends with the daemon
        say("the daemon ended", open("daemon.txt").read())
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    keep = os.dup2(writer, 250)
    os.closerange(0, 250)
    mine = [os.open(f"own{n}.txt", os.O_RDWR | os.O_CREAT) for n in range(12)]
    for descriptor in mine:
        os.write(descriptor, b"mine")
    result = work()
    for descriptor in mine:
        os.write(descriptor, b", still")
    with open("daemon.txt", "w") as file:
        file.write(result)
    os.close(keep)
    os._exit(0)


@program
def closes_descriptors() -> None:
    """Close the descriptors that it does not know, and take their numbers."""
    say(work())
    os.closerange(3, 200)
    files = [open(f"file{n}.txt", "w") for n in range(8)]
    say(work(3))
    for number, file in enumerate(files):
        file.write(f"content {number}")
        file.close()
    say(work())


@program
def writes_to_closed() -> None:
    """Write to standard descriptors that the caller may have closed."""
    result = work()
    for number in (0, 2):
        try:
            os.fstat(number)
            os.write(number, b"") if number else None
            say(number, "open")
        except OSError as error:
            say(number, error.strerror)
    say(result)


@program
def changes_directory() -> None:
    """Change the directory before and between."""
    os.mkdir("elsewhere")
    os.chdir("elsewhere")
    say(work())
    os.chdir("/")
    say(work())


@program
def drops_environment() -> None:
    """Empty the environment before torch comes."""
    os.environ.clear()
    say(work())


@program
def runs_subprocesses() -> None:
    """Run Python again: inheriting, isolated, without an environment."""
    import subprocess

    say(work())
    command = [sys.executable, FILE, "plain"]
    for flags, environment in (
        ([], dict(os.environ)),
        (["-E"], dict(os.environ)),
        ([], {"PATH": os.environ.get("PATH", "")}),
    ):
        run = subprocess.run(
            [command[0], *flags, *command[1:]],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        say(run.returncode, run.stdout.strip())


@program
def executes_itself() -> None:
    """Replace the process by another Python."""
    say(work())
    os.execv(sys.executable, [sys.executable, FILE, "exits_with_number"])  # noqa: S606 # its purpose


@program
def spawns() -> None:
    """Work in processes of multiprocessing, of each kind."""
    import multiprocessing

    say(work())
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            say(method, *pool.map(work, [1, 2, 1]))


@program
def executors() -> None:
    """Work in a pool of processes by way of futures, and in threads."""
    import threading
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    alone = threading.Lock()  # they share one generator of random numbers

    def work_alone(times: int) -> str:
        with alone:
            return work(times)

    with ThreadPoolExecutor(3) as threads:
        say(*threads.map(work_alone, [1, 1, 2]))
    with ProcessPoolExecutor(2) as pool:
        say(*pool.map(work, [1, 1, 2]))


@program
def loads_data() -> None:
    """Load data in workers."""
    say(work())
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        say("no loader")
        return
    import torch

    for method in ("fork", "spawn"):
        rows = DataLoader(
            [torch.full((2,), float(n)) for n in range(4)],
            batch_size=2,
            num_workers=2,
            multiprocessing_context=method,
        )
        say(method, [float((batch @ batch.T).sum()) for batch in rows])


@program
def threads_alive() -> None:
    """Exit while threads work: a daemon, and one that is waited for."""
    import threading

    say(work())
    started = threading.Event()

    def forever() -> None:
        while True:
            work(1)
            started.set()

    threading.Thread(target=forever, daemon=True).start()
    started.wait(SECONDS)
    threading.Timer(0.05, lambda: say("late", work())).start()
    say("main ends")
