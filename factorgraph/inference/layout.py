"""The compiled layout: where each variable and each message lies in the engine's flat arrays.

Variable blocks of one type and with the same controls share a pool: one array of beliefs ``(*param_shape, V)`` and one of
messages ``(*param_shape, E + 1)``, whose last entry is always zero. Edges lie factor block by factor block, port by port,
so that the messages of a port of a whole block are a slice. Small blocks of like factors lie together, as if they had been
added as one: a group. A block at which a block factor has a port is a pool of its own, in its own order, so that the plate
is the array.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from factorgraph.blocks import Factors, VariableBlock, Variables
from factorgraph.factors.kernel import FactorKernel
from factorgraph.factors.merged import merge_key
from factorgraph.graph import FactorGraph
from factorgraph.inference.controls import Damping, PerVariable
from factorgraph.variables import VariableType

_MOST_FACTORS = 1024  # of a block that is joined with others: with more, a call of its own costs nothing


@dataclass(frozen=True, eq=False)
class Segment:
    """The edges of one port of a group of factor blocks: ``first + slot * count + factor``."""

    pool: int
    first: int
    width: int
    count: int

    def edges(self, index: np.ndarray | None) -> np.ndarray:
        """Edge numbers, slot by slot, of all factors or of some."""
        if index is None:
            return np.arange(self.first, self.first + self.width * self.count)
        if self.width == 1:
            return self.first + index
        return (self.first + np.arange(self.width)[:, None] * self.count + index).reshape(-1)


@dataclass(frozen=True, eq=False)
class Group:
    """
    Factor blocks that run as one, their factors one block after another; most often a single one.

    Attributes
    ----------
    name : of the first block
    blocks : the blocks
    count : number of factors
    segments : of each port of an edgewise group
    """

    name: str
    blocks: tuple[Factors, ...]
    count: int
    segments: tuple[Segment, ...]

    @property
    def kernel(self) -> FactorKernel | None:
        """The kernel of the first block, which says what all have in common."""
        return self.blocks[0].kernel


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

    @property
    def in_order(self) -> bool:
        """Whether positions are the blocks' own numbering."""
        return bool((self.place == np.arange(self.size)).all())

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


@dataclass(frozen=True, eq=False)
class Layout:
    """
    Pools, the pool of each variable block; groups of factor blocks by their names, and of each factor block the name of its
    group, its number there, and its first factor; the names of all factor blocks in the graph's order.
    """

    pools: list[Pool]
    pool_of: dict[str, int]
    groups: dict[str, Group]
    place_of: dict[str, tuple[str, int, int]]
    names: tuple[str, ...]

    def pool(self, name: str) -> Pool:
        """The pool of a variable block."""
        return self.pools[self.pool_of[name]]

    def edges_of(self, name: str) -> list[tuple[int, np.ndarray]]:
        """Pool and edge numbers of each port of a factor block; none of a block factor."""
        group, number, start = self.place_of[name]
        factors = np.arange(start, start + self.groups[group].blocks[number].count)
        return [(segment.pool, segment.edges(factors)) for segment in self.groups[group].segments]

    def edges_by_block(self, pool: int) -> np.ndarray:
        """A pool's edges block by block as the graph has them, and last the zero entry: whichever blocks lie together."""
        rows = [edges for name in self.names for where, edges in self.edges_of(name) if where == pool]
        return np.concatenate([*rows, [self.pools[pool].num_edges]]).astype(np.int64)


def compile_layout(graph: FactorGraph, damping: dict[str, Damping], reinforcement: dict[str, PerVariable]) -> Layout:
    """Lay out a graph's variables and edges."""
    plates = {port.name for block in graph.factor_blocks.values() if block.kernel is None for port in block.ports}
    members: dict[tuple[object, ...], list[VariableBlock]] = {}
    for block in graph.variable_blocks.values():
        strengths = damping[block.name].strength, reinforcement[block.name]
        alone = block.name in plates or any(np.ndim(strength) for strength in strengths)
        key = (block.type, damping[block.name].parameters, *((block.name,) if alone else strengths))
        if block.name in plates and any(np.ndim(strength) for strength in strengths):
            raise ValueError(f"variables {block.name!r} are a plate of block factors: they take one damping and reinforcement")
        members.setdefault(key, []).append(block)
    pool_of = {block.name: number for number, blocks in enumerate(members.values()) for block in blocks}
    first: dict[str, int] = {}
    for blocks in members.values():
        sizes = np.cumsum([0, *(block.size for block in blocks)])
        first |= {block.name: int(start) for block, start in zip(blocks, sizes, strict=False)}

    edges: list[list[np.ndarray]] = [[np.zeros(0, dtype=np.int64)] for _ in members]
    num_edges = [0] * len(members)
    groups, place_of = {}, {}
    for blocks_of_group in group_blocks(graph, pool_of):
        name, count = blocks_of_group[0].name, sum(factors.count for factors in blocks_of_group)
        start = 0
        for number, factors in enumerate(blocks_of_group):
            place_of[factors.name] = name, number, start
            start += factors.count
        row = []
        for same in zip(*(factors.ports for factors in blocks_of_group), strict=True) if blocks_of_group[0].kernel else ():
            pool = pool_of[same[0].name]
            places = [port.index.T.reshape(-1, len(port.index)) + first[port.name] for port in same]
            joined = places[0] if len(places) == 1 else np.concatenate(places, axis=1)
            row.append(Segment(pool, num_edges[pool], len(joined), count))
            edges[pool].append(joined.reshape(-1))
            num_edges[pool] += joined.size
        groups[name] = Group(name, tuple(blocks_of_group), count, tuple(row))
    pools = [
        _pool(blocks, first, np.concatenate(edges[number]), damping, reinforcement, blocks[0].name in plates)
        for number, blocks in enumerate(members.values())
    ]
    return Layout(pools, pool_of, groups, place_of, tuple(graph.factor_blocks))


def group_blocks(graph: FactorGraph, pool_of: dict[str, int]) -> list[list[Factors]]:
    """Factor blocks that run as one: those of few factors whose kernels and pools are alike; each other one for itself."""
    groups: dict[Hashable, list[Factors]] = {}
    for block in graph.factor_blocks.values():
        key = None if block.kernel is None or block.count > _MOST_FACTORS else merge_key(block.kernel)
        pools = tuple(pool_of[port.name] for port in block.ports)
        groups.setdefault(block.name if key is None else (key, pools), []).append(block)
    return list(groups.values())


def _pool(
    blocks: list[VariableBlock],
    first: dict[str, int],
    edge_variable: np.ndarray,
    damping: dict[str, Damping],
    reinforcement: dict[str, PerVariable],
    is_plate: bool,
) -> Pool:
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


def degree_groups(degrees: np.ndarray) -> list[np.ndarray]:
    """
    Split variables so that padding each group to its largest degree wastes at most about a quarter.

    The groups are few whatever the degrees are, since their largest degrees fall geometrically; small ones are not split.
    """
    largest = int(degrees.max(initial=0))
    if largest * degrees.size <= 1.25 * degrees.sum() + 64:
        return [np.arange(degrees.size)]
    counts = np.bincount(degrees)
    bounds, top, number, edges = [], largest, 0, 0
    for degree in range(largest, -1, -1):
        if not counts[degree]:
            continue
        number, edges = number + int(counts[degree]), edges + degree * int(counts[degree])
        if top * number > 1.25 * edges + 64:
            bounds.append(degree + 1)
            top, number, edges = degree, int(counts[degree]), degree * int(counts[degree])
    limits = [*bounds, 0]
    uppers = [largest + 1, *bounds]
    return [np.flatnonzero((degrees >= low) & (degrees < high)) for low, high in zip(limits, uppers, strict=True)]


def slots_of(positions: np.ndarray, starts: np.ndarray, edge_order: np.ndarray) -> np.ndarray:
    """The edges ``edge_order[starts[i]:starts[i + 1]]`` of each position i, ``(D, n)``; the number of edges stands for none."""
    begin, degrees = starts[positions], starts[positions + 1] - starts[positions]
    rank = np.arange(int(degrees.max(initial=0)))[:, None]
    real = rank < degrees
    slots = np.full(real.shape, edge_order.size)
    slots[real] = edge_order[(begin + rank)[real]]
    return slots
