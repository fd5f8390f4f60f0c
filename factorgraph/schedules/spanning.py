"""Breadth-first spanning forests of a factor graph, found from the middle of each component."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from factorgraph.graph import FactorGraph


@dataclass(frozen=True, eq=False)
class SpanningForest:
    """
    A spanning forest rooted at variables, edge by edge in the order of `FactorGraph.edges`.

    Attributes
    ----------
    roots : (C,) node numbers of the roots, one variable for each component
    variable, factor : (E,) node numbers of each edge's ends
    block, port, slot, position : (E,) factor block, port, slot of a plural port, and factor within the block
    depth : (E,) depth of the edge's factor: 1 for those that touch a root, then 3, 5, ...
    to_parent : (E,) bool, the edge from a factor to the variable nearer to the root
    to_child : (E,) bool, the edge from a factor to a variable reached through it
    predecessor : (nodes + 1,) the node from which each was reached
    """

    roots: np.ndarray
    variable: np.ndarray
    factor: np.ndarray
    block: np.ndarray
    port: np.ndarray
    slot: np.ndarray
    position: np.ndarray
    depth: np.ndarray
    to_parent: np.ndarray
    to_child: np.ndarray
    predecessor: np.ndarray

    @classmethod
    def of(cls, graph: FactorGraph) -> SpanningForest:
        """The forest of a graph of edgewise factors."""
        variable, factor = graph.edges()
        nodes = graph.num_variables + graph.num_factors
        number, labels = graph.components()
        roots = _middles(variable, factor, nodes, graph.num_variables, number, labels)
        depth, predecessor = _breadth_first(variable, factor, nodes, roots)
        block, port, slot, position = _edge_columns(graph)
        return cls(
            roots,
            variable,
            factor,
            block,
            port,
            slot,
            position,
            depth[factor],
            predecessor[factor] == variable,
            predecessor[variable] == factor,
            predecessor,
        )

    def groups(self, chosen: np.ndarray, *keys: np.ndarray) -> list[np.ndarray]:
        """Edge numbers where ``chosen``, grouped by equal keys, in the order of the keys, the first one leading."""
        edges = np.flatnonzero(chosen)
        if not edges.size:
            return []
        order = edges[np.lexsort((edges, *(key[edges] for key in reversed(keys))))]
        changes = np.zeros(order.size - 1, dtype=np.bool_)
        for key in keys:
            changes |= key[order[1:]] != key[order[:-1]]
        return np.split(order, np.flatnonzero(changes) + 1)


def _edge_columns(graph: FactorGraph) -> tuple[np.ndarray, ...]:
    rows: list[tuple[np.ndarray, ...]] = [(np.zeros(0, dtype=np.int64),) * 4]
    for number, block in enumerate(graph.factor_blocks.values()):
        for port, variables in enumerate(block.ports):
            width = variables.size // block.count
            slot, position = np.divmod(np.arange(variables.size), block.count)
            rows.append((np.full(width * block.count, number), np.full(width * block.count, port), slot, position))
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def _breadth_first(variable: np.ndarray, factor: np.ndarray, nodes: int, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth and predecessor of each node, from all roots at once by way of one more node, number ``nodes``."""
    ends = np.concatenate([variable, factor, np.full(roots.size, nodes)])
    starts = np.concatenate([factor, variable, roots])
    links = sparse.csr_array((np.ones(ends.size, dtype=np.int8), (ends, starts)), shape=(nodes + 1, nodes + 1))
    order, predecessor = csgraph.breadth_first_order(links, nodes, directed=True)
    reached = np.zeros(nodes + 1, dtype=np.bool_)
    reached[order] = True
    ahead = np.where(reached & (np.arange(nodes + 1) != nodes), predecessor, nodes)
    depth = np.where(ahead == np.arange(nodes + 1), 0, 1)  # steps to the node that lies ahead, doubled each time
    while (ahead != nodes).any():
        depth, ahead = depth + depth[ahead], ahead[ahead]
    return np.where(reached, depth - 1, -1), predecessor


def _middles(
    variable: np.ndarray, factor: np.ndarray, nodes: int, num_variables: int, number: int, labels: np.ndarray
) -> np.ndarray:
    """A variable near the middle of each component: half way between two ends that are far apart."""
    first = np.full(number, nodes)
    np.minimum.at(first, labels[:num_variables], np.arange(num_variables))
    depth, _ = _breadth_first(variable, factor, nodes, first)
    far = _deepest(depth[:nodes], labels, number)
    depth, predecessor = _breadth_first(variable, factor, nodes, far)
    node = _deepest(depth[:nodes], labels, number)
    steps = depth[node] // 2
    ahead = np.where(predecessor < 0, np.arange(nodes + 1), predecessor)
    while steps.any():
        node = np.where(steps & 1, ahead[node], node)
        steps, ahead = steps >> 1, ahead[ahead]
    return np.where(node < num_variables, node, predecessor[node])


def _deepest(depth: np.ndarray, labels: np.ndarray, number: int) -> np.ndarray:
    order = np.lexsort((depth, labels))
    last = np.searchsorted(labels[order], np.arange(number), side="right") - 1
    return order[last]
