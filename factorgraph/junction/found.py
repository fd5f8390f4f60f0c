"""What is found for one set of evidence, however it was found: the answers of `ExactResult` are read from this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np

from factorgraph.junction.clique_tree import CliqueTree

Joint: TypeAlias = "np.ndarray | list[np.ndarray]"


class Found(Protocol):
    """
    The beliefs of a tree of cliques for one set of evidence.

    Attributes
    ----------
    log_partition : log of the sum over all joint states, or of the largest weight; -inf where there is none
    allowed : the states of each variable that the other answers are of
    """

    log_partition: float

    @property
    def allowed(self) -> Sequence[np.ndarray]: ...

    def states(self) -> np.ndarray:
        """Marginals of the states of all variables one after another."""

    def joint(self, tables: Sequence[int]) -> Joint:
        """Joint weights of each table's variables, but for a factor; a number for tables whose variables are all fixed."""

    def decode(self) -> Mapping[int, Any]:
        """One best joint state: the position of each variable among those allowed, or none where this is the only one."""

    def sample(self, n: int, rng: np.random.Generator) -> Mapping[int, np.ndarray]:
        """Joint states: positions as in `decode`, ``(n,)``."""


class FoundByCliques:
    """
    What messages between cliques tell, one clique after another.

    Parameters
    ----------
    tree : CliqueTree
    begins : where the states of each variable begin among those of all variables, and the number of all
    """

    def __init__(self, tree: CliqueTree, begins: np.ndarray) -> None:
        self.tree, self._begins = tree, begins
        with np.errstate(all="ignore"):
            self.log_partition = tree.collect()

    @property
    def allowed(self) -> Sequence[np.ndarray]:
        return self.tree.given.allowed

    @cached_property
    def _marginals(self) -> dict[int, np.ndarray]:
        with np.errstate(all="ignore"):
            return self.tree.distribute()

    def states(self) -> np.ndarray:
        result = np.zeros(self._begins[-1])
        for v, allowed in enumerate(self.allowed):
            result[self._begins[v] + allowed] = self._marginals.get(v, 1.0)
        return result

    def joint(self, tables: Sequence[int]) -> Joint:
        _ = self._marginals  # messages from the roots
        with np.errstate(all="ignore"):
            found = self.tree.beliefs([table for table in tables if self.tree.given.scopes[table]])
        return [found.get(table, np.ones(())) for table in tables]

    def decode(self) -> Mapping[int, Any]:
        return self.tree.decode()

    def sample(self, n: int, rng: np.random.Generator) -> Mapping[int, np.ndarray]:
        with np.errstate(all="ignore"):
            return self.tree.sample(n, rng)
