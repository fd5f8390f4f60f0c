"""The rounds in which a forest of pairwise tables is summed out, O(log n) of them.

In each round all leaves are summed out together (rake), then an independent set of variables with two neighbours (compress),
each of which leaves one table between its neighbours (Miller, Reif 1985). Factors of more variables join in as tables of two
as soon as all but two of their variables have no other factor left (narrow).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

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
class Narrow:
    """
    Factors of more than two variables that become tables of two of these.

    Attributes
    ----------
    group : name of their group
    factors : their numbers in it; ``whole`` says that these are all
    core : slots of the two variables, the slots of plural ports counted each
    nodes : the variables at each slot, ``(slots, n)``
    tables : numbers of the tables
    edges : of each port, the edges in its pool, slot by slot
    """

    group: str
    factors: np.ndarray
    whole: bool
    core: tuple[int, int]
    nodes: list[np.ndarray]
    tables: np.ndarray
    edges: list[np.ndarray]


Round: TypeAlias = "Rake | Compress | Narrow"


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
    sites : those of the singles whose messages follow from what else is known, and stay as they are in all rounds
    tangents : those of the pairs whose relations follow from what is known, and stay as they are in all rounds
    wide : those of pairs with more than two variables
    starts : the number of each pool's first variable
    inside : of each pool, whether its variables may be in the rounds: relations are between variables of one type
    hung : of groups of factors of one such variable and others, which are in no round, the slot of the one
    places, selections : index arrays and edges of the rounds as they are on the device, once they were needed
    calls : what reads the cavities of `tangents`, once it was needed
    missing : for each end, and the first edge of each group, edges along which no round sends a message, once they are known
    """

    rounds: list[Round]
    variables: int
    tables: int
    states: int
    more: int
    pairs: list[str]
    singles: list[str]
    sites: frozenset[str]
    tangents: frozenset[str]
    wide: frozenset[str]
    starts: np.ndarray
    relations: bool
    inside: np.ndarray
    hung: dict[str, int]
    places: dict[tuple[int, int], tuple[np.ndarray, Index]] = field(default_factory=dict)
    selections: dict[tuple[Edges, int], Any] = field(default_factory=dict)
    calls: dict[str, Any] = field(default_factory=dict)
    missing: dict[tuple[int, int], Edges] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "places": {}, "selections": {}, "calls": {}, "missing": {}}

    @classmethod
    def of(cls, layout: Layout) -> Contraction | None:
        """The rounds of a forest of relations or tables; None where there is none, or tables would be too large."""
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
            if variables == 0 or (variables > 2 and group.bound.factor.approximates):
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
        pairs = [name for name, slots in ends.items() if len(slots) > 1]
        approximate = {name for name, group in layout.groups.items() if group.bound.factor.approximates}
        if len(hung) + len(pairs) < len(places) or not pairs or approximate & set(hung):
            return None
        states = max(len(pool.type.states) for pool in layout.pools) if discrete else _AS_RELATIONS  # type: ignore[attr-defined]
        entries = {name: states ** len(places[name]) if discrete else 1 for name in pairs if len(places[name]) > 2}
        if states > _MOST_STATES or max(entries.values(), default=0) > _MOST_ENTRIES:
            return None
        work = _Rounds(layout, {name: (places[name], ends[name]) for name in pairs}, int(starts[-1]))
        more = sum(size * layout.groups[name].count for name, size in entries.items())
        return cls(
            rounds=work.rounds,
            variables=int(starts[-1]),
            tables=work.tables,
            states=states,
            more=more,
            pairs=pairs,
            singles=singles,
            sites=frozenset(singles) & approximate,
            tangents=frozenset(pairs) & approximate,
            wide=frozenset(entries),
            starts=starts[:-1],
            relations=not discrete,
            inside=inside,
            hung=hung,
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


def _edge_ends(layout: Layout, name: str, starts: np.ndarray) -> np.ndarray:
    """Numbers of the variables at a group's edges, first those of the first axis of its tables, then those of the second."""
    parts = [starts[s.pool] + layout.pools[s.pool].edge_place[s.edges(None)] for s in layout.groups[name].segments]
    return np.concatenate(parts)


class _Rounds:
    """
    The choice of rounds.

    Parameters
    ----------
    layout : Layout
    groups : for each group of factors of several variables, these ``(slots, F)``, and the slots that may be in the rounds
    variables : number of variables

    Attributes
    ----------
    rounds : in their order
    tables : number of tables
    """

    def __init__(self, layout: Layout, groups: dict[str, tuple[np.ndarray, list[int]]], variables: int) -> None:
        self._layout, self._variables = layout, variables
        self._rng = np.random.default_rng(0)
        self.rounds: list[Round] = []
        self._first: dict[str, int] = {}  # number of the first table of each group
        self.tables = 0
        self._degree = np.zeros(variables, dtype=np.int64)
        none = np.zeros(0, dtype=np.int64)
        self._left, self._right, self._table = none, none, none
        self._waiting: dict[str, np.ndarray] = {}  # factors of more variables that are no table yet
        self._groups = groups
        for name, (nodes, slots) in groups.items():
            count = nodes.shape[1]
            self._first[name], self.tables = self.tables, self.tables + count
            self._degree += np.bincount(nodes[slots].reshape(-1), minlength=variables)
            if len(nodes) == 2:
                self._append(nodes[0], nodes[1], self._first[name] + np.arange(count))
            else:
                self._waiting[name] = np.arange(count)
        while self._table.size or self._waiting:
            self._narrow()
            self._rake()
            self._compress()

    def _append(self, left: np.ndarray, right: np.ndarray, table: np.ndarray) -> None:
        self._left, self._right = np.concatenate([self._left, left]), np.concatenate([self._right, right])
        self._table = np.concatenate([self._table, table])

    def _narrow(self) -> None:
        """Factors all but two of whose variables have no other factor become tables of these two."""
        for name, factors in list(self._waiting.items()):
            nodes, slots = self._groups[name]
            alive = np.zeros((len(nodes), factors.size), dtype=np.bool_)
            alive[slots] = self._degree[nodes[slots][:, factors]] > 1
            ready = alive.sum(axis=0) <= 2
            if not ready.any():
                continue
            # Of a factor with fewer than two others stay that are usual in the group, so that steps are few.
            usual = np.full(len(nodes), -1.0)
            usual[slots] = alive[slots].mean(axis=1)
            order = np.argsort(-(usual[:, None] + 2.0 * alive), axis=0, kind="stable")
            cores = np.sort(order[:2, ready], axis=0)
            chosen, self._waiting[name] = factors[ready], factors[~ready]
            if not self._waiting[name].size:
                del self._waiting[name]
            for code in np.unique(cores[0] * len(nodes) + cores[1]).tolist():
                core = code // len(nodes), code % len(nodes)
                mine = chosen[(cores[0] == core[0]) & (cores[1] == core[1])]
                self._add_narrow(name, mine, core)

    def _add_narrow(self, name: str, factors: np.ndarray, core: tuple[int, int]) -> None:
        (nodes, slots), group = self._groups[name], self._layout.groups[name]
        tables, whole = self._first[name] + factors, factors.size == group.count
        edges = [segment.edges(factors) for segment in group.segments]
        self.rounds.append(Narrow(name, factors, whole, core, [row[factors] for row in nodes], tables, edges))
        others = [slot for slot in slots if slot not in core]
        self._degree -= np.bincount(nodes[others][:, factors].reshape(-1), minlength=self._variables)
        self._append(nodes[core[0], factors], nodes[core[1], factors], tables)

    def _rake(self) -> None:
        """Leaves; of two that are each other's neighbour only the left one."""
        left, right, degree = self._left, self._right, self._degree
        from_left = degree[left] == 1
        from_right = (degree[right] == 1) & ~from_left
        gone = from_left | from_right
        if not gone.any():
            return
        leaf, target = np.where(from_left, left, right)[gone], np.where(from_left, right, left)[gone]
        self.rounds.append(Rake(leaf, Edges(self._table[gone], from_left[gone]), target))
        degree[leaf] = 0
        degree -= np.bincount(target, minlength=self._variables)
        self._left, self._right, self._table = left[~gone], right[~gone], self._table[~gone]

    def _compress(self) -> None:
        """Variables between two others, no two of them next to each other."""
        left, right, table = self._left, self._right, self._table
        if not table.size:
            return
        free = self._degree == 2
        if self._waiting:  # their factors are none of the tables
            free &= np.bincount(left, minlength=self._variables) + np.bincount(right, minlength=self._variables) == 2
        found = _independent(left, right, free, self._rng)
        if not found.any():
            return
        ends, others = np.concatenate([left, right]), np.concatenate([right, left])
        edges = np.tile(np.arange(table.size), 2)
        side = np.repeat([False, True], table.size)  # whether the variable is at the right end
        chosen = np.flatnonzero(found[ends])
        chosen = chosen[np.argsort(ends[chosen], kind="stable")]
        two, one = chosen[::2], chosen[1::2]  # along a chain in order no table is turned
        ways = Edges(table[edges[one]], ~side[one]), Edges(table[edges[two]], side[two])
        self.rounds.append(Compress(ends[one], others[one], others[two], *ways, self.tables))
        new = self.tables + np.arange(len(one))
        self.tables += len(one)
        self._degree[ends[one]] = 0
        kept = ~(found[left] | found[right])
        self._left, self._right, self._table = left[kept], right[kept], table[kept]
        self._append(others[one], others[two], new)


def _independent(left: np.ndarray, right: np.ndarray, free: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which free variables are summed out: no two next to each other; along a chain in order every second."""
    found = np.zeros(free.size, dtype=np.bool_)
    number = np.cumsum(free)
    weight = np.where(free, (number & 1) + rng.random(free.size), -1.0)
    for _ in range(_PASSES):
        best = np.full(free.size, -1.0)
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
