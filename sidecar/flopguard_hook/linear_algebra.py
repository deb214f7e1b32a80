"""Factorizations, solvers and Fourier transforms. Core.

Leading terms as in LAPACK's operation counts (LAPACK Working Note 41, appendix C) and
Golub and Van Loan, Matrix Computations, rounded down to integers. Eigenvalues, singular
values and matrix functions iterate as long as the data wants and have no formula.
"""

from typing import Any

from flopguard_hook.formulas import Arguments, Options, argument, formula, prod


def _batch(operand: Any) -> int:
    return prod(operand.shape[:-2])


def _cubed(operand: Any) -> int:
    """Return n³ of n x n, times the batch."""
    return _batch(operand) * int(operand.shape[-1]) ** 3


@formula("aten::linalg_cholesky_ex", "aten::linalg_ldl_factor_ex", "aten::cholesky")
def cholesky(args: Arguments, _: Options) -> int:
    """Charge n³/3."""
    return _cubed(args[0]) // 3


@formula("aten::cholesky_inverse")
def inverse_of_factor(args: Arguments, _: Options) -> int:
    """Charge 2·n³/3."""
    return 2 * _cubed(args[0]) // 3


@formula("aten::linalg_inv_ex")
def inverse(args: Arguments, _: Options) -> int:
    """Charge 2·n³: the factorization 2·n³/3, the inverse of its factors 4·n³/3."""
    return 2 * _cubed(args[0])


@formula(
    "aten::linalg_lu_factor_ex",
    "aten::linalg_lu",
    "aten::_linalg_det",
    "aten::_linalg_slogdet",
)
def lu(args: Arguments, _: Options) -> int:
    """Charge m x n, k the smaller and l the larger of both: k²·l - k³/3."""
    small, large = sorted(int(size) for size in args[0].shape[-2:])
    return _batch(args[0]) * small * small * (3 * large - small) // 3


@formula("aten::_linalg_solve_ex")
def solve(args: Arguments, _: Options) -> int:
    """Charge (a, b): the factorization 2·n³/3, and 2·n for every element of b."""
    return 2 * _cubed(args[0]) // 3 + 2 * _swept(args[0], args[1])


def _swept(matrix: Any, sides: Any) -> int:
    """Return n for every element of the right-hand sides, columns or one vector."""
    size, batch = int(matrix.shape[-1]), _batch(matrix)
    vector = len(sides.shape) == 1 or tuple(sides.shape) == tuple(matrix.shape[:-1])
    if vector:
        return size * max(prod(sides.shape), batch * size)
    # One side may stand for a whole batch of matrices.
    return size * prod(sides.shape) * max(1, batch // max(1, _batch(sides)))


@formula("aten::linalg_solve_triangular")
def solve_triangular(args: Arguments, _: Options) -> int:
    """Charge (a, b): n for every element of b."""
    return _swept(args[0], args[1])


@formula("aten::triangular_solve")
def solve_triangular_swapped(args: Arguments, _: Options) -> int:
    """Charge (b, a)."""
    return _swept(args[1], args[0])


@formula("aten::cholesky_solve", "aten::_cholesky_solve_helper", operand=1)
def solve_factored_swapped(args: Arguments, _: Options) -> int:
    """Charge (b, factor): two triangular solves."""
    return 2 * _swept(args[1], args[0])


@formula("aten::linalg_lu_solve", "aten::linalg_ldl_solve")
def solve_factored(args: Arguments, _: Options) -> int:
    """Charge (factors, pivots, b): two triangular solves."""
    return 2 * _swept(args[0], args[2])


@formula("aten::geqrf")
def householder(args: Arguments, _: Options) -> int:
    """Charge m x n, k the smaller and l the larger of both: 2·k²·l - 2·k³/3."""
    return 2 * lu(args, _)


@formula("aten::linalg_qr")
def qr(args: Arguments, _: Options) -> int:
    """Charge the factorization and, but for mode `r`, the making of q."""
    rows, columns = (int(size) for size in args[0].shape[-2:])
    mode = argument(args, 1, "reduced")
    if mode == "r":
        return householder(args, _)
    width = rows if mode == "complete" else min(rows, columns)
    reflectors = min(rows, columns)
    return householder(args, _) + _batch(args[0]) * _product(rows, width, reflectors)


def _product(rows: int, columns: int, reflectors: int) -> int:
    """Return the cost of the first columns of a product of reflectors (orgqr)."""
    m, n, k = rows, columns, reflectors
    return 2 * k * (6 * m * n - 3 * (m + n) * k + 2 * k * k) // 3


@formula("aten::linalg_householder_product")
def householder_product(args: Arguments, _: Options) -> int:
    """Charge (reflectors m x n, their k scalars): 4mnk - 2(m+n)k² + 4k³/3."""
    rows, columns = (int(size) for size in args[0].shape[-2:])
    return _batch(args[0]) * _product(rows, columns, int(args[1].shape[-1]))


@formula("aten::ormqr")
def householder_applied(args: Arguments, _: Options) -> int:
    """Charge (reflectors m x k, scalars, c): 4·m·k - 2·k² for each column of c."""
    rows, count = int(args[0].shape[-2]), int(args[1].shape[-1])
    per_column = 4 * rows * count - 2 * count * count
    return prod(args[2].shape) // max(1, rows) * per_column


def _steps(operand: Any, dimensions: Any) -> int:
    """Return ⌈log2 n⌉, summed over the transformed dimensions."""
    sizes = [int(operand.shape[dimension]) for dimension in dimensions]
    return sum(max(size - 1, 0).bit_length() for size in sizes)


@formula("aten::_fft_c2c")
def fourier(args: Arguments, _: Options) -> int:
    """Charge 5·n·⌈log2 n⌉, the radix-2 count: n/2 butterflies a step, each of 10.

    Given divided by 4: an operator on complex numbers is charged four times its figure.
    """
    return 5 * prod(args[0].shape) * _steps(args[0], args[1]) // 4


@formula("aten::_fft_r2c")
def fourier_of_real(args: Arguments, _: Options) -> int:
    """Charge half of what complex numbers cost."""
    return 5 * prod(args[0].shape) * _steps(args[0], args[1]) // 2


@formula("aten::_fft_c2r")
def fourier_to_real(args: Arguments, _: Options) -> int:
    """Charge the same; the last dimension of the input is half of the output's."""
    image, dimensions, _normalized, last = args[:4]
    sizes = [int(size) for size in image.shape]
    sizes[dimensions[-1]] = int(last)
    steps: int = sum(
        max(sizes[dimension] - 1, 0).bit_length() for dimension in dimensions
    )
    return 5 * prod(sizes) * steps // 8
