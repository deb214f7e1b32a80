"""What does a damaged page or facts file cost? Never a figure, never a crash."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flopguard_hook.page import PAGE_BYTES
from flopguard_sidecar.folder import Folder
from standins.pages import NONCE, file_bytes, flops, forward, nonce, put


def make_link(path: Path) -> None:
    """Replace a page by a link to a valid page elsewhere."""
    other = path.with_name("elsewhere")
    other.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(other)


def make_fifo(path: Path) -> None:
    """Replace a page by a FIFO without a writer: opening it would block."""
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    """Replace a page by a folder."""
    path.unlink()
    path.mkdir()


def make_shorter(path: Path) -> None:
    """Truncate a page."""
    os.truncate(path, 100)


def make_empty(path: Path) -> None:
    """Truncate a page to nothing."""
    os.truncate(path, 0)


def make_longer(path: Path) -> None:
    """Append to a page."""
    with path.open("ab") as file:
        file.write(b"x")


def make_huge(path: Path) -> None:
    """Make a page a sparse file of 1 TiB."""
    os.truncate(path, 1 << 40)


def make_noise(path: Path) -> None:
    """Overwrite both slots."""
    path.write_bytes(b"\xa5" * PAGE_BYTES)


def make_anothers(path: Path) -> None:
    """Overwrite a page with the page of another process."""
    path.write_bytes(file_bytes(forward(1, nonce=nonce(9))))


DAMAGES = [
    make_link,
    make_fifo,
    make_folder,
    make_shorter,
    make_empty,
    make_longer,
    make_huge,
    make_noise,
    make_anothers,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__doc__)
def test_damage_does_not_lower_the_mark(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """The last valid figures stay, with an error beside them."""
    path = put(tmp_path, forward(40, nonce=nonce(1)))
    put(tmp_path, forward(2, nonce=nonce(2)))
    folder = Folder(tmp_path)
    assert flops(folder.scan()) == 42

    damage(path)
    scan = folder.scan()

    assert flops(scan) == 42
    assert scan.problems == {(nonce(1), "unreadable")}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__doc__)
def test_a_page_that_was_never_valid_counts_zero_and_is_listed(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """What a new sidecar finds damaged it cannot know; it says so."""
    damage(put(tmp_path, forward(40)))

    scan = Folder(tmp_path).scan()

    assert flops(scan) == 0
    assert scan.problems == {(NONCE, "unreadable")}


def test_a_page_that_heals_loses_its_error(tmp_path: Path) -> None:
    """The same bytes again, or newer ones, are as good as before."""
    path = put(tmp_path, forward(40))
    folder = Folder(tmp_path)
    before = folder.scan()
    make_noise(path)
    assert folder.scan().problems

    path.write_bytes(file_bytes(forward(40)))

    assert folder.scan() == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=PAGE_BYTES + 10))
def test_random_bytes_never_crash_the_scan(tmp_path: Path, data: bytes) -> None:
    """Whatever a page or facts file contains, there is a scan."""
    (tmp_path / f"{NONCE}.page").write_bytes(data)
    (tmp_path / f"{NONCE}.json").write_bytes(data)

    scan = Folder(tmp_path).scan()

    assert (NONCE, "unreadable") in scan.problems
    assert flops(scan) == 0


@pytest.mark.parametrize(
    "damage",
    [make_fifo, make_folder, make_link, make_huge, make_empty],
    ids=lambda damage: damage.__doc__,
)
def test_damaged_facts_cost_no_figures(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Facts are shown, never counted."""
    put(tmp_path, forward(1), facts='{"a": 1}')
    damage(tmp_path / f"{NONCE}.json")

    scan = Folder(tmp_path).scan()

    assert flops(scan) == 1
    assert scan.pages[0].facts == "{}"
    assert scan.problems == {(NONCE, "facts_unreadable")}


def open_files() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_scan_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """It runs every second for weeks."""
    for number, damage in enumerate(DAMAGES):
        damage(put(tmp_path, forward(1, nonce=nonce(number)), facts="{}"))
    folder = Folder(tmp_path)
    before = open_files()

    for _ in range(20):
        folder.scan()

    assert open_files() == before
