"""Factors of many variables that are combined two at a time, by a balanced tree inside the factor, in linear time.

The leaves of the tree are the messages of the inputs. Going up, `Combination.combine` joins neighbours until one element is
left, which stands for all inputs together. Going down, `Combination.outside` gives each half what all others say. So every
message is found in O(log d) batched operations. Nothing is divided out, so that zeros and certainties stay exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from factorgraph.backends import Array
from factorgraph.semiring import Semiring


class Combination(ABC):
    """
    An associative and commutative operation on elements ``(*states, n, F)``; ``n`` elements lie along `axis`.

    Attributes
    ----------
    axis : number of state axes
    """

    axis: int

    def __init__(self, semiring: Semiring) -> None:
        self.semiring = semiring

    @abstractmethod
    def combine(self, left: Array, right: Array) -> Array:
        """Combine two elements."""

    @abstractmethod
    def outside(self, parent: Array, sibling: Array, like: Array) -> Array:
        """
        Combine all elements except one: what is outside its parent, and its sibling. The result has the shape of ``like``.
        """

    def pad(self, element: Array, like: Array) -> Array:
        """Give an element without a neighbour the shape of the level above."""
        return element

    def crop(self, element: Array, like: Array) -> Array:
        """Inverse of `pad`."""
        return element

    def up(self, leaves: Array) -> list[Array]:
        """All levels, from the leaves to the last element, ``(*states, 1, F)``."""
        levels = [leaves]
        while (number := levels[-1].shape[self.axis]) > 1:
            level, even = levels[-1], number - number % 2
            parents = self.combine(self._part(level, slice(0, even, 2)), self._part(level, slice(1, even, 2)))
            if number % 2:
                last = self.pad(self._part(level, slice(even, number)), parents)
                parents = self.semiring.xp.concat([parents, last], axis=self.axis)
            levels.append(parents)
        return levels

    def down(self, levels: list[Array], root: Array) -> Array:
        """For each leaf, the combination of all others and of what is outside the root, in the shape of the leaves."""
        xp, heard = self.semiring.xp, root
        for level in reversed(levels[:-1]):
            number = level.shape[self.axis]
            even = number - number % 2
            left, right = self._part(level, slice(0, even, 2)), self._part(level, slice(1, even, 2))
            parents = self._part(heard, slice(0, even // 2))
            both = self.outside(parents, right, left), self.outside(parents, left, right)
            pair = xp.stack(both, axis=self.axis + 1)
            found = xp.reshape(pair, (*pair.shape[: self.axis], even, *pair.shape[self.axis + 2 :]))
            if number % 2:
                last = self.crop(self._part(heard, slice(even // 2, even // 2 + 1)), found)
                found = xp.concat([found, last], axis=self.axis)
            heard = found
        return heard

    def _part(self, array: Array, which: slice) -> Array:
        return array[(slice(None),) * self.axis + (which, ...)]
