"""What a picture of a graph shows: its nodes with their names and beliefs, and the lines between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from factorgraph.drawing.beliefs import Belief, beliefs_of, called, check_single, is_max, mean_bars, states_of

if TYPE_CHECKING:
    from factorgraph.blocks import Factors
    from factorgraph.graph import FactorGraph
    from factorgraph.io import Model

_MOST_FACTOR_LABELS = 16
_MOST_PLATES = 300


@dataclass
class Node:
    """
    A variable, a factor, or a whole block of them.

    Attributes
    ----------
    kind : {"variable", "factor"}
    label : str
        Its name; empty for none.
    belief : Belief
        What is known of it, and how that is said.
    observed : bool
    plate : bool
        Whether it stands for a block of several.
    """

    kind: str
    label: str
    belief: Belief = field(default_factory=Belief)
    observed: bool = False
    plate: bool = False

    def texts(self) -> list[str]:
        """The label in words, the longest form first, the shortest last."""
        name = self.label if len(self.label) <= 24 else self.label[:22] + "…"
        forms = [f"{self.label}\n{self.belief.text}"] if self.belief.text else []
        forms += [f"{name}\n{self.belief.short}"] if self.belief.short else []
        return list(dict.fromkeys(form for form in (*forms, self.label, name, name[:10]) if form))


@dataclass
class Scene:
    """
    All that is to be drawn.

    Attributes
    ----------
    nodes : list of Node
    edges : (E, 2) integer array
        Numbers of the nodes; the first one stands before the second where the layout has a direction.
    places : list of (column, row) or None
        Of nodes whose block says where they are, as the pixels of an image.
    directed : bool
        Whether the direction of the edges means something, as in a Bayesian network.
    states : list of str
        What the colours of states stand for.
    bars : str
        What the bars show.
    """

    nodes: list[Node]
    edges: np.ndarray
    places: np.ndarray | None = None
    directed: bool = False
    states: list[str] = field(default_factory=list)
    bars: str = "probability"

    def labelled(self) -> list[int]:
        """Numbers of the nodes whose labels are shown: of many factors only those that are plates have one."""
        few = sum(node.kind == "factor" for node in self.nodes) <= _MOST_FACTOR_LABELS
        return [
            number for number, node in enumerate(self.nodes) if node.texts() and (node.kind == "variable" or node.plate or few)
        ]


def scene_of(graph: FactorGraph, model: Model | None, result: Any) -> Scene:
    """
    Every variable and factor as a node of its own.

    Parameters
    ----------
    graph : FactorGraph
    model : Model or None
        That the graph is of: its names of variables and states are shown.
    result : Result, ExactResult or None
        Beliefs to show.

    Raises
    ------
    ValueError
        The result is of several sets of evidence.
    """
    names = {}
    if model is not None:
        names = {(model[v].name, int(model[v].index)): v for v in range(len(model))}
    beliefs = beliefs_of(graph, model, names, result)
    nodes = []
    states: list[list[str]] = []
    for block in graph.variable_blocks.values():
        for position in range(block.size):
            number = names.get((block.name, position))
            label = (
                model.names[number] if model is not None and number is not None else indexed(block.name, block.shape, position)
            )
            seen = block.observed is not None and bool(block.observed[position])
            nodes.append(Node("variable", label, beliefs[block.name][position], seen))
            states.append(states_of(block, model, number))
    for factors in graph.factor_blocks.values():
        nodes += [Node("factor", "" if model is not None else factors.name) for _ in range(factors.count)]
    variable, factor = graph.edges()
    forward = _leads_to_factor(graph)
    edges = np.stack([np.where(forward, variable, factor), np.where(forward, factor, variable)], axis=1)
    edges = edges[np.sort(np.unique(edges, axis=0, return_index=True)[1])]  # a block factor may meet a variable twice
    bars = "max-marginal" if is_max(result) else "probability"
    return Scene(nodes, edges, _image_places(graph), model is not None, called(states), bars)


def plates_of(graph: FactorGraph, result: Any) -> Scene:
    """Every block of variables or factors as one node, with its size; a line for each port."""
    check_single(result)
    blocks = len(graph.variable_blocks) + len(graph.factor_blocks)
    if blocks > _MOST_PLATES:
        raise ValueError(
            f"the graph has {blocks:,} blocks, and a picture shows at most {_MOST_PLATES}: add like variables and factors as "
            "arrays, in one block each, or draw a smaller graph of the kind"
        )
    nodes: list[Node] = []
    edges: list[tuple[int, ...]] = []
    number: dict[str, int] = {}
    for block in graph.variable_blocks.values():
        number[block.name] = len(nodes)
        seen = 0 if block.observed is None else int(block.observed.sum())
        size = " x ".join(f"{n:,}" for n in block.shape)
        belief = Belief(bars=None if result is None else mean_bars(graph.variables(block.name), result), short=size)
        belief.text = (f"{size} of " if size else "") + _short(block.type) + (f", {seen:,} observed" if seen else "")
        nodes.append(Node("variable", block.name, belief, seen == block.size, block.size > 1))
    for factors in graph.factor_blocks.values():
        place = len(nodes)
        belief = Belief(_short(factors.factor))
        if factors.count > 1:
            belief = Belief(f"{factors.count:,} of {_short(factors.factor)}", f"{factors.count:,}")
        nodes.append(Node("factor", factors.name, belief, plate=factors.count > 1))
        for port, forward in zip(factors.ports, _before(factors), strict=True):
            pair = (number[port.name], place)
            edges.append(pair if forward else pair[::-1])
    return Scene(
        nodes, np.array(edges, dtype=np.int64).reshape(-1, 2), states=called(map(states_of, graph.variable_blocks.values()))
    )


def indexed(name: str, shape: tuple[int, ...], position: int) -> str:
    """A variable's name: that of its block, and its place there."""
    if not shape:
        return name
    return f"{name}[{','.join(str(int(i)) for i in np.unravel_index(position, shape))}]"


def _short(kind: Any) -> str:
    words = repr(kind)
    return words if len(words) <= 30 else type(kind).__name__


def _before(factors: Factors) -> list[bool]:
    """For each port whether its variables stand before the factor: all but the last, as parents before a child."""
    return [number + 1 < len(factors.ports) or number == 0 for number in range(len(factors.ports))]


def _leads_to_factor(graph: FactorGraph) -> np.ndarray:
    """For each edge, in the order of `FactorGraph.edges`, whether it goes from the variable to the factor."""
    parts = [np.zeros(0, dtype=np.bool_)]
    for factors in graph.factor_blocks.values():
        child_alone = len(factors.ports) == 1
        for port, forward in zip(factors.ports, _before(factors), strict=True):
            there = int((port.index >= 0).sum()) if factors.is_block else port.index.size
            parts.append(np.full(there, forward and not child_alone))
    return np.concatenate(parts)


def _image_places(graph: FactorGraph) -> np.ndarray | None:
    """Columns and rows of all nodes, where the variables are the points of one grid and factors join neighbours on it."""
    shapes = {block.shape for block in graph.variable_blocks.values()}
    if len(graph.variable_blocks) != 1 or any(len(shape) != 2 or min(shape) < 2 for shape in shapes):
        return None
    (block,) = graph.variable_blocks.values()
    row, column = np.unravel_index(np.arange(block.size), block.shape)
    at = 2.0 * np.stack([column, -row], axis=1)
    parts, lone = [at], np.array([0.6, 0.6])
    for factors in graph.factor_blocks.values():
        meets = np.concatenate([port.index.reshape(factors.count, -1) for port in factors.ports], axis=1)
        corners = at[meets]  # (F, variables, 2)
        if factors.is_block or meets.shape[1] > 4 or np.ptp(corners, axis=1).max() > 2.0:
            return None
        parts.append(corners.mean(axis=1) + (lone if meets.shape[1] == 1 else 0.0))
    places = np.concatenate(parts)
    return places if len(np.unique(places, axis=0)) == len(places) else None
