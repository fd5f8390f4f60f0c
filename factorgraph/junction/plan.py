"""Sums of products of tables over the joint states of a clique, worked out pair by pair.

Example: of tables on (a, b), (b, c) and (c, d), the sum over all but a needs no table on (a, b, c, d). The tables on (c, d) and
(b, c) are multiplied and d and c are summed out, which is a product of matrices; then the rest. A plan is this order of pairs:
it is made once, and run for tables of any values, and of fewer states where there is evidence.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

Axes: TypeAlias = "tuple[int, ...]"
Contraction: TypeAlias = "Callable[[np.ndarray, np.ndarray], np.ndarray]"

LARGEST = 1 << 18  # entries of a table between two pairs, from which on one state of some axes is worked out after another
_FEW = 12  # tables, up to which all pairs are compared
_BLAS = 64  # multiplications of one matrix product, from which on a call for each product pays


@lru_cache(maxsize=1 << 14)
def contraction(left: Axes, right: Axes, out: Axes) -> Contraction:
    """
    A function that multiplies two tables and sums over the axes that are not asked for.

    Parameters
    ----------
    left, right : axes of the tables that it will be given
    out : axes of its result, each of which one of the tables has
    """
    lone_left = tuple(i for i, axis in enumerate(left) if axis not in right and axis not in out)
    lone_right = tuple(i for i, axis in enumerate(right) if axis not in left and axis not in out)
    left = tuple(axis for axis in left if axis in right or axis in out)
    right = tuple(axis for axis in right if axis in left or axis in out)
    summed = [axis for axis in left if axis in right and axis not in out]
    if not summed:
        spread_left, spread_right = _spread(left, out), _spread(right, out)

        def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            a = a.sum(axis=lone_left) if lone_left else a
            b = b.sum(axis=lone_right) if lone_right else b
            return np.asarray(spread_left(a) * spread_right(b))

        return multiply

    both = [axis for axis in left if axis in right and axis in out]
    rows = [axis for axis in left if axis not in right]
    columns = [axis for axis in right if axis not in left]
    turn_left = [left.index(axis) for axis in (*both, *rows, *summed)]
    turn_right = [right.index(axis) for axis in (*both, *summed, *columns)]
    order = [*both, *rows, *columns]
    turn_out = [order.index(axis) for axis in out]
    many, first, last = len(both), len(both) + len(rows), len(both) + len(summed)

    def contract(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a = (a.sum(axis=lone_left) if lone_left else a).transpose(turn_left)
        b = (b.sum(axis=lone_right) if lone_right else b).transpose(turn_right)
        shape = a.shape[:first] + b.shape[last:]
        count, height = math.prod(a.shape[:many]), math.prod(a.shape[many:first])
        inner, width = math.prod(a.shape[first:]), math.prod(b.shape[last:])
        a, b = a.reshape(count, height, inner), b.reshape(count, inner, width)
        if count == 1 or height * inner * width >= _BLAS:
            product = np.matmul(a, b)
        else:
            product = np.einsum("bij,bjk->bik", a, b)
        return np.asarray(product.reshape(shape).transpose(turn_out))

    return contract


def _spread(axes: Axes, out: Axes) -> Callable[[np.ndarray], np.ndarray]:
    """A function that turns a table's axes to the order of others, with one of length 1 where it has none."""
    held = [axis for axis in out if axis in axes]
    turn = [axes.index(axis) for axis in held]
    index = tuple(slice(None) if axis in axes else None for axis in out)
    return lambda table: table.transpose(turn)[index]


class Plan:
    """
    How the product of some tables is summed over all axes but some, and how what stands around it comes back to each table.

    Parameters
    ----------
    sizes : number of states of each axis
    inputs : axes of each table; together they are all axes
    kept : axes of the result
    """

    def __init__(self, sizes: Sequence[int], inputs: Sequence[Axes], kept: Axes) -> None:
        self.sizes, self.inputs, self.kept = tuple(sizes), list(inputs), kept
        self.outer: Axes = ()
        pairs = _Pairs(sizes, inputs, kept)
        while pairs.largest > LARGEST:
            # The axis that most tables have is worked out state by state: so little as possible is done again.
            inner = [axis for axis in pairs.widest if axis not in self.outer]
            count = {axis: sum(axis in axes for axes in inputs) + (axis in kept) / 2 for axis in inner}
            self.outer += (max(inner, key=lambda axis: (count[axis], -axis)),)
            left = [tuple(axis for axis in axes if axis not in self.outer) for axes in inputs]
            pairs = _Pairs(sizes, left, tuple(axis for axis in kept if axis not in self.outer))
        self._pairs = pairs
        self._held = [self._places(axes) for axes in inputs]
        self._held_out = self._places(kept)

    def __reduce__(self) -> tuple[type[Plan], tuple[Any, ...]]:
        return Plan, (self.sizes, self.inputs, self.kept)

    @property
    def entries(self) -> float:
        """Entries of all that is made on the way there and back, at most."""
        return self._pairs.entries

    def sum_out(self, tables: Sequence[np.ndarray]) -> np.ndarray:
        """The product of the tables, summed over all axes but those kept."""
        if not self.outer:
            return self._pairs.forward(tables)
        result = np.zeros([self._length(tables, axis) for axis in self.kept])
        for states in self._states(tables):
            part = self._pairs.forward(self._parts(tables, states))
            result[_at(self._held_out, states)] += part
        return result

    def send_back(self, tables: Sequence[np.ndarray], around: np.ndarray, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        """
        For each table that is wanted, the product of all others and of ``around``, summed over all axes but its own.

        Parameters
        ----------
        tables : as in `sum_out`
        around : on the axes kept
        wanted : numbers of tables
        """
        if not self.outer:
            return self._pairs.backward(tables, around, wanted)
        results = {number: np.zeros(tables[number].shape) for number in wanted}
        for states in self._states(tables):
            found = self._pairs.backward(self._parts(tables, states), around[_at(self._held_out, states)], wanted)
            for number, part in found.items():
                results[number][_at(self._held[number], states)] += part
        return results

    def _places(self, axes: Axes) -> list[int]:
        """Of each axis, its place among those that go state by state; -1 where it does not."""
        return [self.outer.index(axis) if axis in self.outer else -1 for axis in axes]

    def _length(self, tables: Sequence[np.ndarray], axis: int) -> int:
        """States of an axis, in the tables as they are now."""
        return next(table.shape[axes.index(axis)] for table, axes in zip(tables, self.inputs, strict=True) if axis in axes)

    def _states(self, tables: Sequence[np.ndarray]) -> Iterator[tuple[int, ...]]:
        return itertools.product(*(range(self._length(tables, axis)) for axis in self.outer))

    def _parts(self, tables: Sequence[np.ndarray], states: tuple[int, ...]) -> list[np.ndarray]:
        return [table[_at(held, states)] for table, held in zip(tables, self._held, strict=True)]


def _at(held: list[int], states: tuple[int, ...]) -> tuple[int | slice, ...]:
    return tuple(states[place] if place >= 0 else slice(None) for place in held)


class _Pairs:
    """
    The order of pairs: tables are numbered, the given ones first, then what each pair makes.

    Attributes
    ----------
    largest : entries of the largest table that a pair but the last makes
    widest : its axes
    entries : of all that is made on the way there and back
    """

    def __init__(self, sizes: Sequence[int], inputs: Sequence[Axes], kept: Axes) -> None:
        axes = [*inputs, ()] if len(inputs) == 1 else list(inputs)  # a table alone is multiplied by one
        self._count, self._alone = len(axes), len(inputs) == 1
        self._steps: list[tuple[int, int, Contraction]] = []
        self._back: list[tuple[Contraction, Contraction]] = []
        self._step_of: dict[int, int] = {}  # the step that takes a table
        self.largest, self.widest, self.entries = 0.0, kept, 0.0
        for a, b, out in _pairs_in_order(sizes, axes, kept):
            entries = math.prod([float(sizes[axis]) for axis in out])
            self.entries += 3 * entries
            if len(axes) < 2 * self._count - 2 and entries > self.largest:
                self.largest, self.widest = entries, out
            self._step_of[a] = self._step_of[b] = len(self._steps)
            self._steps.append((a, b, contraction(axes[a], axes[b], out)))
            self._back.append((_returning(out, axes[b], axes[a]), _returning(out, axes[a], axes[b])))
            axes.append(out)

    def forward(self, tables: Sequence[np.ndarray]) -> np.ndarray:
        """The product of the tables, summed over all axes but those kept."""
        a, b, contract = self._steps[-1]
        made = self._made(tables)
        return contract(made[a], made[b])

    def _made(self, tables: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The given tables, and what all pairs but the last make."""
        made = [*tables, _ONE] if self._alone else list(tables)
        for a, b, contract in self._steps[:-1]:
            made.append(contract(made[a], made[b]))
        return made

    def backward(self, tables: Sequence[np.ndarray], around: np.ndarray, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        """As `Plan.send_back`."""
        made = self._made(tables)
        asked = set(wanted)
        for number in wanted:
            while (step := self._step_of.get(number, -1)) >= 0:
                number = self._count + step
                if number in asked:
                    break
                asked.add(number)
        outside = {self._count + len(self._steps) - 1: around}
        for step in range(len(self._steps) - 1, -1, -1):
            if self._count + step not in asked:
                continue
            a, b, _ = self._steps[step]
            above = outside.pop(self._count + step)
            to_a, to_b = self._back[step]
            for one, back, other in ((a, to_a, b), (b, to_b, a)):
                if one in asked:
                    found = back(above, made[other])
                    outside[one] = found if found.shape == made[one].shape else np.broadcast_to(found, made[one].shape)
        return {number: outside[number] for number in wanted}


_ONE = np.ones(())


@lru_cache(maxsize=1 << 14)
def _returning(out: Axes, other: Axes, own: Axes) -> Contraction:
    """From what is around a pair and one of its tables to what is around the other; with length 1 where it is constant."""
    found = tuple(axis for axis in own if axis in out or axis in other)
    contract = contraction(out, other, found)
    if found == own:
        return contract
    index = tuple(slice(None) if axis in found else None for axis in own)
    return lambda above, table: contract(above, table)[index]


def _pairs_in_order(sizes: Sequence[int], inputs: Sequence[Axes], kept: Axes) -> Iterator[tuple[int, int, Axes]]:
    """Pairs of tables and the axes of what they make: first those that make least beside what they take."""
    axes: dict[int, frozenset[int]] = {number: frozenset(one) for number, one in enumerate(inputs)}
    uses = [sum(axis in one for one in inputs) + (axis in kept) for axis in range(len(sizes))]
    entries: dict[frozenset[int], float] = {}

    def size(one: frozenset[int]) -> float:
        if one not in entries:
            entries[one] = math.prod([float(sizes[axis]) for axis in one])
        return entries[one]

    def price(a: int, b: int) -> tuple[float, float, int, int]:
        union = axes[a] | axes[b]
        out = frozenset(axis for axis in union if uses[axis] > (axis in axes[a]) + (axis in axes[b]))
        return size(out) - size(axes[a]) - size(axes[b]), size(union), a, b

    new = len(inputs)
    alike: dict[frozenset[int], list[int]] = {}
    for number, one in axes.items():
        alike.setdefault(one, []).append(number)
    many = [numbers for numbers in alike.values() if len(numbers) > 1] if len(axes) > _FEW else []
    while len(axes) > 1:
        if many:  # of very many tables those on the same axes go first: no prices
            a, b = many[-1].pop(), many[-1].pop()
            many[-1].append(new)
            if len(many[-1]) == 1:
                many.pop()
        elif len(axes) <= _FEW:
            a, b = min(itertools.starmap(price, itertools.combinations(axes, 2)))[2:]
        else:
            least = min(axes, key=lambda number: size(axes[number]))
            a, b = min(price(least, other) for other in axes if other != least)[2:]
        union = axes[a] | axes[b]
        out = frozenset(axis for axis in union if uses[axis] > (axis in axes[a]) + (axis in axes[b]))
        for axis in union:
            uses[axis] += (axis in out) - (axis in axes[a]) - (axis in axes[b])
        del axes[a], axes[b]
        yield a, b, tuple(sorted(out)) if axes else kept
        axes[new] = out
        new += 1
