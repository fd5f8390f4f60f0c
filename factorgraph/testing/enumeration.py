"""Exact answers for small discrete graphs, from all joint states one by one."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from factorgraph.backends import HOST
from factorgraph.blocks import Factors, Variables
from factorgraph.graph import FactorGraph
from factorgraph.variables import DiscreteType

_MAX_STATES = 1 << 22


class Enumeration:
    """
    Exact answers for a small graph of discrete variables, from all joint states one by one.

    Parameters
    ----------
    graph : FactorGraph
        The graph with its prior and evidence. It may have at most 2^22 joint states.

    Attributes
    ----------
    log_partition, log_maximum : float
        Log of the sum, and of the largest, of the weights of all joint states.
    """

    def __init__(self, graph: FactorGraph) -> None:
        self._kinds: list[DiscreteType] = []
        for block in graph.variable_blocks.values():
            if not isinstance(block.type, DiscreteType):
                raise TypeError(f"variables {block.name!r} of type {block.type!r} cannot be enumerated")
            self._kinds += [block.type] * block.size
        sizes = [len(kind.states) for kind in self._kinds]
        number = int(np.prod(sizes, dtype=np.float64))
        if number > _MAX_STATES:
            raise ValueError(f"the graph has {number:.3g} joint states, more than {_MAX_STATES}")
        self._first = graph.first_nodes()
        self._digits = np.stack(np.unravel_index(np.arange(number), sizes)) if sizes else np.zeros((0, 1), dtype=np.int64)
        self.log_weights = self._weigh(graph, number)
        self.log_partition = float(logsumexp(self.log_weights))
        self.log_maximum = float(self.log_weights.max())

    def _weigh(self, graph: FactorGraph, number: int) -> np.ndarray:
        total = np.zeros(number)
        for block in graph.variable_blocks.values():
            assert isinstance(block.type, DiscreteType)
            rows = self._digits[self._first[block.name] : self._first[block.name] + block.size]
            if block.prior is not None:
                weights = block.type.log_weights(np.moveaxis(block.prior, 0, -1), HOST)
                for variable, row in enumerate(rows):
                    total += weights[row, variable]
            if block.observed is not None and block.values is not None:
                for place in np.flatnonzero(block.observed):
                    total[rows[place] != block.type.position(block.values[place])] = -np.inf
        for factors in graph.factor_blocks.values():
            if factors.is_block:
                raise TypeError(f"factors {factors.name!r} are a block factor and cannot be enumerated")
            table = factors.bound.enumerated()
            for factor in range(factors.count):
                total += table[..., min(factor, table.shape[-1] - 1)][tuple(self._digits[self._nodes(factors, factor)])]
        return total

    def _nodes(self, factors: Factors, factor: int) -> list[int]:
        return [
            int(v) + self._first[port.name] for port in factors.ports for v in port.index.reshape(factors.count, -1)[factor]
        ]

    def marginals(self, variables: Variables, mode: str = "sum") -> np.ndarray:
        """Probabilities ``(*shape, q)``. In mode "max", max-marginals, scaled to add up to one."""
        nodes = (self._first[variables.name] + variables.index).reshape(-1)
        rows = [self._reduce([int(node)], mode) for node in nodes]
        return np.stack(rows).reshape(*variables.shape, -1)

    def factor_marginals(self, factors: Factors, mode: str = "sum") -> np.ndarray:
        """Joint probabilities ``(F, q_0, ..., q_k)``."""
        return np.stack([self._reduce(self._nodes(factors, f), mode) for f in range(factors.count)])

    def _reduce(self, nodes: list[int], mode: str) -> np.ndarray:
        sizes = [len(self._kinds[node].states) for node in nodes]
        cells = np.ravel_multi_index(tuple(self._digits[nodes]), sizes)
        result = np.zeros(int(np.prod(sizes)))
        weights = np.exp(self.log_weights - self.log_maximum)
        if mode == "max":
            np.maximum.at(result, cells, weights)
        else:
            np.add.at(result, cells, weights)
        return (result / result.sum()).reshape(sizes)

    def log_weight(self, states: dict[str, np.ndarray]) -> float:
        """Log-weight of one joint state, given as the values of each block."""
        digits: list[int] = []
        for name, first in self._first.items():
            kind = self._kinds[first] if first < len(self._kinds) else None
            if kind is not None and name in states:
                digits += kind.position(kind.from_labels(np.ravel(states[name]))).tolist()
        sizes = [len(kind.states) for kind in self._kinds]
        return float(self.log_weights[np.ravel_multi_index(digits, sizes)]) if sizes else 0.0
