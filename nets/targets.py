"""The targets of training: classes or numbers, how they become outputs, and how predictions are judged."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from nets.metrics import negative_log_likelihood

LEAST_NOISE = 1e-4  # of numbers in units of their own variance
_INTERVAL = 1.6448536269514722  # deviations within which nine of ten numbers are


class Targets(Protocol):
    """
    What a run needs to know about its targets.

    Attributes
    ----------
    error : name of the first number of `judge` in a history
    """

    error: str

    def outputs(self, numbers: np.ndarray) -> np.ndarray:
        """Values of the network's output, from class numbers ``(n,)`` or standardised numbers ``(n, K)``."""

    def judge(self, marginals: np.ndarray, numbers: np.ndarray, counts: np.ndarray | None = None) -> tuple[float, float]:
        """
        Error, and mean negative log-likelihood in nats, of marginals of the output: see `nets.prediction.Predictor`.

        ``counts`` says how many times each row counts in the error.
        """


class Classes:
    """Class numbers from 0, for a given number of classes. The error is in percent."""

    error = "error"

    def __init__(self, count: int) -> None:
        self._count = count

    def outputs(self, numbers: np.ndarray) -> np.ndarray:
        """Signs for two classes, else class numbers."""
        return 2 * numbers - 1 if self._count == 2 else numbers

    def judge(self, marginals: np.ndarray, numbers: np.ndarray, counts: np.ndarray | None = None) -> tuple[float, float]:
        """Error in percent, and negative log-likelihood."""
        probabilities = marginals / marginals.sum(axis=1, keepdims=True)
        wrong = float(np.average(np.argmax(probabilities, axis=1) != numbers, weights=counts))
        return 100.0 * wrong, negative_log_likelihood(probabilities, numbers)


class Numbers:
    """
    Numbers, with each output standardised, and with normal noise around the network's outputs.

    Parameters
    ----------
    mean, deviation : (K,) of the training rows
    noise : (K,) variance of the noise, in units of the squared standard deviation
    """

    error = "rmse"

    def __init__(self, mean: np.ndarray, deviation: np.ndarray, noise: np.ndarray) -> None:
        self.mean, self.deviation, self.noise = mean, deviation, noise

    @classmethod
    def of(cls, y: np.ndarray) -> Numbers:
        """From training rows ``(n, K)``. Constant outputs have the standard deviation 1."""
        deviation = y.std(axis=0)
        return cls(y.mean(axis=0), np.where(deviation > 0, deviation, 1.0), np.ones(y.shape[1]))

    def standardised(self, y: np.ndarray) -> np.ndarray:
        """Values that the network receives for ``(n, K)`` numbers."""
        return (y - self.mean) / self.deviation

    def outputs(self, numbers: np.ndarray) -> np.ndarray:
        return numbers

    def predicted(self, marginals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of the numbers, ``(n, K)`` each, noise included."""
        mean, variance = np.split(marginals, 2, axis=1)
        return self.mean + self.deviation * mean, self.deviation * np.sqrt(variance + self.noise)

    def judge(self, marginals: np.ndarray, numbers: np.ndarray, counts: np.ndarray | None = None) -> tuple[float, float]:
        """Root of the mean square error, and negative log-likelihood, both of the numbers themselves, over all outputs."""
        mean, deviation = self.predicted(marginals)
        y = self.mean + self.deviation * numbers
        found = judge_numbers(mean, deviation, y)
        return found["rmse"], found["nll"]

    def learn_noise(self, marginals: np.ndarray, numbers: np.ndarray) -> None:
        """Set the noise to the mean square error of the training rows."""
        mean, _ = np.split(marginals, 2, axis=1)
        self.noise = np.maximum(np.mean((numbers - mean) ** 2, axis=0), LEAST_NOISE)


def judge_numbers(mean: np.ndarray, deviation: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """``rmse``, ``nll`` (nats, each number for itself) and ``coverage`` (percent within the central nine tenths) of normal
    predictions."""
    apart = (y - mean) / deviation
    return {
        "rmse": float(np.sqrt(np.mean((y - mean) ** 2))),
        "nll": float(np.mean(0.5 * np.log(2.0 * np.pi) + np.log(deviation) + 0.5 * apart**2)),
        "coverage": 100.0 * float(np.mean(np.abs(apart) < _INTERVAL)),
    }


def check_labels(y: np.ndarray) -> None:
    """Refuse targets that are not labels of classes, and name the estimator that accepts them."""
    try:
        check_classification_targets(y)
    except ValueError as error:
        raise ValueError(f"{error} BPRegressor is for numbers.") from error
