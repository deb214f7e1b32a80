"""The page and facts file that a process writes."""

import contextlib
import fcntl
import json
import os
import signal
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from flopguard_hook.page import Page, PageError, read_page
from flopguard_hook.session import Session, charge
from flopguard_hook.writer import MOST_PAGES

CHARGES = (charge("forward", "fp32", 10),)


def only_page(folder: Path) -> Page:
    """Return the one page in the folder."""
    (path,) = folder.glob("*.page")
    return read_page(path.read_bytes())


def test_begun_is_written_before_done(tmp_path: Path) -> None:
    """A kill between the two leaves the work charged as begun."""
    session = Session(str(tmp_path))
    session.begin(CHARGES)
    during = only_page(tmp_path)
    session.finish(CHARGES)
    after = only_page(tmp_path)

    assert (during.done["forward"]["fp32"], during.begun["forward"]["fp32"]) == (0, 10)
    assert (after.done["forward"]["fp32"], after.begun["forward"]["fp32"]) == (10, 10)


def test_a_process_holds_the_lock_of_its_page_until_it_dies(tmp_path: Path) -> None:
    """The last scan of a sidecar tells all only of those that are dead."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        Session(str(tmp_path)).begin(CHARGES)
        os.write(write, b"1")
        signal.pause()
    os.read(read, 1)
    (path,) = tmp_path.glob("*.page")
    with path.open("rb") as page:
        with pytest.raises(BlockingIOError):
            fcntl.flock(page, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        fcntl.flock(page, fcntl.LOCK_SH | fcntl.LOCK_NB)
    for end in (read, write):
        os.close(end)


def test_a_process_that_counts_nothing_writes_nothing(tmp_path: Path) -> None:
    """A DataLoader's worker must not fill the folder."""
    session = Session(str(tmp_path))
    session.note("torch", "2")
    session.finish_step([], outermost=True)
    session.close()

    assert list(tmp_path.iterdir()) == []


def test_page_and_facts_are_readable_by_the_sidecar(tmp_path: Path) -> None:
    """It runs as another user, whatever the umask of the training process is."""
    before = os.umask(0o077)
    try:
        session = Session(str(tmp_path))
        session.begin(CHARGES)
    finally:
        os.umask(before)

    names = sorted(path.suffix for path in tmp_path.iterdir())
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert (names, modes) == ([".json", ".page"], {0o644})


def test_a_clean_exit_closes_the_page(tmp_path: Path) -> None:
    """Anything else leaves it open."""
    session = Session(str(tmp_path))
    session.begin(CHARGES)
    open_page = only_page(tmp_path)
    session.close()

    assert (open_page.closed, only_page(tmp_path).closed) == (False, True)


def test_a_step_within_a_step_is_not_counted(tmp_path: Path) -> None:
    """Its FLOPs are."""
    charges = (charge("optimizer", "fp32", 7),)
    session = Session(str(tmp_path))
    for outermost in (False, True):
        session.begin(charges)
        session.finish_step(charges, outermost=outermost)

    page = only_page(tmp_path)
    assert (page.steps, page.done["optimizer"]["fp32"]) == (1, 14)


def test_facts_are_replaced_only_when_they_change(tmp_path: Path) -> None:
    """Not with every step."""
    session = Session(str(tmp_path))
    session.begin(CHARGES)
    session.finish_step(CHARGES, outermost=True)
    (path,) = tmp_path.glob("*.json")
    first = path.stat().st_ino
    session.finish_step(CHARGES, outermost=True)
    same = path.stat().st_ino
    session.note("torch", "2.15")
    session.finish_step(CHARGES, outermost=True)

    assert same == first
    assert json.loads(path.read_text())["torch"] == "2.15"


def test_a_fork_gets_a_page_of_its_own(tmp_path: Path) -> None:
    """With counters at zero, and without writing into its parent's."""
    session = Session(str(tmp_path))
    session.begin(CHARGES)
    parent = only_page(tmp_path)
    session.start_anew()
    session.begin((charge("backward", "bf16", 3),))

    pages = [read_page(path.read_bytes()) for path in tmp_path.glob("*.page")]
    (child,) = (page for page in pages if page.nonce != parent.nonce)
    assert parent in pages
    assert child.begun["forward"]["fp32"] == 0
    assert child.begun["backward"]["bf16"] == 3


def test_a_folder_that_cannot_be_written_disarms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says why; the charge itself raises nothing."""
    session = Session(str(tmp_path / "absent"))
    session.begin(CHARGES)

    assert not session.armed
    assert capsys.readouterr().err.count("flopguard: this process is not counted") == 1


def test_a_full_folder_takes_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page that filled it says so; the process after it is not counted."""
    for number in range(MOST_PAGES - 1):
        (tmp_path / f"{number:032x}.page").touch()
    last, late = Session(str(tmp_path)), Session(str(tmp_path))
    last.begin(CHARGES)
    last.finish(CHARGES)
    late.begin(CHARGES)

    filled = [path for path in tmp_path.glob("*.page") if path.stat().st_size]
    assert len(filled) == 1
    assert read_page(filled[0].read_bytes()).errors == ("too_many_pages",)
    assert (last.armed, late.armed) == (True, False)
    assert "holds 4000 pages" in capsys.readouterr().err


def test_a_write_that_fails_is_made_up_for_by_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters are cumulative: nothing is lost but the moment."""

    def no_space(*_: object) -> int:
        raise OSError(28, "No space left on device")

    session = Session(str(tmp_path))
    session.begin(CHARGES)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", no_space)
        session.finish(CHARGES)
        session.begin(CHARGES)
    session.finish(CHARGES)

    page = only_page(tmp_path)
    assert page.done["forward"]["fp32"] == 20
    assert page.errors == ("page_write_failed",)
    assert capsys.readouterr().err.count("could not be written") == 1


def test_a_volume_without_room_for_a_page_gets_one_that_nobody_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a reader knows of the process; the first write that finds room says all."""

    def no_space(*_: object) -> int:
        raise OSError(28, "No space left on device")

    session = Session(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", no_space)
        for _ in range(2):
            session.begin(CHARGES)
            session.finish(CHARGES)
    with pytest.raises(PageError, match="neither slot"):
        only_page(tmp_path)
    session.begin(CHARGES)
    session.finish(CHARGES)

    page = only_page(tmp_path)
    assert (page.done["forward"]["fp32"], page.errors) == (30, ("page_write_failed",))
    assert session.armed
    assert capsys.readouterr().err.count("could not be written") == 1


def test_a_failure_of_the_hook_is_flagged_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training goes on; the sidecar sees the flag."""
    session = Session(str(tmp_path))
    session.begin(CHARGES)
    session.fail(ZeroDivisionError("planted"))

    assert not session.armed
    assert only_page(tmp_path).errors == ("hook_failed",)
    assert capsys.readouterr().err.count("planted") == 1


class TooLateError(TimeoutError):
    """What the user's signal handler raises: an OSError, as a timeout is."""


def too_late(*_: object) -> None:
    """End the user's work."""
    raise TooLateError


class Deadline:
    """A signal handler that is an object."""

    def __call__(self, *_: object) -> None:
        """End the user's work."""
        raise TooLateError

    def passed(self, *_: object) -> None:
        """End the user's work."""
        raise TooLateError


@pytest.fixture(
    params=[
        pytest.param(too_late, id="a function"),
        pytest.param(lambda *_: too_late(), id="a lambda"),
        pytest.param(partial(too_late, 1), id="a partial"),
        pytest.param(Deadline(), id="an object"),
        pytest.param(Deadline().passed, id="a method"),
    ]
)
def handled(request: pytest.FixtureRequest) -> Iterator[None]:
    """Handle SIGUSR1 in one of the ways that a program can."""
    before = signal.signal(signal.SIGUSR1, request.param)
    yield
    signal.signal(signal.SIGUSR1, before)


def interrupt(*_: object) -> int:
    """Be interrupted by a signal, as any instruction may be."""
    signal.raise_signal(signal.SIGUSR1)
    return 0


def interrupt_within(session: Session) -> None:
    """Let the session meet what the handler raised."""
    try:
        interrupt()
    except TimeoutError as error:
        session.fail(error)


@pytest.mark.usefixtures("handled")
def test_what_a_signal_handler_raises_within_the_hook_is_the_users(
    tmp_path: Path,
) -> None:
    """A timeout of the user's must end the user's work, and is no failure of ours."""
    session = Session(str(tmp_path))
    with pytest.raises(TooLateError):
        interrupt_within(session)

    assert session.armed


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("call", ["open", "pwrite", "rename"])
def test_a_signal_in_mid_write_is_no_failed_write(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work was not dispatched then: begun may say so, done may not."""
    session = Session(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, interrupt)
        with pytest.raises(TooLateError):
            session.begin(CHARGES)
    session.begin(CHARGES)
    session.finish(CHARGES)

    page = only_page(tmp_path)
    assert (page.begun["forward"]["fp32"], page.done["forward"]["fp32"]) == (20, 10)
    assert (session.armed, page.errors) == (True, ())


@pytest.mark.parametrize("then", ["writes on", "forks"])
def test_a_program_that_closes_every_descriptor_keeps_its_own_files(
    then: str, tmp_path: Path
) -> None:
    """The page's number is given to the next file that the program opens."""
    folder = tmp_path / "pages"
    folder.mkdir()
    session = Session(str(folder))
    session.begin(CHARGES)
    (page,) = folder.glob("*.page")
    number = descriptor_of(page)
    os.close(number)
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    assert theirs == number, "the number was not given out again"
    if then == "forks":
        session.start_anew()
    session.begin(CHARGES)
    size = os.fstat(theirs).st_size
    os.close(theirs)

    begun = {
        read_page(path.read_bytes()).begun["forward"]["fp32"]
        for path in folder.glob("*.page")
    }
    assert (size, session.armed) == (0, True)
    assert begun == ({10} if then == "forks" else {20})


def descriptor_of(file: Path) -> int:
    """Return the number under which this process has a file open."""
    for number in range(3, 256):
        with contextlib.suppress(OSError):  # not an open one
            if os.path.samestat(os.fstat(number), file.stat()):
                return number
    pytest.fail(f"{file} is not open")


def test_a_page_whose_making_was_interrupted_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a signal handler raises may cut off the moment between open and rename."""
    really = os.open
    interrupted: list[int] = []

    def interrupting(path: str, *rest: int) -> int:
        descriptor = really(path, *rest)
        if not interrupted:
            interrupted.append(descriptor)
            raise KeyboardInterrupt
        return descriptor

    monkeypatch.setattr("flopguard_hook.writer.os.open", interrupting)
    session = Session(str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        session.begin([charge("forward", "fp32", 8)])
    session.begin([charge("forward", "fp32", 8)])
    os.close(interrupted[0])

    (page,) = tmp_path.glob("[!.]*.page")
    assert read_page(page.read_bytes()).begun["forward"]["fp32"] == 16
    assert not list(tmp_path.glob(".*.page"))
