"""What users give for relations of vectors, made arrays of matrices; and noise as independent numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

NONE = 1e-9  # relative: smaller eigenvalues of a covariance, and entries of exact relations, are 0


def number_of_rows(coefficients: Sequence[np.ndarray], sizes: Sequence[int]) -> int:
    """How many equations there are: as many as matrices have rows; for numbers alone, the dimension of the vectors."""
    for a in coefficients:
        if a.ndim >= 2:
            return int(a.shape[-2])
    if any(a.ndim == 1 for a, size in zip(coefficients, sizes, strict=True) if size > 1):
        return 1
    return max(sizes)


def matrix_of(a: np.ndarray, rows: int, size: int, scalar: bool, count: int, what: str) -> np.ndarray:
    """A coefficient as matrices ``(F or 1, rows, size)``."""
    if a.ndim == 0 and rows == size:
        return np.asarray(a * np.eye(rows)[None])
    if a.ndim == 1 and scalar and a.shape == (rows,):
        return a.reshape(1, rows, 1)
    if a.ndim == 1 and rows == 1 and a.shape == (size,):
        return a.reshape(1, 1, size)
    if a.ndim == 1 and rows == size == 1 and a.shape == (count,):
        return a.reshape(count, 1, 1)
    if a.ndim in (2, 3) and a.shape[-2:] == (rows, size) and a.shape[:-2] in ((), (1,), (count,)):
        return a.reshape(-1, rows, size)
    expected = f"({rows}, {size})" + (", or a number" if rows == size else "")
    raise ValueError(
        f"{what} has shape {a.shape}; for {rows} rows and a variable of dimension {size} it is a matrix {expected}, or "
        f"({count}, {rows}, {size}), one for each factor"
    )


def covariance_of(noise: np.ndarray, rows: int, count: int) -> np.ndarray:
    """The noise as covariances ``(F or 1, rows, rows)``."""
    if noise.ndim == 0:
        return np.asarray(noise * np.eye(rows)[None])
    if rows == 1 and noise.shape == (count,):
        return noise.reshape(count, 1, 1)
    if noise.ndim in (2, 3) and noise.shape[-2:] == (rows, rows) and noise.shape[:-2] in ((), (1,), (count,)):
        return noise.reshape(-1, rows, rows)
    raise ValueError(
        f"noise_variance has shape {noise.shape}; expected a number, a covariance ({rows}, {rows}), or "
        f"({count}, {rows}, {rows}), one for each factor"
    )


def offset_of(offset: np.ndarray, rows: int, count: int) -> np.ndarray:
    """The offset as vectors ``(F or 1, rows)``."""
    if offset.ndim == 0:
        return np.full((1, rows), float(offset))
    if rows == 1 and offset.shape == (count,):
        return offset.reshape(count, 1)
    if offset.shape == (rows,):
        return offset.reshape(1, rows)
    if offset.shape in ((1, rows), (count, rows)):
        return offset
    raise ValueError(
        f"offset has shape {offset.shape}; expected a number, ({rows},), or ({count}, {rows}), one for each factor"
    )


class Noise:
    """
    Noise of covariances ``(F, m, m)`` as independent numbers.

    Attributes
    ----------
    rows : (F, m, m) what the rows of a relation are multiplied by, so that their noise is independent
    variances : (F, m) of the noise then, 0 where a relation is exact
    log_scale : (F,) of the determinant of ``rows``: the logarithm of what the density is divided by
    """

    def __init__(self, covariance: np.ndarray) -> None:
        deviation = np.sqrt(np.einsum("fii->fi", covariance))
        scale = 1.0 / np.where(deviation > 0, deviation, 1.0)  # so that units do not matter
        sizes, vectors = np.linalg.eigh(scale[:, :, None] * covariance * scale[:, None, :])
        self.rows = np.swapaxes(vectors, 1, 2) * scale[:, None, :]
        self.variances = np.where(sizes > NONE, sizes, 0.0)
        self.log_scale = np.log(scale).sum(axis=1)

    @property
    def is_exact(self) -> bool:
        """Whether some relation has no noise, in some direction."""
        return bool((self.variances == 0).any())

    def weight(self) -> np.ndarray:
        """Generalised inverses of the covariances, ``(m, m, F)``."""
        noisy = self.variances > 0
        inverse = np.where(noisy, 1.0 / np.where(noisy, self.variances, 1.0), 0.0)
        return np.einsum("fri,fr,frj->ijf", self.rows, inverse, self.rows)

    def normaliser(self) -> np.ndarray:
        """Log of what the exponential function is multiplied by, ``(F,)``; exact directions count 1."""
        noisy = self.variances > 0
        return self.log_scale - 0.5 * np.where(noisy, np.log(2.0 * math.pi * np.where(noisy, self.variances, 1.0)), 0.0).sum(
            axis=1
        )
