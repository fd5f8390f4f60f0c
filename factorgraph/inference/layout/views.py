"""Indexed views of plates at the ports of block factors: what is gathered for the block, and how its totals get back.

A plate is seen as rows of consecutive variables, as long as the view leaves them together: a view that picks rows of a plate
``(J, M)`` moves J rows of M variables, not single ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.blocks import Variables
from factorgraph.inference.layout.slots import degree_groups, slots_of


@dataclass(frozen=True, eq=False)
class View:
    """
    An indexed view of a plate.

    Attributes
    ----------
    shape : of the view
    number, length : rows of the plate, and variables in each
    rows : row of the plate at each row of the view, ``number`` outside; None for all in order
    sums : for groups of the plate's rows, the rows of the view that they are at, ``(D, n)``; one more for none
    order : where each row of the plate lies among the groups'; None for all in order
    """

    shape: tuple[int, ...]
    number: int
    length: int
    rows: Array | None
    sums: list[Array]
    order: Array | None
    padded: bool
    outside: bool

    @classmethod
    def of(cls, port: Variables, backend: Backend) -> View | None:
        """The view that a port has of its plate; None for the plate itself."""
        if port.is_whole:
            return None
        length, rows = (port.length, port.rows) if port.rows is not None else _runs(port)
        number = port.block.size // length
        if np.array_equal(rows, np.arange(number)):
            return cls(port.shape, number, length, None, [], None, False, False)
        inside = np.flatnonzero(rows >= 0)
        degrees = np.bincount(rows[inside], minlength=number)
        at = np.append(inside[np.argsort(rows[inside], kind="stable")], rows.size)
        starts = np.concatenate([[0], np.cumsum(degrees)])
        groups = degree_groups(degrees)
        sums = [at[slots_of(group, starts, np.arange(inside.size))] for group in groups]
        order = np.argsort(np.concatenate(groups), kind="stable")
        return cls(
            port.shape,
            number,
            length,
            backend.index_array(np.where(rows < 0, number, rows)),
            [backend.index_array(slots) for slots in sums],
            None if len(groups) == 1 else backend.index_array(order),
            any(bool((slots == rows.size).any()) for slots in sums),
            inside.size < rows.size,
        )

    def gather(self, array: Array, axis: int, backend: Backend) -> Array:
        """What the view sees of an array in the plate's shape behind ``axis`` others: 0 outside."""
        if self.rows is not None:
            array = backend.xp.reshape(array, (*array.shape[:axis], self.number, self.length))
            array = backend.take(_with_zeros(array, axis, backend) if self.outside else array, self.rows, axis)
        return backend.xp.reshape(array, (*array.shape[:axis], *self.shape))

    def inside(self, backend: Backend) -> Array:
        """1 where the view has a variable, 0 outside; in its shape."""
        return self.gather(backend.zeros((self.number * self.length,)) + 1.0, 0, backend)

    def add_up(self, totals: Array, axis: int, backend: Backend) -> Array:
        """Sums over the places that a variable has in the view, ``(*param_shape, V)``; in a fixed order."""
        lead = totals.shape[:axis]
        if self.rows is not None:
            totals = backend.xp.reshape(totals, (*lead, self.rows.shape[0], self.length))
            totals = _with_zeros(totals, axis, backend) if self.padded else totals
            parts = [backend.sum_slots(totals, slots, axis) for slots in self.sums]
            totals = parts[0] if len(parts) == 1 else backend.take(backend.xp.concat(parts, axis=axis), self.order, axis)
        return backend.xp.reshape(totals, (*lead, self.number * self.length))


def _with_zeros(array: Array, axis: int, backend: Backend) -> Array:
    """With one more row, of zeros, which stands for nothing."""
    none: Array = backend.xp.zeros_like(backend.take(array, slice(0, 1), axis))
    return backend.xp.concat([array, none], axis=axis)


def _runs(port: Variables) -> tuple[int, np.ndarray]:
    """The most variables of the plate that follow each other wherever the view has one of them; the number of each run."""
    shape, flat = port.block.shape, port.index.reshape(-1)
    for axis in range(len(shape)):
        length = int(np.prod(shape[axis:], dtype=np.int64))
        if flat.size % length:
            continue
        rows = flat.reshape(-1, length)
        together = (rows == rows[:, :1] + np.arange(length)) & (rows[:, :1] % length == 0)
        if (together.all(axis=1) | (rows == -1).all(axis=1)).all():
            return length, np.where(rows[:, 0] < 0, -1, rows[:, 0] // length)
    return 1, flat
