"""Proving a window's figure from measured points, and where it is not proven."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flopguard_hook.polynomials import (
    CACHE,
    DIMENSION,
    LITERAL,
    Charges,
    Sizes,
    fit,
)

TWO = DIMENSION * 2
# Batch and length of a text, in no particular order.
SIX = [(8, 128), (4, 100), (8, 96), (2, 161), (7, 77), (3, 150)]


def transformer(sizes: Sizes) -> Charges:
    """Return what a decoder costs: linear in the batch, quadratic in the length."""
    batch, length = sizes[:2]
    linear, quadratic = 6_000_000 * batch * length, 384 * batch * length**2
    return ((3, linear + quadratic), (7, 2 * linear))


def measured(
    vectors: Iterable[Sizes], cost: Callable[[Sizes], Charges]
) -> dict[Sizes, Charges]:
    """Return points that lie on a cost."""
    return {sizes: cost(sizes) for sizes in vectors}


def test_six_points_prove_linear_batch_and_quadratic_length() -> None:
    """Three determine it, three confirm it; every cell is exact in between."""
    proven = fit(measured(SIX, transformer), TWO)

    assert proven is not None
    assert proven.at((5, 111)) == transformer((5, 111))


def test_five_points_prove_nothing() -> None:
    """Only two would confirm it."""
    assert fit(measured(SIX[:5], transformer), TWO) is None


def test_work_that_does_not_grow_with_the_batch_takes_nine_points() -> None:
    """Six coefficients, three points that confirm them."""

    def cost(sizes: Sizes) -> Charges:
        ((cell, flops), *_) = transformer(sizes)
        return ((cell, flops + 1000 * sizes[1] + 17),)

    points = measured([*SIX, (5, 90), (6, 83), (4, 141)], cost)
    proven = fit(points, TWO)

    assert fit(dict(list(points.items())[:8]), TWO) is None
    assert proven is not None
    assert proven.at((5, 111)) == cost((5, 111))


@pytest.mark.parametrize(
    "sizes",
    [(9, 100), (1, 100), (5, 162), (5, 76)],
    ids=["batch above", "batch below", "length above", "length below"],
)
def test_nothing_is_extrapolated(sizes: Sizes) -> None:
    """Beyond what was measured another kernel or branch may be taken."""
    proven = fit(measured(SIX, transformer), TWO)

    assert proven is not None
    assert proven.at(sizes) is None


@pytest.mark.parametrize("at", range(6))
def test_one_point_off_refuses_all(at: int) -> None:
    """By one FLOP in one cell."""
    points = measured(SIX, transformer)
    ((cell, flops), *rest) = points[SIX[at]]
    points[SIX[at]] = ((cell, flops + 1), *rest)

    assert fit(points, TWO) is None


def test_a_cell_that_one_point_lacks_refuses_all() -> None:
    """What is not charged there is zero, not unknown."""
    points = measured(SIX, transformer)
    points[SIX[2]] = points[SIX[2]][:1]

    assert fit(points, TWO) is None


def test_windows_that_cost_nothing_are_proven_too() -> None:
    """A family without charges, from four points."""
    proven = fit(measured(SIX[:4], lambda _: ()), TWO)

    assert proven is not None
    assert proven.at((4, 100)) == ()


def test_points_of_one_size_prove_nothing() -> None:
    """There is nothing to interpolate."""
    assert fit({(8, 128): transformer((8, 128))}, TWO) is None


def test_a_size_that_followed_another_must_go_on_to() -> None:
    """A mask as long as the text, and one that is one longer; a constant width."""
    points = measured(
        [(b, n, n, n + 1, 2 * n, 64) for b, n in SIX], lambda s: transformer(s[:2])
    )
    proven = fit(points, DIMENSION * 6)

    assert proven is not None
    assert proven.at((5, 111, 111, 112, 222, 64)) == transformer((5, 111))
    for wrong in [
        (5, 111, 110, 112, 222, 64),
        (5, 111, 111, 111, 222, 64),
        (5, 111, 111, 112, 220, 64),
        (5, 111, 111, 112, 222, 65),
    ]:
        assert proven.at(wrong) is None


def test_a_literal_that_never_mattered_may_be_anything() -> None:
    """A counter of calls is no size of the work."""
    points = measured(
        [(b, n, 1000 + i) for i, (b, n) in enumerate(SIX)],
        lambda s: transformer(s[:2]),
    )
    proven = fit(points, TWO + LITERAL)

    assert proven is not None
    assert proven.at((5, 111, 10**30)) == transformer((5, 111))
    assert proven.at((5, 111, -5)) == transformer((5, 111))


def test_a_literal_of_two_values_is_not_proven_irrelevant() -> None:
    """A switch that made no difference yet has a third position."""
    points = measured(
        [(b, n, i % 2) for i, (b, n) in enumerate(SIX)], lambda s: transformer(s[:2])
    )
    proven = fit(points, TWO + LITERAL)

    assert proven is not None
    assert proven.at((5, 111, 1)) == transformer((5, 111))
    assert proven.at((5, 111, 2)) is None


def test_a_literal_that_matters_is_interpolated() -> None:
    """As many rounds as the program says."""
    points = measured([(n,) for n in (1, 2, 3, 5, 8, 13)], lambda s: ((0, 10 * s[0]),))
    proven = fit(points, LITERAL)

    assert proven is not None
    assert proven.at((7,)) == ((0, 70),)
    assert proven.at((14,)) is None


def test_lengths_of_a_cache_reach_an_eighth_beyond() -> None:
    """And so does what is one longer than the cache; other sizes do not."""

    def cost(sizes: Sizes) -> Charges:
        return ((0, 100 + 4 * sizes[0]),)

    points = measured([(n, n + 1) for n in range(100, 181, 10)], cost)
    points |= measured([(n, n + 1) for n in range(101, 105)], cost)
    cache = fit(points, CACHE + DIMENSION)
    plain = fit(points, TWO)

    assert cache is not None
    assert cache.at((190, 191)) == cost((190,))
    assert cache.at((191, 192)) is None
    assert cache.at((99, 100)) is None
    assert plain is not None
    assert plain.at((181, 182)) is None


def test_no_more_than_four_sizes_may_vary_freely() -> None:
    """More would take more points than are kept."""
    points: dict[Sizes, Charges] = {
        (i, i * i, i**3, 2**i, 3**i): ((0, 7),) for i in range(1, 12)
    }

    assert fit(points, DIMENSION * 5) is None


def test_batches_of_equally_many_tokens_prove_only_such_batches() -> None:
    """Several polynomials agree on them, and on nothing else."""
    buckets = [(2**i, 4096 // 2**i) for i in range(6)]
    proven = fit(measured(buckets, transformer), TWO)

    assert proven is not None
    assert proven.at((8, 512)) == transformer((8, 512))
    assert proven.at((3, 512)) is None


def test_points_on_a_curve_prove_only_the_curve() -> None:
    """A higher power of one size looks like a product of two."""
    points = measured(
        [(b, b * b) for b in range(2, 10)], lambda s: ((0, 1 + s[0] * s[1]),)
    )
    proven = fit(points, TWO)

    assert proven is not None
    assert proven.at((3, 9)) == ((0, 28),)
    assert proven.at((3, 16)) is None


def pairs_of_texts(sizes: Sizes) -> Charges:
    """Return what an encoder, a decoder and the attention between them cost."""
    batch, source, target = sizes
    attention = 256 * (source**2 + source * target + target**2)
    return ((1, batch * (43_008 * source + 59_392 * target + attention)),)


PAIRS = [(2, 25), (1, 31), (1, 10), (3, 46), (3, 9), (4, 23), (3, 6), (2, 12), (4, 44)]


def test_a_length_that_is_half_of_another_rounded_down_is_proven_for_such() -> None:
    """Some terms depend on others then: where they do, the figure is determined."""
    points = measured([(b, n, 2 + n // 2) for b, n in PAIRS], pairs_of_texts)
    proven = fit(points, DIMENSION * 3)

    assert proven is not None
    assert proven.at((2, 33, 18)) == pairs_of_texts((2, 33, 18))
    assert proven.at((3, 40, 22)) == pairs_of_texts((3, 40, 22))
    assert proven.at((2, 33, 19)) is None
    assert proven.at((2, 33, 17)) is None


def test_what_depends_on_one_point_alone_is_not_proven() -> None:
    """All odd lengths but one are missing: nothing confirms that one."""
    even = [(b, n - n % 2) for b, n in PAIRS]
    sizes = [(b, n, 2 + n // 2) for b, n in [*even, (1, 45), (2, 20), (3, 30)]]
    proven = fit(measured(sizes, pairs_of_texts), DIMENSION * 3)

    assert proven is None or proven.at((2, 33, 18)) is None


def test_one_long_text_beyond_a_window_is_not_taken_in() -> None:
    """The only one of its batch: coefficients that nothing else decides explain it."""

    def windowed(sizes: Sizes) -> Charges:
        batch, length = sizes
        of = (4513, 1395, 10667) if length > 33 else (4581, 457, 16059)
        return ((1, batch * (of[0] + of[1] * length + of[2] * length**2)),)

    short = [(5, 25), (3, 29), (2, 23), (3, 28), (3, 1), (3, 10), (3, 22), (3, 9)]

    assert fit(measured([*short, (2, 44)], windowed), TWO) is None
    assert fit(measured(short, windowed), TWO) is not None


def test_padded_lengths_prove_only_padded_lengths() -> None:
    """The kernels may pad the others as well: a cost with steps."""
    points = measured(
        [(n,) for n in (8, 16, 32, 40, 64, 80)], lambda s: ((0, 3 * s[0]),)
    )
    proven = fit(points, DIMENSION)

    assert proven is not None
    assert proven.at((24,)) == ((0, 72),)
    assert proven.at((27,)) is None


def test_three_lengths_lie_on_any_parabola() -> None:
    """A window of attention, longer than two of them, must not be smoothed out."""
    points = measured(
        [(b, n) for b in (1, 2) for n in (10, 20, 35)],
        lambda s: ((0, s[0] * s[1] * min(s[1], 20)),),
    )
    proven = fit(points, TWO)

    assert proven is not None
    assert proven.at((2, 35)) == ((0, 2 * 35 * 20),)
    assert proven.at((1, 25)) is None


COEFFICIENTS = st.integers(0, 10**12)
SIZES = st.integers(1, 48)


def linear_by_quadratic(coefficients: list[int]) -> Callable[[Sizes], Charges]:
    """Return a cost that is linear in the batch, and in it quadratic in the length."""
    a, b, c = coefficients

    def cost(sizes: Sizes) -> Charges:
        batch, length = sizes
        flops = batch * (a + b * length + c * length**2)
        return ((0, flops),) if flops else ()

    return cost


def assert_right_or_silent(
    cost: Callable[[Sizes], Charges], vectors: list[Sizes], asked: list[Sizes]
) -> None:
    """Assert that what these points prove is nowhere another cost."""
    proven = fit(measured(vectors, cost), TWO)
    assume(proven is not None)
    assert proven is not None
    for sizes in [*asked, *vectors]:
        assert proven.at(sizes) in {None, cost(sizes)}


@given(
    coefficients=st.lists(COEFFICIENTS, min_size=6, max_size=6),
    proportional=st.booleans(),
    vectors=st.lists(st.tuples(SIZES, SIZES), min_size=4, max_size=16, unique=True),
    asked=st.lists(st.tuples(SIZES, SIZES), min_size=8, max_size=8),
)
def test_a_prediction_is_never_wrong(
    coefficients: list[int],
    *,
    proportional: bool,
    vectors: list[Sizes],
    asked: list[Sizes],
) -> None:
    """Whatever points of a polynomial were measured, and in which order."""

    def cost(sizes: Sizes) -> Charges:
        batch, length = sizes
        a, b, c, d, e, f = coefficients
        flops = batch * (a + b * length + c * length**2)
        flops += 0 if proportional else d + e * length + f * length**2
        return ((0, flops),) if flops else ()

    assert_right_or_silent(cost, vectors, asked)


@given(
    coefficients=st.lists(COEFFICIENTS, min_size=3, max_size=3),
    vectors=st.lists(
        st.sampled_from([(2**i, 4096 >> i) for i in range(10)]), unique=True
    )
    | st.lists(st.sampled_from([(b, b * b) for b in range(1, 12)]), unique=True)
    | st.lists(st.tuples(st.integers(1, 3), st.sampled_from([8, 64, 96])), unique=True),
    asked=st.lists(st.tuples(SIZES, st.integers(1, 4096)), min_size=8, max_size=8),
)
def test_a_prediction_is_never_wrong_where_sizes_go_together(
    coefficients: list[int], vectors: list[Sizes], asked: list[Sizes]
) -> None:
    """Equally many tokens, points on a curve, a small grid."""
    assert_right_or_silent(linear_by_quadratic(coefficients), vectors, asked)


@given(
    coefficients=st.lists(COEFFICIENTS, min_size=3, max_size=3),
    lengths=st.lists(SIZES, min_size=8, max_size=16, unique=True),
    batches=st.lists(SIZES, min_size=4, max_size=4, unique=True),
)
def test_a_polynomial_is_recovered(
    coefficients: list[int], lengths: list[int], batches: list[int]
) -> None:
    """From points in general position it is found, and says what each of them cost."""
    cost = linear_by_quadratic(coefficients)
    points = measured([(b, n) for b in batches for n in lengths], cost)
    proven = fit(points, TWO)

    assert proven is not None
    assert all(proven.at(sizes) == charges for sizes, charges in points.items())


@given(
    vectors=st.lists(st.tuples(SIZES, SIZES), min_size=9, max_size=9, unique=True),
    at=st.integers(0, 8),
    wrong=st.integers(1, 10**9),
)
def test_what_contradicts_itself_is_never_fitted_wrongly(
    vectors: list[Sizes], at: int, wrong: int
) -> None:
    """A fit that takes a wrong point in still says what each point said."""
    points = measured(vectors, transformer)
    ((cell, flops), *rest) = points[vectors[at]]
    points[vectors[at]] = ((cell, flops + wrong), *rest)
    proven = fit(points, TWO)

    if proven is not None:
        assert all(proven.at(s) in {None, charges} for s, charges in points.items())
