"""Exact answers of graphs of normal variables, read like the results of belief propagation."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from factorgraph.blocks import Factors, Variables
from factorgraph.graph import FactorGraph
from factorgraph.inference import ContradictionError, Inference
from factorgraph.inference.marginal_table import marginal_table
from factorgraph.inference.sampling import check_number
from factorgraph.linear.system import LinearSystem


class LinearResult:
    """
    Exact answers for normal variables. Made by `factorgraph.exact`.

    Means are one solution of a sparse system. On forests all variances cost little; elsewhere each one that is asked for is a
    solution of its own.

    Attributes
    ----------
    status : str
        ``"exact"``.
    log_partition : float
        Log of the integral over all values, evidence included; in max mode the log-density of the best ones.
    contradictions : list
        Not empty where the evidence contradicts an exact relation.
    """

    status = "exact"
    converged = True

    def __init__(self, graph: FactorGraph, mode: str) -> None:
        self._graph, self.run_mode = graph, mode
        self._first = graph.first_nodes()
        self.system = LinearSystem(graph)
        system = self.system
        found, exponent = system.most_probable()
        self._means = system.values.copy()
        self._means[system.free >= 0] = found
        integral = system.noisy
        if mode == "sum":
            free = system.number - system.relations
            integral = system.scale + 0.5 * (free * math.log(2.0 * math.pi) - system.log_determinant())
        self.log_partition = system.density + exponent + integral
        self.contradictions: list[Any] = [] if self.log_partition > -np.inf else [("the evidence as a whole", ())]

    def __repr__(self) -> str:
        return f"<LinearResult: log-partition {self.log_partition:.6g}, mode {self.run_mode!r}>"

    @cached_property
    def _variances(self) -> np.ndarray:
        """Of all variables, NaN where nobody has asked yet: on forests belief propagation has them all at once."""
        if self._graph.is_forest:
            result = Inference(self._graph, dtype="float64", backend="numpy").run()
            names = self._graph.variable_blocks
            found = np.concatenate([result.marginals(self._graph.variables(name))[..., 1].reshape(-1) for name in names])
            return np.where(self.system.free >= 0, found, 0.0)
        return np.where(self.system.free >= 0, np.nan, 0.0)

    def marginals(self, variables: Variables) -> np.ndarray:
        """Mean and variance, ``(*variables.shape, 2)``."""
        nodes = self._nodes(variables)
        asked = np.unique(nodes[np.isnan(self._variances[nodes])])
        self._variances[asked] = self.system.variances(self.system.free[asked])
        return np.stack([self._means[nodes], self._variances[nodes]], axis=-1).reshape(*variables.shape, 2)

    def mean(self, variables: Variables) -> np.ndarray:
        """Means, ``(*variables.shape,)``."""
        return self._means[self._nodes(variables)].reshape(variables.shape)

    def mode(self, variables: Variables) -> np.ndarray:
        """Most probable values, which are the means."""
        return self.mean(variables)

    def covariance(self, variables: Variables, others: Variables | None = None) -> np.ndarray:
        """
        Covariances of variables with each other, or with others.

        Returns
        -------
        (*variables.shape, *others.shape) array; 0 with what is observed
        """
        others = variables if others is None else others
        rows, columns = (self.system.free[self._nodes(block)] for block in (variables, others))
        found = np.zeros((rows.size, columns.size))
        free = np.flatnonzero(columns >= 0)
        if free.size:
            block = self.system.columns(columns[free])
            found[:, free] = np.where(rows[:, None] >= 0, block[rows], 0.0)
        return found.reshape((*variables.shape, *others.shape))

    def table(self, variables: Variables) -> Any:
        """Means and variances with the names of the variables, for people to read: see `Result.table`."""
        return marginal_table(variables, self.marginals(variables))

    def factor_marginals(self, factors: str | Factors) -> np.ndarray:
        """Of each factor's d variables the joint mean in the first row, the covariance below it: ``(F, 1 + d, d)``."""
        self._check()
        block = self._graph.factors(factors)
        nodes = np.stack([self._first[port.name] + port.index.reshape(-1) for port in block.ports], axis=1)
        free = self.system.free[nodes]
        found = np.zeros((block.count, 1 + nodes.shape[1], nodes.shape[1]))
        found[:, 0] = self._means[nodes]
        for number, row in enumerate(free):
            inside = np.flatnonzero(row >= 0)
            if inside.size:
                found[number, 1 + inside[:, None], inside] = self.system.columns(row[inside])[row[inside]]
        return found

    def sample(self, n: int = 1, seed: Any = None) -> dict[str, np.ndarray]:
        """Draw joint values of all variables, ``(n, *shape)`` of each block by its name: see `Result.sample`."""
        self._check()
        check_number(n)
        drawn = np.repeat(self.system.values[None], n, axis=0)
        drawn[:, self.system.free >= 0] = self.system.draw(n, np.random.default_rng(seed)).T
        blocks = self._graph.variable_blocks.values()
        rows = np.split(drawn, np.cumsum([block.size for block in blocks])[:-1], axis=1)
        return {block.name: values.reshape(n, *block.shape) for block, values in zip(blocks, rows, strict=True)}

    def _nodes(self, variables: Variables) -> np.ndarray:
        self._check()
        self._graph.block_of(variables)
        return self._first[variables.name] + variables.index.reshape(-1)

    def _check(self) -> None:
        if self.contradictions:
            raise ContradictionError(self)
