"""Sum-product or max-product: what reducing over states means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend

MODES = ("sum", "max")

LARGEST = 1e6
"""
Largest size of a finite log-potential, coupling, field or log-weight of a prior; larger ones are refused, infinite ones taken.

Messages have the rounding error of their type times the largest of these: up to 1e-10 in float64, and in float32 up to 0.06,
or 1e-4 where all are within 1,000. Beyond, what is added to them is lost, and float32 ends at 3e38.
"""


def find_too_large(values: np.ndarray) -> str | None:
    """What is wrong with log-weights that are finite but beyond `LARGEST`, or None; the first of them is named."""
    wrong = np.isfinite(values) & (np.abs(values) > LARGEST)
    if not wrong.any():
        return None
    value = float(values[wrong][0])
    return f"{value!r} is out of range: finite log-potentials, couplings and priors are from {-LARGEST:g} to {LARGEST:g}"


@dataclass(frozen=True)
class Semiring:
    """
    The operation that a factor or variable type reduces states with, on a backend.

    Parameters
    ----------
    backend : Backend
    mode : {"sum", "max"}
        ``"sum"``: log-sum-exp, for marginals. ``"max"``: maximum, for the most probable state.

    Attributes
    ----------
    xp : the backend's array namespace
    """

    backend: Backend
    mode: str

    @property
    def xp(self) -> Any:
        return self.backend.xp

    def sum(self, log_weights: Array, axis: int) -> Array:
        """Reduce an axis of log-weights: log-sum-exp or maximum. -inf entries weigh nothing."""
        if self.mode == "max":
            return self.backend.maximum(log_weights, axis)
        return self.backend.log_sum_exp(log_weights, axis)

    def add(self, a: Array, b: Array) -> Array:
        """Reduce two alternatives elementwise: ``log(exp(a) + exp(b))`` or ``max(a, b)``."""
        if self.mode == "max":
            return self.xp.maximum(a, b)
        return self.backend.log_add_exp(a, b)
