"""The largest of several categorical variables."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import Factor, Parameters
from factorgraph.factors.bound import check_same_states
from factorgraph.factors.combining import Combination
from factorgraph.semiring import Semiring
from factorgraph.variables import Categorical, VariableType


class Max(Factor):
    """
    A categorical output that equals the largest of d categorical inputs, all of q states.

    The ports are the inputs (plural) and the output. A message costs O(q) per edge.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> dice = graph.add_variables("dice", fg.Categorical(6), shape=(2,))
    >>> largest = graph.add_variables("largest", fg.Categorical(6))
    >>> _ = graph.add_factors("max", fg.Max(), dice, largest)
    >>> (36 * fg.run(graph).marginals(largest)).round(6).tolist()
    [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]
    """

    plural: ClassVar[tuple[int, ...]] = (0,)
    arity: ClassVar[int | None] = 2

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        for port, kind in enumerate(types):
            if not isinstance(kind, Categorical):
                raise TypeError(f"Max takes categorical variables, but port {port} has {kind!r}")
        check_same_states(self, types)

    def merge_key(self) -> Hashable:
        return ()

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return False

    def passes_certainty(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return True

    def log_potential(self, *states: np.ndarray) -> np.ndarray:
        largest = states[0]
        for other in states[1:-1]:
            largest = np.maximum(largest, other)
        return np.where(largest == states[-1], 0.0, -np.inf)

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        largest = Largest(semiring)
        levels = largest.up(incoming[0])
        heard = semiring.xp.expand_dims(incoming[1], axis=1)
        return [largest.down(levels, heard) if port == 0 else levels[-1][:, 0, ...] for port in ports]

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        return semiring.sum(Largest(semiring).up(incoming[0])[-1][:, 0, ...] + incoming[1], axis=0)


class Largest(Combination):
    """Log-weights of the largest state, ``(q, n, F)``."""

    axis = 1

    def combine(self, left: Array, right: Array) -> Array:
        # One of both is the largest, and the other at most (left first) or less (right first).
        left_up_to, right_up_to = self._running(left), self._running(right)
        first = left + right_up_to
        second = left_up_to[:-1, ...] + right[1:, ...]
        return self.semiring.xp.concat([first[:1, ...], self.semiring.add(first[1:, ...], second)], axis=0)

    def outside(self, parent: Array, sibling: Array, like: Array) -> Array:
        # The sibling is at most as large, or it is itself the largest.
        xp = self.semiring.xp
        below = parent + self._running(sibling)
        above = xp.flip(self._running(xp.flip(parent + sibling, axis=0)), axis=0)
        return xp.concat([self.semiring.add(below[:-1, ...], above[1:, ...]), below[-1:, ...]], axis=0)

    def _running(self, weights: Array) -> Array:
        """Sums over the states up to each."""
        rows = [weights[0, ...]]
        for state in range(1, weights.shape[0]):
            rows.append(self.semiring.add(rows[-1], weights[state, ...]))
        return self.semiring.xp.stack(rows)
