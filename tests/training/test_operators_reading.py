"""Lengths of packed sequences are read once for each tensor and content."""

import pytest
import torch

from flopguard_hook import packed
from flopguard_hook.reading import LengthReader


class Elsewhere(torch.Tensor):
    """A stand-in for a tensor on a device: it says so, and counts its reads."""

    is_cpu = False
    reads = 0

    def tolist(self) -> list[int]:
        """Return what it holds, having waited."""
        type(self).reads += 1
        return torch.Tensor.tolist(self)  # type: ignore[no-any-return] # untyped


@pytest.fixture(autouse=True)
def _reads_are_counted_anew() -> None:
    Elsewhere.reads = 0


def elsewhere(*held: int) -> torch.Tensor:
    """Return a tensor of the device."""
    return torch.tensor(held).as_subclass(Elsewhere)


def test_a_tensor_is_waited_for_once() -> None:
    """All layers of a step are given the same one."""
    read, ends = LengthReader(), elsewhere(0, 4, 10)
    assert [read(ends), read(ends), read(ends)] == [[0, 4, 10]] * 3
    assert Elsewhere.reads == 1


def test_a_tensor_that_was_changed_is_read_again() -> None:
    """In place: it is the same object."""
    read, ends = LengthReader(), elsewhere(0, 4, 10)
    read(ends)
    ends[1] = 5
    assert read(ends) == [0, 5, 10]


def test_another_tensor_is_read_though_it_took_the_place_of_one() -> None:
    """An id is used again once its object is gone."""
    read = LengthReader()
    for last in range(1, 200):
        assert read(elsewhere(0, last)) == [0, last]


def test_what_cannot_be_read_is_no_error() -> None:
    """A fake tensor holds nothing."""
    assert LengthReader()(torch.empty(3, device="meta")) is None


def test_it_is_the_reader_of_packed_attention() -> None:
    """Importing it is what arms it."""
    assert isinstance(packed._reader, LengthReader)  # noqa: SLF001 # what was given
