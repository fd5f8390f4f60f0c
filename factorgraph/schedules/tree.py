"""The exact schedule of forests: from the leaves to the roots and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from factorgraph.graph import FactorGraph
from factorgraph.schedules.base import Plan, Schedule, Step
from factorgraph.schedules.spanning import SpanningForest


class NotAForestError(ValueError):
    """The graph has a cycle, so that no exact tree schedule exists. The message shows a cycle."""


@dataclass(frozen=True)
class Tree(Schedule):
    """
    Exact on forests: one pass from the leaves to the roots, and one back, with a stage for each depth.

    If factors have approximate messages, passes are repeated until a fixed point, and the result is not exact. If these factors
    have one variable each, all of them are updated at once after each pass.

    Each component is rooted in its middle, so that there are as few depths as possible.

    Raises
    ------
    NotAForestError
        When it is compiled for a graph with a cycle. The message names one.
    """

    def plan(self, graph: FactorGraph) -> Plan:
        for block in graph.factor_blocks.values():
            if block.is_block:
                raise NotAForestError(f"Tree cannot schedule the block factor {block.name!r}, which has cycles; use Sweep")
        forest = SpanningForest.of(graph)
        if not graph.is_forest:
            raise NotAForestError(f"the graph is not a forest; it has a cycle: {_example_cycle(graph, forest)}; use Flooding")
        return _TreePlan(graph, forest)


class _TreePlan(Plan):
    """The plan of a forest, whose stages, two for each depth, are listed when they are first asked for."""

    _graph: FactorGraph
    _forest: SpanningForest

    def __init__(self, graph: FactorGraph, forest: SpanningForest) -> None:
        exact = not any(not block.is_block and block.bound.factor.approximates for block in graph.factor_blocks.values())
        vars(self).update(exact=exact, share=None, forest=True, _graph=graph, _forest=forest)

    @property
    def num_stages(self) -> int:
        return int(self._forest.depth.max(initial=0)) + 1

    @cached_property
    def stages(self) -> list[tuple[Step, ...]]:
        """Leaves to roots, and back."""
        graph, forest = self._graph, self._forest
        names = list(graph.factor_blocks)
        up: dict[int, list[Step]] = {}
        down: dict[int, list[Step]] = {}
        for edges in forest.groups(forest.to_parent, forest.depth, forest.block, forest.port):
            depth, name = int(forest.depth[edges[0]]), names[forest.block[edges[0]]]
            parent, index = int(forest.port[edges[0]]), forest.position[edges]
            block = graph.factor_blocks[name]
            plural = not block.is_block and parent in block.bound.plural
            children = tuple(port for port in range(len(block.ports)) if port != parent or plural)
            up.setdefault(depth, []).append(Step(name, (parent,), index))
            if children:
                down.setdefault(depth, []).append(Step(name, children, index))
        stages = [tuple(up[depth]) for depth in sorted(up, reverse=True)]
        stages += [tuple(down[depth]) for depth in sorted(down)]
        return stages


def _example_cycle(graph: FactorGraph, forest: SpanningForest) -> str:
    loop = int(np.argmax(~(forest.to_parent | forest.to_child)))
    paths = []
    for node in (int(forest.variable[loop]), int(forest.factor[loop])):
        path = [node]
        while path[-1] < graph.num_variables + graph.num_factors:
            path.append(int(forest.predecessor[path[-1]]))
        paths.append(path)
    left, right = paths
    while len(left) > 1 and len(right) > 1 and left[-2] == right[-2]:
        left.pop()
        right.pop()
    cycle = [*left, *right[-2::-1]]
    labels = [_label(graph, node) for node in cycle]
    if len(labels) > 12:
        labels = [*labels[:6], f"... ({len(labels) - 11} more)", *labels[-5:]]
    return " - ".join([*labels, labels[0]])


def _label(graph: FactorGraph, node: int) -> str:
    for block in graph.variable_blocks.values():
        if node < block.size:
            place = [int(i) for i in np.unravel_index(node, block.shape)]
            return f"{block.name}{place}" if place else block.name
        node -= block.size
    for factors in graph.factor_blocks.values():
        if node < factors.count:
            return f"{factors.name}[{node}]"
        node -= factors.count
    raise IndexError(node)
