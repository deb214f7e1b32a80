"""Two ways to run under the hook: as deployed, in a subprocess; or attached right here.

The second is for tables of small programs: starting torch takes seconds.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flopguard_hook.page import CATEGORIES, read_page
from training.deployment import Deployment, Flops, total


@pytest.fixture
def deployed(tmp_path: Path) -> Deployment:
    """Return a deployment with an empty folder of pages."""
    folder = tmp_path / "pages"
    folder.mkdir()
    return Deployment(folder)


@pytest.fixture(scope="session")
def attached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Attach the hook to this process's torch; return the folder of its page.

    It measures every window: what is tabled is what operators cost.
    """
    from flopguard_hook.attaching import attach

    folder = tmp_path_factory.mktemp("attached")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FLOPGUARD_REPLAY", "Off")
        session = attach(str(folder))
    yield folder
    assert session.armed, "the hook disarmed itself during the tests"


@pytest.fixture
def counted(attached: Path) -> Callable[[Callable[[], object]], Flops]:
    """Return a function that runs a program and returns its cost, zeros left out."""

    def now() -> Flops:
        paths = list(attached.glob("*.page"))
        if not paths:
            return dict.fromkeys(CATEGORIES, 0)
        page = read_page(paths[0].read_bytes())
        assert page.done == page.begun, "something begun was never finished"
        return total(page.done)

    def cost(program: Callable[[], object]) -> Flops:
        before = now()
        program()
        after = now()
        spent = {category: after[category] - before[category] for category in after}
        return {category: flops for category, flops in spent.items() if flops}

    return cost
