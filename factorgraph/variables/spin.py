"""Spins: variables with the two values -1 and +1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factorgraph.backends import Array, Backend, Plate
from factorgraph.semiring import Semiring
from factorgraph.variables.base import DiscreteType


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
        return backend.relax_spin_mean(mean, params, damping)

    def variance(self, mean: Array, backend: Backend) -> Array:
        return backend.spin_variance(mean)

    def from_quadratic(self, field: Array, curvature: Array | None, backend: Backend) -> Array:
        return field

    def from_centre(self, params: Array, replicas: int, strength: float, backend: Backend) -> Array:
        return backend.spin_centre(params, replicas, strength)

    def update(self, plate: Plate, power: float | None, reinforcement: float, damping: float, backend: Backend) -> Plate:
        return backend.update_spins(plate, power, reinforcement, damping)
