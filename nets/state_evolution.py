"""What theory says of learning by message passing: state evolution of a binary perceptron that learns from a teacher.

In the limit of many inputs the overlap of approximate message passing with the teacher follows a map of one number, and so
does its generalisation error (Barbier, Krzakala, Macris, Miolane, Zdeborova, PNAS 116 (2019) 5451).
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(201)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def perceptron_overlaps(alpha: float, iterations: int, start: float = 0.0) -> np.ndarray:
    """
    Overlap with the teacher, iteration by iteration, of a perceptron with weights of +-1 that learns from random patterns.

    With q the overlap, ``qhat = 2 alpha / (1 - q) E_z phi(u)^2 / Phi(u)`` at ``u = z sqrt(q / (1 - q))``, and the next overlap
    is ``E_z tanh(qhat + z sqrt(qhat))^2``, z being Gaussian, phi and Phi its density and distribution function.

    Parameters
    ----------
    alpha : patterns for each input, above 0
    iterations : int
    start : overlap in [0, 1) before the first iteration; 0 knows nothing, a value near 1 tells whether better answers exist

    Returns
    -------
    (iterations,) array; for Bayes-optimal inference also the mean of the squared magnetisations
    """
    if not alpha > 0.0:
        raise ValueError(f"alpha must be above 0, not {alpha!r}")
    if not 0.0 <= start < 1.0:
        raise ValueError(f"start must be at least 0 and below 1, not {start!r}")
    overlaps, q = [], start
    for _ in range(iterations):
        u = np.sqrt(q / (1.0 - q)) * _POINTS
        information = np.exp(-u * u - np.log(2.0 * np.pi) - log_ndtr(u))
        qhat = 2.0 * alpha / (1.0 - q) * float(_WEIGHTS @ information)
        q = min(float(_WEIGHTS @ np.tanh(qhat + np.sqrt(qhat) * _POINTS) ** 2), 1.0 - 1e-12)
        overlaps.append(q)
    return np.array(overlaps)


def generalisation_error(overlap: float | np.ndarray) -> np.ndarray:
    """Probability that the Bayes-optimal answer to a new pattern differs from the teacher's, ``arccos(sqrt(q)) / pi``."""
    return np.asarray(np.arccos(np.sqrt(np.clip(overlap, 0.0, 1.0))) / np.pi)
