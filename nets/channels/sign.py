"""Sign activations: the output is a spin, the sign of the pre-activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from factorgraph import Backend, Port, Spin, VariableType
from factorgraph.backends import Array
from nets.channels.base import Above, Channel
from nets.channels.tails import CUBIC, INVERSE_SQRT_2_PI, LARGEST_FIELD, NEAR_ZERO, SLOPE, SQRT_HALF, in_one_kernel


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


@in_one_kernel
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
    a *= SQRT_HALF
    square = a * a
    tail = backend.erfcx(a)
    tail *= 0.5
    message = 1.0 / tail
    message -= xp.exp(-square)
    message = xp.log(message)
    message += square
    message *= 0.5
    # Blended by a mask, which is several times faster than choosing element by element.
    near = NEAR_ZERO[backend.dtype_name]
    is_near = xp.astype(a < near, a.dtype)
    a = xp.minimum(a, xp.full_like(a, near))
    series = a * a
    series *= CUBIC
    series += SLOPE
    series *= a
    series -= message
    series *= is_near
    message += series
    message *= xp.sign(scaled)
    tail = xp.copysign(tail, scaled)
    scaled *= inverse_deviation
    return SignTail(message, inverse_deviation, scaled, square, tail)


@in_one_kernel
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
    size = xp.minimum(size, xp.full_like(size, LARGEST_FIELD))
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
    g *= INVERSE_SQRT_2_PI
    g /= denominator
    gamma = scaled + g
    gamma *= g
    return g, gamma


class Sign(Channel):
    """Outputs are spins: the signs of the pre-activations."""

    def check(self, output: VariableType, neurons: int) -> None:
        if not isinstance(output, Spin):
            raise TypeError(f"output of activation 'sign' must be Spin or Categorical, not {output!r}")

    def output_shape(self, neurons: int, patterns: Any) -> tuple[Any, ...]:
        return neurons, patterns

    def above(self, output: Port, backend: Backend) -> Above:
        return (output.mean * backend.xp.inf if output.observed else output.incoming,)

    def message(self, omega: Array, variance: Array, output: Port, kept: dict[str, Any], backend: Backend) -> Array:
        return self._tail(omega, variance, kept, backend).message

    def derivatives(
        self, omega: Array, variance: Array, output: Port, kept: dict[str, Any], second: bool, backend: Backend
    ) -> tuple[Array, Array | None]:
        g, gamma = backend.elementwise(sign_backward, *self._tail(omega, variance, kept, backend), *self.above(output, backend))
        return g, gamma

    def gradient(self, backend: Backend) -> Callable[..., Array]:
        def of_sums(omega: Array, variance: Array, field: Array) -> Array:
            tail = backend.elementwise(sign_forward, omega, variance)
            return backend.elementwise(sign_backward, *tail, field)[0]

        return of_sums

    def log_partition(self, omega: Array, variance: Array, output: Port, backend: Backend) -> Array:
        u = omega / backend.xp.sqrt(variance)
        if output.observed:
            return backend.xp.sum(backend.log_ndtr(output.mean * u))
        return 0.5 * backend.xp.sum(backend.log_ndtr(u) + backend.log_ndtr(-u))

    @staticmethod
    def _tail(omega: Array, variance: Array, kept: dict[str, Any], backend: Backend) -> SignTail:
        if "tail" not in kept:
            kept["tail"] = SignTail(*backend.elementwise(sign_forward, omega, variance))
        return kept["tail"]
