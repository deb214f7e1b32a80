"""Models that are changed in mid-run are counted as they are, replayed or not."""

from pathlib import Path

from flopguard_hook.parts import FEWEST_NUMBERED, Numbers
from training.deployment import Deployment

_PROGRAM = str(Path(__file__).with_name("changing.py"))


def test_whatever_changes_in_mid_run_is_counted(tmp_path: Path) -> None:
    """After each change, the replayed count equals that of every operator."""
    folders = [tmp_path / name for name in ("replayed", "always")]
    for folder in folders:
        folder.mkdir()

    replayed = Deployment(folders[0]).run(_PROGRAM)
    always = Deployment(folders[1]).run(_PROGRAM, FLOPGUARD_REPLAY="Off")

    assert (replayed.code, replayed.stderr) == (0, "")
    assert always.steps, "it prints a line for each change"
    assert replayed.steps == always.steps
    assert replayed.facts[0]["replay"]["replayed"] > len(always.steps)
    assert replayed.page.errors == always.page.errors == ()


def test_a_number_is_never_given_again() -> None:
    """Not even to a function that stands where another one stood."""
    numbers = Numbers()
    seen = set()
    for count in range(3 * FEWEST_NUMBERED):

        def function(rows: int, count: int = count) -> int:
            return rows * count

        number = numbers.of(function)
        assert numbers.of(function) == number
        seen.add(number)

    assert len(seen) == 3 * FEWEST_NUMBERED
