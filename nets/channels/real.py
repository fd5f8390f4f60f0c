"""Channels of neurons with real outputs: identity and ReLU.

What is said of the output from above is a Gaussian density in natural parameters, ``exp(B x - A x^2 / 2)``; a channel gives the
output's mean and variance, and the derivatives g and Gamma of the neuron's log-partition phi by omega, as in `Channel`
(Lucibello, Pittorino, Perugini, Zecchina 2022, appendix A.8).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from factorgraph import Backend, Port, Spin, VariableType
from factorgraph.backends import Array
from nets.channels.base import Above, Channel
from nets.channels.tails import inverse_mills
from nets.moments import VARIANCE_FLOOR

_SQRT_HALF = math.sqrt(0.5)
_FAR = 4.0  # from where the continued fraction is used
_TERMS = 40


class RealOutput(NamedTuple):
    """
    What a channel with a real output gives; all arrays ``(K, M)``.

    Attributes
    ----------
    mean, variance : of the output, from the pre-activation and from above
    g, gamma : first derivative of phi by omega, and minus the second
    """

    mean: Array
    variance: Array
    g: Array
    gamma: Array


def identity_channel(omega: Array, variance: Array, field: Array, precision: Array, backend: Backend) -> RealOutput:
    """
    The output is the pre-activation.

    Parameters
    ----------
    omega, variance : (K, M) moments of the pre-activations
    field, precision : (K, M) natural parameters B and A >= 0 from above; where A is infinite, B is the output itself
    """
    xp = backend.xp
    certain = precision == xp.inf
    finite = xp.where(certain, xp.zeros_like(precision), precision)
    scale = 1.0 + finite * variance
    g = xp.where(certain, (field - omega) / variance, (field - finite * omega) / scale)
    gamma = xp.where(certain, 1.0 / variance, finite / scale)
    mean = xp.where(certain, field, (omega + field * variance) / scale)
    return RealOutput(mean, xp.where(certain, xp.zeros_like(variance), variance / scale), g, gamma)


def relu_channel(omega: Array, variance: Array, field: Array, precision: Array, backend: Backend) -> RealOutput:
    """
    The output is the pre-activation where that is positive, else 0.

    With ``Lambda(u) = log(exp(u^2 / 2) Phi(u))``, u_0 = -omega / sqrt V, s = 1 + A V and u_1 = (omega + B V) / sqrt(V s), the
    odds of the two cases are ``exp(Lambda(u_1) - Lambda(u_0)) / sqrt s``: all large terms cancel beforehand. In each case
    the pre-activation is a normal cut at 0.

    Parameters
    ----------
    omega, variance : (K, M) moments of the pre-activations
    field, precision : (K, M) natural parameters B and A >= 0 from above; where A is infinite, B >= 0 is the output itself
    """
    xp = backend.xp
    certain = precision == xp.inf
    finite = xp.where(certain, xp.zeros_like(precision), precision)
    scale = 1.0 + finite * variance
    inverse_deviation = 1.0 / xp.sqrt(variance)
    inverse_root = 1.0 / xp.sqrt(scale)
    off, on = -omega * inverse_deviation, (omega + field * variance) * inverse_deviation * inverse_root
    odds = _log_scaled_ndtr(on, backend) - _log_scaled_ndtr(off, backend) - 0.5 * xp.log(scale)
    # What is known for certain is in one of the two cases.
    odds = xp.where(certain, xp.where(field > 0, xp.full_like(odds, xp.inf), xp.full_like(odds, -xp.inf)), odds)
    rarer = xp.exp(-xp.abs(odds))
    share = xp.where(odds > 0, xp.ones_like(rarer), rarer) / (1.0 + rarer)
    both = rarer / ((1.0 + rarer) * (1.0 + rarer))  # share (1 - share)
    ratio, above, spread = _cut(on, backend)
    deviation = inverse_root / inverse_deviation
    here = deviation * above  # mean of the normal cut at 0
    mean = share * here
    spread_of_output = share * deviation * deviation * spread + both * here * here
    off_ratio, _, off_spread = _cut(off, backend)
    # Derivatives of the log-weight of either case.
    g_off, gamma_off = -off_ratio * inverse_deviation, (1.0 - off_spread) / variance
    slope = ratio * inverse_deviation * inverse_root + (field - finite * omega) / scale
    curvature = finite / scale + (1.0 - spread) / (variance * scale)
    given = identity_channel(omega, variance, field, precision, backend)
    g_on, gamma_on = xp.where(certain, given.g, slope), xp.where(certain, given.gamma, curvature)
    apart = g_on - g_off
    g = share * g_on + (1.0 - share) * g_off
    gamma = share * gamma_on + (1.0 - share) * gamma_off - both * apart * apart
    zero = xp.zeros_like(mean)
    return RealOutput(xp.where(certain, field, mean), xp.where(certain, zero, spread_of_output), g, gamma)


def _log_scaled_ndtr(u: Array, backend: Backend) -> Array:
    """``log(exp(u^2 / 2) Phi(u))``, stable for all u."""
    xp = backend.xp
    a = _SQRT_HALF * xp.abs(u)
    tail = 0.5 * backend.erfcx(a)
    square = a * a
    return xp.where(u < 0, xp.log(tail), square + xp.log1p(-xp.exp(-square) * tail))


def _cut(u: Array, backend: Backend) -> tuple[Array, Array, Array]:
    """
    The standard normal of mean u where it is above 0: ``phi(u) / Phi(u)``, its mean ``u + phi / Phi``, and its variance.

    Far below 0, where these cancel, with a = -u by the continued fraction ``u + phi / Phi = 1 / (a + 2 / (a + 3 / ...))``.
    """
    xp = backend.xp
    ratio = inverse_mills(u, backend)[0]
    a = xp.maximum(-u, xp.full_like(u, _FAR))
    rest: Any = a
    for term in range(_TERMS, 2, -1):
        rest = a + term / rest
    rest = 2.0 / rest
    far_mean = 1.0 / (a + rest)
    is_far = u < -_FAR
    mean = xp.where(is_far, far_mean, u + ratio)
    spread = xp.where(is_far, (rest - far_mean) * far_mean, 1.0 - ratio * (u + ratio))
    return xp.where(is_far, a + far_mean, ratio), mean, spread


FUNCTIONS = {"identity": identity_channel, "relu": relu_channel}


class Real(Channel):
    """
    Outputs are normal variables: a function of the pre-activations.

    Parameters
    ----------
    name : str
    function : `identity_channel` or another of its signature
    scale : float
        What pre-activations are multiplied by beforehand.
    """

    def __init__(self, name: str, function: Callable[..., RealOutput], scale: float) -> None:
        self._name, self._function, self._scale = name, function, scale

    def check(self, output: VariableType, neurons: int) -> None:
        if isinstance(output, Spin) or type(output).from_quadratic is VariableType.from_quadratic:
            raise TypeError(f"output of activation {self._name!r} must be Gaussian, not {output!r}")
        self._kind = output

    def output_shape(self, neurons: int, patterns: Any) -> tuple[Any, ...]:
        return neurons, patterns

    def above(self, output: Port, backend: Backend) -> Above:
        """Natural parameters; for data the values and infinite precision."""
        if output.observed:
            return output.mean, backend.xp.full_like(output.mean, backend.xp.inf)
        incoming = output.incoming
        return incoming[0, ...], incoming[1, ...]

    def message(self, omega: Array, variance: Array, output: Port, kept: dict[str, Any], backend: Backend) -> Array:
        """That which gives the belief the channel's moments: a normal density for what need not be one."""
        field, precision = self.above(output, backend)
        found = self._outcome((omega, variance, field, precision), backend)
        floor = backend.xp.full_like(precision, VARIANCE_FLOOR)
        own = backend.xp.maximum(1.0 / backend.xp.maximum(found.variance, floor) - precision, floor)
        return self._kind.from_quadratic(found.mean * (own + precision) - field, own, backend)

    def derivatives(
        self, omega: Array, variance: Array, output: Port, kept: dict[str, Any], second: bool, backend: Backend
    ) -> tuple[Array, Array | None]:
        found = self._outcome((omega, variance, *self.above(output, backend)), backend)
        return found.g, found.gamma

    def gradient(self, backend: Backend) -> Callable[..., Array]:
        return lambda *arrays: self._outcome(arrays, backend).g

    def _outcome(self, arrays: tuple[Array, ...], backend: Backend) -> RealOutput:
        """Given omega, V, B and A, of the sums themselves: derivatives by what is scaled are scaled back."""
        (omega, variance, field, precision), scale = arrays, self._scale
        found = self._function(scale * omega, scale * scale * variance, field, precision, backend)
        return found._replace(g=scale * found.g, gamma=scale * scale * found.gamma)
