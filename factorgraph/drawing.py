"""Pictures of small graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from factorgraph.graph import FactorGraph
from factorgraph.io import Model
from factorgraph.variables import DiscreteType

_MOST_NODES = 2000
_MOST_LABELS = 60


def draw(graph: FactorGraph | Model, result: Any = None, *, ax: Any = None, seed: int = 0) -> Any:
    """
    Draw a small graph: variables as circles, factors as squares; the beliefs of a result as the circles' colours.

    Needs matplotlib: ``pip install "factorgraph-nets[plot]"``.

    Parameters
    ----------
    graph : FactorGraph or Model
        Of at most 2000 nodes. A model's variables and states are labelled by their names in its file.
    result : Result or ExactResult, optional
        A variable of two states is coloured by the probability of the second, one of more states by the number of its
        most probable one, paler where that is less certain. Observed variables have a thick rim. Labels then show the most
        probable value.
    ax : matplotlib Axes, optional
        Default: a new figure.
    seed : int, default 0
        Of the layout.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        The graph is too large to see anything.
    """
    import matplotlib.pyplot as plt
    import networkx as nx

    model = graph if isinstance(graph, Model) else None
    if isinstance(graph, Model):
        graph = graph.graph
    network = graph.to_networkx()
    if len(network) > _MOST_NODES:
        raise ValueError(f"the graph has {len(network)} nodes; a picture shows at most {_MOST_NODES}")
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 7))
    places = nx.kamada_kawai_layout(network) if len(network) <= 300 else nx.spring_layout(network, seed=seed)
    variables = [node for node, kind in network.nodes(data="kind") if kind == "variable"]
    factors = [node for node, kind in network.nodes(data="kind") if kind == "factor"]
    colours = ["lightsteelblue"] * len(variables) if result is None else _colours(graph, result, plt.get_cmap)
    rims = [2.5 if _observed(graph, *node) else 0.8 for node in variables]
    size = float(np.clip(9000 / max(len(network), 1), 20, 500))
    nx.draw_networkx_edges(network, places, ax=ax, edge_color="0.6")
    nx.draw_networkx_nodes(network, places, factors, size / 3, "0.25", "s", ax=ax)
    nx.draw_networkx_nodes(
        network,
        places,
        variables,
        size,
        colours,
        "o",
        ax=ax,
        edgecolors="black",
        linewidths=rims,
    )
    if len(variables) <= _MOST_LABELS:
        nx.draw_networkx_labels(network, places, _labels(graph, model, variables, result), ax=ax, font_size=7)
    ax.set_axis_off()
    return ax


def _observed(graph: FactorGraph, name: str, position: int) -> bool:
    observed = graph.variable_blocks[name].observed
    return observed is not None and bool(observed[position])


def _colours(graph: FactorGraph, result: Any, get_cmap: Any) -> list[tuple[float, ...]]:
    colours: list[tuple[float, ...]] = []
    for block in graph.variable_blocks.values():
        if not isinstance(block.type, DiscreteType):
            colours += [(0.7, 0.77, 0.87, 1.0)] * block.size
            continue
        for probabilities in result.marginals(graph.variables(block.name)).reshape(block.size, -1):
            if probabilities.size == 2:
                colours.append(get_cmap("coolwarm")(float(probabilities[1])))
                continue
            best = int(np.argmax(probabilities))
            certainty = float(probabilities[best])
            colours.append((*(1 - certainty * (1 - c) for c in get_cmap("tab10")(best % 10)[:3]), 1.0))
    return colours


def _labels(
    graph: FactorGraph, model: Model | None, variables: list[tuple[str, int]], result: Any
) -> dict[tuple[str, int], str]:
    labels, modes, number = {}, {}, {}
    if result is not None:
        modes = {name: result.mode(graph.variables(name)).reshape(-1) for name in graph.variable_blocks}
    if model is not None:
        number = {(model[v].name, int(model[v].index)): v for v in range(len(model))}
    for name, position in variables:
        block = graph.variable_blocks[name]
        index = ",".join(str(int(i)) for i in np.unravel_index(position, block.shape))
        label = f"{name}[{index}]" if index else name
        value = ""
        if name in modes:
            mode = modes[name][position]
            value = f"{mode:.3g}" if isinstance(mode, np.number) else str(mode)
        if model is not None:
            v = number[name, position]
            label = model.names[v]
            if value and model.states is not None and isinstance(block.type, DiscreteType):
                value = model.states[v][int(block.type.position(block.type.from_labels(modes[name][position])))]
        labels[name, position] = f"{label}\n{value}" if value else label
    return labels
