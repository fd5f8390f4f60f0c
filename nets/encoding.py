"""How features become the inputs of a network."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from nets.mapped import MappedRows

_LEVELS = 9
_FAR = 20.0  # median deviations beyond which a value says nothing of a feature's scale
_FEW_FEATURES = 16
_DENSE_BYTES = 1 << 24  # that a sparse table's rows or columns take at a time


@dataclass(frozen=True, eq=False)
class Standardization:
    """Subtract the mean and divide by the standard deviation of all features together (Lucibello et al. 2022, section B.1)."""

    mean: np.ndarray
    deviation: np.ndarray

    biases = False
    most_deviations = np.inf

    @classmethod
    def of(cls, X: Any) -> Standardization:
        """Mean and standard deviation of training data ``(n, features)``."""
        if isinstance(X, MappedRows):
            mean, deviation = X.moments()
            return cls(np.asarray(mean), np.asarray(deviation + 1e-5))
        if not is_sparse(X):
            return cls(np.asarray(X.mean()), np.asarray(X.std() + 1e-5))
        size, mean = X.shape[0] * X.shape[1], X.mean()
        squares = np.sum((X.data - mean) ** 2) + (size - X.nnz) * mean**2
        return cls(np.asarray(mean), np.asarray(np.sqrt(squares / size) + 1e-5))

    def with_rows(self, X: Any) -> Standardization:
        """Return the same encoding, because the first rows determine the scale of all features."""
        return self

    def size(self, features: int) -> int:
        """Number of inputs."""
        return features

    def features(self, size: int) -> int:
        """Number of features that give this number of inputs."""
        return size

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return np.asarray((X - self.mean) / self.deviation)


@dataclass(frozen=True, eq=False)
class EachFeature:
    """
    Subtract each feature's mean, divide by its standard deviation, and clip at five of them. Constant features become 0.

    Attributes
    ----------
    count : () number of rows seen so far
    mean, deviation : (features,)
    """

    count: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    biases = True
    most_deviations = 5.0  # that an input is from 0

    @classmethod
    def of(cls, X: Any) -> EachFeature:
        """From training data ``(n, features)``. Values that are absurdly far from the others do not count."""
        found = [cls._of_columns(columns) for columns in _dense_columns(X)]
        mean, deviation = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return cls(np.asarray(float(X.shape[0])), mean, deviation)

    @staticmethod
    def _of_columns(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each column."""
        columns = np.ascontiguousarray(X.T)  # far quicker to sort
        centre = np.median(columns, axis=1)
        spread = np.median(np.abs(columns - centre[:, None]), axis=1)
        bounds = np.array([centre - _FAR * spread, centre + _FAR * spread])
        bounds[:, spread == 0] = np.quantile(columns[spread == 0], [0.005, 0.995], axis=1)
        bounds = np.where(bounds[0] < bounds[1], bounds, [X.min(axis=0), X.max(axis=0)])
        usual = np.clip(X, *bounds)
        mean = usual.mean(axis=0)
        largest = np.abs(usual - mean).max(axis=0)  # first divided by, so that no square overflows or vanishes
        scale = np.where(largest > 0, largest, 1.0)
        deviation = np.where(usual.min(axis=0) < usual.max(axis=0), scale * ((usual - mean) / scale).std(axis=0), 0.0)
        return mean, deviation

    def with_rows(self, X: Any) -> EachFeature:
        """Return the encoding for these rows as well."""
        other = EachFeature.of(X)
        count = self.count + other.count
        share = other.count / count
        step = other.mean - self.mean
        # The root of the variances' mean and of what the means differ by; no square is taken that may overflow.
        within = np.hypot(np.sqrt(1.0 - share) * self.deviation, np.sqrt(share) * other.deviation)
        deviation = np.hypot(within, np.sqrt(share * (1.0 - share)) * step)
        return EachFeature(count, self.mean + share * step, deviation)

    def size(self, features: int) -> int:
        """Number of inputs."""
        return features

    def features(self, size: int) -> int:
        """Number of features that give this number of inputs."""
        return size

    def __call__(self, X: np.ndarray) -> np.ndarray:
        varies = self.deviation > 0
        inputs = np.where(varies, X - self.mean, 0.0) / np.where(varies, self.deviation, 1.0)
        return np.clip(inputs, -self.most_deviations, self.most_deviations)


@dataclass(frozen=True, eq=False)
class ThermometerCode:
    """
    Make signs of each feature: whether it is above each of its deciles. They serve as thresholds for a network without biases.
    """

    thresholds: np.ndarray

    biases = False

    @classmethod
    def of(cls, X: Any) -> ThermometerCode:
        """Deciles of training data ``(n, features)``; thresholds are ``(features, 9)``."""
        shares = np.linspace(0, 1, _LEVELS + 2)[1:-1]
        return cls(np.concatenate([np.quantile(columns, shares, axis=0).T for columns in _dense_columns(X)]))

    def with_rows(self, X: Any) -> ThermometerCode:
        """Return the same encoding, because thresholds stay as the first rows determined them."""
        return self

    def size(self, features: int) -> int:
        """Number of inputs."""
        return features * _LEVELS

    def features(self, size: int) -> int:
        """Number of features that give this number of inputs."""
        return size // _LEVELS

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return np.where(X[:, :, None] > self.thresholds, 1.0, -1.0).reshape(len(X), -1)


Code = Standardization | EachFeature | ThermometerCode
CODES: dict[str, Any] = {"standardize": Standardization, "each-feature": EachFeature, "thermometer": ThermometerCode}


def choose_code(encoding: str, X: Any) -> Code:
    """
    Choose the encoding for a setting and training data ``(n, features)``.

    ``"auto"`` is ``"standardize"`` if all features share one scale, as the pixels of images do, and ``"each-feature"``
    otherwise.
    """
    X = MappedRows(X) if isinstance(X, np.memmap) else X
    if encoding == "auto":
        encoding = "standardize" if share_one_scale(X) else "each-feature"
    code: Code = CODES[encoding].of(X)
    return code


def share_one_scale(X: Any) -> bool:
    """
    Whether features share one scale.

    They do if there are many, nearly all have the same smallest value, and the largest values of half of them are at least half
    as far from it as the largest of all. Constant features must lie within this range.
    """
    low, high = (found.toarray().ravel() if is_sparse(X) else found for found in (X.min(axis=0), X.max(axis=0)))
    varies = high > low
    if varies.sum() < _FEW_FEATURES:
        return False
    floor, ceiling = low[varies].min(), high[varies].max()
    reach = np.median(high[varies]) - floor >= 0.5 * (ceiling - floor)
    within = (low[~varies] >= floor) & (high[~varies] <= ceiling)
    return bool(reach and np.mean(low[varies] == floor) >= 0.9 and within.all())


def is_sparse(X: Any) -> bool:
    """Whether a table is one of SciPy's sparse arrays or matrices."""
    return bool(sparse.issparse(X))


class EncodedRows:
    """
    Rows of a sparse table, or of a table in a file, which become inputs one part at a time, when they are asked for.

    ``rows[selection]`` selects rows as in NumPy.

    Parameters
    ----------
    code : Code
    X : (n, features) CSR array, or MappedRows
    dtype : of the inputs
    """

    def __init__(self, code: Code, X: Any, dtype: str) -> None:
        self._code, self._X, self.dtype = code, X, np.dtype(dtype)
        self.shape = (X.shape[0], code.size(X.shape[1]))
        self.part = max(1, _DENSE_BYTES // (8 * self.shape[1]))  # rows that may be dense at a time

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> EncodedRows:
        return EncodedRows(self._code, self._X[rows], self.dtype.name)

    def dense(self) -> np.ndarray:
        """The inputs of all rows, ``(n, size)``."""
        return np.ascontiguousarray(self._code(self._X.toarray()), dtype=self.dtype)

    def stored(self) -> Iterable[np.ndarray]:
        """The arrays that contain the table."""
        return self._X.parts() if isinstance(self._X, MappedRows) else (self._X.data, self._X.indices, self._X.indptr)


Inputs = np.ndarray | EncodedRows


def encode(code: Code, X: Any, dtype: str) -> Inputs:
    """Inputs ``(n, size)`` of a data type from features ``(n, features)``."""
    return (
        EncodedRows(code, X, dtype) if is_sparse(X) or isinstance(X, MappedRows) else np.ascontiguousarray(code(X), dtype=dtype)
    )


def dense_parts(inputs: Inputs, rows: int) -> Iterator[np.ndarray]:
    """Inputs of at most this many rows at a time, and of fewer rows for a sparse table with many columns."""
    step = min(rows, inputs.part) if isinstance(inputs, EncodedRows) else rows
    for start in range(0, len(inputs), step):
        part = inputs[start : start + step]
        yield part.dense() if isinstance(part, EncodedRows) else part


def checksum(inputs: Inputs, start: int) -> int:
    """A number that differs for other inputs; it continues from a previous checksum."""
    for array in inputs.stored() if isinstance(inputs, EncodedRows) else (inputs,):
        start = zlib.crc32(np.ascontiguousarray(array).data, start)
    return start


def _dense_columns(X: Any) -> Iterator[np.ndarray]:
    """All columns of a dense table, or some columns of another table at a time."""
    if isinstance(X, MappedRows):
        yield from X.columns()
        return
    if not is_sparse(X):
        yield X
        return
    X, step = X.tocsc(), max(1, _DENSE_BYTES // (8 * X.shape[0]))
    for start in range(0, X.shape[1], step):
        yield np.ascontiguousarray(X[:, start : start + step].toarray())
