"""State evolution: the theory of message passing in binary perceptrons and committees that learn from a teacher.

In the limit of many inputs, one number describes approximate message passing: the overlap with the teacher. A map gives this
overlap from one iteration to the next, and with it the generalisation error (Barbier, Krzakala, Macris, Miolane, Zdeborova,
PNAS 116 (2019) 5451; committees: Aubin, Maillard, Barbier, Krzakala, Macris, Zdeborova, NeurIPS 2018).
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, ndtr

_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(201)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def perceptron_overlaps(alpha: float, iterations: int, start: float = 0.0) -> np.ndarray:
    """
    Overlap with the teacher after each iteration, for a perceptron with weights of +-1 that learns from random patterns.

    Let q be the overlap. Then ``qhat = 2 alpha / (1 - q) E_z phi(u)^2 / Phi(u)`` with ``u = z sqrt(q / (1 - q))``, and the next
    overlap is ``E_z tanh(qhat + z sqrt(qhat))^2``. Here z is a standard normal number, and phi and Phi are its density and
    distribution function.

    Parameters
    ----------
    alpha : patterns for each input, above 0
    iterations : int
    start : overlap in [0, 1) before the first iteration
        0 starts without knowledge. A value near 1 shows whether better solutions exist.

    Returns
    -------
    (iterations,) array of overlaps. For Bayes-optimal inference, the overlap is also the mean of the squared magnetisations.
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
        q = _next_overlap(qhat)
        overlaps.append(q)
    return np.array(overlaps)


def _next_overlap(qhat: float) -> float:
    return min(float(_WEIGHTS @ np.tanh(qhat + np.sqrt(qhat) * _POINTS) ** 2), 1.0 - 1e-12)


def committee_overlaps(alpha: float, units: int, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Overlap and error after each iteration, for a tree committee that learns from a teacher of the same kind.

    Each unit is a perceptron with weights of +-1 and inputs of its own. The answer of the committee is that of the majority.
    Let u_k be as for a perceptron, P the probability of the answer given all u_k, and p the probability that the votes of the
    other units are balanced. Then ``qhat = alpha_1 / (1 - q) E (phi(u_1) p)^2 / (P (1 - P))``, where alpha_1 is the number of
    patterns for each input of a unit.

    Parameters
    ----------
    alpha : patterns for each weight, above 0
    units : odd number; 1 is a perceptron
    iterations : int

    Returns
    -------
    overlaps : (iterations,) overlap of each unit with the teacher's unit
    errors : (iterations,) probability that the Bayes-optimal answer to a new pattern differs from the teacher's
    """
    if not alpha > 0.0:
        raise ValueError(f"alpha must be above 0, not {alpha!r}")
    if units < 1 or units % 2 == 0:
        raise ValueError(f"a majority needs an odd number of units, not {units!r}")
    points, weights = np.polynomial.hermite_e.hermegauss(int(5e5 ** (1 / max(units, 2)) if units > 1 else 201))
    weights = weights / weights.sum()
    grids = np.meshgrid(*[points] * units, indexing="ij")
    weight = np.prod(np.meshgrid(*[weights] * units, indexing="ij"), axis=0)
    overlaps, errors, q = [], [], 0.0
    for _ in range(iterations):
        slope, plus, minus = _majority([np.sqrt(q / (1.0 - q)) * grid for grid in grids])
        either = plus * minus  # 0 only where the slope is 0 long before
        information = np.divide(slope * slope, either, out=np.zeros_like(slope), where=either > 0.0)
        q = _next_overlap(units * alpha / (1.0 - q) * float(np.sum(weight * information)))
        _, plus, minus = _majority([np.sqrt(q / (1.0 - q)) * grid for grid in grids])
        overlaps.append(q)
        errors.append(float(np.sum(weight * np.minimum(plus, minus))))
    return np.array(overlaps), np.array(errors)


def _majority(u: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that the majority of independent signs is +1, and -1; before them the first one's derivative by u_1."""
    counts = [np.ones_like(u[0])]  # probabilities that so many of the units but the first are +1
    for other in u[1:]:
        plus, minus, none = ndtr(other), ndtr(-other), [np.zeros_like(other)]
        counts = [few * minus + more * plus for few, more in zip(counts + none, none + counts, strict=True)]
    half = len(u) // 2
    density = np.exp(-0.5 * u[0] * u[0]) / np.sqrt(2.0 * np.pi)
    more, less = (sum(part, np.zeros_like(u[0])) for part in (counts[half + 1 :], counts[:half]))
    return density * counts[half], more + ndtr(u[0]) * counts[half], less + ndtr(-u[0]) * counts[half]


def generalisation_error(overlap: float | np.ndarray) -> np.ndarray:
    """Probability that the Bayes-optimal answer to a new pattern differs from the teacher's, ``arccos(sqrt(q)) / pi``."""
    return np.asarray(np.arccos(np.sqrt(np.clip(overlap, 0.0, 1.0))) / np.pi)
