"""How good a network's probabilities are: likelihood, calibration, and accuracy against confidence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = 15
_LEAST = 1e-15  # what a probability of 0 counts as


class Reliability(NamedTuple):
    """
    Accuracy against confidence, in bins of equal width. The confidence of a row is the probability of its predicted class.

    Attributes
    ----------
    confidence, accuracy : (bins,) means in each bin; NaN if the bin is empty
    rows : (bins,) number of rows in each bin
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    rows: np.ndarray


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """
    Compare accuracy with confidence, as for a reliability diagram.

    Parameters
    ----------
    probabilities : (n, K) array whose rows add up to 1
    labels : (n,) class numbers from 0
    bins : int, default 15
        Number of bins of equal width.

    Returns
    -------
    Reliability
    """
    confidence = probabilities.max(axis=1)
    right = np.argmax(probabilities, axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confident, accurate = (np.bincount(place, weights=values, minlength=bins) / count for values in (confidence, right))
    return Reliability(confident, accurate, count)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy, in percent (Guo, Pleiss, Sun, Weinberger 2017)."""
    table = reliability(probabilities, labels, bins)
    gaps = np.abs(table.confidence - table.accuracy)
    return 100.0 * float(np.nansum(gaps * table.rows) / table.rows.sum())


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of ``-log p(label)``, in nats. Probabilities below 1e-15 count as 1e-15."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.maximum(chosen, _LEAST))))


def scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """``test_error`` (percent), ``nll`` (nats), ``ece`` (percent) of ``(n, K)`` probabilities for ``(n,)`` class numbers."""
    return {
        "test_error": 100.0 * float(np.mean(np.argmax(probabilities, axis=1) != labels)),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
    }
