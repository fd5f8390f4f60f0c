"""Activation channels: what a neuron's output says of its pre-activation, and the other way round.

The pre-activation of a neuron is Gaussian by the central limit theorem, with mean omega and variance V. A channel gives the
message up to the output, and the derivatives of the neuron's log-partition phi by omega:

    g = d phi / d omega,    Gamma = - d^2 phi / d omega^2

(Lucibello, Pittorino, Perugini, Zecchina 2022, appendix A). All forms are finite in float32 and float64 for any omega, V and
incoming field, infinite fields (labels) included.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from factorgraph import Backend
from factorgraph.backends import Array, device_function

_SQRT_HALF = float(np.sqrt(0.5))
_INVERSE_SQRT_2_PI = float(1 / np.sqrt(2 * np.pi))
# atanh(erf(a)) = a (c_1 + c_3 a^2) + O(2e-4 a^5), used below the second number, where its logarithmic form cancels.
_SLOPE = float(2 / np.sqrt(np.pi))
_CUBIC = (_SLOPE**3 - _SLOPE) / 3
_NEAR_ZERO = {"float32": 0.25, "float64": 0.003}
_LARGEST_FIELD = 1e30
_OUT_OF_REACH = 11.5  # standard deviations that a normal variable exceeds with a probability of less than 1e-30
_FEW = 1 << 16  # entries of arrays that cost less than the calls that would spare them
_NODES = np.polynomial.hermite_e.hermegauss(24)
_POINTS, _WEIGHTS = _NODES[0].tolist(), (_NODES[1] / _NODES[1].sum()).tolist()
_LOG_WEIGHTS = np.log(_WEIGHTS).tolist()


def _device_source() -> str:
    """The same functions as kernels, with the same constants."""
    near = "(sizeof(T) == 4 ? {float32!r} : {float64!r})".format(**_NEAR_ZERO)
    constants = {
        "SQRT_HALF": _SQRT_HALF,
        "INVERSE_SQRT_2_PI": _INVERSE_SQRT_2_PI,
        "SLOPE": _SLOPE,
        "CUBIC": _CUBIC,
        "NEAR_ZERO": near,
        "LARGEST_FIELD": _LARGEST_FIELD,
        "POINTS": ", ".join(f"(T){x!r}" for x in _POINTS),
        "WEIGHTS": ", ".join(f"(T){x!r}" for x in _WEIGHTS),
    }
    defines = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    return defines + Path(__file__).with_name("channels.cu").read_text(encoding="utf-8")


_in_one_kernel = device_function(_device_source())


class SignTail(NamedTuple):
    """What one evaluation of erfcx gives for a sign channel at ``u = omega / sqrt(V)``; all arrays ``(K, M)``.

    Attributes
    ----------
    message : message up, ``atanh(erf(u / sqrt 2))``: the field on the output spin
    inverse_deviation : ``1 / sqrt(V)``
    scaled : ``omega / V``
    square : ``u^2 / 2``
    tail : ``erfcx(|u| / sqrt 2) / 2`` with the sign of u: what the Gaussian ``exp(-square)`` is to be multiplied by for the
        probability of the less likely sign
    """

    message: Array
    inverse_deviation: Array
    scaled: Array
    square: Array
    tail: Array


@_in_one_kernel
def sign_forward(omega: Array, variance: Array, backend: Backend) -> SignTail:
    """
    Message from a neuron with a sign activation to its output spin.

    With a = |u| / sqrt 2 and e = erfcx(a) the less likely sign has probability ``q = exp(-a^2) e / 2``, and the field is
    ``sign(u) log((1 - q) / q) / 2 = sign(u) (log(2 / e - exp(-a^2)) + a^2) / 2``; near 0, where this cancels, the
    beginning of its Taylor series.

    Parameters
    ----------
    omega, variance : (K, M) mean and (positive) variance of the pre-activations
    """
    xp = backend.xp
    inverse_deviation = 1.0 / xp.sqrt(variance)
    scaled = omega * inverse_deviation
    a = xp.abs(scaled)
    a *= _SQRT_HALF
    square = a * a
    tail = backend.erfcx(a)
    tail *= 0.5
    message = 1.0 / tail
    message -= xp.exp(-square)
    message = xp.log(message)
    message += square
    message *= 0.5
    # Blended by a mask, which is several times faster than choosing element by element.
    near = _NEAR_ZERO[backend.dtype_name]
    is_near = xp.astype(a < near, a.dtype)
    a = xp.minimum(a, xp.full_like(a, near))
    series = a * a
    series *= _CUBIC
    series += _SLOPE
    series *= a
    series -= message
    series *= is_near
    message += series
    message *= xp.sign(scaled)
    tail = xp.copysign(tail, scaled)
    scaled *= inverse_deviation
    return SignTail(message, inverse_deviation, scaled, square, tail)


@_in_one_kernel
def sign_backward(
    message: Array,
    inverse_deviation: Array,
    scaled: Array,
    square: Array,
    tail: Array,
    field: Array,
    backend: Backend,
) -> tuple[Array, Array]:
    """
    Derivatives of the log-partition of a neuron with a sign activation.

    For an incoming field B on the output (infinite for a label), s = sign(B), S = s (1 - exp(-2 |B|)) and a, e as in
    `sign_forward`,

        g = S / (sqrt(2 pi V) D),    D = exp(a^2 - |B| + sign(u) B) - sign(u) S e / 2,    Gamma = g (omega / V + g).

    D is the probability that the output agrees with the field, over its Gaussian factor: a sum of positive terms where B
    and u differ in sign, at least 1/2 where they do not. Where the exponential overflows, g is 0.

    Parameters
    ----------
    message, inverse_deviation, scaled, square, tail : (K, M) from `sign_forward`
    field : (K, M) incoming field B, finite or infinite

    Returns
    -------
    g, Gamma : (K, M) arrays
    """
    xp = backend.xp
    size = xp.abs(field)
    size = xp.minimum(size, xp.full_like(size, _LARGEST_FIELD))
    # 1 - exp(-2 |B|) = 2 tanh|B| / (1 + tanh|B|)
    g = xp.tanh(size)
    strength = g + 1.0
    g /= strength
    g *= 2.0
    g = xp.copysign(g, field)
    against = xp.sign(tail)
    against *= xp.copysign(size, field)
    against -= size
    against += square
    denominator = xp.exp(against)
    denominator -= g * tail
    g *= inverse_deviation
    g *= _INVERSE_SQRT_2_PI
    g /= denominator
    gamma = scaled + g
    gamma *= g
    return g, gamma


@_in_one_kernel
def inverse_mills(x: Array, backend: Backend) -> tuple[Array]:
    """``phi(x) / Phi(x)`` of the standard normal density and distribution function, stable for all x."""
    xp = backend.xp
    a = _SQRT_HALF * xp.abs(x)
    unlikely = 2.0 / backend.erfcx(a)
    gauss = xp.exp(-a * a)
    likely = gauss / (unlikely - gauss)
    return (xp.where(x >= 0, likely, xp.ones_like(likely)) * unlikely * _INVERSE_SQRT_2_PI,)


@_in_one_kernel
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


@_in_one_kernel
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
    points, log_weights = (xp.reshape(backend.asarray(v), (-1, 1, 1)) for v in (_POINTS, _LOG_WEIGHTS))
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


@_in_one_kernel
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
    # Where a class is so far below the largest mean that the pair alone makes it less probable than that, it is passed over.
    gap = xp.max(omega, axis=0, keepdims=True) - omega
    reached = ~(gap > _OUT_OF_REACH * xp.sqrt(variance + xp.max(variance, axis=0, keepdims=True)))
    inverse_deviation = 1.0 / xp.sqrt(variance)
    points, weights = (xp.reshape(backend.asarray(values), (-1, 1)) for values in (_POINTS, _WEIGHTS))
    classes, number = omega.shape[0], len(_POINTS)
    if number * classes * omega.size <= _FEW:  # all at once, (point, k, j, pattern)
        z = omega + xp.expand_dims(points, axis=2) / inverse_deviation
        below = backend.ndtr((xp.expand_dims(z, axis=2) - omega) * inverse_deviation)
        own = xp.reshape(xp.eye(classes, dtype=omega.dtype, device=backend.device), (classes, classes, 1))
        won = xp.sum(xp.expand_dims(weights, axis=2) * xp.prod(below * (1.0 - own) + own, axis=2), axis=0)
        return (xp.clip(won, 1e-30, None),)
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


@_in_one_kernel
def log_shares(wins: Array, backend: Backend) -> tuple[Array]:
    """Logarithms of the shares of each column's sum."""
    return (backend.xp.log(wins / backend.xp.sum(wins, axis=0, keepdims=True)),)
