"""The rounds in which a forest of pairwise tables is summed out, O(log n) of them.

In each round all leaves are summed out together (rake), then an independent set of variables with two neighbours (compress),
each of which leaves one table between its neighbours (Miller, Reif 1985).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from factorgraph.backends import HOST, Index
from factorgraph.inference.layout.layout import Layout

_MOST_STATES = 64  # tables of tables cost the cube of these
_MOST_ENTRIES = 512  # of a table of more than two variables: larger ones have quicker messages of their own
_AS_RELATIONS = 8  # states of tables that take as long
_PASSES = 3  # of the choice of an independent set


@dataclass(frozen=True, eq=False)
class Edges:
    """Tables by their numbers, and which of them are to be turned."""

    tables: np.ndarray
    turned: np.ndarray

    @cached_property
    def back(self) -> Edges:
        """The same tables the other way round."""
        return Edges(self.tables, ~self.turned)


@dataclass(frozen=True, eq=False)
class Rake:
    """Leaves that are summed out: each with the table of its edge, turned where the leaf is first, and its neighbour."""

    leaf: np.ndarray
    edges: Edges
    target: np.ndarray


@dataclass(frozen=True, eq=False)
class Compress:
    """
    Variables between two others that are summed out, and the first new table.

    Tables are wanted from the left neighbour to the middle one, and from the middle one to the right neighbour.
    """

    middle: np.ndarray
    before: np.ndarray
    after: np.ndarray
    left: Edges
    right: Edges
    first: int


@dataclass(frozen=True, eq=False)
class Contraction:
    """
    The rounds of a forest.

    Attributes
    ----------
    rounds : in their order
    variables, tables : numbers of variables, and of tables with those between neighbours of what was summed out
    states : the largest number of states; for relations as many as cost the same
    relations : whether pairs are relations, not tables
    more : entries of the tables of more than two variables
    pairs, singles : names of the groups of factors of two variables or more, and of one
    wide : of groups of factors of more than two variables, which two are in the rounds, the slots of plural ports counted
        each; the others have no other such factor, so that they are heard before all rounds and told after them
    starts : the number of each pool's first variable
    inside : of each pool, whether its variables may be in the rounds: relations are between variables of one type
    hung : of groups of factors of one such variable and others, which are in no round, the slot of the one
    places, selections : index arrays and edges of the rounds as they are on the device, once they were needed
    missing : for each end, and the first edge of each group, edges along which no round sends a message, once they are known
    """

    rounds: list[Rake | Compress]
    variables: int
    tables: int
    states: int
    more: int
    pairs: list[str]
    singles: list[str]
    wide: dict[str, tuple[int, int]]
    starts: np.ndarray
    relations: bool
    inside: np.ndarray
    hung: dict[str, int]
    places: dict[tuple[int, int], tuple[np.ndarray, Index]] = field(default_factory=dict)
    selections: dict[tuple[Edges, int], Any] = field(default_factory=dict)
    missing: dict[tuple[int, int], Edges] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "places": {}, "selections": {}, "missing": {}}

    @classmethod
    def of(cls, layout: Layout) -> Contraction | None:
        """The rounds of a forest of relations or tables; None where a factor has three variables that others have too."""
        discrete = all(hasattr(pool.type, "log_weights") for pool in layout.pools)
        if not discrete and any(pool.type.relations(HOST) is None for pool in layout.pools):
            return None
        starts = np.cumsum([0, *(pool.size for pool in layout.pools)])
        singles: list[str] = []
        places: dict[str, np.ndarray] = {}
        for name, group in layout.groups.items():
            if group.is_block:
                return None
            variables = group.bound.table_axes() if discrete else group.bound.related()
            if variables == 0:
                return None
            if variables == 1:
                singles.append(name)
            else:
                places[name] = _edge_ends(layout, name, starts).reshape(variables, -1)
        if not places:
            return None
        degree = np.bincount(np.concatenate([each.reshape(-1) for each in places.values()]), minlength=int(starts[-1]))
        inside = np.ones(len(layout.pools), dtype=np.bool_) if discrete else _of_one_type(layout, degree, starts)
        if inside is None:
            return None
        ends = {name: _slots_inside(layout, name, inside) for name in places}
        hung = {name: slots[0] for name, slots in ends.items() if len(slots) == 1}
        cores = {name: _core(degree[places[name]] > 1, slots) for name, slots in ends.items() if len(slots) > 1}
        if len(hung) + len(cores) < len(places) or not cores or any(len(core) > 2 for core in cores.values()):
            return None
        states = max(len(pool.type.states) for pool in layout.pools) if discrete else _AS_RELATIONS  # type: ignore[attr-defined]
        entries = {name: states ** len(places[name]) if discrete else 1 for name in cores if len(places[name]) > 2}
        if states > _MOST_STATES or max(entries.values(), default=0) > _MOST_ENTRIES:
            return None
        left, right = (np.concatenate([places[name][core[side]] for name, core in cores.items()]) for side in range(2))
        rounds, tables = _rounds(left, right, int(starts[-1]))
        wide = {name: (core[0], core[1]) for name, core in cores.items() if len(places[name]) > 2}
        more = sum(size * layout.groups[name].count for name, size in entries.items())
        return cls(
            rounds, int(starts[-1]), tables, states, more, list(cores), singles, wide, starts[:-1], not discrete, inside, hung
        )


def _of_one_type(layout: Layout, degree: np.ndarray, starts: np.ndarray) -> np.ndarray | None:
    """Which pools are of the one type whose variables are in the rounds; those of others have no more than one such factor."""
    once = [bool((degree[start : start + pool.size] <= 1).all()) for start, pool in zip(starts, layout.pools, strict=False)]
    kinds = {pool.type for pool, leaves in zip(layout.pools, once, strict=True) if not leaves} or {layout.pools[0].type}
    if len(kinds) > 1:
        return None
    (kind,) = kinds
    return np.array([pool.type == kind for pool in layout.pools])


def _slots_inside(layout: Layout, name: str, inside: np.ndarray) -> list[int]:
    """Slots of a group's factors, counted over all its ports, at which variables may be in the rounds."""
    segments = layout.groups[name].segments
    pools = [segment.pool for segment in segments for _ in range(segment.width)]
    return [slot for slot, pool in enumerate(pools) if inside[pool]]


def _core(shared: np.ndarray, slots: list[int]) -> tuple[int, ...]:
    """Those of some slots ``(slots, F)`` at which some variable has other factors of several variables; at least two."""
    core = np.flatnonzero(shared.any(axis=1)).tolist()
    others = [slot for slot in slots if slot not in core]
    return tuple(sorted(core + others[: max(0, 2 - len(core))]))


def _edge_ends(layout: Layout, name: str, starts: np.ndarray) -> np.ndarray:
    """Numbers of the variables at a group's edges, first those of the first axis of its tables, then those of the second."""
    parts = [starts[s.pool] + layout.pools[s.pool].edge_place[s.edges(None)] for s in layout.groups[name].segments]
    return np.concatenate(parts)


def _rounds(left: np.ndarray, right: np.ndarray, variables: int) -> tuple[list[Rake | Compress], int]:
    rng = np.random.default_rng(0)
    rounds: list[Rake | Compress] = []
    table, tables = np.arange(left.size), left.size
    degree = np.bincount(left, minlength=variables) + np.bincount(right, minlength=variables)
    while table.size:
        # Leaves; of two that are each other's neighbour only the left one.
        from_left = degree[left] == 1
        from_right = (degree[right] == 1) & ~from_left
        gone = from_left | from_right
        if gone.any():
            leaf, target = np.where(from_left, left, right)[gone], np.where(from_left, right, left)[gone]
            rounds.append(Rake(leaf, Edges(table[gone], from_left[gone]), target))
            degree[leaf] = 0
            degree -= np.bincount(target, minlength=variables)
            left, right, table = left[~gone], right[~gone], table[~gone]
        if not table.size:
            break
        found = _independent(left, right, degree, rng)
        if not found.any():
            continue
        ends, others = np.concatenate([left, right]), np.concatenate([right, left])
        edges = np.tile(np.arange(table.size), 2)
        side = np.repeat([False, True], table.size)  # whether the variable is at the right end
        chosen = np.flatnonzero(found[ends])
        chosen = chosen[np.argsort(ends[chosen], kind="stable")]
        two, one = chosen[::2], chosen[1::2]  # along a chain in order no table is turned
        ways = Edges(table[edges[one]], ~side[one]), Edges(table[edges[two]], side[two])
        rounds.append(Compress(ends[one], others[one], others[two], *ways, tables))
        new = tables + np.arange(len(one))
        tables += len(one)
        degree[ends[one]] = 0
        kept = ~(found[left] | found[right])
        left = np.concatenate([left[kept], others[one]])
        right = np.concatenate([right[kept], others[two]])
        table = np.concatenate([table[kept], new])
    return rounds, tables


def _independent(left: np.ndarray, right: np.ndarray, degree: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which variables with two neighbours are summed out: no two next to each other; along a chain in order every second."""
    free = degree == 2
    found = np.zeros(degree.size, dtype=np.bool_)
    number = np.cumsum(free)
    weight = np.where(free, (number & 1) + rng.random(degree.size), -1.0)
    for _ in range(_PASSES):
        best = np.full(degree.size, -1.0)
        np.maximum.at(best, left, weight[right])
        np.maximum.at(best, right, weight[left])
        taken = (weight > best) & (weight >= 0)
        if not taken.any():
            break
        found |= taken
        weight[taken] = -1.0
        weight[left[taken[right]]] = -1.0
        weight[right[taken[left]]] = -1.0
    return found
