"""Proves figures that are one polynomial up to a length, another beyond it. Core.

A window of attention that is longer than the text does nothing; a kernel is chosen by a
size. Then all points lie on no polynomial, but those on either side of a value of one
size do. Each piece is proven by its own points and says nothing of what lies between
the pieces: where exactly the cost changes is not known.
"""

import math
from typing import Dict, List, Mapping, NamedTuple, Tuple

from flopguard_hook.polynomials import Charges, Polynomial, Sizes, fit

_MOST_PIECES = 3
_FEWEST_POINTS = 6

Points = Mapping[Sizes, Charges]


class Piece(NamedTuple):
    """A polynomial for a range of one size.

    Attributes:
        lowest: The smallest value of that size among its points.
        highest: The largest, or what its polynomial reaches beyond as the last piece.
        polynomial: Holds in between.
    """

    lowest: float
    highest: float
    polynomial: Polynomial


class Parting(NamedTuple):
    """Polynomials for ranges of one size.

    Attributes:
        size: Which one.
        pieces: From the largest values to the smallest; they do not overlap.
    """

    size: int
    pieces: Tuple[Piece, ...]

    def at(self, sizes: Sizes) -> "Charges | None":
        """Return the charges for these sizes; None where they are not proven."""
        value = sizes[self.size]
        for piece in self.pieces:
            if piece.lowest <= value <= piece.highest:
                return piece.polynomial.at(sizes)
        return None


class Pieces(NamedTuple):
    """Figures in pieces.

    Attributes:
        partings: By each size that parts the points into such as lie on polynomials:
            there is a figure where they agree.
    """

    partings: Tuple[Parting, ...]

    def at(self, sizes: Sizes) -> "Charges | None":
        """Return the charges for these sizes; None where they are not proven."""
        found = {parting.at(sizes) for parting in self.partings}
        return found.pop() if len(found) == 1 else None


def fit_pieces(points: Points, kinds: str) -> "Pieces | None":
    """Return polynomials that prove all points but a few, if one size parts them.

    Args:
        points: Measured charges by sizes; no one polynomial has them all.
        kinds: See `polynomials.fit`.
    """
    tried = [_parted(points, kinds, size) for size in _varying(points)]
    found = tuple(parting for parting in tried if parting is not None)
    return Pieces(found) if found else None


def _varying(points: Points) -> "List[int]":
    """Return the sizes that vary, but for those that are equal to another of them."""
    first: Dict[Tuple[int, ...], int] = {}
    for size, values in enumerate(zip(*points)):
        if len(set(values)) > 1:
            first.setdefault(values, size)
    return list(first.values())


def _parted(points: Points, kinds: str, size: int) -> "Parting | None":
    pieces: List[Piece] = []
    left = dict(points)
    while left and len(pieces) < _MOST_PIECES:
        piece = _last_piece(left, kinds, size)
        if piece is None:
            break
        left = {s: c for s, c in left.items() if s[size] < piece.lowest}
        highest = piece.highest if pieces else _reach(piece, size)
        pieces.append(piece._replace(highest=highest))
    if not pieces or len(left) >= _FEWEST_POINTS:
        return None
    return Parting(size, tuple(pieces))


def _reach(piece: Piece, size: int) -> float:
    reached = piece.polynomial.ranges[size].highest
    return piece.highest if math.isinf(reached) else max(reached, piece.highest)


def _last_piece(points: Points, kinds: str, size: int) -> "Piece | None":
    """Return the piece that begins at the smallest value and reaches to the largest."""
    values = sorted({sizes[size] for sizes in points})

    def from_value(start: int) -> "Piece | None":
        beyond = {s: c for s, c in points.items() if s[size] >= values[start]}
        if len(beyond) < _FEWEST_POINTS:
            return None
        found = fit(beyond, kinds)
        return found and Piece(values[start], values[-1], found)

    whole = from_value(0)
    if whole is not None:
        return whole
    # Most of the values may be too many for the last piece, a few of them too few.
    starts = [len(values) * quarters // 4 for quarters in (1, 2, 3)]
    tried = ((start, from_value(start)) for start in starts)
    high, best = next(((s, p) for s, p in tried if p is not None), (0, None))
    low = 0
    while best is not None and high - low > 1:
        middle = (low + high) // 2
        piece = from_value(middle)
        if piece is None:
            low = middle
        else:
            high, best = middle, piece
    return best
