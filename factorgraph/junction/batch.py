"""Exact answers for several sets of evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from factorgraph.blocks import Factors, Variables
from factorgraph.graph import FactorGraph
from factorgraph.inference import ContradictionError
from factorgraph.junction.answers import ExactResult, mean_of
from factorgraph.junction.numbering import Numbering
from factorgraph.variables import DiscreteType


class ExactBatch:
    """
    Exact answers for B sets of evidence, read like the `Result` of a batch: arrays have a first axis for the sets.

    Marginals are stored. Factor marginals and most probable states are calculated when they are asked for, one set after
    another, so that only the messages of one set are in memory.

    Attributes
    ----------
    status : list of str
        ``"exact"`` for each set.
    log_partition : (B,) array
        As in `ExactResult`. It is -inf if the evidence contradicts the model. All other answers for such a set are NaN, and its
        most probable states are the first ones.
    contradictions : list of list
        For each set, not empty if the evidence contradicts the model.
    """

    converged = True

    def __init__(self, graph: FactorGraph, numbering: Numbering, runs: Callable[[], Iterator[ExactResult]], mode: str) -> None:
        self._graph, self._numbering, self._runs, self.run_mode = graph, numbering, runs, mode
        logs, contradictions, states = [], [], []
        for result in runs():
            logs.append(result.log_partition)
            contradictions.append(result.contradictions)
            states.append(None if result.contradictions else result.states)
        self.log_partition, self.contradictions = np.array(logs), contradictions
        self.status = ["exact"] * len(logs)
        if all(contradictions):
            raise ContradictionError(self)
        self._states = np.full((len(logs), numbering.states[-1]), np.nan)
        for row, found in zip(self._states, states, strict=True):
            if found is not None:
                row[:] = found

    def __repr__(self) -> str:
        return f"<ExactBatch: {len(self.status)} sets, mode {self.run_mode!r}>"

    def _repr_html_(self) -> str:
        from factorgraph.drawing.notebook import result_html

        return result_html(self, self._graph)

    def marginals(self, variables: Variables) -> np.ndarray:
        """As `ExactResult.marginals`, ``(B, *variables.shape, q)``."""
        self._graph.block_of(variables)
        return self._numbering.states_of(variables, self._states)

    def mean(self, variables: Variables) -> np.ndarray:
        """As `ExactResult.mean`, ``(B, *variables.shape)``."""
        return mean_of(self._graph.block_of(variables).type, self.marginals(variables))

    def mode(self, variables: Variables) -> np.ndarray:
        """As `ExactResult.mode`, ``(B, *variables.shape)``."""
        kind = self._graph.block_of(variables).type
        assert isinstance(kind, DiscreteType)
        first = kind.to_labels(np.broadcast_to(kind.states[0], variables.shape).copy())
        return np.stack([first if result.contradictions else result.mode(variables) for result in self._runs()])

    def factor_marginals(self, factors: str | Factors) -> np.ndarray:
        """As `ExactResult.factor_marginals`, ``(B, F, q_0, ..., q_k)``."""
        return self._read(lambda result: result.factor_marginals(factors))

    def gradient(self, factors: str | Factors) -> np.ndarray:
        """As `ExactResult.gradient`, with a first axis for the sets."""
        return self._read(lambda result: result.gradient(factors))

    def _read(self, read: Callable[[ExactResult], np.ndarray]) -> np.ndarray:
        found: list[Any] = [None if result.contradictions else read(result) for result in self._runs()]
        shape = next(one.shape for one in found if one is not None)
        return np.stack([np.full(shape, np.nan) if one is None else one for one in found])
