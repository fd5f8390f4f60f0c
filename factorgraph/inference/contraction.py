"""The rounds in which a forest of pairwise tables is summed out, O(log n) of them.

In each round all leaves are summed out together (rake), then an independent set of variables with two neighbours (compress),
each of which leaves one table between its neighbours (Miller, Reif 1985).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from factorgraph.backends import get_backend
from factorgraph.inference.layout import Layout

_MOST_STATES = 64  # tables of tables cost the cube of these
_MOST_ENTRIES = 512  # of a table of more than two variables: larger ones have quicker messages of their own
_AS_RELATIONS = 8  # states of tables that take as long
_PASSES = 3  # of the choice of an independent set
_HOST = get_backend("numpy", "float64")


@dataclass(frozen=True, eq=False)
class Rake:
    """Leaves that are summed out: each with its edge's table, whether that is to be turned (leaf first), and its neighbour."""

    leaf: np.ndarray
    table: np.ndarray
    turned: np.ndarray
    target: np.ndarray


@dataclass(frozen=True, eq=False)
class Compress:
    """Variables between two others that are summed out: these, the tables to the left and right, and the first new table."""

    middle: np.ndarray
    before: np.ndarray
    after: np.ndarray
    left: np.ndarray
    left_turned: np.ndarray
    right: np.ndarray
    right_turned: np.ndarray
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
    places : index arrays of the rounds as they are on the device, once they were needed
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
    relations: bool = False
    places: dict[tuple[int, int], tuple[np.ndarray, Any]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "places": {}}

    @classmethod
    def of(cls, layout: Layout) -> Contraction | None:
        """The rounds of a forest of relations or tables; None where a factor has three variables that others have too."""
        discrete = all(hasattr(pool.type, "log_weights") for pool in layout.pools)
        relations = len({pool.type for pool in layout.pools}) == 1 and layout.pools[0].type.relations(_HOST) is not None
        starts = np.cumsum([0, *(pool.size for pool in layout.pools)])
        singles: list[str] = []
        places: dict[str, np.ndarray] = {}
        for name, group in layout.groups.items():
            if group.kernel is None or not (discrete or relations):
                return None
            variables = group.kernel.table_axes() if discrete else group.kernel.related()
            if variables == 0:
                return None
            if variables == 1:
                singles.append(name)
            else:
                places[name] = _edge_ends(layout, name, starts).reshape(variables, -1)
        if not places:
            return None
        degree = np.bincount(np.concatenate([each.reshape(-1) for each in places.values()]), minlength=int(starts[-1]))
        cores = {name: _core(degree[each] > 1) for name, each in places.items()}
        if any(len(core) > 2 for core in cores.values()):
            return None
        states = max(len(pool.type.states) for pool in layout.pools) if discrete else _AS_RELATIONS  # type: ignore[attr-defined]
        entries = {name: states ** len(each) if discrete else 1 for name, each in places.items() if len(each) > 2}
        if states > _MOST_STATES or max(entries.values(), default=0) > _MOST_ENTRIES:
            return None
        left, right = (np.concatenate([each[cores[name][side]] for name, each in places.items()]) for side in range(2))
        rounds, tables = _rounds(left, right, int(starts[-1]))
        wide = {name: (cores[name][0], cores[name][1]) for name, each in places.items() if len(each) > 2}
        more = sum(size * layout.groups[name].count for name, size in entries.items())
        return cls(rounds, int(starts[-1]), tables, states, more, list(places), singles, wide, starts[:-1], not discrete)


def _core(shared: np.ndarray) -> tuple[int, ...]:
    """Ports or slots ``(ports, F)`` at which some factor's variable has other factors of several variables; at least two."""
    core = np.flatnonzero(shared.any(axis=1)).tolist()
    others = [port for port in range(len(shared)) if port not in core]
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
            rounds.append(Rake(leaf, table[gone], from_left[gone], target))
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
        one, two = chosen[::2], chosen[1::2]
        # Tables are wanted from the left neighbour to the middle, and from the middle to the right one.
        ways = table[edges[one]], ~side[one], table[edges[two]], side[two]
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
