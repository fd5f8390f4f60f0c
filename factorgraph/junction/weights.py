"""Tables and messages of a junction tree: weights of joint states, as numbers or as logarithms."""

from __future__ import annotations

from functools import cached_property

import numpy as np

WIDEST = 600.0  # log of the ratio of two numbers whose products stay far above the smallest of double precision


class Weights:
    """
    Weights of the joint states of some variables. They are never changed, so that whoever holds one knows it by identity.

    Attributes
    ----------
    values : weights divided by the largest, or None where the smallest but zero would be lost beside the largest
    shift : log of the largest weight; -inf where all are zero
    spread : log of the largest weight over the smallest but zero
    """

    def __init__(self, values: np.ndarray | None, shift: float, spread: float, log: np.ndarray | None = None) -> None:
        self.values, self.shift, self.spread = values, shift, spread
        if log is not None:
            self.log = log

    @cached_property
    def log(self) -> np.ndarray:
        """Log-weights."""
        assert self.values is not None
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.values) + self.shift)

    @classmethod
    def of_logs(cls, log: np.ndarray) -> Weights:
        """From log-weights."""
        largest = float(log.max())
        if largest == -np.inf:
            return cls(np.zeros(log.shape), largest, 0.0)
        spread = largest - float(log.min(initial=np.inf, where=log > -np.inf))
        return cls(np.exp(log - largest) if spread < WIDEST else None, largest, spread, log)

    @classmethod
    def of_values(cls, values: np.ndarray, shift: float) -> Weights:
        """From ``exp(shift)`` times some numbers."""
        largest = float(values.max())
        if largest == 0.0:
            return cls(np.zeros(values.shape), -np.inf, 0.0)
        smallest = float(values.min())
        if smallest == 0.0:
            smallest = float(values.min(initial=np.inf, where=values > 0.0))
        return cls(values / largest, shift + float(np.log(largest)), float(np.log(largest / smallest)))

    @property
    def shape(self) -> tuple[int, ...]:
        """States of each variable."""
        return self.values.shape if self.values is not None else self.log.shape
