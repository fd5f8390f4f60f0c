"""Exact messages of forests of pairwise tables in O(log n) batched rounds.

In each round all leaves are summed out together (rake), then an independent set of variables with two neighbours (compress),
each of which leaves one table between its neighbours. The way back goes through the rounds in reverse: whoever was summed
out is told what the rest of the forest says, edge by edge, so that in the end each original edge knows both its cavities.
(Miller, Reif 1985 for the rounds.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.inference.layout import Layout
from factorgraph.inference.state import State
from factorgraph.semiring import Semiring

_MOST_STATES = 64  # tables of tables cost the cube of these
_MOST_ENTRIES = 1 << 22  # of a temporary array
_FEW_STATES = 8
_PASSES = 3  # of the choice of an independent set


@dataclass(frozen=True, eq=False)
class Rake:
    """Leaves that are summed out: each with its edge's table, whether that is to be turned (leaf first), and its neighbour."""

    leaf: np.ndarray
    table: np.ndarray
    turned: np.ndarray
    target: np.ndarray


@dataclass(frozen=True, eq=False)
class Compress:
    """Variables between two others that are summed out: the tables to the left and the right, and the first new table."""

    middle: np.ndarray
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
    states : the largest number of states
    pairs, singles : names of the groups of factors of two variables and of one
    starts : the number of each pool's first variable
    """

    rounds: list[Rake | Compress]
    variables: int
    tables: int
    states: int
    pairs: list[str]
    singles: list[str]
    starts: np.ndarray

    @classmethod
    def of(cls, layout: Layout) -> Contraction | None:
        """The rounds of a forest; None where it has more than tables of two variables of few states."""
        pairs: list[str] = []
        singles: list[str] = []
        for name, group in layout.groups.items():
            axes = 0 if group.kernel is None else group.kernel.table_axes()
            if axes not in (1, 2):
                return None
            (pairs if axes == 2 else singles).append(name)
        if not pairs or any(not hasattr(pool.type, "log_weights") for pool in layout.pools):
            return None
        states = max(len(pool.type.states) for pool in layout.pools)  # type: ignore[attr-defined]
        if states > _MOST_STATES:
            return None
        starts = np.cumsum([0, *(pool.size for pool in layout.pools)])
        ends: list[list[np.ndarray]] = [[], []]
        for name in pairs:
            both = _edge_ends(layout, name, starts)
            for side, end in zip(ends, (both[: both.size // 2], both[both.size // 2 :]), strict=True):
                side.append(end)
        left, right = (np.concatenate(side) for side in ends)
        rounds, tables = _rounds(left, right, int(starts[-1]))
        return cls(rounds, int(starts[-1]), tables, states, pairs, singles, starts[:-1])

    def run(self, state: State, semiring: Semiring) -> bool:
        """Write the messages of all edges; False, and nothing written, where some variable has no possible state."""
        work = _Work(self, state, semiring)
        work.forward()
        work.backward()
        return work.write()


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
        rounds.append(Compress(ends[one], table[edges[one]], ~side[one], table[edges[two]], side[two], tables))
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


class _Work:
    """The arrays of one run, items first: ``(n, q)`` of variables, ``(tables, q, q)``."""

    def __init__(self, contraction: Contraction, state: State, semiring: Semiring) -> None:
        self.contraction, self.state, self.semiring = contraction, state, semiring
        self.backend: Backend = state.backend
        self.xp: Any = state.backend.xp
        self.sets = state.batch or 1
        self.is_max = semiring.mode == "max"
        self.tiny = 1e-250 if self.backend.dtype_name == "float64" else 1e-25
        q, xp = contraction.states, self.xp
        self.finite = self.backend.zeros((contraction.variables * self.sets, q))
        self.ruled_out = self.backend.zeros((contraction.variables * self.sets, q))
        self.tables = self.backend.zeros((contraction.tables * self.sets, q, q))
        self.cavities = [self.backend.zeros((contraction.tables * self.sets, q)) for _ in range(2)]
        self.ups: list[Array] = []
        for start, pool in zip(contraction.starts.tolist(), state.pools, strict=True):
            kind: Any = pool.pool.type
            weights = kind.log_weights(pool.prior, self.backend)
            if pool.mask is not None:
                mask = xp.reshape(pool.mask, (1, *pool.mask.shape))
                weights = xp.where(mask, kind.log_weights(pool.certain, self.backend), weights)
            self._add(slice(start * self.sets, (start + pool.pool.size) * self.sets), self._items_first(weights))
        for name in contraction.singles:
            (segment,) = state.layout.groups[name].segments
            table = self._table_of(name)
            start = int(contraction.starts[segment.pool])
            places = start + state.layout.pools[segment.pool].edge_place[segment.edges(None)]
            spread = xp.broadcast_to(table, (segment.count, q))
            self._add(self._device(places), xp.repeat(spread, self.sets, axis=0))
        first = 0
        for name in contraction.pairs:
            count = state.layout.groups[name].count
            spread = xp.broadcast_to(self._table_of(name), (count, q, q))
            part = slice(first * self.sets, (first + count) * self.sets)
            self.backend.put(self.tables, part, xp.repeat(spread, self.sets, axis=0) if self.sets > 1 else spread, 0)
            first += count

    def _table_of(self, name: str) -> Array:
        """The tables of a group, ``(F or 1, q)`` or ``(F or 1, q, q)``, states that are not there ruled out."""
        table = self.state.potentials[name].table
        rows = self.xp.permute_dims(table, (table.ndim - 1, *range(table.ndim - 1)))
        return self._filled(rows)

    def _filled(self, rows: Array) -> Array:
        xp, q = self.xp, self.contraction.states
        for axis in range(1, rows.ndim):
            short = q - rows.shape[axis]
            if short:
                shape = (*rows.shape[:axis], short, *rows.shape[axis + 1 :])
                rows = xp.concat([rows, self.backend.zeros(shape) - xp.inf], axis=axis)
        return rows

    def _items_first(self, weights: Array) -> Array:
        """``(q, V)`` or ``(q, V, B)`` as ``(V B, states)``."""
        rows = self.xp.reshape(weights, (weights.shape[0], -1))
        return self._filled(self.xp.permute_dims(rows, (1, 0)))

    def _device(self, index: np.ndarray) -> Array:
        """Items' places on the device, each set's own."""
        if self.sets > 1:
            index = (index[:, None] * self.sets + np.arange(self.sets)).reshape(-1)
        return self.backend.index_array(index)

    def _add(self, places: Any, weights: Array) -> None:
        xp = self.xp
        impossible = weights == -xp.inf
        finite, count = xp.where(impossible, xp.zeros_like(weights), weights), xp.astype(impossible, weights.dtype)
        for array, values in ((self.finite, finite), (self.ruled_out, count)):
            if isinstance(places, slice):
                array[places, :] += values
            else:
                self.backend.add_at(array, places, values, 0)

    def _weights(self, places: Array, without: Array | None = None) -> Array:
        """What is said of some variables up to now, without some message; the largest is 0."""
        xp = self.xp
        finite, count = (self.backend.take(array, places, 0) for array in (self.finite, self.ruled_out))
        if without is not None:
            impossible = without == -xp.inf
            finite = finite - xp.where(impossible, xp.zeros_like(without), without)
            count = count - xp.astype(impossible, finite.dtype)
        return self._levelled(xp.where(count > 0.5, xp.full_like(finite, -xp.inf), finite))

    def _levelled(self, weights: Array) -> Array:
        return weights - self._largest(weights, weights.ndim - 1)

    def _fold(self, array: Array, axis: int, largest: bool) -> Array:
        """The largest, or the sum, along an axis; of few entries one by one, which NumPy's own reductions are slow at."""
        xp = self.xp
        if array.shape[axis] > _FEW_STATES:
            return xp.max(array, axis=axis) if largest else xp.sum(array, axis=axis)
        lead = (slice(None),) * axis
        parts = [array[(*lead, state, ...)] for state in range(array.shape[axis])]
        return reduce(xp.maximum if largest else xp.add, parts)

    def _largest(self, array: Array, axis: int) -> Array:
        """The largest along an axis, 0 where all are -inf."""
        largest = self.xp.expand_dims(self._fold(array, axis, True), axis=axis)
        return self.xp.where(largest == -self.xp.inf, self.xp.zeros_like(largest), largest)

    def _oriented(self, places: np.ndarray, turned: np.ndarray) -> Array:
        tables = self.backend.take(self.tables, self._device(places), 0)
        if not turned.any():
            return tables
        other = self.xp.permute_dims(tables, (0, 2, 1))
        if turned.all():
            return other
        mask = self.xp.reshape(self.backend.mask_array(np.repeat(turned, self.sets)), (-1, 1, 1))
        return self.xp.where(mask, other, tables)

    def _through(self, tables: Array, weights: Array) -> Array:
        """Messages through tables, ``(n, x)``: log-sums over y of ``table[x, y] + weights[y]``; the largest is 0."""
        xp = self.xp
        joint = tables + xp.expand_dims(weights, axis=1)
        largest = self._largest(joint, 2)
        if self.is_max:
            found = self._fold(joint, 2, True)
        else:
            found = xp.log(self._fold(xp.exp(joint - largest), 2, False)) + largest[..., 0]
        return self._levelled(found)

    def _product(self, left: Array, weights: Array, right: Array) -> Array:
        """Tables between neighbours: log-sums over y of ``left[x, y] + weights[y] + right[y, z]``; the largest is 0."""
        xp = self.xp
        left = left + xp.expand_dims(weights, axis=1)
        if self.is_max:
            found = self._slow_product(left, right)
        else:
            rows, columns = self._largest(left, 2), self._largest(right, 1)
            shares = xp.matmul(xp.exp(left - rows), xp.exp(right - columns))
            found = xp.log(shares) + rows + columns
            # Where the largest terms of both do not meet, nothing may be left of a sum that is not nothing.
            lost = shares < self.tiny
            if bool(self.backend.to_host(xp.any(lost))):
                (lost,) = xp.nonzero(xp.any(xp.any(lost, axis=2), axis=1))
                again = self._slow_product(self.backend.take(left, lost, 0), self.backend.take(right, lost, 0))
                self.backend.put(found, lost, again, 0)
        return found - self._largest(self._largest(found, 2), 1)

    def _slow_product(self, left: Array, right: Array) -> Array:
        xp, q, parts = self.xp, left.shape[-1], []
        step = max(1, _MOST_ENTRIES // q**3)
        for start in range(0, left.shape[0], step):
            part = slice(start, min(start + step, left.shape[0]))
            joint = xp.expand_dims(left[part, ...], axis=3) + xp.expand_dims(right[part, ...], axis=1)
            largest = self._largest(joint, 2)
            if self.is_max:
                parts.append(self._fold(joint, 2, True))
            else:
                parts.append(xp.log(self._fold(xp.exp(joint - largest), 2, False)) + largest[:, :, 0, :])
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)

    def forward(self) -> None:
        """Sum variables out, round by round."""
        for step in self.contraction.rounds:
            if isinstance(step, Rake):
                message = self._through(self._oriented(step.table, step.turned), self._weights(self._device(step.leaf)))
                self.ups.append(message)
                self._add(self._device(step.target), message)
                continue
            found = self._product(
                self._oriented(step.left, step.left_turned),
                self._weights(self._device(step.middle)),
                self._oriented(step.right, step.right_turned),
            )
            self.backend.put(self.tables, self._new(step), found, 0)

    def _new(self, step: Compress) -> slice:
        return slice(step.first * self.sets, (step.first + len(step.middle)) * self.sets)

    def backward(self) -> None:
        """Tell whoever was summed out what the rest says; each table gets the cavities of its ends."""
        for step in reversed(self.contraction.rounds):
            if isinstance(step, Rake):
                target, leaf = (self._device(places) for places in (step.target, step.leaf))
                cavity, own = self._weights(target, self.ups.pop()), self._weights(leaf)
                self._keep(step.table, step.turned, cavity, own)
                # Tables were taken with the leaf second.
                self._add(leaf, self._through(self._oriented(step.table, ~step.turned), cavity))
                continue
            outer = [cavity[self._new(step), :] for cavity in self.cavities]
            middle = self._device(step.middle)
            own = self._weights(middle)
            from_left = self._through(self._oriented(step.left, ~step.left_turned), outer[0])
            from_right = self._through(self._oriented(step.right, step.right_turned), outer[1])
            self._keep(step.left, step.left_turned, outer[0], self._levelled(own + from_right))
            self._keep(step.right, step.right_turned, self._levelled(own + from_left), outer[1])
            self._add(middle, from_left)
            self._add(middle, from_right)

    def _keep(self, tables: np.ndarray, turned: np.ndarray, first: Array, second: Array) -> None:
        """Cavities of the ends of tables, given in the order in which the tables were taken."""
        for way, (one, two) in ((False, (first, second)), (True, (second, first))):
            chosen = turned == way
            if not chosen.any():
                continue
            if not chosen.all():
                rows = self.backend.index_array(np.flatnonzero(np.repeat(chosen, self.sets)))
                one, two = (self.backend.take(array, rows, 0) for array in (one, two))
            places = self._device(tables[chosen])
            self.backend.put(self.cavities[0], places, one, 0)
            self.backend.put(self.cavities[1], places, two, 0)

    def write(self) -> bool:
        """Messages of the original edges, as the engine keeps them."""
        xp, state, messages, first = self.xp, self.state, [], 0
        if bool(self.backend.to_host(xp.any(xp.all(self.ruled_out > 0.5, axis=1)))):
            return False
        for name in self.contraction.pairs:
            group = state.layout.groups[name]
            part = slice(first * self.sets, (first + group.count) * self.sets)
            tables = self.tables[part, ...]
            first += group.count
            ends = [segment for segment in group.segments for _ in range(segment.width)]
            for end, segment in enumerate(ends):
                table = xp.permute_dims(tables, (0, 2, 1)) if end else tables
                messages.append((segment, self._through(table, self.cavities[1 - end][part, :])))
        for name in self.contraction.singles:
            (segment,) = state.layout.groups[name].segments
            spread = xp.broadcast_to(self._table_of(name), (segment.count, self.contraction.states))
            messages.append((segment, xp.repeat(spread, self.sets, axis=0)))
        if any(bool(self.backend.to_host(xp.any(xp.isnan(message)))) for _, message in messages):
            return False
        rows: dict[tuple[int, int], list[Array]] = {}
        for segment, message in messages:
            rows.setdefault((segment.pool, segment.first), []).append(message)
        for (number, start), parts in rows.items():
            pool = state.pools[number]
            kind: Any = pool.pool.type
            joined = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
            weights = xp.permute_dims(joined[:, : len(kind.states)], (1, 0))
            edges = joined.shape[0] // self.sets
            weights = xp.reshape(weights, (weights.shape[0], edges, *pool.batch))
            pool.write(slice(start, start + edges), kind.from_log_weights(weights, self.backend), undamped=True)
        for pool in state.pools:
            pool.refresh()
        state.iteration += 1
        return True
