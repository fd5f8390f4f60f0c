"""Splits a graph into parts, one for each rank, that share as few variables as possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.blocks import Factors, Variables
from factorgraph.communication import Communicator
from factorgraph.factors.selected import SelectedFactor
from factorgraph.graph import FactorGraph


@dataclass(frozen=True, eq=False)
class Part:
    """
    The part of a graph that one rank has: some factors, and all variables that they are connected to.

    Attributes
    ----------
    graph : FactorGraph
        Its blocks have the names of the blocks of the whole graph. Each block has one axis.
    shared : dict of Variables and (n,) integer arrays
        For `Inference`: the variables that other parts have too, and their positions in the whole graph's block.
    numbers : dict of (n,) integer arrays by name
        Position of each variable and of each factor of the part in the whole graph's block.
    shapes : dict of the shapes of the whole graph's blocks of variables
    """

    graph: FactorGraph
    shared: dict[Variables, np.ndarray]
    numbers: dict[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]

    def gather(self, communicator: Communicator, name: str, values: np.ndarray | None) -> np.ndarray:
        """
        Collect the values of a whole block from the parts of all ranks. All ranks must call it.

        Parameters
        ----------
        communicator : Communicator
        name : name of a block of variables
        values : (n, ...) array with one entry for each variable of the part, as results return them; None if the part has none

        Returns
        -------
        (*shape, ...) array in the whole block's shape
        """
        mine = None if values is None or name not in self.numbers else (self.numbers[name], np.asarray(values))
        parts = [part for part in communicator.gather(mine) if part is not None]
        first = parts[0][1]
        whole = np.zeros((int(np.prod(self.shapes[name], dtype=np.int64)), *first.shape[1:]), dtype=first.dtype)
        for numbers, rows in parts:
            whole[numbers] = rows
        return whole.reshape((*self.shapes[name], *first.shape[1:]))


def partition(graph: FactorGraph, parts: int, owners: Mapping[str, Any] | None = None) -> list[Part]:
    """
    Split a graph's factors into parts of about the same size that share few variables.

    Parameters
    ----------
    graph : FactorGraph
        A graph without block factors. A block factor is divided in another way: each rank has its own patterns, and the ranks
        share the variables that all of them have.
    parts : int, at least 1
    owners : mapping from names of factor blocks to (F,) arrays with the part of each factor, optional
        Default: METIS finds the parts. This needs ``pymetis`` (``pip install 'factorgraph-nets[mpi]'``).

    Returns
    -------
    list of Part. Every rank gets the same list for the same arguments.

    Raises
    ------
    ValueError
        The graph has block factors, or owners do not fit.
    ModuleNotFoundError
        pymetis is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Spin(), 4)
    >>> _ = graph.add_factors("bonds", fg.Ising([0.1, 0.2, 0.3]), x[:-1], x[1:])
    >>> left, right = fg.partition(graph, 2, owners={"bonds": [0, 0, 1]})
    >>> [numbers.tolist() for numbers in left.shared.values()], right.numbers["x"].tolist()
    ([[2]], [2, 3])
    """
    if isinstance(parts, bool) or not isinstance(parts, (int, np.integer)) or parts < 1:
        raise ValueError(f"parts must be a whole number of at least 1, not {parts!r}")
    for block in graph.factor_blocks.values():
        if block.is_block:
            raise ValueError(
                f"factors {block.name!r} are a block factor, which is not split: give each rank its own patterns, and "
                "share the variables that all ranks have"
            )
    chosen = _checked(graph, parts, owners) if owners is not None else _by_metis(graph, parts)
    touched = _touched(graph, chosen, parts)
    number = np.sum([rows for rows in touched], axis=0)
    return [_part(graph, chosen, part, touched, number) for part in range(parts)]


def _checked(graph: FactorGraph, parts: int, owners: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The part of each factor, or an error that names the block."""
    found = {}
    for name, block in graph.factor_blocks.items():
        rows = np.asarray(owners[name]) if name in owners else None
        if rows is None or rows.shape != (block.count,) or rows.dtype.kind not in "iu":
            raise ValueError(f"owners of factors {name!r} must be {block.count} whole numbers")
        if rows.min() < 0 or rows.max() >= parts:
            raise ValueError(f"owners of factors {name!r} must be numbers from 0 to {parts - 1}")
        found[name] = rows
    return found


def _by_metis(graph: FactorGraph, parts: int) -> dict[str, np.ndarray]:
    """
    The part of each factor, from METIS on the graph of variables and factors. The weight of a factor is the cost of its edges.
    """
    counts = [block.count for block in graph.factor_blocks.values()]
    if parts == 1 or not counts:
        return {name: np.zeros(block.count, dtype=np.int64) for name, block in graph.factor_blocks.items()}
    from pymetis import CSRAdjacency, part_graph
    from scipy import sparse

    variable, factor = graph.edges()
    nodes = graph.num_variables + graph.num_factors
    ends = np.concatenate([variable, factor]), np.concatenate([factor, variable])
    lists = sparse.csr_array((np.ones(2 * variable.size, dtype=np.int8), ends), shape=(nodes, nodes))
    weights = np.bincount(factor, minlength=nodes)
    weights[: graph.num_variables] = 1
    _, part = part_graph(parts, CSRAdjacency(lists.indptr, lists.indices), vweights=weights)
    rows = np.split(np.asarray(part)[graph.num_variables :], np.cumsum(counts)[:-1])
    return dict(zip(graph.factor_blocks, rows, strict=True))


def _touched(graph: FactorGraph, owners: dict[str, np.ndarray], parts: int) -> np.ndarray:
    """The variables of each part, as ``(parts, V)``. Variables without factors are divided among the parts."""
    first, touched = graph.first_nodes(), np.zeros((parts, graph.num_variables), dtype=np.bool_)
    for name, block in graph.factor_blocks.items():
        for port in block.ports:
            places = first[port.name] + port.index.reshape(block.count, -1)
            touched[np.repeat(owners[name], places.shape[1]), places.reshape(-1)] = True
    alone = np.flatnonzero(~touched.any(axis=0))
    touched[np.arange(alone.size) * parts // max(1, alone.size), alone] = True
    return touched


def _part(graph: FactorGraph, owners: dict[str, np.ndarray], part: int, touched: np.ndarray, number: np.ndarray) -> Part:
    small, first = FactorGraph(), graph.first_nodes()
    shared, numbers, shapes = {}, {}, {}
    local = {}
    for name, block in graph.variable_blocks.items():
        shapes[name] = block.shape
        rows = slice(first[name], first[name] + block.size)
        mine = np.flatnonzero(touched[part, rows])
        if not mine.size:
            continue
        variables = small.add_variables(name, block.type, mine.size)
        numbers[name], local[name] = mine, np.full(block.size, -1)
        local[name][mine] = np.arange(mine.size)
        if block.prior is not None:
            variables.block.prior = block.prior[mine]
        if block.observed is not None and block.values is not None:
            variables.block.observed, variables.block.values = block.observed[mine], block.values[mine]
        common = np.flatnonzero(number[rows][mine] > 1)
        if common.size:
            shared[variables[common]] = mine[common]
    for name, factors in graph.factor_blocks.items():
        mine = np.flatnonzero(owners[name] == part)
        if not mine.size:
            continue
        numbers[name] = mine
        try:
            bound = factors.bound if mine.size == factors.count else SelectedFactor(factors.bound, mine)
        except TypeError as error:
            raise TypeError(f"factors {name!r}: {error}") from error
        ports = tuple(Variables(small.variable_blocks[port.name], local[port.name][port.index[mine]]) for port in factors.ports)
        small.factor_blocks[name] = Factors(name, factors.factor, ports, int(mine.size), bound)
    return Part(small, shared, numbers, shapes)
