"""
The cliques of a small junction tree in one array.

Example: a tree of 40 cliques with 80 joint states each is an array of 3,200 entries. The entries of a clique lie next to each
other, and so do those that become one entry of the message to its parent, because the axes of a clique begin with what it
shares. Cliques follow each other by depth, so that a depth is a slice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from factorgraph.junction.cliques import Clique


class Projection:
    """
    Sums, or maxima, of the rows of an array by groups.

    Parameters
    ----------
    group : (pairs,) array
        The group that each pair belongs to. Every group has one pair at least.
    row : (pairs,) array
        The row that each pair takes.
    count, rows : int
        Numbers of groups and of rows.
    mode : {"sum", "max"}
    """

    def __init__(self, group: np.ndarray, row: np.ndarray, count: int, rows: int, mode: str) -> None:
        self._group, self._row, self._count, self._rows, self._mode = group, row, count, rows, mode

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """``(rows, B)`` to ``(count, B)``."""
        if self._mode == "max":
            order, first = self._sorted
            return np.maximum.reduceat(values.take(order, axis=0), first, axis=0)
        if values.shape[1] == 1:
            return np.bincount(self._group, values[:, 0].take(self._row), self._count)[:, None]
        return np.asarray(self._matrix @ values)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows in the order of their groups, and where each group begins."""
        order = np.argsort(self._group, kind="stable")
        return self._row[order], np.searchsorted(self._group[order], np.arange(self._count))

    @cached_property
    def _matrix(self) -> sparse.csr_array:
        ones = np.ones(self._group.size)
        return sparse.csr_array((ones, (self._group, self._row)), shape=(self._count, self._rows))


@dataclass(frozen=True, eq=False)
class Level:
    """
    The cliques of one depth, those with most children first.

    Attributes
    ----------
    cliques, entries, messages : where these are in the arrays of the tree
    first : number of the first message entry of each clique, from 0
    owner : number of the clique of each message entry, from 0
    parents : number of each clique's parent, among all; -1 for roots
    place : number of the message entry that each entry belongs to, from 0
    heard : for the first children of all cliques, for the second ones, and so on: the message entry that each entry takes
    to_parents : from entries to message entries
    to_children : from entries to the message entries of the next level; None at the last one
    """

    cliques: slice
    entries: slice
    messages: slice
    first: np.ndarray
    owner: np.ndarray
    parents: np.ndarray
    place: np.ndarray
    heard: list[np.ndarray]
    to_parents: Projection
    to_children: Projection | None


class FlatLayout:
    """
    Where the entries of cliques are, and those of the messages to their parents.

    Parameters
    ----------
    cliques : list of Clique
    sizes : number of states of each variable
    mode : {"sum", "max"}

    Attributes
    ----------
    order : numbers of the cliques, in the order of the array
    shapes : numbers of states of the axes of each clique, by its number
    start : where the entries of each clique begin, by its number
    ends : the same in the order of the array, from 0 to the number of all
    levels : one for each depth, from the roots on
    num_messages : number of message entries
    """

    def __init__(self, cliques: Sequence[Clique], sizes: Sequence[int], mode: str) -> None:
        self._cliques, self._sizes, self._mode = cliques, sizes, mode
        self.shapes = [tuple(sizes[v] for v in clique.axes) for clique in cliques]
        self._indices: dict[tuple[tuple[int, ...], tuple[int, ...]], np.ndarray] = {}  # cliques of one form share one
        self._depths = self._by_depth()
        self.order = [number for numbers in self._depths for number in numbers]
        entries = [math.prod(self.shapes[number]) for number in self.order]
        messages = [math.prod(self.shapes[number][: len(cliques[number].shared)]) for number in self.order]
        self.ends, self._message_ends = np.cumsum([0, *entries]), np.cumsum([0, *messages])
        self.num_messages = int(self._message_ends[-1])
        self.start = dict(zip(self.order, self.ends.tolist(), strict=False))
        self._rows = np.arange(self.num_entries)
        self._message = dict(zip(self.order, self._message_ends.tolist(), strict=False))
        self.levels = list(self._make_levels())

    @property
    def num_entries(self) -> int:
        """Joint states of all cliques."""
        return int(self.ends[-1])

    def _by_depth(self) -> list[list[int]]:
        """Numbers of the cliques of each depth, those with most children first."""
        depths = []
        numbers = [number for number, clique in enumerate(self._cliques) if clique.parent < 0]
        while numbers:
            numbers.sort(key=lambda number: -len(self._cliques[number].children))
            depths.append(numbers)
            numbers = [child for number in numbers for child in self._cliques[number].children]
        return depths

    def _make_levels(self) -> Iterator[Level]:
        place_of = {number: place for place, number in enumerate(self.order)}
        parents = np.array([place_of.get(self._cliques[number].parent, -1) for number in self.order])
        ends, message_ends = self.ends.tolist(), self._message_ends.tolist()
        widths = np.diff(self._message_ends)
        owner = np.repeat(np.arange(widths.size), widths)
        message = np.repeat(np.arange(owner.size), (np.diff(self.ends) // widths)[owner])
        end = 0
        for numbers, below in zip(self._depths, [*self._depths[1:], []], strict=True):
            begin, end = end, end + len(numbers)
            entries, messages = slice(ends[begin], ends[end]), slice(message_ends[begin], message_ends[end])
            place, count, width = (
                message[entries] - messages.start,
                messages.stop - messages.start,
                entries.stop - entries.start,
            )
            heard, to_children = self._heard(numbers), None
            if below:
                rows = np.concatenate([self._rows[: one.size] for one in heard])
                told = message_ends[end + len(below)] - messages.stop
                to_children = Projection(np.concatenate(heard) - messages.stop, rows, told, width, self._mode)
            yield Level(
                slice(begin, end),
                entries,
                messages,
                self._message_ends[begin:end] - messages.start,
                owner[messages] - begin,
                parents[begin:end],
                place,
                heard,
                Projection(place, self._rows[:width], count, width, self._mode),
                to_children,
            )

    def _heard(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """As in `Level`."""
        found = []
        for nth in range(len(self._cliques[numbers[0]].children)):
            parts = []
            for number in numbers:
                children = self._cliques[number].children
                if nth >= len(children):
                    break
                child = children[nth]
                parts.append(self.index(number, self._cliques[child].shared) + self._message[child])
            found.append(np.concatenate(parts))
        return found

    def index(self, number: int, variables: Sequence[int]) -> np.ndarray:
        """Of each entry of a clique, the number of the joint state of some of its variables."""
        axes = self._cliques[number].axes
        key = self.shapes[number], tuple(axes.index(v) for v in variables)
        if key not in self._indices:
            self._indices[key] = _index(*key)
        return self._indices[key]

    def projection(self, targets: Sequence[tuple[int, Sequence[int]]]) -> Projection:
        """Sums over all but some variables of a clique, for several cliques and variables one after another."""
        groups, rows, count = [], [], 0
        for number, variables in targets:
            index = self.index(number, variables)
            groups.append(index + count)
            rows.append(self._rows[self.start[number] : self.start[number] + index.size])
            count += math.prod([self._sizes[v] for v in variables])
        return Projection(np.concatenate(groups), np.concatenate(rows), count, self.num_entries, self._mode)


def count_pairs(cliques: Sequence[Clique], sizes: Sequence[int]) -> float:
    """Number of entries, each as often as its clique has inputs, children and variables of its own."""
    pairs = 0.0
    for clique in cliques:
        inputs = 2 + len(clique.tables) + len(clique.children) + len(clique.own)
        pairs += math.prod([float(sizes[v]) for v in clique.axes]) * inputs
    return pairs


def _index(shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """Of each entry of an array, its number in an array with only some of its axes, in the order given."""
    sizes = [shape[axis] for axis in axes]
    order = sorted(range(len(axes)), key=axes.__getitem__)
    numbers = np.arange(math.prod(sizes)).reshape(sizes).transpose(order)
    found = np.empty(shape, dtype=np.int64)
    found[:] = numbers.reshape([size if axis in axes else 1 for axis, size in enumerate(shape)])
    return found.reshape(-1)
