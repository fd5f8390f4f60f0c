"""A forest of tables contracted: messages, and a best joint state.

Messages are logarithms. Tables are numbers where all of them are far above the smallest of the floating-point type, so
that a sum is a matrix product; else they are logarithms too.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from factorgraph.backends import Array, Index
from factorgraph.inference.executors.contracting import Contracting
from factorgraph.inference.layout.contraction import Contraction, Narrow, Rake, Round
from factorgraph.inference.layout.layout import Segment
from factorgraph.inference.state.state import State
from factorgraph.semiring import Semiring

_MOST_ENTRIES = 1 << 22  # of a temporary array
_FEW_STATES = 8


class Underflow(Exception):
    """A table between neighbours comes near the smallest number."""


class TableContracting(Contracting):
    """The arrays of one run, items first: ``(n, q)`` of variables, ``(tables, q, q)``."""

    axis = table_axis = 0

    def __init__(self, contraction: Contraction, state: State, semiring: Semiring, may_be_numbers: bool = False) -> None:
        super().__init__(contraction, state, semiring)
        self.is_max = semiring.mode == "max"
        self.tiny = 1e-250 if self.backend.dtype_name == "float64" else 1e-25
        q, xp = contraction.states, self.xp
        self.in_numbers = self.rules_out = False
        self.finite, self.ruled_out = (
            self._room(name, (contraction.variables * self.sets, q)) for name in ("finite", "ruled out")
        )
        self.finite[...] = 0.0
        self.ruled_out[...] = 0.0
        self.tables = self._room("tables", (contraction.tables * self.sets, q, q))
        self.cavities = [self._room(f"cavities {end}", (contraction.tables * self.sets, q)) for end in range(2)]
        self.sent = [self._room(f"sent {end}", (len(self.is_sent[0]) * self.sets, q)) for end in range(2)]
        for start, pool in zip(contraction.starts.tolist(), state.pools, strict=True):
            kind: Any = pool.pool.type
            weights = kind.log_weights(pool.settle_prior(), self.backend)
            evidence = pool.evidence
            if evidence.mask is not None:
                mask = xp.reshape(evidence.mask, (1, *evidence.mask.shape))
                weights = xp.where(mask, kind.log_weights(evidence.certain, self.backend), weights)
            self._add(slice(start * self.sets, (start + pool.pool.size) * self.sets), self._items_first(weights))
        for name in contraction.singles:
            (segment,) = state.layout.groups[name].segments
            table = self._table_of(name)
            spread = xp.broadcast_to(table, (segment.count, q))
            self._add(self._places_of(*self._slots(name)[0]), xp.repeat(spread, self.sets, axis=0))
        # Then no message rules a state out, and no table between neighbours either.
        possible = may_be_numbers and not self.is_max and not self._is_impossible()
        self.rules_out = possible and bool(self.backend.to_host(xp.any(self.ruled_out > 0.5)))
        self.in_numbers = possible and self._spread_of_tables() < -0.5 * math.log(self.tiny)
        first = 0
        for name in contraction.pairs:
            count = state.layout.groups[name].count
            if name not in contraction.wide:
                table = self._as_numbers(self._table_of(name)) if self.in_numbers else self._table_of(name)
                spread = xp.broadcast_to(table, (count, q, q))
                part = slice(first * self.sets, (first + count) * self.sets)
                self._put_tables(part, xp.repeat(spread, self.sets, axis=0) if self.sets > 1 else spread)
            first += count

    def _as_numbers(self, tables: Array) -> Array:
        """Tables of logarithms as numbers, with 1 as the largest of each."""
        return self.xp.exp(tables - self._largest(self._largest(tables, 2), 1))

    def _joint(self, step: Narrow) -> Array:
        """Tables with what is known of all but two of their variables, ``(n sets, q, q, others)`` of logarithms."""
        xp, q = self.xp, self.contraction.states
        table, number = self._table_of(step.group), len(step.nodes)
        if table.shape[0] > 1 and not step.whole:
            table = self.backend.take(table, self._one_each(step.factors), 0)
        rows = xp.repeat(xp.broadcast_to(table, (step.factors.size, *table.shape[1:])), self.sets, axis=0)
        others = [slot for slot in range(number) if slot not in step.core]
        for slot in others:
            weights = self._weights(self._device(step.nodes[slot]))
            rows = rows + xp.reshape(weights, (-1, *(q if slot == axis else 1 for axis in range(number))))
        rows = xp.permute_dims(rows, (0, *(1 + slot for slot in (*step.core, *others))))
        return xp.reshape(rows, (-1, q, q, q ** len(others)))

    def _narrowed(self, step: Narrow) -> Array:
        joint = self._joint(step)
        tables = self.xp.max(joint, axis=3) if self.is_max else self.backend.log_sum_exp(joint, 3)
        return self._as_numbers(tables) if self.in_numbers else tables

    def _places_at(self, segment: Segment, nodes: np.ndarray) -> Index:
        return self._device(nodes)

    def _heard(self, segment: Segment, places: Index) -> Array:
        return self._params(self._weights(places), segment)

    def _tell(self, segment: Segment, places: Index, message: Array) -> None:
        kind: Any = self.state.pools[segment.pool].pool.type
        self._add(places, self._levelled(self._items_first(kind.log_weights(message, self.backend))))

    def _params(self, weights: Array, segment: Segment) -> Array:
        pool = self.state.pools[segment.pool]
        kind: Any = pool.pool.type
        rows = self.xp.permute_dims(weights[:, : len(kind.states)], (1, 0))
        rows = self.xp.reshape(rows, (len(kind.states), rows.shape[1] // self.sets, *pool.batch))
        return kind.from_log_weights(rows, self.backend)

    def _is_impossible(self) -> bool:
        """Whether some variable has no state left."""
        return bool(self.backend.to_host(self.xp.any(self.xp.all(self.ruled_out > 0.5, axis=1))))

    def _spread_of_tables(self) -> float:
        """The largest difference of two log-potentials of one table; infinite where a state is ruled out or not there."""
        xp, largest = self.xp, 0.0
        if any(len(pool.pool.type.states) < self.contraction.states for pool in self.state.pools):  # type: ignore[attr-defined]
            return math.inf
        for name in self.contraction.pairs:
            table = self.state.potentials[name].table
            states = tuple(range(table.ndim - 1))
            largest = max(largest, float(self.backend.to_host(xp.max(xp.max(table, axis=states) - xp.min(table, axis=states)))))
        return largest

    def _table_of(self, name: str) -> Array:
        """The tables of a group, ``(F or 1, q)``, ``(F or 1, q, q)`` or more, states that are not there ruled out."""
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

    def _add(self, places: Index, weights: Array) -> None:
        xp = self.xp
        if self.in_numbers:
            if isinstance(places, slice):
                self.finite[places, :] += weights
            else:
                self.backend.add_at(self.finite, places, weights, 0)
            return
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
        if self.in_numbers and not self.rules_out:
            finite = self.backend.take(self.finite, places, 0)
            return self._levelled(finite if without is None else finite - without)
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
        largest = self._fold(array, axis, True)[(slice(None),) * axis + (None, ...)]
        if self.in_numbers:  # some state is left of each
            return largest
        return self.xp.where(largest == -self.xp.inf, self.xp.zeros_like(largest), largest)

    def _turned(self, tables: Array) -> Array:
        return self.xp.permute_dims(tables, (0, 2, 1))

    def _plus(self, one: Array, other: Array) -> Array:
        return self._levelled(one + other)

    def _through(self, tables: Array, weights: Array) -> Array:
        """Messages through tables, ``(n, x)``: log-sums over y of ``table[x, y] + weights[y]``; the largest is 0."""
        xp = self.xp
        if self.in_numbers:
            return self._levelled(xp.log(xp.matmul(tables, xp.exp(weights)[:, :, None])[..., 0]))
        joint = tables + weights[:, None, :]
        largest = self._largest(joint, 2)
        if self.is_max:
            found = self._fold(joint, 2, True)
        else:
            found = xp.log(self._fold(xp.exp(joint - largest), 2, False)) + largest[..., 0]
        return self._levelled(found)

    def _product(self, left: Array, weights: Array, right: Array) -> Array:
        """Tables between neighbours, but for a factor: log-sums over y of ``left[x, y] + weights[y] + right[y, z]``."""
        xp = self.xp
        if self.in_numbers:
            found = xp.matmul(left * xp.exp(weights)[:, None, :], right)
            smallest, largest = float(self.backend.to_host(xp.min(found))), float(self.backend.to_host(xp.max(found)))
            if smallest < self.tiny**0.25 or largest > self.tiny**-0.25:
                found = found / self._largest(self._largest(found, 2), 1)
                if float(self.backend.to_host(xp.min(found))) < self.tiny:
                    raise Underflow
            return found
        left = left + weights[:, None, :]
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
            joint = left[part, ..., None] + right[part, None, ...]
            largest = self._largest(joint, 2)
            if self.is_max:
                parts.append(self._fold(joint, 2, True))
            else:
                parts.append(xp.log(self._fold(xp.exp(joint - largest), 2, False)) + largest[:, :, 0, :])
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)

    def decode(self) -> list[np.ndarray]:
        """After `forward`: who was left takes its best state; then, in reverse, whoever was summed out between these."""
        xp, q = self.xp, self.contraction.states
        best = self.backend.index_array(np.zeros(self.ruled_out.shape[0], dtype=np.intp))
        certain = self.backend.zeros((best.shape[0], q)) - xp.inf
        states, zero = self.backend.index_array(np.arange(q)[None]), self.backend.zeros(())

        def put(places: Index, chosen: Array) -> None:
            self.backend.put(best, places, chosen, 0)
            self.backend.put(certain, places, xp.where(states == chosen[:, None], zero, -xp.inf), 0)

        def take(places: Index, weights: Array) -> None:
            put(places, xp.argmax(weights, axis=1))

        gone = np.concatenate([self._gone(step) for step in self.contraction.rounds])
        left = self._place(np.setdiff1d(np.arange(self.contraction.variables), gone))
        take(left, self._weights(left))
        for step in reversed(self.contraction.rounds):
            if isinstance(step, Narrow):
                joint = self._joint(step)
                ends = [self.backend.take(best, self._device(step.nodes[slot]), 0) for slot in step.core]
                rows = self.backend.index_array(np.arange(joint.shape[0])) * q**2 + ends[0] * q + ends[1]
                flat = xp.reshape(joint, (-1, joint.shape[3]))
                number = xp.argmax(self.backend.take(flat, rows, 0), axis=1)
                for slot in reversed([slot for slot in range(len(step.nodes)) if slot not in step.core]):
                    put(self._device(step.nodes[slot]), number % q)
                    number = number // q
                continue
            if isinstance(step, Rake):
                ways = [(step.leaf, step.target, self._oriented(step.edges.back))]
            else:
                ways = [
                    (step.middle, step.before, self._oriented(step.left.back)),
                    (step.middle, step.after, self._oriented(step.right)),
                ]
            places = self._device(ways[0][0])
            told = [self._through(tables, self.backend.take(certain, self._device(ends), 0)) for _, ends, tables in ways]
            take(places, reduce(xp.add, told, self._weights(places)))
        return self._values(self.backend.to_host(best))

    @staticmethod
    def _gone(step: Round) -> np.ndarray:
        """The variables that a round sums out."""
        if isinstance(step, Narrow):
            return np.concatenate([nodes for slot, nodes in enumerate(step.nodes) if slot not in step.core])
        return step.leaf if isinstance(step, Rake) else step.middle

    def _values(self, best: np.ndarray) -> list[np.ndarray]:
        """Values of the variables of each pool, whose states have these numbers."""
        found = []
        for start, pool in zip(self.contraction.starts.tolist(), self.state.pools, strict=True):
            kind: Any = pool.pool.type
            part = best[start * self.sets : (start + pool.pool.size) * self.sets]
            found.append(np.asarray(kind.states)[part].reshape(pool.pool.size, *pool.batch))
        return found

    def write(self) -> bool:
        """Messages of the original edges, as the engine keeps them."""
        xp, state, messages, first = self.xp, self.state, [], 0
        if self._is_impossible():
            return False
        for name in self.contraction.pairs:
            group = state.layout.groups[name]
            if name not in self.contraction.wide:
                ends = [segment for segment in group.segments for _ in range(segment.width)]
                messages += [(segment, self._sent(end, first, group.count)) for end, segment in enumerate(ends)]
            first += group.count
        for name in self.contraction.singles:
            (segment,) = state.layout.groups[name].segments
            spread = xp.broadcast_to(self._table_of(name), (segment.count, self.contraction.states))
            messages.append((segment, xp.repeat(spread, self.sets, axis=0)))
        if self._any_nan([message for _, message in messages] + [message for *_, message in self.narrow]):
            return False
        self._send_narrow()
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
            self._write(pool, slice(start, start + edges), kind.from_log_weights(weights, self.backend))
        for pool in state.pools:
            pool.refresh()
        state.iteration += 1
        return True
