"""Products of tables over the joint states of a clique, a piece at a time.

The whole table of a clique is never stored: its pieces are made, reduced and forgotten, so that memory goes to the tables
between cliques only. All is in logarithms, so that nothing underflows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

SMALL = 1 << 10  # entries; up to here a product is made whole, as calls cost more than entries
PIECE = 1 << 16  # entries; a piece and its temporaries stay in the second-level cache

Tables: TypeAlias = "list[tuple[tuple[int, ...], np.ndarray]]"


def product_of(sizes: Sequence[int], tables: Tables) -> Product | SmallProduct:
    """The sum of log-tables over the joint states of some axes, as `Product`, in the form that suits its size."""
    return SmallProduct(sizes, tables) if math.prod(sizes) <= min(SMALL, PIECE) else Product(sizes, tables)


class SmallProduct:
    """`Product` for few joint states: one array."""

    def __init__(self, sizes: Sequence[int], tables: Tables) -> None:
        self._joint = np.zeros(sizes)
        for axes, table in tables:
            shape = [1] * len(sizes)
            for axis, size in zip(axes, table.shape, strict=True):
                shape[axis] = size
            self._joint += table.reshape(shape)

    def reduce_last(self, kept: int, mode: str) -> np.ndarray:
        """As `Product.reduce_last`."""
        rows = self._joint.reshape(math.prod(self._joint.shape[:kept]), -1)
        return _reduce(rows.copy(), mode)

    def project(self, axes_list: Sequence[Sequence[int]], shift: float, mode: str) -> list[np.ndarray]:
        """As `Product.project`."""
        weights = np.exp(self._joint - shift)
        join = np.maximum if mode == "max" else np.add
        count = weights.ndim
        return [
            np.asarray(join.reduce(weights, axis=tuple([axis for axis in range(count) if axis not in axes])))
            for axes in axes_list
        ]

    def best(self) -> int:
        """As `Product.best`."""
        return int(np.argmax(self._joint))

    def piece(self, number: int) -> np.ndarray:
        """As `Product.piece`: there is one."""
        return self._joint.reshape(-1)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """As `Product.draw`."""
        return _draw(self._joint.reshape(-1), count, rng)


class Product:
    """
    The sum of log-tables over the joint states of some axes, in pieces of all states of the last axes.

    Parameters
    ----------
    sizes : number of states of each axis
    tables : pairs of the axes of a table (rising) and the table
    """

    def __init__(self, sizes: Sequence[int], tables: Tables) -> None:
        self.sizes = tuple(sizes)
        first, length = len(sizes), 1
        while first and length * sizes[first - 1] <= PIECE:
            first -= 1
            length *= sizes[first]
        self.first, self.length = first, length
        self.pieces = int(np.prod(sizes[:first], dtype=np.int64))
        self._tables = []
        for axes, table in _joined(self.sizes, tables):
            rows, columns = self.places(axes)
            # Rows are one for each state of the table's own axes before the last ones.
            split = sum(axis < first for axis in axes)
            height = int(np.prod([sizes[axis] for axis in axes[:split]], dtype=np.int64))
            self._tables.append((rows, columns, np.ascontiguousarray(table).reshape(height, -1)))

    def places(self, axes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """For a table on some axes: its row for each piece, and its column for each entry of a piece."""
        rows = _flat_index(self.sizes, [axis for axis in axes if axis < self.first], range(self.first))
        columns = _flat_index(self.sizes, [axis for axis in axes if axis >= self.first], range(self.first, len(self.sizes)))
        return rows, columns

    def piece(self, number: int) -> np.ndarray:
        """One piece, ``(length,)``, as a new array."""
        total = np.zeros(self.length)
        for rows, columns, table in self._tables:
            total += np.take(table[rows[number]], columns, mode="clip")
        return total

    def reduce_last(self, kept: int, mode: str) -> np.ndarray:
        """Reduce all axes but the first ``kept`` by log-sum-exp or maximum; ``(kept states,)``."""
        states = int(np.prod(self.sizes[:kept], dtype=np.int64))
        rest = int(np.prod(self.sizes[kept:], dtype=np.int64))
        result = np.full(states, -np.inf)
        width = max(1, self.length // rest)
        for number in range(self.pieces):
            rows = self.piece(number).reshape(width, -1)
            start = number * self.length // rest
            part = slice(start, start + width)
            join = np.maximum if mode == "max" else np.logaddexp
            result[part] = join(result[part], _reduce(rows, mode))
        return result

    def project(self, axes_list: Sequence[Sequence[int]], shift: float, mode: str) -> list[np.ndarray]:
        """
        Probabilities (or largest probabilities) of the states of several sets of axes: of ``exp(table - shift)``.

        Returns
        -------
        one array for each set, shaped by its axes
        """
        results, places = [], []
        for axes in axes_list:
            shape = [self.sizes[axis] for axis in axes]
            rows, columns = self.places(axes)
            height = int(rows.max(initial=0)) + 1
            results.append(np.zeros((height, int(np.prod(shape, dtype=np.int64)) // height)))
            places.append((rows, columns, np.argsort(columns, kind="stable") if mode == "max" else None))
        for number in range(self.pieces):
            weights = np.exp(self.piece(number) - shift)
            for result, (rows, columns, order) in zip(results, places, strict=True):
                row = result[rows[number]]
                if order is None:
                    row += np.bincount(columns, weights=weights, minlength=row.size)
                else:
                    np.maximum(row, weights[order].reshape(row.size, -1).max(axis=1), out=row)
        return [result.reshape([self.sizes[axis] for axis in axes]) for result, axes in zip(results, axes_list, strict=True)]

    def best(self) -> int:
        """Flat position of the largest entry, the first of several."""
        value, place = -np.inf, 0
        for number in range(self.pieces):
            piece = self.piece(number)
            found = int(np.argmax(piece))
            if piece[found] > value:
                value, place = float(piece[found]), number * self.length + found
        return place

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Flat positions of entries, ``(count,)``, drawn with probabilities proportional to ``exp(table)``."""
        pieces = _draw(np.concatenate([_reduce(self.piece(p)[None], "sum") for p in range(self.pieces)]), count, rng)
        found = np.empty(count, dtype=np.int64)
        for number in np.unique(pieces).tolist():
            rows = np.flatnonzero(pieces == number)
            found[rows] = number * self.length + _draw(self.piece(number), rows.size, rng)
        return found


def _draw(logs: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions drawn with probabilities whose logarithms are known up to a constant."""
    bounds = np.cumsum(np.exp(logs - logs.max()))
    return np.searchsorted(bounds, rng.random(count) * bounds[-1], side="right")


def _joined(sizes: tuple[int, ...], tables: Tables) -> Tables:
    """Tables added up as long as what they make is small, so that a piece is the sum of few."""
    found: Tables = []
    for axes, table in sorted(tables, key=lambda pair: pair[0]):
        if found:
            last_axes, last = found[-1]
            union = tuple(sorted({*last_axes, *axes}))
            if math.prod(sizes[axis] for axis in union) <= max(SMALL, last.size, table.size):
                found[-1] = union, _spread(sizes, union, last_axes, last) + _spread(sizes, union, axes, table)
                continue
        found.append((axes, table))
    return found


def _spread(sizes: tuple[int, ...], union: tuple[int, ...], axes: tuple[int, ...], table: np.ndarray) -> np.ndarray:
    return table.reshape([sizes[axis] if axis in axes else 1 for axis in union])


def _flat_index(sizes: Sequence[int], chosen: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """For each joint state of ``axes``, in order, the flat position among the states of ``chosen``, some of these axes."""
    index, stride, strides = np.zeros(1, dtype=np.intp), 1, {}
    for axis in reversed(chosen):
        strides[axis] = stride
        stride *= sizes[axis]
    for axis in axes:
        index = (index[:, None] + np.arange(sizes[axis]) * strides.get(axis, 0)).reshape(-1)
    return index


def _reduce(rows: np.ndarray, mode: str) -> np.ndarray:
    largest = rows.max(axis=1)
    if mode == "max":
        return np.asarray(largest)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    rows -= shift[:, None]
    np.exp(rows, out=rows)
    return np.asarray(np.log(rows.sum(axis=1)) + shift)
