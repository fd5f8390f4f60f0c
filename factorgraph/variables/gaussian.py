"""Real variables with normal beliefs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.semiring import Semiring
from factorgraph.variables.base import VariableType
from factorgraph.variables.gaussian_vector import GaussianVector
from factorgraph.variables.normal_relations import NormalRelations

_CLOSE = 1e-6  # certain values that differ by less, relative to their size, do not contradict


@dataclass(frozen=True)
class Gaussian(VariableType):
    """
    A real variable with a normal belief. With a dimension, ``Gaussian(d)`` is a vector: see `GaussianVector`.

    The natural parameters are ``(h, J)``, where J is the precision and h is the precision times the mean. The density is
    ``exp(h x - J x^2 / 2)``, with mean ``h / J`` and variance ``1 / J``. Zero precision is a flat, improper density. Messages
    may have negative precision as long as beliefs do not. Infinite precision is certainty, and then ``h`` is the value itself.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Gaussian(), shape=(3,))
    >>> graph.set_prior(x[0], fg.Gaussian.from_moments(mean=1.0, variance=4.0))
    >>> _ = graph.add_factors("walk", fg.LinearGaussian([1, -1], noise_variance=1.0), x[1:], x[:-1])
    >>> graph.observe(x[2], 4.0)
    >>> fg.run(graph).marginals(x).round(4).tolist()                 # mean and variance
    [[3.0, 1.3333], [3.5, 0.8333], [4.0, 0.0]]
    """

    param_shape = (2,)
    certainty_absorbs = False
    proper_messages = False
    can_diverge = True
    has_scale = True

    def __new__(cls, dimension: int | None = None) -> Any:
        """Return a `GaussianVector` if a dimension is given."""
        return super().__new__(cls) if dimension is None else GaussianVector(dimension)

    @staticmethod
    def from_moments(mean: float | np.ndarray, variance: float | np.ndarray) -> np.ndarray:
        """
        Natural parameters ``(..., 2)`` from a mean and a variance, for `FactorGraph.set_prior`.

        Raises
        ------
        ValueError
            A variance is not positive.
        """
        mean, variance = np.broadcast_arrays(np.asarray(mean, dtype=np.float64), np.asarray(variance, dtype=np.float64))
        if not (variance > 0).all():
            raise ValueError(
                f"a prior's variance must be positive, not {variance[~(variance > 0)][0]}; observe variables that are certain "
                "(for vectors of d numbers and their covariances, use fg.Gaussian(d).from_moments)"
            )
        return np.stack([mean / variance, 1.0 / variance], axis=-1)

    def log_partition(self, params: Array, semiring: Semiring, infinite: Array | None = None) -> Array:
        xp = semiring.xp
        h, precision = params[0, ...], params[1, ...]
        proper, certain = precision > 0, precision == xp.inf
        safe = xp.where(proper & ~certain, precision, xp.ones_like(precision))
        value = h * h / (2.0 * safe)
        if semiring.mode == "sum":
            value = value + 0.5 * (math.log(2.0 * math.pi) - xp.log(safe))
        flat_maximum = (precision == 0) & (h == 0) if semiring.mode == "max" else precision != precision
        value = xp.where(proper, value, xp.where(flat_maximum, xp.zeros_like(h), xp.full_like(h, xp.inf)))
        value = xp.where(certain, xp.zeros_like(h), value)
        if infinite is None:
            return value
        count = infinite[0, 1, ...]
        given = infinite[0, 0, ...] / xp.where(count > 0.5, count, xp.ones_like(count))
        return xp.where(count > 0.5, (h - 0.5 * precision * given) * given, value)

    def marginals(self, params: Array, backend: Backend) -> Array:
        """Mean and variance, ``(2, n)``; NaN and inf if the belief is improper."""
        return self.mean(params, backend)

    def marginal_names(self) -> list[Any]:
        return ["mean", "variance"]

    def mode(self, params: Array, backend: Backend) -> Array:
        return self.mean(params, backend)[0, ...]

    def certain_mode(self, params: Array, backend: Backend) -> Array:
        mean = self.mode(params, backend)
        return backend.xp.stack([mean, backend.xp.full_like(mean, backend.xp.inf)])

    # Mean parameters are kept as mean and variance, which lose no digits where the one is far larger than the other.

    def mean(self, params: Array, backend: Backend) -> Array:
        """Mean and variance, ``(2, n)``; NaN and inf if the belief is improper."""
        xp = backend.xp
        h, precision = params[0, ...], params[1, ...]
        mean = xp.where(precision > 0, h / precision, xp.full_like(h, xp.nan))
        mean = xp.where(precision == xp.inf, h, mean)
        return xp.stack([mean, xp.where(precision > 0, 1.0 / precision, xp.full_like(precision, xp.inf))])

    def centre(self, params: Array, backend: Backend) -> tuple[Array, Array]:
        """Mean, ``(n,)``, and the same belief with the mean as origin, for `Factor.centred_log_partition`."""
        mean = self.mean(params, backend)[0, ...]
        return mean, backend.xp.stack([backend.xp.zeros_like(mean), params[1, ...]])

    def from_mean(self, mean: Array, backend: Backend) -> Array:
        xp = backend.xp
        value, precision = mean[0, ...], 1.0 / mean[1, ...]
        return xp.stack([xp.where(precision == xp.inf, value, value * precision), precision])

    def mix_means(self, old: Array, new: Array, share: float | Array) -> Array:
        """Mix first and second moments."""
        mixed = super().mix_means(old, new, share)
        step = new[0, ...] - old[0, ...]
        mixed[1, ...] += (share * (1.0 - share)) * step * step
        return mixed

    def expectation(self, mean: Array, backend: Backend) -> Array:
        return mean[0, ...]

    def variance(self, mean: Array, backend: Backend) -> Array:
        return mean[1, ...]

    def certain_mean(self, values: np.ndarray) -> np.ndarray:
        return np.stack([values, np.zeros_like(values, dtype=np.float64)])

    def from_quadratic(self, field: Array, curvature: Array | None, backend: Backend) -> Array:
        assert curvature is not None
        return backend.xp.stack([field, curvature])

    def change_size(self, change: Array, belief: Array, backend: Backend) -> Array:
        """
        The larger of two changes: that of the mean, in standard deviations, and that of the precision, as a fraction of it.
        """
        xp = backend.xp
        certain, infinite = belief[1, ...] == xp.inf, xp.isinf(change[1, ...])
        after = xp.where(certain | infinite, xp.ones_like(belief[1, ...]), belief[1, ...] + change[1, ...])
        precision = xp.abs(after)
        safe = xp.where(precision > 0, precision, xp.ones_like(precision))
        mean = xp.where(after > 0, (belief[0, ...] + change[0, ...]) / safe, xp.zeros_like(safe))
        shift = xp.abs(change[0, ...] - mean * change[1, ...]) / xp.sqrt(safe)
        size = xp.maximum(xp.abs(change[1, ...]) / safe, shift)
        return xp.where(certain, xp.zeros_like(size), xp.where(infinite, xp.full_like(size, xp.inf), size))

    def relations(self, backend: Backend) -> NormalRelations:
        return NormalRelations(backend)

    def observe(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(
                f"{values[~np.isfinite(values)][0]} is not a finite number; leave out missing values, for example x[~missing]"
            )
        return np.stack([values, np.full_like(values, np.inf)])

    def log_density(self, params: Array, values: np.ndarray, backend: Backend) -> Array:
        xp = backend.xp
        h, precision = params[0, ...], params[1, ...]
        x = backend.asarray(values)
        x = xp.reshape(x, (*x.shape, *(1,) * (h.ndim - x.ndim)))
        certain = precision == xp.inf
        density = (h - 0.5 * xp.where(certain, xp.zeros_like(h), precision) * x) * x
        agrees = xp.abs(x - h) <= _CLOSE * (1.0 + xp.abs(h))
        return xp.where(certain, xp.where(agrees, xp.zeros_like(h), xp.full_like(h, -xp.inf)), density)

    def check_prior(self, params: np.ndarray) -> str | None:
        if not np.isfinite(params).all():
            return "natural parameters (precision times mean, precision) must be finite; observe what is certain"
        return None

    # A certain message counts once beside its value, so that several can be added and taken out again.

    def split(self, params: Array, backend: Backend) -> tuple[Array, Array]:
        xp = backend.xp
        certain = params[1, ...] == xp.inf
        zero = xp.zeros_like(params)
        count = xp.astype(certain, backend.dtype)
        value = xp.where(certain, params[0, ...], zero[0, ...])
        return xp.where(xp.expand_dims(certain, axis=0), zero, params), xp.expand_dims(xp.stack([value, count]), axis=0)

    def join(self, finite: Array, infinite: Array, backend: Backend) -> Array:
        xp = backend.xp
        value, count = infinite[0, 0, ...], infinite[0, 1, ...]
        certain = count > 0.5
        mean = value / xp.where(certain, count, xp.ones_like(count))
        return xp.where(xp.expand_dims(certain, axis=0), xp.stack([mean, xp.full_like(mean, xp.inf)]), finite)


def is_normal(kind: VariableType) -> bool:
    """Whether variables are numbers or vectors with normal beliefs."""
    return isinstance(kind, (Gaussian, GaussianVector))
