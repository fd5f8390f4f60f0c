"""Argmax outputs: the output is the class with the largest pre-activation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from factorgraph import Backend, Categorical, Port, VariableType
from factorgraph.backends import Array
from nets.channels.base import Above, Channel
from nets.channels.tails import POINTS, WEIGHTS, in_one_kernel, inverse_mills

_OUT_OF_REACH = 11.5  # standard deviations that a normal variable exceeds with a probability of less than 1e-30
_FEW = 1 << 16  # entries of arrays that cost less than the calls that would spare them
_LOG_WEIGHTS = np.log(WEIGHTS).tolist()


@in_one_kernel
def argmax_backward(omega: Array, variance: Array, label: Array, backend: Backend) -> tuple[Array]:
    """
    Gradient of the log-probability that the labelled class has the largest pre-activation, pair by pair.

    For the label c, ``phi = sum_k log Phi((omega_c - omega_k) / sqrt(V_k + V_c))`` over the other classes k (the
    paper's second approach, appendix A.9).

    Parameters
    ----------
    omega, variance : (K, M) moments of the pre-activations of the K classes
    label : (K, M) one-hot labels

    Returns
    -------
    g : (K, M)
    """
    xp = backend.xp
    omega_c = xp.sum(label * omega, axis=0, keepdims=True)
    variance_c = xp.sum(label * variance, axis=0, keepdims=True)
    inverse_deviation = 1.0 / xp.sqrt(variance + variance_c)
    (ratio,) = inverse_mills((omega_c - omega) * inverse_deviation, backend)
    others = (label - 1.0) * ratio * inverse_deviation
    return (others - label * xp.sum(others, axis=0, keepdims=True),)


@in_one_kernel
def argmax_exact_backward(omega: Array, variance: Array, label: Array, backend: Backend) -> tuple[Array]:
    """
    Gradient of the log-probability that the labelled class has the largest pre-activation.

    With c the label, z Gaussian of its moments and u_k = (z - omega_k) / sqrt(V_k), the probability is ``E_z prod_k Phi(u_k)``
    over the other classes k, by Gauss-Hermite quadrature on 24 points. Its gradient is ``-E r(u_k) / sqrt(V_k)`` with r = phi /
    Phi, each point weighing as much as it adds to the probability; for c the others' with the sign turned.

    Parameters
    ----------
    omega, variance : (K, M) moments of the pre-activations of the K classes
    label : (K, M) one-hot labels

    Returns
    -------
    g : (K, M)
    """
    return (_label_terms(omega, variance, label, False, backend)[1],)


def _label_terms(
    omega: Array, variance: Array, label: Array, second: bool, backend: Backend
) -> tuple[Array, Array, Array | None]:
    """
    The label's probability P, by the quadrature of `argmax_exact_backward`.

    Returns
    -------
    log P ``(1, M)``, its gradient ``(K, M)``, and if asked ``(d^2 P / d omega_k^2) / P``, ``(K, M)``
    """
    xp = backend.xp
    points, log_weights = (xp.reshape(backend.asarray(v), (-1, 1, 1)) for v in (POINTS, _LOG_WEIGHTS))
    omega_c = xp.sum(label * omega, axis=0)
    deviation_c = xp.sqrt(xp.sum(label * variance, axis=0))
    inverse_deviation = 1.0 / xp.sqrt(variance)
    u = (omega_c + points * deviation_c - omega) * inverse_deviation  # (point, neuron, pattern)
    logarithms = log_weights + xp.sum((1.0 - label) * backend.log_ndtr(u), axis=1, keepdims=True)
    log_probability = backend.log_sum_exp(logarithms, 0)
    shares = xp.exp(logarithms - log_probability)
    ratio = (1.0 - label) * inverse_mills(u, backend)[0] * inverse_deviation
    pull = xp.sum(ratio, axis=1, keepdims=True)
    g = xp.sum(shares * (label * pull - ratio), axis=0)
    if not second:
        return log_probability, g, None
    bend = -ratio * u * inverse_deviation
    bend = bend + label * (pull * pull + xp.sum(bend - ratio * ratio, axis=1, keepdims=True))
    return log_probability, g, xp.sum(shares * bend, axis=0)


def argmax_curvature(omega: Array, variance: Array, label: Array, backend: Backend) -> Array:
    """Gamma to `argmax_backward`, ``(K, M)``: ``r (u + r) / (V_k + V_c)`` of each pair, and for the label their sum."""
    xp = backend.xp
    omega_c = xp.sum(label * omega, axis=0, keepdims=True)
    inverse = 1.0 / (variance + xp.sum(label * variance, axis=0, keepdims=True))
    u = (omega_c - omega) * xp.sqrt(inverse)
    (ratio,) = inverse_mills(u, backend)
    others = (1.0 - label) * ratio * (u + ratio) * inverse
    return others + label * xp.sum(others, axis=0, keepdims=True)


def class_derivatives(
    omega: Array, variance: Array, log_weights: Array, second: bool, backend: Backend
) -> tuple[Array, Array | None]:
    """
    Derivatives of ``phi = log sum_c s_c P(class c has the largest pre-activation)`` by omega, for soft labels s.

    Some class wins: phi is also ``log (s_0 + sum_c (s_c - s_0) P_c)`` with s_0 the least of s. So only classes that stand out
    are integrated over, as in `argmax_exact_backward`, one for a label in doubt: those that stand out most in each pattern,
    then those after them, until there are none.

    Parameters
    ----------
    omega, variance : (K, M) moments of the pre-activations of the K classes
    log_weights : (K, M) log s, up to a constant for each pattern; -inf rules a class out
    second : whether Gamma is asked for

    Returns
    -------
    g, Gamma : (K, M); None in place of a Gamma that was not asked for
    """
    xp = backend.xp
    log_weights = log_weights - xp.max(log_weights, axis=0, keepdims=True)
    least = xp.min(log_weights, axis=0, keepdims=True)
    excess = xp.exp(log_weights) - xp.exp(least)
    classes = xp.reshape(backend.index_array(range(omega.shape[0])), (-1, 1))
    logarithms, slopes, bends = [least], [xp.zeros_like(omega)], [xp.zeros_like(omega)]  # of the constant s_0 first
    while backend.largest(excess) > 0:
        label = xp.astype(classes == xp.argmax(excess, axis=0), omega.dtype)
        log_probability, slope, bend = _label_terms(omega, variance, label, second, backend)
        logarithms.append(xp.log(xp.sum(label * excess, axis=0, keepdims=True)) + log_probability)
        slopes.append(slope)
        if bend is not None:
            bends.append(bend)
        excess = excess * (1.0 - label)
    terms = xp.stack(logarithms)
    shares = xp.exp(terms - backend.log_sum_exp(terms, 0))
    g = xp.sum(shares * xp.stack(slopes), axis=0)
    return g, g * g - xp.sum(shares * xp.stack(bends), axis=0) if second else None


def argmax_forward(omega: Array, variance: Array, backend: Backend) -> tuple[Array]:
    """
    Log-probability of each class to have the largest pre-activation, ``(K, M)``.

    Parameters
    ----------
    omega, variance : (K, M) moments of the pre-activations of the K classes
    """
    return backend.elementwise(log_shares, *backend.elementwise(class_wins, omega, variance))


@in_one_kernel
def class_wins(omega: Array, variance: Array, backend: Backend) -> tuple[Array]:
    """
    Probability of each class to have the largest pre-activation, by quadrature, ``(K, M)``.

    ``P(k wins) = E_z prod_{j != k} Phi((z - omega_j) / sqrt V_j)`` with z Gaussian of class k's moments, by Gauss-Hermite
    quadrature on 24 points; probabilities below 1e-30 are given as that.

    Parameters
    ----------
    omega, variance : (K, M) moments of the pre-activations of the K classes
    """
    xp = backend.xp
    inverse_deviation = 1.0 / xp.sqrt(variance)
    points, weights = (xp.reshape(backend.asarray(values), (-1, 1)) for values in (POINTS, WEIGHTS))
    classes, number = omega.shape[0], len(POINTS)
    if number * classes * omega.size <= _FEW:  # all at once, (point, k, j, pattern)
        z = omega + points[..., None] / inverse_deviation
        below = (z[:, :, None, ...] - omega) * inverse_deviation
        # The class itself is no rival: infinitely far below.
        below = below + xp.reshape(backend.asarray(_itself(classes)), (classes, classes, 1))
        won = xp.sum(weights[..., None] * xp.prod(backend.ndtr(below), axis=2), axis=0)
        return (xp.clip(won, 1e-30, None),)
    # Where a class is so far below the largest mean that the pair alone makes it less probable than that, it is passed over.
    gap = xp.max(omega, axis=0, keepdims=True) - omega
    reached = ~(gap > _OUT_OF_REACH * xp.sqrt(variance + xp.max(variance, axis=0, keepdims=True)))
    rows = []
    for k in range(omega.shape[0]):
        row = xp.full_like(omega[k, ...], 1e-30)
        (patterns,) = xp.nonzero(reached[k, ...])
        means, inverse = xp.take(omega, patterns, axis=1), xp.take(inverse_deviation, patterns, axis=1)
        below = xp.expand_dims(means[k, ...] + points / inverse[k, ...], axis=1) - means  # (point, class, pattern)
        below *= inverse
        below = backend.ndtr(below)
        below[:, k, :] = 1.0
        row[reached[k, ...]] = xp.clip(xp.sum(weights * xp.prod(below, axis=1), axis=0), 1e-30, None)
        rows.append(row)
    return (xp.stack(rows),)


@lru_cache
def _itself(classes: int) -> np.ndarray:
    """Infinite on the diagonal, else 0, ``(classes, classes)``."""
    return np.where(np.eye(classes, dtype=np.bool_), np.inf, 0.0)


@in_one_kernel
def log_shares(wins: Array, backend: Backend) -> tuple[Array]:
    """Logarithms of the shares of each column's sum."""
    return (backend.xp.log(wins / backend.xp.sum(wins, axis=0, keepdims=True)),)


class Argmax(Channel):
    """
    The output is categorical: the neuron with the largest pre-activation.

    One that is not observed but has a prior is a soft label: see `class_derivatives`.

    Parameters
    ----------
    exact : bool
        Whether the probability of a label is the integral that it is, or the product over pairs of neurons. Soft labels take
        the integral in any case.
    """

    takes_cavities = False

    def __init__(self, exact: bool) -> None:
        self._exact = exact

    def check(self, output: VariableType, neurons: int) -> None:
        if isinstance(output, Categorical) and output.num_states != neurons:
            raise ValueError(f"{neurons} neurons need an output of {neurons} states, not {output.num_states}")

    def output_shape(self, neurons: int, patterns: Any) -> tuple[Any, ...]:
        return (patterns,)

    def above(self, output: Port, backend: Backend) -> Above:
        return (output.mean if output.observed else output.incoming,)

    def message(self, omega: Array, variance: Array, output: Port, kept: dict[str, Any], backend: Backend) -> Array:
        return argmax_forward(omega, variance, backend)[0]

    def derivatives(
        self, omega: Array, variance: Array, output: Port, kept: dict[str, Any], second: bool, backend: Backend
    ) -> tuple[Array, Array | None]:
        (label,) = self.above(output, backend)
        if not output.observed:
            return class_derivatives(omega, variance, label, second, backend)
        if self._exact and second:
            return class_derivatives(omega, variance, backend.xp.log(label), True, backend)
        if self._exact:
            return backend.elementwise(argmax_exact_backward, omega, variance, label)[0], None
        (g,) = backend.elementwise(argmax_backward, omega, variance, label)
        return g, argmax_curvature(omega, variance, label, backend) if second else None

    def log_partition(self, omega: Array, variance: Array, output: Port, backend: Backend) -> Array:
        (wins,) = argmax_forward(omega, variance, backend)
        return backend.xp.sum(output.mean * wins if output.observed else backend.xp.zeros_like(wins))

    def can_be_recorded(self, observed: bool, second: bool) -> bool:
        return observed and not (self._exact and second)  # else how many classes stand out is read back
