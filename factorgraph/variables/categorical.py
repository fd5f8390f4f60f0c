"""Categorical variables: q states without order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.semiring import Semiring
from factorgraph.variables.base import DiscreteType


@dataclass(frozen=True)
class Categorical(DiscreteType):
    """
    A variable of ``num_states`` states, 0 to ``num_states - 1``.

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
    def param_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.num_states,)

    @property
    def states(self) -> np.ndarray:  # type: ignore[override]
        return np.arange(self.num_states)

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
        last = self.num_states - 1
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
