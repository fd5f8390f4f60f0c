"""What is found for one set of evidence, however it was found: the answers of `ExactResult` are read from this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np

from factorgraph.junction.clique_tree import CliqueTree
from factorgraph.junction.flat_tree import FlatAnswers, FlatTree
from factorgraph.junction.tables import TableModel

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


class FoundByArrays:
    """
    What a flat tree tells about one set: see `Found`.

    Parameters
    ----------
    flat : FlatTree
    answers : FlatAnswers
    column : number of the set
    model : TableModel
    allowed : the states of each variable that the answers are of
    otherwise : finds the same in another way, for sets that turn out to be wide when beliefs are asked for
    """

    def __init__(
        self,
        flat: FlatTree,
        answers: FlatAnswers,
        column: int,
        model: TableModel,
        allowed: Sequence[np.ndarray],
        otherwise: Callable[[], Found | None],
    ) -> None:
        self._flat, self._answers, self._column, self._model = flat, answers, column, model
        self._allowed, self._make_other = allowed, otherwise
        self.log_partition = float(answers.log_partition[column])

    @cached_property
    def _other(self) -> Found | None:
        _ = self._answers.beliefs
        if not self._answers.wide[self._column]:
            return None
        found = self._make_other()
        assert found is not None  # the sum over all states is above 0
        return found

    @property
    def allowed(self) -> Sequence[np.ndarray]:
        return self._allowed if self._other is None else self._other.allowed

    def states(self) -> np.ndarray:
        if self._other is not None:
            return self._other.states()
        return self._flat.states_of(self._answers.marginals[:, self._column], self._allowed)

    def joint(self, tables: Sequence[int]) -> Joint:
        if self._other is not None:
            return self._other.joint(tables)
        scopes = [self._flat.scope(self._model, table) for table in tables]
        known = [number for number, scope in enumerate(scopes) if scope]
        beliefs = self._answers.beliefs[:, self._column : self._column + 1]
        found = self._flat.joint(beliefs, [tables[number] for number in known], [scopes[number] for number in known])
        if len(known) == len(tables):
            return found
        each = dict(zip(known, found, strict=True))
        return [each.get(number, np.ones(())) for number in range(len(tables))]

    def decode(self) -> Mapping[int, Any]:
        if self._other is not None:
            return self._other.decode()
        return {v: int(states[self._column]) for v, states in self._answers.decoded.items()}

    def sample(self, n: int, rng: np.random.Generator) -> Mapping[int, np.ndarray]:
        if self._other is not None:
            return self._other.sample(n, rng)
        return self._flat.sample(self._answers.beliefs[:, self._column], n, rng)
