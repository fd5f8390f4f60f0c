"""Exact answers, read like the results of belief propagation."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from factorgraph.backends import HOST
from factorgraph.blocks import Factors, Variables
from factorgraph.graph import FactorGraph
from factorgraph.inference import ContradictionError, Inference
from factorgraph.inference.answers.marginal_table import marginal_table
from factorgraph.inference.answers.sampling import by_block, check_number
from factorgraph.junction.found import Found
from factorgraph.junction.numbering import Numbering
from factorgraph.variables import DiscreteType, VariableType


class ExactResult:
    """
    Exact answers, which are read like a `Result`. `exact` returns them.

    Attributes
    ----------
    status : str
        ``"exact"``.
    log_partition : float
        Log of the sum over all states, with evidence. In max mode, the log-weight of the best state.
    contradictions : list
        Not empty if the evidence contradicts the model.
    """

    status = "exact"
    converged = True

    def __init__(self, graph: FactorGraph, numbering: Numbering, mode: str, found: Found | None) -> None:
        self._graph, self._numbering, self.run_mode, self._found = graph, numbering, mode, found
        self.log_partition = -np.inf if found is None else found.log_partition
        self.contradictions = [] if self.log_partition > -np.inf else [("the evidence as a whole", ())]

    def __repr__(self) -> str:
        return f"<ExactResult: log-partition {self.log_partition:.6g}, mode {self.run_mode!r}>"

    def _repr_html_(self) -> str:
        from factorgraph.drawing.notebook import result_html

        return result_html(self, self._graph)

    @property
    def found(self) -> Found:
        """What the answers are read from."""
        self._check()
        assert self._found is not None
        return self._found

    @cached_property
    def states(self) -> np.ndarray:
        """Probabilities of the states of all variables one after another, in the order in which the graph has them."""
        return self.found.states()

    @cached_property
    def _decoded(self) -> list[int]:
        """One best joint state: the position of the state of each variable."""
        best = self.found.decode()
        return [int(allowed[best.get(v, 0)]) for v, allowed in enumerate(self.found.allowed)]

    def marginals(self, variables: Variables) -> np.ndarray:
        """Probabilities of the states, ``(*variables.shape, q)``. In max mode, max-marginals, scaled to add up to one."""
        self._kind(variables)
        return self._numbering.states_of(variables, self.states)

    def mean(self, variables: Variables) -> np.ndarray:
        """
        Expected values, ``(*variables.shape,)``. Categorical variables have no expected value, and their probabilities are
        returned.
        """
        return mean_of(self._kind(variables), self.marginals(variables))

    def mode(self, variables: Variables) -> np.ndarray:
        """
        Most probable states, ``(*variables.shape,)``. In max mode, they form one joint state; in sum mode, each is that of one
        variable.
        """
        kind = self._kind(variables)
        if self.run_mode == "sum":
            return kind.to_labels(np.asarray(kind.states[np.argmax(self.marginals(variables), axis=-1)]))
        found = [self._decoded[v] for v in self._numbering.nodes(variables)]
        return kind.to_labels(np.asarray(kind.states[np.asarray(found, dtype=np.intp)]).reshape(variables.shape))

    def table(self, variables: Variables) -> Any:
        """
        Marginals in a table with the names of variables and states, for people to read.

        Returns
        -------
        pandas.DataFrame, or a text in columns if pandas is not installed
            There is a row for each variable and a column for each state. Columns have the names of states, if the type has
            names. Normal variables have columns for the mean and the variance.

        Raises
        ------
        ValueError
            The result is of a batch.
        """
        return marginal_table(variables, self.marginals(variables))

    def factor_marginals(self, factors: str | Factors) -> np.ndarray:
        """Joint probabilities of each factor's variables, ``(F, q_0, ..., q_k)``. In max mode, max-marginals."""
        found = self.found
        block = self._graph.factors(factors)
        shape = [len(kind.states) for kind in block.bound.spread_types()]
        weights = found.joint([self._numbering.tables[block.name, number] for number in range(block.count)])
        if isinstance(weights, np.ndarray) and weights.shape[1:] == tuple(shape):
            return np.asarray(weights / weights.sum(axis=tuple(range(1, weights.ndim)), keepdims=True))
        result = np.zeros((block.count, *shape))
        for row, nodes, values in zip(result, block.nodes(self._numbering.first_node), weights, strict=True):
            allowed = [found.allowed[v] for v in nodes]
            row[np.ix_(*allowed)] = (values / values.sum()).reshape([a.size for a in allowed])
        return result

    def gradient(self, factors: str | Factors) -> np.ndarray:
        """Derivative of `log_partition` with respect to a block's potentials, as `Result.gradient`."""
        block = self._graph.factors(factors)
        return block.bound.factor.gradient(self.factor_marginals(block))

    def sample(self, n: int = 1, seed: Any = None) -> dict[str, np.ndarray]:
        """
        Draw joint states of all variables, as `Result.sample`.

        Raises
        ------
        ValueError
            The mode of the result is "max".
        """
        self._check()
        check_number(n)
        if self.run_mode != "sum":
            raise ValueError(f"states can only be drawn in sum mode, not in mode {self.run_mode!r}")
        drawn = self.found.sample(n, np.random.default_rng(seed))
        chosen = np.zeros((n, self._graph.num_variables), dtype=np.int32)
        for v, allowed in enumerate(self.found.allowed):
            chosen[:, v] = allowed[drawn.get(v, 0)]
        return by_block(self._graph, chosen)

    def _check(self) -> None:
        if self.contradictions:
            raise ContradictionError(self)

    def _kind(self, variables: Variables) -> DiscreteType:
        self._check()
        kind = self._graph.block_of(variables).type
        assert isinstance(kind, DiscreteType)
        return kind


def mean_of(kind: VariableType, marginals: np.ndarray) -> np.ndarray:
    """Expected values of variables whose probabilities of states, in the last axis, are known."""
    assert isinstance(kind, DiscreteType)
    rows = marginals.reshape(-1, marginals.shape[-1])
    with np.errstate(divide="ignore"):
        mean = kind.expected_value(kind.from_log_weights(np.log(rows.T), HOST), HOST)
    return np.asarray(np.moveaxis(mean, -1, 0)).reshape((*marginals.shape[:-1], *mean.shape[:-1]))


class ForestResult(ExactResult):
    """The answers of belief propagation on a forest, which are exact."""

    def __init__(self, graph: FactorGraph, mode: str) -> None:
        self._graph, self.run_mode = graph, mode
        self._result = Inference(graph, mode=mode, dtype="float64", backend="numpy").run()
        self.contradictions = self._result.contradictions
        self.log_partition = self._result.log_partition

    def marginals(self, variables: Variables) -> np.ndarray:
        return self._result.marginals(variables)

    def mean(self, variables: Variables) -> np.ndarray:
        return self._result.mean(variables)

    def mode(self, variables: Variables) -> np.ndarray:
        return self._result.mode(variables)

    def factor_marginals(self, factors: str | Factors) -> np.ndarray:
        return self._result.factor_marginals(factors)

    def sample(self, n: int = 1, seed: Any = None) -> dict[str, np.ndarray]:
        return self._result.sample(n, seed)

    def gradient(self, factors: str | Factors) -> np.ndarray:
        return self._result.gradient(factors)
