"""Pair models on NetworkX graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from factorgraph.factors import Factor
from factorgraph.graph import FactorGraph
from factorgraph.io.model import Model
from factorgraph.variables import VariableType


def from_networkx(
    network: Any,
    variable: VariableType,
    factor: Factor | Callable[[Any], Factor],
    *,
    weight: str | None = None,
    prior: str | None = None,
) -> Model:
    """
    Build a model from a NetworkX graph, with a variable on each node and a factor on each edge.

    Parameters
    ----------
    network : networkx.Graph, DiGraph or MultiGraph
        In a directed graph, the tail of an edge is the first port.
    variable : VariableType
    factor : Factor, or callable that makes one
        A callable, such as `Ising`, receives the array of the edges' attribute ``weight``, in the order of ``network.edges``.
    weight : str, optional
        Name of the attribute of the edges.
    prior : str, optional
        Name of the attribute of the nodes that holds natural parameters. Nodes without it have a flat prior.

    Returns
    -------
    Model
        Its ``graph`` has the blocks ``"x"`` and ``"edges"``. Nodes are in the order of ``network.nodes``, and are found by
        their names as text.

    Examples
    --------
    >>> import networkx as nx, factorgraph as fg
    >>> model = fg.from_networkx(nx.path_graph(3), fg.Spin(), fg.Ising(0.5))
    >>> model.graph.is_forest
    True
    """
    nodes = list(network.nodes)
    number = {node: i for i, node in enumerate(nodes)}
    if not nodes:
        raise ValueError("the network has no nodes")
    graph = FactorGraph()
    x = graph.add_variables("x", variable, len(nodes))
    edges = list(network.edges(data=True))
    if edges:
        ends = np.array([[number[tail], number[head]] for tail, head, _ in edges])
        if callable(factor):
            missing = next(((tail, head) for tail, head, data in edges if weight not in data), None)
            if weight is None or missing is not None:
                raise ValueError(f"a factor made from edges needs an attribute of each; edge {missing} has no {weight!r}")
            factor = factor(np.array([data[weight] for _, _, data in edges]))
        graph.add_factors("edges", factor, x[ends[:, 0]], x[ends[:, 1]])
    if prior is not None:
        for i, node in enumerate(nodes):
            if prior in network.nodes[node]:
                graph.set_prior(x[i], network.nodes[node][prior])
    return Model(graph, [x], [str(node) for node in nodes])
