"""Costs that are one polynomial up to a length and another one beyond it."""

from collections.abc import Callable, Iterable

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flopguard_hook.pieces import Pieces, fit_pieces
from flopguard_hook.polynomials import DIMENSION, Charges, Sizes, fit
from flopguard_hook.replay import Owner, Replay

TWO = DIMENSION * 2
WINDOW = 16
SHORT = [(1, 10), (3, 9), (3, 6), (2, 12), (4, 15), (3, 12)]
LONG = [(2, 25), (1, 31), (3, 46), (4, 23), (3, 19), (2, 39), (4, 44)]


def windowed(sizes: Sizes) -> Charges:
    """Return what a layer with a window costs: masked beyond, causal up to it."""
    batch, length = sizes
    flops = batch * (48_000 * length + 256 * length**2)
    masked = 128 * batch * length * (length - 1)
    return ((1, flops), (40, masked)) if length <= WINDOW else ((1, flops),)


def measured(
    vectors: Iterable[Sizes], cost: Callable[[Sizes], Charges]
) -> dict[Sizes, Charges]:
    """Return points that lie on a cost."""
    return {sizes: cost(sizes) for sizes in vectors}


def test_each_side_of_a_window_is_proven_by_its_own_points() -> None:
    """No one polynomial has all of them; between the sides nothing is said."""
    points = measured([*SHORT, *LONG], windowed)
    proven = fit_pieces(points, TWO)

    assert fit(points, TWO) is None
    assert proven is not None
    for sizes in [(2, 11), (4, 14), (3, 33), (1, 40)]:
        assert proven.at(sizes) == windowed(sizes)
    for sizes in [(2, 16), (2, 17), (2, 18), (2, 5), (2, 47), (5, 30)]:
        assert proven.at(sizes) is None


def test_few_points_on_one_side_leave_the_other_proven() -> None:
    """They are too few for a polynomial, and no contradiction."""
    proven = fit_pieces(measured([*SHORT[:2], *LONG], windowed), TWO)

    assert proven is not None
    assert proven.at((3, 33)) == windowed((3, 33))
    assert proven.at((2, 9)) is None


def test_many_points_that_no_piece_explains_refuse_all() -> None:
    """Their cost depends on something else."""
    points = measured([*SHORT, *LONG], windowed)
    points |= {(5, n): ((1, n**3 % 1009),) for n in range(6, 16)}

    assert fit_pieces(points, TWO) is None


def test_a_family_is_replayed_on_either_side_of_a_window() -> None:
    """As soon as either is proven, and not before; a wrong piece is withdrawn."""
    replay = Replay()
    family = replay.add_family("Model", Owner("Model"), TWO)
    order = [s for pair in zip(LONG, [*SHORT, (1, 8)], strict=True) for s in pair]
    order += [(1, 45), (3, 24), (2, 14), (1, 13), (4, 10), (2, 28)]
    for sizes in order:
        figure = replay.figure(family, sizes)
        if replay.is_replayed(figure):
            assert figure.charges == windowed(sizes)
        else:
            assert replay.learn(figure, windowed(sizes)) is None

    assert isinstance(family.polynomial, Pieces)
    between = replay.figure(family, (2, 33))
    assert replay.is_replayed(between)
    assert between.charges == windowed((2, 33))

    replay.learn(replay.figure(family, (1, 36)), ((1, 5),))

    assert between.charges is None


@settings(max_examples=60)
@given(
    below=st.lists(st.integers(0, 10**9), min_size=3, max_size=3),
    beyond=st.lists(st.integers(0, 10**9), min_size=3, max_size=3),
    window=st.integers(2, 40),
    vectors=st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 48)),
        min_size=12,
        max_size=32,
        unique=True,
    ),
)
def test_a_piece_is_never_wrong(
    below: list[int], beyond: list[int], window: int, vectors: list[Sizes]
) -> None:
    """Wherever the cost changes, and whichever sizes were measured.

    Costs that are equal by chance at a size that was measured are left out: nothing
    shows there on which side of the change it lies.
    """

    def polynomial(of: list[int], sizes: Sizes) -> int:
        a, b, c = of
        batch, length = sizes
        return batch * (a + b * length + c * length**2)

    def cost(sizes: Sizes) -> Charges:
        flops = polynomial(below if sizes[1] <= window else beyond, sizes)
        return ((1, flops),) if flops else ()

    assume(all(polynomial(below, s) != polynomial(beyond, s) for s in vectors))
    proven = fit_pieces(measured(vectors, cost), TWO)

    if proven is not None:
        for sizes in ((b, n) for b in range(1, 6) for n in range(1, 49)):
            assert proven.at(sizes) in {None, cost(sizes)}
