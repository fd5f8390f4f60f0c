"""Sum-product or max-product: what reducing over states means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from factorgraph.backends import Array, Backend

MODES = ("sum", "max")


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
