"""Spins: variables with the two values -1 and +1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from factorgraph.backends import Array, Backend, device_function
from factorgraph.semiring import Semiring
from factorgraph.variables.base import DiscreteType, Plate


@dataclass(frozen=True)
class Spin(DiscreteType):
    """
    A variable with two states, -1 and +1 in this order.

    The natural parameter is the field h, which is half the log-odds of +1: ``p(x) = exp(h x) / (2 cosh h)``. The mean is
    ``tanh(h)``. An infinite field is certainty.
    """

    states = np.array([-1, 1])
    squares_matter = False

    def log_weights(self, params: Array, backend: Backend) -> Array:
        xp = backend.xp
        weights = xp.stack([-params, params])
        impossible = xp.full_like(weights, -xp.inf)
        return xp.where(xp.isnan(weights), impossible, xp.where(weights == xp.inf, xp.zeros_like(weights), weights))

    def from_log_weights(self, log_weights: Array, backend: Backend) -> Array:
        return 0.5 * (log_weights[1, ...] - log_weights[0, ...])

    def log_partition(self, params: Array, semiring: Semiring, infinite: Array | None = None) -> Array:
        if infinite is not None or semiring.mode == "max":
            return super().log_partition(params, semiring, infinite)
        xp = semiring.xp
        size = xp.abs(params)
        value = xp.where(xp.isfinite(params), size + xp.log1p(xp.exp(-2.0 * size)), xp.zeros_like(size))
        return xp.where(xp.isnan(params), xp.full_like(size, -xp.inf), value)

    def certain_mode(self, params: Array, backend: Backend) -> Array:
        certain = backend.xp.full_like(params, backend.xp.inf)
        return backend.xp.where(params > 0, certain, -certain)

    def mean(self, params: Array, backend: Backend) -> Array:
        return backend.xp.tanh(params)

    def from_mean(self, mean: Array, backend: Backend) -> Array:
        return backend.xp.atanh(mean) if hasattr(backend.xp, "atanh") else backend.xp.arctanh(mean)

    def relax_mean(self, mean: Array, params: Array, damping: float, backend: Backend) -> Array:
        return backend.elementwise(relax_spin_mean, mean, params, damping)[0]

    def variance(self, mean: Array, backend: Backend) -> Array:
        return backend.elementwise(spin_variance, mean)[0]

    def from_quadratic(self, field: Array, curvature: Array | None, backend: Backend) -> Array:
        return field

    def from_centre(self, params: Array, replicas: int, strength: float, backend: Backend) -> Array:
        return backend.elementwise(spin_centre, params, replicas, strength)[0]

    def update(self, plate: Plate, power: float | None, reinforcement: float, damping: float, backend: Backend) -> Plate:
        prior, belief, mean, variance = backend.elementwise(update_spins, *plate, power, reinforcement, damping)
        return Plate(prior, belief, plate.message, mean, variance)


_DEVICE_SOURCE = Path(__file__).with_suffix(".cu").read_text(encoding="utf-8")


@device_function(_DEVICE_SOURCE)
def relax_spin_mean(mean: Array, fields: Array, damping: float, backend: Backend) -> tuple[Array]:
    """``damping * mean + (1 - damping) * tanh(fields)``; ``mean`` may be overwritten."""
    new = backend.xp.tanh(fields)
    new *= 1.0 - damping
    mean *= damping
    mean += new
    return (mean,)


@device_function(_DEVICE_SOURCE, in_pieces=False)
def spin_variance(mean: Array, backend: Backend) -> tuple[Array]:
    """``1 - mean^2``."""
    variance = mean * mean
    return (backend.apply("subtract", 1.0, variance, out=variance),)


@device_function(_DEVICE_SOURCE)
def spin_centre(fields: Array, replicas: int, strength: float, backend: Backend) -> tuple[Array]:
    """
    Field that the centre of replicas of a spin, all with these fields, sends to one of them: `Inference.focus`.

    In odds ``A = exp(-2 |field|)``, a coupling of odds u takes A to ``(u + A) / (1 + u A)``, and fields that add up
    multiply theirs.
    """
    xp = backend.xp
    coupling = max(math.exp(-2.0 * strength), 1e-37)  # not below what single precision holds
    odds = xp.exp(-2.0 * xp.abs(fields))
    others = ((coupling + odds) / (1.0 + coupling * odds)) ** (replicas - 1)
    return (xp.copysign(-0.5 * xp.log((coupling + others) / (1.0 + coupling * others)), fields),)


@device_function(_DEVICE_SOURCE, in_pieces=False)
def update_spins(
    prior: Array,
    belief: Array,
    message: Array,
    mean: Array,
    variance: Array,
    power: float | None,
    reinforcement: float,
    damping: float,
    backend: Backend,
) -> tuple[Array, Array, Array, Array]:
    """Prior, belief, damped mean and variance, as `VariableType.update`; all but the message are overwritten."""
    base = prior if power is None else backend.apply("multiply", belief, power, out=prior)
    if reinforcement:
        belief *= reinforcement
        belief += base
        belief += message
    else:
        belief = backend.apply("add", base, message, out=belief)
    if damping:
        (mean,) = backend.elementwise(relax_spin_mean, mean, belief, damping)
    else:
        mean = backend.apply("tanh", belief, out=mean)
    variance = backend.apply("multiply", mean, mean, out=variance)
    return base, belief, mean, backend.apply("subtract", 1.0, variance, out=variance)
