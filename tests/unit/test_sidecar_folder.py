"""The folder of pages, with a tenant who does what he likes in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flopguard_hook.page import PAGE_BYTES
from flopguard_sidecar import folder as folder_module
from flopguard_sidecar.folder import MAX_PAGES, Folder, Scan
from standins.pages import NONCE, file_bytes, flops, forward, nonce, put

# Writes one page as fast as it can until it is killed, one slot at a time.
BUSY_WRITER = """
import os, sys
from flopguard_hook.page import Page, SLOT_BYTES, encode_slot
path, nonce = sys.argv[1:]
def slot(generation):
    counted = {"forward": {"bf16": generation}}
    return encode_slot(Page(nonce, generation, counted, counted, 0, False, ()))
with open(path + ".new", "wb") as file:
    file.write(slot(0) + bytes(SLOT_BYTES))
os.rename(path + ".new", path)
slots = [slot(generation) for generation in range(1, 50_001)]
file = os.open(path, os.O_WRONLY)
print("writing", flush=True)
for generation, content in enumerate(slots, 1):
    os.pwrite(file, content, (generation & 1) * SLOT_BYTES)
    if generation % 500 == 0:
        os.fdatasync(file)  # a pace at which it can be watched
print("done", flush=True)
"""


def test_pages_of_all_processes_are_found_and_summed(tmp_path: Path) -> None:
    """One page for each process; other files are nobody's business."""
    put(tmp_path, forward(10, nonce=nonce(1)), facts='{"rank": 0}')
    put(tmp_path, forward(32, nonce=nonce(2)))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / f"{nonce(3)}.new").write_bytes(b"half a page")

    scan = Folder(tmp_path).scan()

    assert flops(scan) == 42
    assert {p.nonce: p.facts for p in scan.pages} == {
        nonce(1): '{"rank":0}',
        nonce(2): "{}",
    }
    assert not scan.problems


def test_a_folder_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    """The sidecar starts before the training process."""
    folder = Folder(tmp_path / "pages")
    assert folder.scan() == Scan((), frozenset())

    (tmp_path / "pages").mkdir()
    put(tmp_path / "pages", forward(5))

    assert flops(folder.scan()) == 5


def test_a_folder_that_is_a_file_is_an_error_of_the_caller(tmp_path: Path) -> None:
    """The loop keeps the last mark and lets it grow old."""
    (tmp_path / "pages").write_text("")

    with pytest.raises(NotADirectoryError):
        Folder(tmp_path / "pages").scan()


def test_a_folder_replaced_by_a_link_is_not_followed(tmp_path: Path) -> None:
    """A tenant who owns the volume must not point the sidecar elsewhere."""
    (tmp_path / "pages").symlink_to("/etc")

    with pytest.raises(OSError, match="pages"):
        Folder(tmp_path / "pages").scan()


def test_a_page_that_is_gone_is_not_in_the_mark(tmp_path: Path) -> None:
    """The mark falls, and the operator sees that somebody removed a page."""
    path = put(tmp_path, forward(40, nonce=nonce(1)))
    put(tmp_path, forward(2, nonce=nonce(2)))
    folder = Folder(tmp_path)
    folder.scan()

    path.unlink()

    assert flops(folder.scan()) == 2


def test_a_page_rewritten_with_less_is_reported_as_it_is(tmp_path: Path) -> None:
    """Hiding a forged page would hide the forgery."""
    path = put(tmp_path, forward(40, generation=8))
    folder = Folder(tmp_path)
    folder.scan()

    path.write_bytes(file_bytes(forward(3, generation=2)))

    assert flops(folder.scan()) == 3


def test_a_torn_newest_slot_leaves_the_previous_figures(tmp_path: Path) -> None:
    """A writer that dies in the middle of a write."""
    put(tmp_path, forward(40, generation=4))
    path = put(tmp_path, forward(41, generation=5))
    folder = Folder(tmp_path)
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"\0" * 100, 2048 + 64)

    assert flops(folder.scan()) == 40


def test_the_mark_never_falls_while_a_process_writes(tmp_path: Path) -> None:
    """One read may mix two writes; what is published never goes back."""
    writer = subprocess.Popen(
        [sys.executable, "-c", BUSY_WRITER, str(tmp_path / f"{NONCE}.page"), NONCE],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    folder, seen = Folder(tmp_path), []
    while writer.poll() is None:
        scan = folder.scan()
        assert not scan.problems
        seen.append(flops(scan))
    writer.stdout.close()

    assert len(set(seen)) > 10, "the writer was done before it was watched"
    assert seen == sorted(seen)
    assert flops(folder.scan()) == 50_000


OLDER = file_bytes(forward(30, generation=6))

PUBLISHED = file_bytes(forward(40, generation=8))

NEWER = file_bytes(forward(50, generation=10))

NOISES = [bytes([number]) * PAGE_BYTES for number in range(100)]


@pytest.mark.parametrize(
    ("reads", "expected", "errors"),
    [
        pytest.param([OLDER, NEWER], 50, 0, id="older once: a race of our reading"),
        pytest.param([NOISES[1], NEWER], 50, 0, id="torn once: a race as well"),
        pytest.param([OLDER, NOISES[1], NEWER], 50, 0, id="older, then torn"),
        pytest.param([NOISES[1], PUBLISHED], 40, 0, id="torn, then as before"),
        pytest.param([OLDER, OLDER], 30, 0, id="older twice: it was rewritten"),
        pytest.param([NOISES[1], NOISES[1]], 40, 1, id="the same noise: damage"),
        pytest.param(NOISES, 40, 0, id="never the same: the next scan will tell"),
    ],
)
def test_a_fall_or_damage_is_believed_when_two_reads_agree(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reads: list[bytes],
    expected: int,
    errors: int,
) -> None:
    """Every write changes the bytes, so equal reads had no writer in between."""
    (tmp_path / f"{NONCE}.page").write_bytes(PUBLISHED)
    folder = Folder(tmp_path)
    folder.scan()

    rest = iter(reads)
    monkeypatch.setattr(folder_module, "_read", lambda *_: next(rest))
    scan = folder.scan()

    assert flops(scan) == expected
    assert len(scan.problems) == errors


def test_of_5000_pages_4000_are_read_and_those_known_stay(tmp_path: Path) -> None:
    """A tenant cannot crowd out a page that counts by names that sort before it."""
    last = "f" * 32
    put(tmp_path, forward(7, nonce=last))
    folder = Folder(tmp_path)
    assert flops(folder.scan()) == 7

    for number in range(5_000):
        (tmp_path / f"{nonce(number)}.page").write_bytes(b"")
    scan = folder.scan()

    assert len(scan.pages) == MAX_PAGES
    assert flops(scan) == 7
    assert ("", "too_many_pages") in scan.problems


def test_a_folder_with_too_many_entries_is_read_up_to_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing a million files every second would be the attack."""
    monkeypatch.setattr(folder_module, "MAX_ENTRIES", 50)
    put(tmp_path, forward(7))
    folder = Folder(tmp_path)
    folder.scan()

    for number in range(100):
        (tmp_path / f"{number}.txt").write_text("")
    scan = folder.scan()

    assert flops(scan) == 7
    assert scan.problems == {("", "too_many_entries")}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(f"{'A' * 32}.page", id="capitals"),
        pytest.param(f"{'a' * 31}.page", id="31 digits"),
        pytest.param(f"{'a' * 33}.page", id="33 digits"),
        pytest.param(f"{'a' * 32}.page\n", id="a newline at its end"),
        pytest.param(f"{'a' * 32}.page.page", id="twice the suffix"),
        pytest.param(f"{'٣' * 32}.page"[:40], id="digits of another script"),
    ],
)
def test_other_names_are_not_opened(tmp_path: Path, name: str) -> None:
    """Only 32 lower-case hexadecimal digits and .page name a page."""
    (tmp_path / name).write_bytes(file_bytes(forward(1, nonce="a" * 32)))

    assert Folder(tmp_path).scan() == Scan((), frozenset())


def test_facts_are_read_again_when_they_are_replaced(tmp_path: Path) -> None:
    """The hook replaces them by rename when it learns more."""
    put(tmp_path, forward(1), facts='{"a": 1}')
    folder = Folder(tmp_path)
    folder.scan()

    (tmp_path / "new").write_text('{"a": 2}')
    (tmp_path / "new").rename(tmp_path / f"{NONCE}.json")

    assert folder.scan().pages[0].facts == '{"a":2}'


def test_facts_survive_progress_of_the_page(tmp_path: Path) -> None:
    """They belong to the process, not to one write of its page."""
    put(tmp_path, forward(1, generation=0), facts='{"a": 1}')
    folder = Folder(tmp_path)
    folder.scan()

    put(tmp_path, forward(2, generation=1))

    assert [p.facts for p in folder.scan().pages] == ['{"a":1}']


def test_facts_of_the_whole_folder_are_bounded(tmp_path: Path) -> None:
    """4,000 pages with 64 KiB each would fill the sidecar's memory."""
    facts = f'{{"a":"{"x" * 60_000}"}}'
    for number in range(20):
        put(tmp_path, forward(1, nonce=nonce(number)), facts=facts)

    scan = Folder(tmp_path).scan()

    kept = [page for page in scan.pages if page.facts != "{}"]
    assert len(kept) == folder_module.MAX_FACTS_BYTES // len(facts)
    left_out = {name for name, problem in scan.problems if problem == "facts_left_out"}
    assert len(left_out) == 20 - len(kept)
    assert flops(scan) == 20
