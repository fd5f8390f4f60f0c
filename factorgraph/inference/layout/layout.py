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

from factorgraph.blocks import Factors, VariableBlock
from factorgraph.factors.bound import BoundFactor
from factorgraph.factors.merged import merge_key
from factorgraph.graph import FactorGraph
from factorgraph.inference.layout.controls import Damping, PerVariable
from factorgraph.inference.layout.pools import Pool, make_pool

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
    def is_block(self) -> bool:
        """Whether this is one block factor, and not edgewise ones."""
        return self.blocks[0].is_block

    @property
    def bound(self) -> BoundFactor:
        """The bound factor of the first block, which says what all have in common."""
        return self.blocks[0].bound


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
    plates = {port.name for block in graph.factor_blocks.values() if block.is_block for port in block.ports}
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
        edgewise = [] if blocks_of_group[0].is_block else [factors.ports for factors in blocks_of_group]
        for same in zip(*edgewise, strict=True):
            pool = pool_of[same[0].name]
            places = [port.index.T.reshape(-1, len(port.index)) + first[port.name] for port in same]
            joined = places[0] if len(places) == 1 else np.concatenate(places, axis=1)
            row.append(Segment(pool, num_edges[pool], len(joined), count))
            edges[pool].append(joined.reshape(-1))
            num_edges[pool] += joined.size
        groups[name] = Group(name, tuple(blocks_of_group), count, tuple(row))
    pools = [
        make_pool(blocks, first, np.concatenate(edges[number]), damping, reinforcement, blocks[0].name in plates)
        for number, blocks in enumerate(members.values())
    ]
    return Layout(pools, pool_of, groups, place_of, tuple(graph.factor_blocks))


def group_blocks(graph: FactorGraph, pool_of: dict[str, int]) -> list[list[Factors]]:
    """Factor blocks that run as one: those of few factors, bound alike and with the same pools; others for themselves."""
    groups: dict[Hashable, list[Factors]] = {}
    for block in graph.factor_blocks.values():
        key = None if block.is_block or block.count > _MOST_FACTORS else merge_key(block.bound)
        pools = tuple(pool_of[port.name] for port in block.ports)
        groups.setdefault(block.name if key is None else (key, pools), []).append(block)
    return list(groups.values())
