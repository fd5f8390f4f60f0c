"""Joint states drawn from exact beliefs of a forest: from the roots on, each factor given the variable before it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from factorgraph.graph import FactorGraph
from factorgraph.schedules.spanning import SpanningForest
from factorgraph.variables import VariableType

_ENTRIES = 1 << 22  # numbers that are drawn from at once


def check_number(n: object) -> None:
    """Refuse what is no number of draws."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"n must be a whole number of at least 1, not {n!r}")


def draw_rows(cumulated: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One entry of each distribution in the last axis, given sums of weights up to each entry that need not end at 1."""
    level = rng.random(cumulated.shape[:-1]) * cumulated[..., -1]
    return np.asarray((level[..., None] >= cumulated).sum(axis=-1))


def sample_forest(
    graph: FactorGraph,
    marginals: Callable[[str], np.ndarray],
    factor_marginals: Callable[[str], np.ndarray],
    n: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """
    Positions of the states of all variables, ``(n, variables)``.

    Parameters
    ----------
    graph : a forest of edgewise factors
    marginals : of a block of variables by name, ``(size, q)``
    factor_marginals : of a block of factors by name, ``(F, q_0, ..., q_k)``
    n, rng : how many, and the source of random numbers
    """
    forest, first = SpanningForest.of(graph), graph.first_nodes()
    found = np.zeros((n, graph.num_variables), dtype=np.int32)
    for name, variables in graph.variable_blocks.items():
        roots = forest.roots[(forest.roots >= first[name]) & (forest.roots < first[name] + variables.size)]
        if roots.size:
            cumulated = np.cumsum(marginals(name)[roots - first[name]], axis=-1)
            found[:, roots] = draw_rows(np.broadcast_to(cumulated, (n, *cumulated.shape)), rng)
    blocks = list(graph.factor_blocks.values())
    joint: dict[str, np.ndarray] = {}
    for edges in forest.groups(forest.to_parent, forest.depth, forest.block, forest.port, forest.slot):
        block_of, port, slot = (int(column[edges[0]]) for column in (forest.block, forest.port, forest.slot))
        block = blocks[block_of]
        if block.name not in joint:
            joint[block.name] = factor_marginals(block.name)
        rows = forest.position[edges]
        nodes = block.nodes(first)[rows]
        parent = sum(block.bound.widths[:port]) + slot
        table = np.moveaxis(joint[block.name][rows], 1 + parent, 1)
        others = np.delete(nodes, parent, axis=1)
        cumulated = np.cumsum(table.reshape(*table.shape[:2], -1), axis=-1)
        step = max(1, _ENTRIES // max(1, cumulated.shape[0] * cumulated.shape[2]))
        for start in range(0, n, step):
            part = slice(start, min(n, start + step))
            given = cumulated[np.arange(len(rows)), found[part][:, nodes[:, parent]]]
            drawn = draw_rows(given, rng)
            # In one row: of long columns `unravel_index` of some NumPy versions is wrong (numpy/numpy issue 31980).
            states = np.unravel_index(drawn.reshape(-1), table.shape[2:])
            for column, chosen in zip(others.T, states, strict=True):
                found[part, column] = chosen.reshape(drawn.shape)
    return found


def by_block(graph: FactorGraph, found: np.ndarray) -> dict[str, np.ndarray]:
    """States of each block of variables, ``(n, *shape)``, in the type's labels, from positions ``(n, variables)``."""
    first = graph.first_nodes()
    rows: dict[str, np.ndarray] = {}
    for name, block in graph.variable_blocks.items():
        kind: VariableType = block.type
        places = found[:, first[name] : first[name] + block.size].reshape(len(found), *block.shape)
        rows[name] = kind.to_labels(np.asarray(kind.states)[places])  # type: ignore[attr-defined]
    return rows
