"""When a window is measured, when it is replayed, and what switches replaying off."""

from itertools import pairwise

import pytest

from flopguard_hook.polynomials import DIMENSION, Charges, Sizes
from flopguard_hook.replay import (
    REMEASURED_EVERY,
    Drift,
    Family,
    Figure,
    Owner,
    Replay,
    Sites,
)

SIX = [(8, 128), (4, 100), (8, 96), (2, 161), (7, 77), (3, 150)]


def cost(sizes: Sizes) -> Charges:
    """Return what a window of these sizes really costs."""
    batch, length = sizes
    return ((0, batch * (10 * length + length**2)),)


def family_of(replay: Replay, name: str = "Model") -> Family:
    """Return a new family of an owner of its own."""
    return replay.add_family(name, Owner(name), DIMENSION * 2)


def call(
    replay: Replay, figure: Figure, charges: Charges | None = None
) -> Drift | str | None:
    """Run one window: 'replayed', or what measuring it showed."""
    if replay.is_replayed(figure):
        return "replayed"
    return replay.learn(figure, cost(figure.sizes) if charges is None else charges)


@pytest.fixture
def replay() -> Replay:
    """Return what knows of no window yet."""
    return Replay()


@pytest.fixture
def figure(replay: Replay) -> Figure:
    """Return the only figure of a family."""
    return replay.figure(family_of(replay), (8, 128))


def test_two_agreeing_measurements_are_replayed(replay: Replay, figure: Figure) -> None:
    """One is not enough."""
    results = [call(replay, figure) for _ in range(4)]

    assert results == [None, None, "replayed", "replayed"]
    assert figure.charges == cost((8, 128))
    assert (replay.measured, replay.replayed) == (2, 2)


def test_one_in_256_is_measured_again(replay: Replay, figure: Figure) -> None:
    """Of the calls of a family; if it agrees, the next 255 are replayed."""
    results = [call(replay, figure) for _ in range(3 * REMEASURED_EVERY)]

    measured = [n for n, result in enumerate(results, 1) if result is None]
    assert measured == [1, 2, 256, 512, 768]
    assert figure.calls == 768
    assert figure.family.replayed == 0


def test_one_in_256_of_a_family_is_measured_whatever_its_sizes(replay: Replay) -> None:
    """A loader that draws lengths at random is watched as closely as a steady one."""
    family = family_of(replay)
    figures = [replay.figure(family, sizes) for sizes in SIX]
    for figure in figures * 2:
        call(replay, figure)
    before = replay.measured

    for n in range(REMEASURED_EVERY):
        call(replay, figures[n % 6])

    assert replay.measured == before + 1


def test_nothing_is_replayed_when_replaying_is_off() -> None:
    """Every window is measured, and learned from."""
    replay = Replay(on=False)
    figure = replay.figure(family_of(replay), (8, 128))

    assert [call(replay, figure) for _ in range(300)] == [None] * 300
    assert (replay.measured, replay.replayed) == (300, 0)


def test_a_family_predicts_sizes_that_were_never_measured(replay: Replay) -> None:
    """After six points; what lies outside of them is measured."""
    family = family_of(replay)
    for sizes in SIX:
        assert call(replay, replay.figure(family, sizes)) is None
    between, beyond = replay.figure(family, (5, 111)), replay.figure(family, (9, 111))

    assert call(replay, between) == "replayed"
    assert between.charges == cost((5, 111))
    assert call(replay, beyond) is None


def test_a_prediction_makes_a_single_measurement_enough(replay: Replay) -> None:
    """If it is what was measured."""
    family = family_of(replay)
    for sizes in SIX:
        call(replay, replay.figure(family, sizes))

    assert call(replay, replay.figure(family, SIX[0])) == "replayed"


def test_the_very_first_call_may_have_done_something_once(replay: Replay) -> None:
    """The others prove the polynomial; the first is measured until it agrees."""
    family = family_of(replay)
    first = replay.figure(family, (5, 120))
    call(replay, first, ((0, 1),))
    for sizes in [*SIX, (6, 90)]:
        call(replay, replay.figure(family, sizes))

    assert call(replay, replay.figure(family, (5, 111))) == "replayed"
    assert call(replay, first) is None
    assert call(replay, first) == "replayed"
    assert first.charges == cost((5, 120))


def test_a_point_that_contradicts_withdraws_predictions(replay: Replay) -> None:
    """Figures that were measured twice are still replayed, predicted ones are not."""
    family = family_of(replay)
    for sizes in SIX * 2:
        replay.learn(replay.figure(family, sizes), cost(sizes))
    predicted = replay.figure(family, (5, 111))
    assert call(replay, predicted) == "replayed"

    call(replay, replay.figure(family, (9, 111)), ((0, 1),))

    assert family.polynomial is None
    assert predicted.charges is None
    assert call(replay, predicted) is None
    assert call(replay, replay.figure(family, SIX[0])) == "replayed"


def test_predictions_of_one_batch_outlive_the_first_call_of_another(
    replay: Replay,
) -> None:
    """The last batch of an epoch is smaller: another polynomial says the same."""
    family = family_of(replay)
    for length in (100, 120, 130, 141, 155, 161):
        call(replay, replay.figure(family, (4, length)))
    predicted = replay.figure(family, (4, 111))
    assert call(replay, predicted) == "replayed"
    call(replay, replay.figure(family, (3, 120)))

    assert call(replay, predicted) == "replayed"
    assert predicted.charges == cost((4, 111))
    assert call(replay, replay.figure(family, (3, 111))) == "replayed"


def test_a_drift_switches_the_owner_off(replay: Replay, figure: Figure) -> None:
    """For good, and for all families of that owner; it is told by how much."""
    other = replay.add_family("other", figure.family.owner, DIMENSION * 2)
    sibling = replay.figure(other, (1, 1))
    for _ in range(REMEASURED_EVERY - 1):
        call(replay, figure)
        call(replay, sibling)
    drift = call(replay, figure, ((0, 7), (1, 5)))

    ((_, expected),) = cost((8, 128))
    assert drift == Drift("Model", expected, 12, REMEASURED_EVERY - 3)
    assert replay.drifts == [drift]
    assert figure.family.owner.off
    assert [call(replay, one) for one in (figure, sibling) * 3] == [None] * 6


def test_a_drift_leaves_other_owners_alone(replay: Replay, figure: Figure) -> None:
    """One model of two changed."""
    stranger = replay.figure(family_of(replay, "Other"), (1, 1))
    call(replay, stranger)
    call(replay, stranger)
    for _ in range(REMEASURED_EVERY - 1):
        call(replay, figure)
    assert isinstance(call(replay, figure, ((0, 7),)), Drift)

    assert call(replay, stranger) == "replayed"


def test_a_wrong_figure_is_a_drift_though_another_was_right_since(
    replay: Replay,
) -> None:
    """The family's last measurement confirmed another size: both were replayed."""
    family = family_of(replay)
    one, other = replay.figure(family, (1, 1)), replay.figure(family, (2, 1))
    for _ in range(100):
        call(replay, one)
    call(replay, other)
    call(replay, other)
    replay.learn(other, cost((2, 1)))  # was right: replays are counted from here

    assert family.replayed == 0
    assert isinstance(replay.learn(one, ((0, 1),)), Drift)
    assert family.owner.off


def test_measurements_that_disagree_are_no_drift(replay: Replay) -> None:
    """Nothing wrong was charged: until then each window was measured."""
    family = family_of(replay)
    figure = replay.figure(family, (8, 128))
    results = [call(replay, figure, ((0, n),)) for n in range(4)]

    assert results == [None] * 4
    assert family.owner.off == ""
    assert call(replay, figure, ((0, 4),)) is None
    assert family.owner.off == "its cost differs from call to call"
    assert replay.drifts == []


def test_two_that_disagree_and_two_that_agree_are_replayed(
    replay: Replay, figure: Figure
) -> None:
    """The first call of a model often does more."""
    call(replay, figure, ((0, 99),))
    results = [call(replay, figure) for _ in range(3)]

    assert results == [None, None, "replayed"]
    assert figure.charges == cost((8, 128))


def test_only_the_first_drifts_are_kept(replay: Replay) -> None:
    """The facts file is bounded."""
    for n in range(20):
        figure = replay.figure(family_of(replay, f"Model {n}"), (1, 1))
        for _ in range(3):
            call(replay, figure)
        assert replay.learn(figure, ((0, 1),)) is not None

    assert len(replay.drifts) == 16


def test_figures_without_end_are_forgotten(replay: Replay) -> None:
    """Whatever is in use is learned again: memory is bounded."""
    for n in range(10_000):
        replay.figure(family_of(replay, str(n)), (n, 1))

    assert sum(1 for _ in replay.figures()) <= 8193
    assert replay.family("9999") is not None
    assert replay.family("0") is None


# Stretches between windows


def visit(sites: Sites, *, quiet: bool = True, seconds: float = 0.001) -> str:
    """Run one stretch from the site: 'skipped', 'measured' or 'wrong'."""
    if sites.is_skipped("loop", 64):
        sites.skipped("loop", seconds)
        return "skipped"
    return "wrong" if sites.learn("loop", seconds, quiet=quiet) else "measured"


def test_a_site_that_was_quiet_twice_is_skipped() -> None:
    """And measured again now and then, which keeps it known."""
    sites = Sites()
    results = [visit(sites) for _ in range(200)]

    assert results[:3] == ["measured", "measured", "skipped"]
    again = [n for n, result in enumerate(results) if result == "measured"]
    assert again[:2] == [0, 1]
    assert len(again[2:]) == 3
    assert all(60 <= later - n <= 64 for n, later in pairwise(again[1:]))
    assert sites.unwatched == 0


def test_other_sites_know_nothing_of_it() -> None:
    """Each is looked at for itself."""
    sites = Sites()
    for _ in range(5):
        visit(sites)

    assert not sites.is_skipped("elsewhere", 64)


def test_a_loud_site_is_always_measured() -> None:
    """Also if it is quiet most of the time; nothing had been missed."""
    sites = Sites()
    assert visit(sites, quiet=False) == "measured"

    assert {visit(sites) for _ in range(300)} == {"measured"}


def test_a_site_that_was_skipped_and_counts_was_skipped_wrongly() -> None:
    """It is said once, and the site is measured from then on."""
    sites = Sites()
    results = [visit(sites, quiet=n < 40) for n in range(200)]

    assert results.count("wrong") == 1
    assert set(results[results.index("wrong") + 1 :]) == {"measured"}


def test_a_site_that_was_never_skipped_is_not_wrong() -> None:
    """Two quiet stretches and a loud one: all three were measured."""
    sites = Sites()
    visit(sites)
    visit(sites)

    assert not sites.learn("loop", 0.001, quiet=False)


def test_a_late_stretch_is_told_and_the_site_measured_again() -> None:
    """The program left its loop: twice quiet is asked for anew."""
    sites = Sites()
    for _ in range(10):
        visit(sites)
    assert visit(sites, seconds=5.0) == "skipped"

    assert sites.unwatched == 5.0
    assert [visit(sites) for _ in range(3)] == ["measured", "measured", "skipped"]


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.028])
def test_a_stretch_a_little_longer_than_before_is_not_late(seconds: float) -> None:
    """Twenty milliseconds, and eight times the longest that was measured."""
    sites = Sites()
    for _ in range(10):
        visit(sites)
    visit(sites, seconds=seconds)

    assert sites.unwatched == 0
    assert visit(sites) == "skipped"


def test_a_stretch_that_is_always_long_is_late_once() -> None:
    """What it took is the measure of the next."""
    sites = Sites()
    for _ in range(3):
        visit(sites)
    for _ in range(30):
        visit(sites, seconds=5.0)

    assert sites.unwatched == 5.0


def test_sites_without_end_are_forgotten() -> None:
    """A program may make functions as it runs."""
    sites = Sites()
    for n in range(10_000):
        sites.learn(n, 0.001, quiet=n % 2 == 0)

    assert len(sites._quiet) <= 4096  # noqa: SLF001 # what is bounded
    assert len(sites._loud) <= 4096  # noqa: SLF001 # likewise
