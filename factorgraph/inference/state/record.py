"""Records: arrays and plain values that change together, and what is done to all of them alike."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from factorgraph.backends import Array, Backend

# Metadata of a field. An array on the device, None where there is none, whose last axis in a batch counts the sets;
ARRAY = {"array": True}
# one that is made from what is no array of a record, so that no file has it, and no run changes it;
DERIVED = {"array": True, "derived": True}
# a plain value that files keep.
FLAG = {"flag": True}


@dataclass(eq=False, repr=False)
class Record:
    """
    Arrays and plain values that change together; some of its values may be records, its parts.

    Copies, batches, files and recordings go through the fields of a record and of its parts, and name none of them.

    Attributes
    ----------
    batch : ``(B,)`` in a batch of B sets, else ``()``
    """

    backend: Backend
    batch: tuple[int, ...]

    def parts(self) -> list[Record]:
        """This record, and those within it."""
        return [self, *(part for inner in self._inner().values() for part in inner.parts())]

    def arrays(self) -> Iterator[tuple[Record, str]]:
        """Where arrays are held that are not derived: records and names."""
        return ((part, name) for part in self.parts() for name in part._names() if not part._is_derived(name))

    def flags(self) -> Iterator[tuple[Record, str]]:
        """Where plain values are held that files keep: records and names."""
        return ((part, each.name) for part in self.parts() for each in fields(part) if each.metadata.get("flag"))

    def copy(self) -> Self:
        """An independent copy."""
        twin = copy.copy(self)
        for name, inner in self._inner().items():
            setattr(twin, name, inner.copy())
        for name, held in self._held():
            setattr(twin, name, self.backend.xp.asarray(held, copy=True))
        return twin

    def select(self, sets: np.ndarray) -> Self:
        """The arrays of some sets of a batch, copied."""
        twin, index = copy.copy(self), self.backend.index_array(sets)
        twin.batch = (sets.size,)
        for name, inner in self._inner().items():
            setattr(twin, name, inner.select(sets))
        for name, held in self._held():
            setattr(twin, name, self.backend.take(held, index, held.ndim - 1))
        return twin

    def take_back(self, sets: np.ndarray, other: Self) -> None:
        """Put the arrays of some sets of a batch in place, from what `select` gave; derived ones are left alone."""
        index, theirs = self.backend.index_array(sets), other._inner()
        for name, inner in self._inner().items():
            inner.take_back(sets, theirs[name])
        for name, new in other._held():
            if self._is_derived(name):
                continue
            if getattr(self, name) is None:
                setattr(self, name, self.backend.zeros((*new.shape[:-1], *self.batch)))
            self.backend.put(getattr(self, name), index, new, new.ndim - 1)

    def _inner(self) -> dict[str, Record]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Record)}

    def _held(self) -> list[tuple[str, Array]]:
        """The arrays that there are, by name."""
        return [(name, getattr(self, name)) for name in self._names() if getattr(self, name) is not None]

    @classmethod
    def _names(cls) -> list[str]:
        return [each.name for each in fields(cls) if each.metadata.get("array")]

    @classmethod
    def _is_derived(cls, name: str) -> bool:
        return bool(cls.__dataclass_fields__[name].metadata.get("derived"))
