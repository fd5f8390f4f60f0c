"""Exact answers for graphs of normal variables, read like the results of belief propagation."""

from __future__ import annotations

import math
import warnings
from functools import cached_property
from typing import Any

import numpy as np

from factorgraph.blocks import Factors, Variables
from factorgraph.graph import FactorGraph
from factorgraph.inference import ContradictionError, ImproperWarning, Inference
from factorgraph.inference.answers.marginal_table import marginal_table
from factorgraph.inference.answers.sampling import check_number
from factorgraph.linear.system import LinearSystem


class LinearResult:
    """
    Exact answers for normal variables. `factorgraph.exact` returns them.

    All means come from one solution of a sparse system. On a forest, all variances together cost little. On other graphs, each
    variance that is asked for needs a solution of its own.

    Attributes
    ----------
    status : str
        ``"exact"``.
    log_partition : float
        Log of the integral over all values, with evidence. In max mode, the log-density of the best values.
    contradictions : list
        Not empty if the evidence contradicts an exact relation.
    """

    status = "exact"
    converged = True

    def __init__(self, graph: FactorGraph, mode: str) -> None:
        self._graph, self.run_mode = graph, mode
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

    def _repr_html_(self) -> str:
        from factorgraph.drawing.notebook import result_html

        return result_html(self, self._graph)

    @cached_property
    def _passed(self) -> Any:
        """Belief propagation's result on forests, where it has all variances at once; None elsewhere."""
        if not self._graph.is_forest:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", ImproperWarning)
                return Inference(self._graph, dtype="float64", backend="numpy").run()
        except (ValueError, ImproperWarning):  # no message can say what is certain
            return None

    @cached_property
    def _variances(self) -> np.ndarray:
        """Of all numbers, NaN where nobody has asked yet."""
        return np.where(self.system.free >= 0, np.nan, 0.0)

    def marginals(self, variables: Variables) -> np.ndarray:
        """Mean and variance, ``(*variables.shape, 2)``. For vectors, mean and covariance, ``(*variables.shape, 1 + d, d)``."""
        numbers, width = self._numbers(variables), len(variables.type.value_shape)
        means = self._means[numbers]
        if self._passed is not None:
            found = np.array(self._passed.marginals(variables))
            first: tuple[Any, ...] = (..., 0, *(slice(None),) * width)
            found[first] = means.reshape((*variables.shape, *variables.type.value_shape))
            return found
        if not width:
            asked = np.unique(numbers[np.isnan(self._variances[numbers])])
            self._variances[asked] = self.system.variances(self.system.free[asked])
            return np.stack([means[:, 0], self._variances[numbers[:, 0]]], axis=-1).reshape(*variables.shape, 2)
        moments = np.concatenate([means[:, None], self._covariances(numbers)], axis=1)
        return moments.reshape(*variables.shape, *moments.shape[1:])

    def mean(self, variables: Variables) -> np.ndarray:
        """Means, ``(*variables.shape,)``; for vectors, ``(*variables.shape, d)``."""
        return self._means[self._numbers(variables)].reshape((*variables.shape, *variables.type.value_shape))

    def mode(self, variables: Variables) -> np.ndarray:
        """Most probable values, which are the means."""
        return self.mean(variables)

    def covariance(self, variables: Variables, others: Variables | None = None) -> np.ndarray:
        """
        Covariances of variables with each other, or with other variables.

        Returns
        -------
        (*variables.shape, *others.shape) array, with an axis of length d after each shape for vectors. Covariances with
        observed variables are 0.
        """
        others = variables if others is None else others
        rows, columns = (self.system.free[self._numbers(block).reshape(-1)] for block in (variables, others))
        found = np.zeros((rows.size, columns.size))
        free = np.flatnonzero(columns >= 0)
        if free.size:
            block = self.system.columns(columns[free])
            found[:, free] = np.where(rows[:, None] >= 0, block[rows], 0.0)
        return found.reshape((*variables.shape, *variables.type.value_shape, *others.shape, *others.type.value_shape))

    def table(self, variables: Variables) -> Any:
        """Means and variances in a table with the names of the variables, for people to read: see `Result.table`."""
        return marginal_table(variables, self.marginals(variables))

    def factor_marginals(self, factors: str | Factors) -> np.ndarray:
        """
        The joint distribution of all d numbers of each factor, ``(F, 1 + d, d)``: the mean in the first row, and the covariance
        below it.
        """
        self._check()
        numbers = self.system.numbers_at(self._graph.factors(factors))
        return np.concatenate([self._means[numbers][:, None], self._covariances(numbers)], axis=1)

    def _covariances(self, numbers: np.ndarray) -> np.ndarray:
        """Joint covariances of some numbers each, ``(n, d)``, as ``(n, d, d)``."""
        found = np.zeros((*numbers.shape, numbers.shape[1]))
        for number, row in enumerate(self.system.free[numbers]):
            inside = np.flatnonzero(row >= 0)
            if inside.size:
                found[number, inside[:, None], inside] = self.system.columns(row[inside])[row[inside]]
        return found

    def sample(self, n: int = 1, seed: Any = None) -> dict[str, np.ndarray]:
        """Draw joint values of all variables: ``(n, *shape)`` for each block, by its name. See `Result.sample`."""
        self._check()
        check_number(n)
        drawn = np.repeat(self.system.values[None], n, axis=0)
        drawn[:, self.system.free >= 0] = self.system.draw(n, np.random.default_rng(seed)).T
        blocks = self._graph.variable_blocks.values()
        rows = np.split(drawn, list(self.system.first.values())[1:], axis=1)
        return {
            block.name: values.reshape((n, *block.shape, *block.type.value_shape))
            for block, values in zip(blocks, rows, strict=True)
        }

    def _numbers(self, variables: Variables) -> np.ndarray:
        self._check()
        self._graph.block_of(variables)
        return self.system.numbers_of(variables)

    def _check(self) -> None:
        if self.contradictions:
            raise ContradictionError(self)
