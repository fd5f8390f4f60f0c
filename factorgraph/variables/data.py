"""Data: numbers that are always observed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.semiring import Semiring
from factorgraph.variables.base import VariableType


@dataclass(frozen=True)
class Data(VariableType):
    """
    Real numbers that are given, such as the inputs of a network. They are constants without variance.

    Only block factors accept them. Every variable of a block must be observed before a run.
    """

    can_be_random = False

    def log_partition(self, params: Array, semiring: Semiring, infinite: Array | None = None) -> Array:
        return semiring.xp.zeros_like(params)

    def marginals(self, params: Array, backend: Backend) -> Array:
        raise ValueError("Data has no marginals: it is given, not inferred")

    def mode(self, params: Array, backend: Backend) -> Array:
        raise ValueError("Data has no mode: it is given, not inferred")

    def observe(self, values: np.ndarray) -> np.ndarray:
        if not np.isfinite(values).all():
            raise ValueError("data must be finite")
        return np.asarray(values)

    def certain_mean(self, values: np.ndarray) -> np.ndarray:
        return values

    def log_density(self, params: Array, values: np.ndarray, backend: Backend) -> Array:
        return backend.xp.zeros_like(params)
