"""Solves overdetermined systems exactly, over the rationals or modulo a prime. Core."""

from fractions import Fraction
from typing import Any, Dict, List, NamedTuple, Sequence

PRIME = 2**61 - 1  # consistency is first tried modulo this one, which is quicker

Rows = Sequence[Sequence[int]]


class Solved(NamedTuple):
    """Every solution of a system: one of them, and what the columns depend on.

    Attributes:
        coefficients: Columns x sides; zero for a column that depends on others.
        dependent: Columns that are sums of others in every row, with the factors.
    """

    coefficients: "List[List[Any]]"
    dependent: "Dict[int, Dict[int, Any]]"


def solve(matrix: Rows, wanted: Rows, *, modulo: int) -> "Solved | None":
    """Solve a system; None if it contradicts itself.

    Args:
        matrix: Rows x columns.
        wanted: Rows x sides.
        modulo: A prime to calculate by; 0 for the rationals.
    """
    width = len(matrix[0])
    rows, pivots = _eliminate(matrix, wanted, modulo)
    if any(any(row) for row in rows[len(pivots) :]):
        return None
    at = {column: row for row, column in zip(rows, pivots)}
    nothing = [0] * len(wanted[0])
    return Solved(
        [at[column][width:] if column in at else nothing for column in range(width)],
        {
            column: {pivot: at[pivot][column] for pivot in pivots if at[pivot][column]}
            for column in range(width)
            if column not in at
        },
    )


def every_row_follows(matrix: Rows) -> bool:
    """Say whether each row is a sum of the others, so that these confirm it."""
    count = len(matrix)
    identity = [[int(i == j) for j in range(count)] for i in range(count)]
    rows, pivots = _eliminate(matrix, identity, PRIME)
    width = len(matrix[0])
    sums = [row[width:] for row in rows[len(pivots) :]]  # of rows: each is zero
    return all(any(factors[i] for factors in sums) for i in range(count))


def _eliminate(
    matrix: Rows, wanted: Rows, modulo: int
) -> "tuple[List[List[Any]], List[int]]":
    """Return the reduced rows, and the columns that the first of them solve."""
    rows: List[List[Any]] = [
        [x % modulo if modulo else Fraction(x) for x in (*a, *b)]
        for a, b in zip(matrix, wanted)
    ]
    pivots: List[int] = []
    for column in range(len(matrix[0])):
        rank = len(pivots)
        pivot = next((i for i in range(rank, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        head = rows[rank][column]
        inverse = pow(head, -1, modulo) if modulo else 1 / head
        solved = rows[rank] = [_kept(x * inverse, modulo) for x in rows[rank]]
        for i, row in enumerate(rows):
            factor = row[column]
            if i != rank and factor:
                rows[i] = [_kept(x - factor * y, modulo) for x, y in zip(row, solved)]
        pivots.append(column)
    return rows, pivots


def _kept(value: Any, modulo: int) -> Any:
    return value % modulo if modulo else value
