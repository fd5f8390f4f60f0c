"""Tables in files that are mapped into memory: rows are read when they are needed, so a table may exceed the memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_X_y
from sklearn.utils.validation import validate_data

_PART_BYTES = 1 << 24  # that are read at a time


class MappedRows:
    """
    Rows of a table in a file, which are not read yet.

    Parameters
    ----------
    array : (n, features) array of numbers, as ``numpy.load(path, mmap_mode="r")`` returns it
    rows : (m,) numbers of the rows; None for all

    Attributes
    ----------
    shape : (m, features)
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray | None = None) -> None:
        self._array = array
        self._rows = np.arange(len(array)) if rows is None else rows
        self.shape = (self._rows.size, array.shape[1])

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> MappedRows:
        return MappedRows(self._array, self._rows[rows])

    def toarray(self) -> np.ndarray:
        """Read the rows, in double precision."""
        rows = self._rows
        together = rows.size and rows[-1] - rows[0] == rows.size - 1 and bool((np.diff(rows) == 1).all())
        return np.asarray(self._array[rows[0] : rows[-1] + 1] if together else self._array[rows], dtype=np.float64)

    def parts(self) -> Iterator[np.ndarray]:
        """All rows, some at a time."""
        step = max(1, _PART_BYTES // (8 * self.shape[1]))
        for start in range(0, len(self), step):
            yield self[start : start + step].toarray()

    def columns(self) -> Iterator[np.ndarray]:
        """All columns, some at a time."""
        step = max(1, _PART_BYTES // (8 * max(1, len(self))))
        for start in range(0, self.shape[1], step):
            yield np.asarray(self._array[:, start : start + step][self._rows], dtype=np.float64)

    def min(self, axis: int) -> np.ndarray:
        """The smallest value of each column; ``axis`` is 0."""
        return np.min([part.min(axis=axis) for part in self.parts()], axis=axis)

    def max(self, axis: int) -> np.ndarray:
        """The largest value of each column; ``axis`` is 0."""
        return np.max([part.max(axis=axis) for part in self.parts()], axis=axis)

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of all entries."""
        entries = self.shape[0] * self.shape[1]
        mean = sum(float(part.sum()) for part in self.parts()) / entries
        return mean, (sum(float(np.square(part - mean).sum()) for part in self.parts()) / entries) ** 0.5


def checked_rows(model: Any, X: Any, *y: Any, reset: bool = False, **of_numbers: Any) -> Any:
    """
    Check rows, and targets if there are any, as scikit-learn does. Rows of a mapped file are checked one part at a time.

    Parameters
    ----------
    model : estimator, which learns or knows the number of features
    X : (n, features) array, a sparse array, or a `numpy.memmap`
    *y : (n,) or (n, outputs) array, or nothing
    reset : whether the number of features is learnt
    **of_numbers : arguments of `sklearn.utils.check_X_y`

    Raises
    ------
    ValueError
        The rows cannot be used.
    """
    if not isinstance(X, np.memmap):
        return validate_data(model, X, *y, accept_sparse="csr", dtype=np.float64, reset=reset, **of_numbers)
    if X.ndim != 2 or X.dtype.kind not in "buif" or not X.size:
        raise ValueError(f"a mapped table must be (n, features) numbers, not {X.dtype} of shape {X.shape}")
    rows = MappedRows(X)
    if X.dtype.kind == "f" and not all(np.isfinite(part).all() for part in rows.parts()):
        raise ValueError("Input X contains NaN or infinity.")
    # What is learnt and compared is the number of features: one row says it.
    validate_data(model, np.zeros((1, X.shape[1])), reset=reset)
    return (rows, check_X_y(np.zeros((len(X), 1)), *y, **of_numbers)[1]) if y else rows
