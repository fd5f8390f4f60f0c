"""
Many small matrices at once: arrays ``(rows, columns, *items)``, of vectors ``(rows, *items)``.

With the items last each operation is one on long rows, on every backend. What all items share has items of length 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any

_PASSES = 4  # of bringing rows and columns to like size
_FEW = 128  # matrices
_NONE = 64.0  # times the rounding of what it is the rest of: a smaller pivot is none


def product(a: Array, b: Array) -> Array:
    """``a @ b`` of each item, ``(p, q, *)`` and ``(q, r, *)``."""
    if type(a) is np.ndarray:
        return np.einsum("ij...,jk...->ik...", a, b)  # in one pass
    found = a[:, 0, None, ...] * b[None, 0, ...]
    for k in range(1, a.shape[1]):
        found += a[:, k, None, ...] * b[None, k, ...]
    return found


def apply(a: Array, x: Array) -> Array:
    """``a @ x`` of each item, ``(p, q, *)`` and ``(q, *)``."""
    if type(a) is np.ndarray:
        return np.einsum("ij...,j...->i...", a, x)
    found = a[:, 0, ...] * x[0, ...]
    for k in range(1, a.shape[1]):
        found += a[:, k, ...] * x[k, ...]
    return found


def dot(x: Array, y: Array) -> Array:
    """Scalar products of vectors, ``(*items)``."""
    found = x[0, ...] * y[0, ...]
    for k in range(1, x.shape[0]):
        found += x[k, ...] * y[k, ...]
    return found


def transposed(a: Array, xp: Any) -> Array:
    """Rows and columns exchanged."""
    return xp.permute_dims(a, (1, 0, *range(2, a.ndim)))


def symmetric(a: Array, xp: Any) -> Array:
    """The symmetric part, of what is symmetric but for rounding."""
    return 0.5 * (a + transposed(a, xp))


def beside(xp: Any, *parts: Array) -> Array:
    """Matrices of equal numbers of rows, side by side; what all items share is repeated for each."""
    items = np.broadcast_shapes(*(part.shape[2:] for part in parts))
    return xp.concat([xp.broadcast_to(part, (*part.shape[:2], *items)) for part in parts], axis=1)


def diagonal(a: Array, xp: Any) -> Array:
    """The diagonal entries, ``(rows, *items)``."""
    return xp.stack([a[k, k, ...] for k in range(a.shape[0])])


def from_diagonal(x: Array, xp: Any) -> Array:
    """Diagonal matrices, ``(rows, rows, *items)``, from their entries."""
    zero = xp.zeros_like(x[0, ...])
    rows = [[x[i, ...] if i == j else zero for j in range(x.shape[0])] for i in range(x.shape[0])]
    return xp.stack([xp.stack(row) for row in rows])


def solve_positive(matrix: Array, right: Array, xp: Any) -> tuple[Array, Array]:
    """
    Solve systems whose matrices are positive definite.

    Returns
    -------
    solutions (d, k, *items), and pivots (d, *items): their product is the determinant. Where a matrix is not positive definite
    some pivot is 0 or less, and the solution has no meaning
    """
    if type(matrix) is np.ndarray and matrix[0, 0].size <= _FEW:
        found = _positive_by_lapack(matrix, right)
        if found is not None:
            return found
    size, rounding = matrix.shape[0], _NONE * float(xp.finfo(matrix.dtype).eps)
    work, rows, pivots = beside(xp, matrix, right), [], []
    for k in range(size):
        pivot = work[0, 0, ...]
        none = xp.abs(pivot) <= rounding * xp.abs(matrix[k, k, ...])
        pivots.append(xp.where(none, xp.zeros_like(pivot), pivot))
        rows.append(work[0, 1:, ...] / xp.where(none, xp.ones_like(pivot), pivot))
        work = work[1:, 1:, ...] - work[1:, :1, ...] * rows[k][None, ...]
    return _substituted_back(rows, size, xp), xp.stack(pivots)


def _positive_by_lapack(matrix: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The same for few matrices, where each call of NumPy counts; None where one is not positive definite, or nearly so."""
    front, sides = (np.moveaxis(array, (0, 1), (-2, -1)) for array in (matrix, right))
    try:
        root = np.linalg.cholesky(front)
    except np.linalg.LinAlgError:
        return None
    pivots = np.moveaxis(np.einsum("...ii->...i", root) ** 2, -1, 0)
    if not (pivots > _NONE * np.finfo(matrix.dtype).eps * np.moveaxis(np.einsum("...ii->...i", front), -1, 0)).all():
        return None
    return np.ascontiguousarray(np.moveaxis(np.linalg.solve(front, sides), (-2, -1), (0, 1))), pivots


class Solution(NamedTuple):
    """
    What elimination gives.

    Attributes
    ----------
    values : (d, k, *items) a solution; unknowns that nothing fixes are 0
    left : (d, k, *items) right-hand sides of equations whose left sides have vanished, 0 for the others: where these are not
        0 there is no solution; times the row's scale
    row_scale : (d, *items) what each row was brought to the size of the others by
    found : (d, *items) which unknowns the matrix fixes, given those that come later; all, where it is not singular
    log_determinant : (*items) of the absolute value; of the part that is not singular
    """

    values: Array
    left: Array
    row_scale: Array
    found: Array
    log_determinant: Array


def eliminate(matrix: Array, right: Array, xp: Any) -> Solution:
    """Solve systems with any matrices, singular ones included, by elimination with pivots chosen by size."""
    size, rounding = matrix.shape[0], _NONE * float(xp.finfo(matrix.dtype).eps)
    scaled, of_rows, of_columns = balanced(matrix, xp)
    work = beside(xp, scaled, of_rows[:, None, ...] * right)
    left, rows, found = xp.ones_like(work[:, 0, ...]), [], []
    log_determinant = xp.zeros_like(left[0, ...])
    for _ in range(size):
        entries = xp.abs(work[:, 0, ...]) * left
        best = xp.max(entries, axis=0)
        exists = best > rounding
        taken, rest = [], exists
        for i in range(size):
            here = rest & (entries[i, ...] == best)
            rest = rest & ~here
            taken.append(xp.astype(here, work.dtype))
        hot = xp.stack(taken)
        row = dot(hot[:, None, ...], work)
        pivot = xp.where(exists, row[0, ...], xp.ones_like(best))
        log_determinant = log_determinant + xp.where(exists, xp.log(xp.abs(pivot)), xp.zeros_like(best))
        rows.append(row[1:, ...] / pivot)
        left = left - hot
        factors = xp.where(exists, work[:, 0, ...] * left, xp.zeros_like(left))
        work = work[:, 1:, ...] - factors[:, None, ...] * rows[-1][None, ...]
        found.append(exists)
    known = xp.stack(found)
    scale = (1.0 - left) * xp.log(of_rows) + xp.where(known, xp.log(of_columns), xp.zeros_like(left))
    values = of_columns[:, None, ...] * _substituted_back(rows, size, xp)
    return Solution(values, left[:, None, ...] * work, of_rows, known, log_determinant - xp.sum(scale, axis=0))


def balanced(matrix: Array, xp: Any) -> tuple[Array, Array, Array]:
    """Matrices whose rows and columns have largest entries near 1, whatever the units, and the scales of both, ``(d, *)``."""
    rows = columns = None
    for _ in range(_PASSES):
        size = xp.abs(matrix)
        of_rows, of_columns = (xp.max(size, axis=axis) for axis in (1, 0))
        of_rows, of_columns = (1.0 / xp.sqrt(xp.where(x > 0, x, xp.ones_like(x))) for x in (of_rows, of_columns))
        matrix = of_rows[:, None, ...] * matrix * of_columns[None, ...]
        rows = of_rows if rows is None else rows * of_rows
        columns = of_columns if columns is None else columns * of_columns
    return matrix, rows, columns


def _substituted_back(rows: list[Array], size: int, xp: Any) -> Array:
    """Solutions from rows of triangular systems: of each what stands behind the 1 on its diagonal, and its right-hand sides."""
    values: list[Array] = []
    for k in reversed(range(size)):
        behind = size - 1 - k
        value = rows[k][behind:, ...]
        for number, later in enumerate(values):
            value = value - rows[k][number, None, ...] * later
        values.insert(0, value)
    return xp.stack(values)


def solve(matrix: Array, right: Array, xp: Any) -> Array:
    """Solutions ``(d, k, *items)`` as `eliminate` finds them; by LAPACK on the host."""
    if type(matrix) is np.ndarray:
        try:
            front = [np.moveaxis(array, (0, 1), (-2, -1)) for array in (matrix, right)]
            return np.ascontiguousarray(np.moveaxis(np.linalg.solve(*front), (-2, -1), (0, 1)))
        except np.linalg.LinAlgError:
            pass  # one is singular
    return eliminate(matrix, right, xp).values
