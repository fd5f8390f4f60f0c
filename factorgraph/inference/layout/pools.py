"""Pools: the variables that share arrays, and where each of them and of its edges lies there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factorgraph.blocks import VariableBlock, Variables
from factorgraph.inference.layout.controls import Damping, PerVariable
from factorgraph.inference.layout.slots import degree_groups, slots_of
from factorgraph.variables import VariableType


@dataclass(frozen=True, eq=False)
class Pool:
    """
    Variables that share arrays.

    Attributes
    ----------
    type, damping, reinforcement : what all variables of the pool have in common; or for damping and reinforcement arrays
        ``(V,)``, one for each position
    blocks : their blocks
    first : where each block starts, in the blocks' own numbering
    place : (V,) position in the arrays of each variable in that numbering
    size, num_edges : V and E
    edge_place : (E,) position of each edge's variable
    starts, edge_order : the edges of the variable at position i are ``edge_order[starts[i]:starts[i + 1]]``
    rows : groups of consecutive positions with their slots
    is_plate : whether block factors have ports here
    """

    type: VariableType
    damping: Damping
    reinforcement: PerVariable
    blocks: list[VariableBlock]
    first: dict[str, int]
    place: np.ndarray
    size: int
    num_edges: int
    edge_place: np.ndarray
    starts: np.ndarray
    edge_order: np.ndarray
    rows: list[tuple[slice, np.ndarray]]
    is_plate: bool

    @property
    def axis(self) -> int:
        """The long axis of the pool's arrays."""
        return len(self.type.param_shape)

    def positions(self, variables: Variables) -> np.ndarray:
        """Positions of some variables of the pool, in one row."""
        return self.place[self.first[variables.name] + variables.index.reshape(-1)]

    def variable_at(self, position: int) -> tuple[str, tuple[int, ...]]:
        """Block name and index of the variable at a position."""
        number = int(np.flatnonzero(self.place == position)[0])
        block = next(b for b in reversed(self.blocks) if self.first[b.name] <= number)
        return block.name, tuple(int(i) for i in np.unravel_index(number - self.first[block.name], block.shape))

    def slots(self, positions: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Groups of the given positions with their slots ``(D, n)``; a slot without an edge names the zero entry."""
        degrees = self.starts[positions + 1] - self.starts[positions]
        groups = [positions[group] for group in degree_groups(degrees)]
        return [(group, slots_of(group, self.starts, self.edge_order)) for group in groups]


def make_pool(
    blocks: list[VariableBlock],
    first: dict[str, int],
    edge_variable: np.ndarray,
    damping: dict[str, Damping],
    reinforcement: dict[str, PerVariable],
    is_plate: bool,
) -> Pool:
    """The pool of some blocks, whose variables the edges touch in the order given; positions follow the degrees."""
    size = sum(block.size for block in blocks)
    degrees = np.bincount(edge_variable, minlength=size)
    groups = [np.arange(size)] if is_plate else degree_groups(degrees)
    order = groups[0] if len(groups) == 1 else np.concatenate(groups)
    place = np.empty(size, dtype=np.int64)
    place[order] = np.arange(size)
    edge_place = place[edge_variable]
    starts = np.concatenate([[0], np.cumsum(degrees[order])])
    edge_order = np.argsort(edge_place, kind="stable")
    rows, begin = [], 0
    for group in groups:
        positions = np.arange(begin, begin + group.size)
        rows.append((slice(begin, begin + group.size), slots_of(positions, starts, edge_order)))
        begin += group.size
    return Pool(
        blocks[0].type,
        Damping(_by_position(damping[blocks[0].name].strength, place), damping[blocks[0].name].parameters),
        _by_position(reinforcement[blocks[0].name], place),
        blocks,
        {block.name: first[block.name] for block in blocks},
        place,
        size,
        edge_variable.size,
        edge_place,
        starts,
        edge_order,
        rows,
        is_plate,
    )


def _by_position(values: PerVariable, place: np.ndarray) -> PerVariable:
    if np.ndim(values) == 0:
        return values
    moved = np.empty(place.size)
    moved[place] = values
    return moved
