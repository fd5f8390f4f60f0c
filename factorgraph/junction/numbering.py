"""The numbers under which answers are found for what a graph has."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from factorgraph.blocks import Variables
from factorgraph.graph import FactorGraph
from factorgraph.variables import DiscreteType


@dataclass(frozen=True, eq=False)
class Numbering:
    """
    Numbers of the variables, states and tables of a graph.

    Attributes
    ----------
    first_node : node number of the first variable of each block
    states : for each variable, where its states begin among those of all variables; then, the number of all states
    tables : table number of each factor, by its block and number
    """

    first_node: Mapping[str, int]
    states: np.ndarray
    tables: Mapping[tuple[str, int], int]

    @classmethod
    def of(cls, graph: FactorGraph, tables: Mapping[tuple[str, int], int]) -> Numbering:
        """Number a graph of discrete variables."""
        sizes: list[list[int]] = [[0]]
        for block in graph.variable_blocks.values():
            assert isinstance(block.type, DiscreteType)
            sizes.append([len(block.type.states)] * block.size)
        return cls(graph.first_nodes(), np.cumsum(list(itertools.chain.from_iterable(sizes))), tables)

    def nodes(self, variables: Variables) -> list[int]:
        """Node numbers of variables."""
        found: list[int] = (self.first_node[variables.name] + variables.index.reshape(-1)).tolist()
        return found

    def states_of(self, variables: Variables, states: np.ndarray) -> np.ndarray:
        """Values of the states of some variables, ``(..., *variables.shape, q)``, from those of all, ``(..., states)``."""
        kind, block = variables.type, variables.block
        assert isinstance(kind, DiscreteType)
        begin, size = self.states[self.first_node[variables.name]], len(kind.states)
        mine = states[..., begin : begin + block.size * size]
        return np.asarray(mine.reshape(*mine.shape[:-1], block.size, size)[..., variables.index, :])
