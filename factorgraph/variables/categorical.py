"""Variables of q states, whose natural parameters are log-weights: categorical ones, and those with numbers as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.semiring import Semiring
from factorgraph.variables.base import DiscreteType


class LogWeights(DiscreteType):
    """
    What types have in common whose natural parameters are log-weights.

    One for each state, known up to a constant; -inf rules a state out.
    """

    @property
    def param_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (len(self.states),)

    def log_weights(self, params: Array, backend: Backend) -> Array:
        return params

    def from_log_weights(self, log_weights: Array, backend: Backend) -> Array:
        return log_weights

    def log_partition(self, params: Array, semiring: Semiring, infinite: Array | None = None) -> Array:
        return semiring.sum(params if infinite is None else self.join(params, infinite, semiring.backend), axis=0)

    def mean(self, params: Array, backend: Backend) -> Array:
        """Probabilities of the states."""
        return self.marginals(params, backend)

    def from_mean(self, mean: Array, backend: Backend) -> Array:
        return backend.xp.log(mean)

    def normalize(self, params: Array, backend: Backend) -> Array:
        return backend.subtract_largest(params)

    def device_normalize(self) -> str:
        last = len(self.states) - 1
        return f"""
        T largest = value[{last}];
        for (int s = 0; s < {last}; ++s) largest = larger(largest, value[s]);
        if (is_finite(largest)) for (int s = 0; s <= {last}; ++s) value[s] -= largest;
        """

    def check_prior(self, params: np.ndarray) -> str | None:
        return "+inf is not a log-weight" if np.isposinf(params).any() else super().check_prior(params)

    # Only -inf occurs, so one count is enough.

    def split(self, params: Array, backend: Backend) -> tuple[Array, Array]:
        xp = backend.xp
        finite = xp.isfinite(params)
        return (
            xp.where(finite, params, xp.zeros_like(params)),
            xp.astype(xp.expand_dims(~finite, axis=0), backend.dtype),
        )

    def join(self, finite: Array, infinite: Array, backend: Backend) -> Array:
        return backend.xp.where(infinite[0, ...] > 0.5, backend.xp.full_like(finite, -backend.xp.inf), finite)


@dataclass(frozen=True)
class Categorical(LogWeights):
    """
    A variable of ``num_states`` states without order, 0 to ``num_states - 1``.

    The natural parameters are log-weights, one for each state and known up to a constant; -inf rules a state out.

    Parameters
    ----------
    num_states : int
        At least 1.
    """

    num_states: int

    def __post_init__(self) -> None:
        if not isinstance(self.num_states, (int, np.integer)) or self.num_states < 1:
            raise ValueError(f"Categorical needs a whole number of states, at least 1, not {self.num_states!r}")

    @property
    def states(self) -> np.ndarray:  # type: ignore[override]
        return np.arange(self.num_states)


@dataclass(frozen=True)
class Levels(LogWeights):
    """
    A variable with finitely many numbers as values, such as the weights -1, 0 and 1.

    The natural parameters are log-weights, as for `Categorical`; its mean is a number.

    Parameters
    ----------
    values : sequence of float
        At least one, all different, in the order of table axes and of marginals.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Levels([-1, 0, 1]), shape=(2,))
    >>> _ = graph.add_factors("near", fg.Table([[0, -1, -4], [-1, 0, -1], [-4, -1, 0]]), x[:1], x[1:])
    >>> graph.observe(x[0], 1)
    >>> fg.run(graph).mean(x[1]).round(4).item()
    0.7082
    """

    values: Sequence[float]

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64).reshape(-1)
        if values.size < 1 or not np.isfinite(values).all() or np.unique(values).size < values.size:
            raise ValueError(f"Levels needs finite numbers, at least one and all different, not {self.values!r}")
        object.__setattr__(self, "values", tuple(values.tolist()))

    @property
    def states(self) -> np.ndarray:  # type: ignore[override]
        return np.array(self.values)

    def expectation(self, mean: Array, backend: Backend) -> Array:
        return self._sum(mean, self.states, backend)

    def variance(self, mean: Array, backend: Backend) -> Array:
        # Around the middle, which loses fewer digits than around 0.
        apart = self.states - self.states.mean()
        first = self._sum(mean, apart, backend)
        return backend.xp.clip(self._sum(mean, apart**2, backend) - first * first, 0.0, None)

    @staticmethod
    def _sum(probabilities: Array, values: np.ndarray, backend: Backend) -> Array:
        total: Any = 0.0
        for state, value in enumerate(values.tolist()):
            total = total + value * probabilities[state, ...]
        return total

    def from_quadratic(self, field: Array, curvature: Array | None, backend: Backend) -> Array:
        assert curvature is not None
        return backend.xp.stack([value * field - (0.5 * value * value) * curvature for value in self.values])
