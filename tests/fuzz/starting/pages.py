"""What can be done to the folder of pages, and what a process can run out of."""

import os

from fuzz.starting.basics import pages, program, say, work


@program
def truncates_pages() -> None:
    """Truncate, garble and delete what is in the folder of pages, and work on."""
    say(work())
    for number, path in enumerate(sorted(pages())):
        if number % 3 == 0:
            os.truncate(path, number * 100)
        elif number % 3 == 1:
            with open(path, "r+b") as file:
                file.write(b"garbage")
        else:
            os.unlink(path)
    say(work(4))


@program
def removes_folder() -> None:
    """Remove the folder of pages, put something else in its place, and work on."""
    import shutil

    folder = os.environ.get("FUZZ_PAGES", "")
    say(work())
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    say(work(3))
    if folder and not os.path.exists(folder):
        with open(folder, "w") as file:
            file.write("not a folder")
    say(work(3))
    pid = os.fork()
    if pid == 0:
        say("child", work(2))
        os._exit(0)
    os.waitpid(pid, 0)
    if os.path.isfile(folder):
        os.unlink(folder)
        os.mkdir(folder)
    say(work(3))


@program
def swaps_pages() -> None:
    """Put a link to a file of its own in the place of each page, close all, work on."""
    with open("precious.txt", "w") as file:
        file.write("precious" * 1000)
    say(work())
    for path in pages():
        os.unlink(path)
        os.symlink(os.path.abspath("precious.txt"), path)
    os.closerange(3, 200)
    say(work(4))


@program
def few_descriptors() -> None:
    """Use up every descriptor before torch counts anything."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        import torch  # noqa: F401 # before the descriptors are gone
    except ImportError as error:
        say(error)
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        say(error.strerror)
    say(work(3))
    for descriptor in held:
        os.close(descriptor)
    say(work(3))


@program
def no_file_space() -> None:
    """Forbid files to grow."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    say(work(3))
    try:
        with open("big.txt", "w") as file:
            file.write("x" * 5000)
    except OSError as error:
        say(error.strerror)


@program
def private_files() -> None:
    """Work under a strict umask."""
    os.umask(0o777)
    say(work())
