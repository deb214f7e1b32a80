"""Proves that a window's figure is a polynomial of its sizes. Core.

The cost of a window whose work depends on shapes alone is, for the models in use, a
polynomial of small degree: linear in the batch, quadratic in each length. It is found
exactly, over the rationals, from as many measured points as it has coefficients, and is
believed when at least three further points confirm it to the last digit. It is used
only where it interpolates; lengths of a cache, which grow by one with each token, may
lie one eighth of the range beyond what was measured.
"""

import itertools
import math
from fractions import Fraction
from typing import Dict, FrozenSet, List, Mapping, NamedTuple, Sequence, Set, Tuple

from flopguard_hook.elimination import PRIME, Solved, every_row_follows, solve

DIMENSION, LITERAL, CACHE = "d", "i", "c"

Sizes = Tuple[int, ...]
Charges = Tuple[Tuple[int, int], ...]  # (cell, FLOPs), by cell
Exponents = Tuple[int, ...]
Term = Tuple[Tuple[int, int], ...]  # (index of a size, power)
Sum = Tuple[Tuple[Term, Fraction], ...]

_CONFIRMING = 3
_MOST_VARIABLES = 4
_MOST_TERMS = 16


class Relation(NamedTuple):
    """A size that followed from another one in every point, or never changed.

    Attributes:
        size: Which one.
        base: The one that it follows; -1 if it is constant.
        factor: size = factor · base + offset.
        offset: See factor.
    """

    size: int
    base: int
    factor: Fraction
    offset: Fraction

    def holds(self, sizes: Sizes) -> bool:
        """Say whether it holds for these sizes."""
        base = sizes[self.base] if self.base >= 0 else 0
        return sizes[self.size] == self.factor * base + self.offset


class Range(NamedTuple):
    """Which values of a size have been interpolated between.

    Attributes:
        lowest: The smallest; minus infinity where the size does not matter.
        highest: The largest, likewise.
        step: What all measured values lie apart, or a divisor of it: between them the
            cost may have steps, as where lengths are padded to a multiple of 8.
        only: If not empty, just these: too few to confirm a polynomial in this size.
    """

    lowest: float
    highest: float
    step: int
    only: "FrozenSet[int]"

    def holds(self, size: int) -> bool:
        """Say whether a size is in it."""
        if self.only:
            return size in self.only
        if not self.lowest <= size <= self.highest:
            return False
        return self.step <= 1 or (size - int(self.lowest)) % self.step == 0


class Solution(NamedTuple):
    """A polynomial that all points lie on.

    Attributes:
        cells: Of each cell, its terms with their coefficients.
        vanishing: Sums that were zero in every point: two lengths, say, of which one is
            half of the other, rounded down. Where they are zero the figure is
            determined, as a sum of what was measured; elsewhere it is not.
    """

    cells: Tuple[Tuple[int, Sum], ...]
    vanishing: Tuple[Sum, ...]


class Polynomial(NamedTuple):
    """A figure for every vector of sizes in a box.

    Attributes:
        relations: What must hold for the others to determine the figure.
        solutions: Polynomials that all points lie on. Mostly there is one; of several,
            there is a figure where they agree.
        ranges: Of each size.
    """

    relations: Tuple[Relation, ...]
    solutions: Tuple[Solution, ...]
    ranges: Tuple[Range, ...]

    def at(self, sizes: Sizes) -> "Charges | None":
        """Return the charges for these sizes; None where it cannot be relied on."""
        if not all(known.holds(size) for known, size in zip(self.ranges, sizes)):
            return None
        if not all(relation.holds(sizes) for relation in self.relations):
            return None
        found = {_evaluated(solution, sizes) for solution in self.solutions}
        return found.pop() if len(found) == 1 else None

    def is_confirmed_by(self, later: "Polynomial") -> bool:
        """Say whether it still holds after more points: what it said was right."""
        return set(later.solutions) <= set(self.solutions)


def _evaluated(solution: Solution, sizes: Sizes) -> "Charges | None":
    if any(_summed(sizes, terms) for terms in solution.vanishing):
        return None
    charges = []
    for cell, terms in solution.cells:
        total = _summed(sizes, terms)
        if total < 0 or Fraction(total).denominator != 1:
            return None
        if total:
            charges.append((cell, int(total)))
    return tuple(charges)


def _summed(sizes: Sizes, terms: Sum) -> "Fraction | int":
    return sum(coefficient * _product(sizes, term) for term, coefficient in terms)


def _product(sizes: Sizes, term: Term) -> int:
    return math.prod(sizes[index] ** power for index, power in term)


def fit(points: "Mapping[Sizes, Charges]", kinds: str) -> "Polynomial | None":
    """Return the polynomial that all points lie on, if enough of them prove it.

    Args:
        points: Measured charges by sizes; all of one length.
        kinds: Of each size: DIMENSION of a tensor, LITERAL integer, length of a CACHE.
    """
    vectors = list(points)
    relations, free = _relations(vectors)
    if not free or len(free) > _MOST_VARIABLES:
        return None
    solutions = _solutions(points, free)
    if not solutions:
        return None
    growing = _growing(relations, kinds)
    ranges = [
        _range(
            set(values), _degree(solutions, size), kinds[size], grows=size in growing
        )
        for size, values in enumerate(zip(*vectors))
    ]
    return Polynomial(tuple(relations), tuple(solutions), tuple(ranges))


def _solutions(
    points: "Mapping[Sizes, Charges]", free: "List[int]"
) -> "List[Solution]":
    """Return the simplest polynomial that all points lie on, and its rivals.

    Rivals are no special cases of it and lie on all points too, as where batches were
    chosen to hold equally many tokens: what only one of them says is not proven.
    """
    vectors = list(points)
    cells = sorted({cell for charges in points.values() for cell, _ in charges})
    wanted = [[dict(points[v]).get(cell, 0) for cell in cells] for v in vectors]
    found: Dict[Solution, Set[Term]] = {}
    for subset, exponents in _hypotheses(free, len(vectors) - 1):
        if not found and len(exponents) > len(vectors) - _CONFIRMING:
            break
        terms = [
            tuple((index, power) for index, power in zip(subset, powers) if power)
            for powers in exponents
        ]
        if any(used <= set(terms) for used in found.values()):
            continue
        matrix = [[_product(v, term) for term in terms] for v in vectors]
        if not _is_fitted(matrix, wanted, rival=bool(found)):
            continue
        solved = solve(matrix, wanted, modulo=0)
        if solved is not None:
            solution = _solution(cells, terms, solved)
            found[solution] = {term for _, held in solution.cells for term, _ in held}
    return list(found)


def _is_fitted(
    matrix: "List[List[int]]", wanted: "List[List[int]]", *, rival: bool
) -> bool:
    """Say whether there is a solution, and each point follows from the others.

    One point of another cost, which alone decides a coefficient, would be taken in. A
    rival just casts doubt, and may be decided by one as long as it is determined.
    """
    tried = solve(matrix, wanted, modulo=PRIME)
    if tried is None:
        return False
    return (rival and not tried.dependent) or every_row_follows(matrix)


def _solution(cells: "List[int]", terms: "List[Term]", solved: Solved) -> Solution:
    """Return coefficients by cell and without those that are zero."""
    return Solution(
        tuple(
            (
                cell,
                tuple(
                    (term, row[i])
                    for term, row in zip(terms, solved.coefficients)
                    if row[i]
                ),
            )
            for i, cell in enumerate(cells)
        ),
        tuple(
            (
                (terms[column], Fraction(1)),
                *((terms[other], -factor) for other, factor in factors.items()),
            )
            for column, factors in solved.dependent.items()
        ),
    )


def _degree(solutions: "List[Solution]", size: int) -> int:
    powers = [
        dict(term).get(size, 0)
        for solution in solutions
        for _, terms in solution.cells
        for term, _ in terms
    ]
    return max(powers, default=0)


def _relations(vectors: "List[Sizes]") -> "Tuple[List[Relation], List[int]]":
    """Return which sizes follow from others, and the ones that are left."""
    relations: List[Relation] = []
    free: List[int] = []
    for size, values in enumerate(zip(*vectors)):
        if len(set(values)) == 1:
            relations.append(Relation(size, -1, Fraction(0), Fraction(values[0])))
            continue
        for base in free:
            found = _line([v[base] for v in vectors], values)
            if found is not None:
                relations.append(Relation(size, base, *found))
                break
        else:
            free.append(size)
    return relations, free


def _line(
    bases: "Sequence[int]", values: "Sequence[int]"
) -> "Tuple[Fraction, Fraction] | None":
    """Return factor and offset of the line through all pairs; None if there is none."""
    first = 0
    other = next(i for i, base in enumerate(bases) if base != bases[first])
    run = bases[other] - bases[first]
    factor = Fraction(values[other] - values[first], run)
    offset = values[first] - factor * bases[first]
    # Two values make any line: only steps in common and multiples are believed then.
    if len(set(bases)) < _CONFIRMING and factor != 1 and offset != 0:
        return None
    if all(factor * b + offset == v for b, v in zip(bases, values)):
        return factor, offset
    return None


def _hypotheses(
    free: "List[int]", most_terms: int
) -> "List[Tuple[Tuple[int, ...], Tuple[Exponents, ...]]]":
    """Return sets of terms over subsets of the sizes, those with fewest terms first."""
    found: Dict[Tuple[Tuple[int, ...], Tuple[Exponents, ...]], None] = {}
    for count in range(len(free) + 1):
        for subset in itertools.combinations(free, count):
            for exponents in _term_sets(count):
                if len(exponents) <= min(most_terms, _MOST_TERMS):
                    found[subset, exponents] = None
    return sorted(found, key=lambda hypothesis: len(hypothesis[1]))


def _term_sets(count: int) -> "List[Tuple[Exponents, ...]]":
    """Return the sets of exponents tried for so many sizes."""
    if count == 0:
        return [((),)]
    if count == 1:
        return [tuple((p,) for p in range(top + 1)) for top in (2, 4)]
    sets = []
    for linear in range(count):
        rest = [
            (*powers[:linear], 1, *powers[linear:])
            for powers in itertools.product(range(3), repeat=count - 1)
            if sum(powers) <= 2  # noqa: PLR2004 # quadratic in the lengths
        ]
        without = [(*p[:linear], 0, *p[linear + 1 :]) for p in rest]
        sets += [tuple(rest), tuple(rest + without)]
    return sets


def _growing(relations: "List[Relation]", kinds: str) -> "Set[int]":
    """Return the sizes that are a cache's length, up to a constant."""
    heads = {r.size: r.base for r in relations if r.base >= 0 and r.factor == 1}
    caches = {heads.get(i, i) for i, kind in enumerate(kinds) if kind == CACHE}
    return {i for i in range(len(kinds)) if heads.get(i, i) in caches}


def _range(values: "Set[int]", degree: int, kind: str, *, grows: bool) -> Range:
    low, high = min(values), max(values)
    if kind == LITERAL and not degree and len(values) > _CONFIRMING:
        return Range(-math.inf, math.inf, 1, frozenset())  # proven not to matter
    # Any values lie on a polynomial of a degree one below their number.
    only = frozenset(values if len(values) < degree + 2 else ())
    step = math.gcd(*(value - low for value in values))
    if grows:
        high += (high - low) // 8
    return Range(low, high, step, only)
