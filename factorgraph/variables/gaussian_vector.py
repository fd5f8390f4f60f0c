"""Vectors of real numbers with joint normal beliefs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.backends.small_matrices import (
    apply,
    diagonal,
    dot,
    from_diagonal,
    product,
    solve_positive,
    symmetric,
    transposed,
)
from factorgraph.semiring import Semiring
from factorgraph.variables.base import VariableType
from factorgraph.variables.vector_relations import VectorRelations

_CLOSE = 1e-6  # certain values that differ by less, relative to their size, do not contradict
_ASYMMETRIC = 1e-9  # relative, of what is symmetric but for rounding


@dataclass(frozen=True)
class GaussianVector(VariableType):
    """
    A vector of d real numbers with a normal belief. ``Gaussian(d)`` makes one.

    The natural parameters are a ``(1 + d, d)`` array. Its first row is h, the precision times the mean. Below it is the
    precision matrix J. The density is ``exp(h x - x J x / 2)``. J may be singular: the density is then flat in the directions
    of x that are unknown. For a component that is certain, J has an infinite entry on the diagonal and no other in its row, and
    h has the value. So some components of a vector may be observed and others not.

    Parameters
    ----------
    dimension : int, at least 1

    Examples
    --------
    A position and a velocity, of which the position is seen twice:

    >>> import numpy as np, factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Gaussian(2), shape=2)
    >>> graph.set_prior(x, fg.Gaussian(2).from_moments([0.0, 0.0], 100.0 * np.eye(2)))
    >>> _ = graph.add_factors("motion", fg.LinearGaussian([1, [[-1, -1], [0, -1]]], 1e-4), x[1], x[0])
    >>> _ = graph.add_factors("seen", fg.LinearGaussian([[[1, 0]]], 0.01, [[3.0], [5.0]]), x)
    >>> fg.run(graph).mean(x).round(2).tolist()
    [[3.0, 2.0], [5.0, 2.0]]
    """

    dimension: int

    certainty_absorbs = False
    proper_messages = False
    can_diverge = True
    has_scale = True

    def __post_init__(self) -> None:
        if isinstance(self.dimension, bool) or not isinstance(self.dimension, (int, np.integer)) or self.dimension < 1:
            raise ValueError(f"the dimension of a vector must be a whole number of at least 1, not {self.dimension!r}")

    def __repr__(self) -> str:
        return f"Gaussian({self.dimension})"

    @property
    def param_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (1 + self.dimension, self.dimension)

    @property
    def value_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.dimension,)

    def from_moments(self, mean: Any, covariance: Any) -> np.ndarray:
        """
        Natural parameters ``(..., 1 + d, d)`` from means ``(..., d)`` and covariances ``(..., d, d)``, for a prior.

        Raises
        ------
        ValueError
            A shape is wrong, or a covariance is not symmetric and positive definite.
        """
        d = self.dimension
        centre, spread = np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
        if centre.shape[-1:] != (d,) or spread.shape[-2:] != (d, d):
            raise ValueError(
                f"the mean has shape {centre.shape} and the covariance {spread.shape}; expected (..., {d}) and (..., {d}, {d})"
            )
        if not np.isfinite(centre).all():
            raise ValueError("a prior's mean must be finite")
        problem = check_covariance(spread, "a prior's covariance")
        try:
            np.linalg.cholesky(spread)
        except np.linalg.LinAlgError:
            problem = problem or "a prior's covariance must be positive definite; observe what is certain"
        if problem:
            raise ValueError(problem)
        precision = np.linalg.inv(spread)
        h = (precision @ centre[..., None])[..., 0]
        precision = np.broadcast_to(precision, (*h.shape[:-1], d, d))
        return np.concatenate([h[..., None, :], 0.5 * (precision + np.swapaxes(precision, -1, -2))], axis=-2)

    # Parts of the parameters.

    def free_part(self, params: Array, backend: Backend, infinite: Array | None = None) -> tuple[Array, Array, Array, Array]:
        """
        The density of the components that are not certain, given those that are.

        Returns
        -------
        h (d, n) and J (d, d, n), with 0 and a 1 on the diagonal for certain components; which components these are, as 0 or 1,
        (d, n); and the values of certain components, with 0 elsewhere, (d, n)
        """
        xp = backend.xp
        h, precision = params[0, ...], params[1:, ...]
        if infinite is None:
            certain = diagonal(precision, xp) == xp.inf
            value = xp.where(certain, h, xp.zeros_like(h))
        else:
            count = diagonal(infinite[0, 1:, ...], xp)
            certain = count > 0.5
            value = xp.where(certain, infinite[0, 0, ...] / xp.where(certain, count, xp.ones_like(count)), xp.zeros_like(h))
        known = xp.astype(certain, backend.dtype)
        either = certain[:, None, ...] | certain[None, :, ...]
        rest = xp.where(either, xp.zeros_like(precision), precision)
        across = xp.where(certain[None, :, ...] & ~certain[:, None, ...], precision, xp.zeros_like(precision))
        free = xp.where(certain, xp.zeros_like(h), h) - apply(across, value)
        return free, rest + from_diagonal(known, xp), known, value

    def log_partition(self, params: Array, semiring: Semiring, infinite: Array | None = None) -> Array:
        xp = semiring.xp
        h, precision, known, value = self.free_part(params, semiring.backend, infinite)
        mean, pivots = solve_positive(precision, h[:, None, ...], xp)
        proper = xp.min(pivots, axis=0) > 0
        found = 0.5 * dot(h, mean[:, 0, ...])
        if semiring.mode == "sum":
            safe = xp.where(pivots > 0, pivots, xp.ones_like(pivots))
            found = found + 0.5 * (xp.sum(1.0 - known, axis=0) * math.log(2.0 * math.pi) - xp.sum(xp.log(safe), axis=0))
        flat = proper
        if semiring.mode == "max":  # what is quite flat has a maximum
            size = xp.abs(precision - from_diagonal(known, xp))
            flat = (xp.max(xp.abs(h), axis=0) == 0) & (xp.max(size, axis=(0, 1)) == 0)
        found = xp.where(proper, found, xp.where(flat, xp.zeros_like(found), xp.full_like(found, xp.inf)))
        if infinite is None:
            return found
        certain = known[:, None, ...] * known[None, :, ...] > 0.5
        among = xp.where(certain, params[1:, ...], xp.zeros_like(precision))
        return found + dot(params[0, ...], value) - 0.5 * dot(value, apply(among, value))

    def marginals(self, params: Array, backend: Backend) -> Array:
        """Mean in the first row and covariance below it, ``(1 + d, d, n)``; NaN and inf if the belief is improper."""
        return self.mean(params, backend)

    def marginal_names(self) -> list[Any]:
        each = range(self.dimension)
        return [f"mean {i}" for i in each] + [f"covariance {i} {j}" for i in each for j in each]

    def mode(self, params: Array, backend: Backend) -> Array:
        """Most probable values, ``(d, n)``."""
        return self.mean(params, backend)[0, ...]

    def certain_mode(self, params: Array, backend: Backend) -> Array:
        xp, mean = backend.xp, self.mode(params, backend)
        return xp.concat([mean[None, ...], from_diagonal(xp.full_like(mean, xp.inf), xp)], axis=0)

    # Mean parameters are kept as mean and covariance, as those of `Gaussian` are.

    def mean(self, params: Array, backend: Backend) -> Array:
        """Mean in the first row and covariance below it, ``(1 + d, d, n)``; NaN and inf if the belief is improper."""
        xp = backend.xp
        h, precision, known, value = self.free_part(params, backend)
        unit = from_diagonal(xp.ones_like(h), xp)
        found, pivots = solve_positive(precision, xp.concat([h[:, None, ...], unit], axis=1), xp)
        proper = xp.min(pivots, axis=0) > 0
        mean = xp.where(proper, found[:, 0, ...] + value, xp.full_like(h, xp.nan))
        covariance = symmetric(found[:, 1:, ...], xp) - from_diagonal(known, xp)
        infinite = from_diagonal(xp.full_like(h, xp.inf), xp)
        covariance = xp.where(proper, covariance, xp.where(infinite == xp.inf, infinite, xp.full_like(covariance, xp.nan)))
        return xp.concat([mean[None, ...], covariance], axis=0)

    def centre(self, params: Array, backend: Backend) -> tuple[Array, Array]:
        """Mean, ``(d, n)``, and the same belief with the mean as origin, for `Factor.centred_log_partition`."""
        mean = self.mean(params, backend)[0, ...]
        return mean, backend.xp.concat([backend.xp.zeros_like(mean)[None, ...], params[1:, ...]], axis=0)

    def from_mean(self, mean: Array, backend: Backend) -> Array:
        xp = backend.xp
        value, covariance = mean[0, ...], mean[1:, ...]
        known = xp.astype(diagonal(covariance, xp) == 0, backend.dtype)
        unit = from_diagonal(xp.ones_like(value), xp)
        inverse, _ = solve_positive(covariance + from_diagonal(known, xp), unit, xp)
        h = xp.where(known > 0.5, value, apply(inverse, value * (1.0 - known)))
        certain = from_diagonal(xp.where(known > 0.5, xp.full_like(value, xp.inf), xp.zeros_like(value)), xp)
        return xp.concat([h[None, ...], symmetric(inverse, xp) + certain], axis=0)

    def mix_means(self, old: Array, new: Array, share: float | Array) -> Array:
        """Mix first and second moments."""
        mixed = super().mix_means(old, new, share)
        step = new[0, ...] - old[0, ...]
        mixed[1:, ...] += (share * (1.0 - share)) * step[:, None, ...] * step[None, ...]
        return mixed

    def expectation(self, mean: Array, backend: Backend) -> Array:
        """Expected values, ``(d, n)``."""
        return mean[0, ...]

    def variance(self, mean: Array, backend: Backend) -> Array:
        """Variances of the components, ``(d, n)``."""
        return diagonal(mean[1:, ...], backend.xp)

    def change_size(self, change: Array, belief: Array, backend: Backend) -> Array:
        """As `Gaussian.change_size`, over all directions of a vector together."""
        xp = backend.xp
        _, _, known, _ = self.free_part(belief, backend)
        infinite = xp.any(xp.any(xp.isinf(change), axis=0), axis=0)
        change = xp.where(infinite, xp.zeros_like(change), change)
        finite, counts = self.split(belief, backend)
        field, precision, _, _ = self.free_part(finite + change, backend, counts)
        free = 1.0 - known
        turn = change[1:, ...] * free[:, None, ...] * free[None, ...]
        solved, pivots = solve_positive(precision, xp.concat([field[:, None, ...], turn], axis=1), xp)
        shift = free * (change[0, ...] - apply(change[1:, ...], solved[:, 0, ...] * free))
        moved, _ = solve_positive(precision, shift[:, None, ...], xp)
        share = xp.sqrt(xp.sum(xp.abs(diagonal(product(solved[:, 1:, ...], solved[:, 1:, ...]), xp)), axis=0))
        size = xp.maximum(share, xp.sqrt(xp.abs(dot(shift, moved[:, 0, ...]))))
        # Of an improper belief each component by itself.
        scale = xp.abs(diagonal(precision, xp))
        safe = xp.where(scale > 0, scale, xp.ones_like(scale))
        rough = xp.max(xp.abs(turn) / xp.sqrt(safe[:, None, ...] * safe[None, ...]), axis=(0, 1))
        rough = xp.maximum(rough, xp.max(xp.abs(free * change[0, ...]) / xp.sqrt(safe), axis=0))
        size = xp.where(xp.min(pivots, axis=0) > 0, size, rough)
        return xp.where(infinite, xp.full_like(size, xp.inf), size)

    def relations(self, backend: Backend) -> VectorRelations:
        return VectorRelations(self, backend)

    def observe(self, values: np.ndarray) -> np.ndarray:
        """Host parameters ``(1 + d, d, n)`` from host values ``(d, n)``, with NaN for components that are not observed."""
        values = np.asarray(values, dtype=np.float64)
        if np.isinf(values).any():
            raise ValueError(
                f"{values[np.isinf(values)][0]} is not a finite number; write NaN for a component that is not observed"
            )
        given = np.isfinite(values)
        precision = from_diagonal(np.where(given, np.inf, 0.0), np)
        return np.concatenate([np.where(given, values, 0.0)[None], precision])

    def log_density(self, params: Array, values: np.ndarray, backend: Backend) -> Array:
        xp = backend.xp
        x = backend.asarray(values)
        x = xp.reshape(x, (*x.shape, *(1,) * (params.ndim - 1 - x.ndim)))
        h, precision, known, value = self.free_part(params, backend)
        apart = xp.where(known > 0.5, xp.abs(x - value) - _CLOSE * (1.0 + xp.abs(value)), xp.zeros_like(h) - 1.0)
        rest = x * (1.0 - known)
        density = dot(h, rest) - 0.5 * dot(rest, apply(precision, rest))
        return xp.where(xp.max(apart, axis=0) <= 0, density, xp.full_like(density, -xp.inf))

    def check_prior(self, params: np.ndarray) -> str | None:
        if not np.isfinite(params).all():
            return "natural parameters (precision times mean, precision) must be finite; observe what is certain"
        turned = transposed(params[1:], np)
        if (np.abs(params[1:] - turned) > _ASYMMETRIC * np.abs(params[1:]).max(initial=0.0)).any():
            return "its precision is not symmetric"
        return None

    # A certain component counts once beside its value, so that several can be added and taken out again.

    def split(self, params: Array, backend: Backend) -> tuple[Array, Array]:
        xp = backend.xp
        certain = diagonal(params[1:, ...], xp) == xp.inf
        zero = xp.zeros_like(params[0, ...])
        count = from_diagonal(xp.astype(certain, backend.dtype), xp)
        value = xp.where(certain, params[0, ...], zero)
        finite = xp.concat(
            [xp.where(certain, zero, params[0, ...])[None, ...], xp.where(count > 0.5, xp.zeros_like(count), params[1:, ...])],
            axis=0,
        )
        return finite, xp.concat([value[None, ...], count], axis=0)[None, ...]

    def join(self, finite: Array, infinite: Array, backend: Backend) -> Array:
        xp = backend.xp
        h, precision, known, value = self.free_part(finite, backend, infinite)
        certain = from_diagonal(known, xp) > 0.5
        h = xp.where(known > 0.5, value, h)
        return xp.concat([h[None, ...], xp.where(certain, xp.full_like(precision, xp.inf), precision)], axis=0)

    def clamped(
        self, total: Array, infinite: Array | None, mask: Array, certain: Array, backend: Backend
    ) -> tuple[Array, Array | None]:
        """As `VariableType.clamped`. If a vector is observed in part, the messages decide about the rest."""
        xp = backend.xp
        if infinite is None:
            return xp.where(mask, certain, total), None
        finite, counts = self.split(certain, backend)
        return xp.where(mask, finite, total), xp.where(mask, 1e6 * counts, infinite + 1e6 * counts)


def check_covariance(covariance: np.ndarray, what: str) -> str | None:
    """
    Describe what is wrong with matrices ``(..., m, m)`` that must be symmetric, finite and without negative directions, or
    return None.
    """
    if not np.isfinite(covariance).all():
        return f"{what} must be finite"
    size = np.abs(covariance).max(initial=0.0)
    if (np.abs(covariance - np.swapaxes(covariance, -1, -2)) > _ASYMMETRIC * size).any():
        return f"{what} must be symmetric"
    smallest = np.linalg.eigvalsh(covariance).min(initial=0.0)
    if smallest < -_ASYMMETRIC * size:
        return f"{what} must have no negative direction; its smallest eigenvalue is {smallest:.3g}"
    return None
