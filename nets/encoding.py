"""How features become the inputs of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LEVELS = 9


@dataclass(frozen=True, eq=False)
class Standardization:
    """Less the mean, by the standard deviation, both over all features at once (Lucibello et al. 2022, section B.1)."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray) -> Standardization:
        """Mean and deviation of training data ``(n, features)``."""
        return cls(np.asarray(X.mean()), np.asarray(X.std() + 1e-5))

    def size(self, features: int) -> int:
        """Number of inputs."""
        return features

    def features(self, size: int) -> int:
        """Number of features of so many inputs."""
        return size

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return np.asarray((X - self.mean) / self.deviation)


@dataclass(frozen=True, eq=False)
class ThermometerCode:
    """Each feature as signs: whether it is above each of its deciles. Gives a network without biases its thresholds."""

    thresholds: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray) -> ThermometerCode:
        """Deciles of training data ``(n, features)``; thresholds are ``(features, 9)``."""
        return cls(np.quantile(X, np.linspace(0, 1, _LEVELS + 2)[1:-1], axis=0).T)

    def size(self, features: int) -> int:
        """Number of inputs."""
        return features * _LEVELS

    def features(self, size: int) -> int:
        """Number of features of so many inputs."""
        return size // _LEVELS

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return np.where(X[:, :, None] > self.thresholds, 1.0, -1.0).reshape(len(X), -1)


def encode(code: Standardization | ThermometerCode, X: np.ndarray, dtype: str) -> np.ndarray:
    """Inputs ``(n, size)`` of a data type from features ``(n, features)``."""
    return np.ascontiguousarray(code(X), dtype=dtype)
