"""The contract of relations between pairs of variables of a type without finitely many states.

A forest of them is contracted in a logarithmic number of rounds: the variable between two relations is summed out, which leaves
one between its neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from factorgraph.backends import Array, Backend


class Relations(ABC):
    """
    What can be done with relations, each ``shape`` numbers; arrays of them have the items last.

    A relation is a function of two variables, seen from the second to the first. Where something has no such form, it is NaN:
    the forest then goes depth by depth.

    Parameters
    ----------
    backend : Backend

    Attributes
    ----------
    may_be_certain : bool
        Whether natural parameters that come in may be infinite.
    """

    shape: tuple[int, ...]
    may_be_certain = True

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.xp = backend.xp

    @abstractmethod
    def turned(self, relations: Array) -> Array:
        """The same functions, first and second variable exchanged."""

    @abstractmethod
    def through(self, relations: Array, params: Array) -> Array:
        """Messages to the first variables, ``(*param_shape, n)``, from natural parameters of the second ones."""

    def back(self, relations: Array, params: Array) -> Array:
        """Messages to the second variables, ``(*param_shape, n)``, from natural parameters of the first ones."""
        return self.through(self.turned(relations), params)

    @abstractmethod
    def product(self, left: Array, params: Array, right: Array) -> Array:
        """Relations of the first variable on the left and the second on the right, those between summed out."""
