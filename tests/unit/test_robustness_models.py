"""The protocol's models within small bounds: sound, and able to find planted bugs."""

import pytest

from robustness import modelcheck
from robustness.checking import Model, UnboundedError, explore

SEARCHES = [
    pytest.param(subject, bug, id=f"{subject.name}: {subject.bugs.get(bug, 'sound')}")
    for subject in modelcheck.SMALL
    for bug in ("", *subject.bugs)
]


@pytest.mark.parametrize(("subject", "bug"), SEARCHES)
def test_the_model_is_sound_and_each_planted_bug_is_found(
    subject: modelcheck.Subject, bug: str
) -> None:
    """Every state within the bounds is visited, or the invariant that breaks named."""
    found = explore(subject.make(subject.bounds, bug))

    assert bool(found.broken) == bool(bug), found
    assert found.states > 50


def test_the_trace_of_a_broken_invariant_is_the_shortest() -> None:
    """A counter that must not reach 3 is found by three steps."""
    model = Model(
        "counter",
        0,
        lambda n: iter([("add", n + 1), ("stay", n)]),
        lambda _, after: "three" if after == 3 else "",
    )

    found = explore(model)

    assert found.trace == ("add", "add", "add")
    assert found.broken == "three"


def test_a_model_without_bounds_ends_with_a_sentence() -> None:
    """A search that would never end is stopped."""
    model = Model("endless", 0, lambda n: iter([("add", n + 1)]), lambda *_: "")

    with pytest.raises(UnboundedError, match="endless has more than 100 states"):
        explore(model, most_states=100)
