"""How features become the inputs of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_LEVELS = 9
_FAR = 20.0  # median deviations beyond which a value says nothing of a feature's scale
_FEW_FEATURES = 16


@dataclass(frozen=True, eq=False)
class Standardization:
    """Less the mean, by the standard deviation, both over all features at once (Lucibello et al. 2022, section B.1)."""

    mean: np.ndarray
    deviation: np.ndarray

    biases = False
    most_deviations = np.inf

    @classmethod
    def of(cls, X: np.ndarray) -> Standardization:
        """Mean and deviation of training data ``(n, features)``."""
        return cls(np.asarray(X.mean()), np.asarray(X.std() + 1e-5))

    def with_rows(self, X: np.ndarray) -> Standardization:
        """The same: one scale for all features is known from the first rows."""
        return self

    def size(self, features: int) -> int:
        """Number of inputs."""
        return features

    def features(self, size: int) -> int:
        """Number of features of so many inputs."""
        return size

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return np.asarray((X - self.mean) / self.deviation)


@dataclass(frozen=True, eq=False)
class EachFeature:
    """
    Each feature less its own mean, by its own standard deviation, and held within five of them; constant features are 0.

    Attributes
    ----------
    count : () rows that were seen
    mean, deviation : (features,)
    """

    count: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    biases = True
    most_deviations = 5.0  # that an input is from 0

    @classmethod
    def of(cls, X: np.ndarray) -> EachFeature:
        """Of training data ``(n, features)``; absurd values far from the others do not count."""
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
        return cls(np.asarray(float(len(X))), mean, deviation)

    def with_rows(self, X: np.ndarray) -> EachFeature:
        """Of these rows too."""
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
        """Number of features of so many inputs."""
        return size

    def __call__(self, X: np.ndarray) -> np.ndarray:
        varies = self.deviation > 0
        inputs = np.where(varies, X - self.mean, 0.0) / np.where(varies, self.deviation, 1.0)
        return np.clip(inputs, -self.most_deviations, self.most_deviations)


@dataclass(frozen=True, eq=False)
class ThermometerCode:
    """Each feature as signs: whether it is above each of its deciles. Gives a network without biases its thresholds."""

    thresholds: np.ndarray

    biases = False

    @classmethod
    def of(cls, X: np.ndarray) -> ThermometerCode:
        """Deciles of training data ``(n, features)``; thresholds are ``(features, 9)``."""
        return cls(np.quantile(X, np.linspace(0, 1, _LEVELS + 2)[1:-1], axis=0).T)

    def with_rows(self, X: np.ndarray) -> ThermometerCode:
        """The same: thresholds stay where the first rows put them."""
        return self

    def size(self, features: int) -> int:
        """Number of inputs."""
        return features * _LEVELS

    def features(self, size: int) -> int:
        """Number of features of so many inputs."""
        return size // _LEVELS

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return np.where(X[:, :, None] > self.thresholds, 1.0, -1.0).reshape(len(X), -1)


Code = Standardization | EachFeature | ThermometerCode
CODES: dict[str, Any] = {"standardize": Standardization, "each-feature": EachFeature, "thermometer": ThermometerCode}


def choose_code(encoding: str, X: np.ndarray) -> Code:
    """
    The code that a setting asks for, of training data ``(n, features)``.

    ``"auto"`` is ``"standardize"`` where all features share one scale, as the pixels of images do, else ``"each-feature"``.
    """
    if encoding == "auto":
        encoding = "standardize" if share_one_scale(X) else "each-feature"
    code: Code = CODES[encoding].of(X)
    return code


def share_one_scale(X: np.ndarray) -> bool:
    """
    Whether features are of one kind: many, nearly all with the same smallest value, and half of them going at least half as
    far from it as any; and none that is always the same lies outside.
    """
    low, high = X.min(axis=0), X.max(axis=0)
    varies = high > low
    if varies.sum() < _FEW_FEATURES:
        return False
    floor, ceiling = low[varies].min(), high[varies].max()
    reach = np.median(high[varies]) - floor >= 0.5 * (ceiling - floor)
    within = (low[~varies] >= floor) & (high[~varies] <= ceiling)
    return bool(reach and np.mean(low[varies] == floor) >= 0.9 and within.all())


def encode(code: Code, X: np.ndarray, dtype: str) -> np.ndarray:
    """Inputs ``(n, size)`` of a data type from features ``(n, features)``."""
    return np.ascontiguousarray(code(X), dtype=dtype)
