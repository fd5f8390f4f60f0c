"""What ranks say to each other: the contract, and the trivial case of one rank."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np


class CommunicatorUnavailableError(RuntimeError):
    """Ranks cannot communicate here. The message says what to install."""


class Communicator(ABC):
    """
    One of several ranks that run the same program, each with its own part of a problem.

    All methods except `abort` are collective: every rank calls them, in the same order.

    Attributes
    ----------
    rank, size : number of this rank, from 0, and number of all ranks
    """

    rank: int = 0
    size: int = 1

    @abstractmethod
    def sum(self, array: np.ndarray) -> np.ndarray:
        """Sum of all ranks' arrays, of one shape; the same bit for bit on every rank."""

    @abstractmethod
    def largest(self, array: np.ndarray) -> np.ndarray:
        """The largest of all ranks' entries, place by place."""

    @abstractmethod
    def exchange(self, parts: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Give other ranks an array each, and take one of the same shape from each of these."""

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """Values of all ranks, in their order, on every rank; anything that can be pickled."""

    @abstractmethod
    def broadcast(self, value: Any) -> Any:
        """The value of rank 0; anything that can be pickled."""

    @abstractmethod
    def abort(self) -> None:
        """End all ranks at once."""

    def check_alike(self, values: Mapping[str, object]) -> None:
        """
        Refuse to go on where ranks differ in what must be the same on all.

        Parameters
        ----------
        values : what is compared, by its name; short texts or numbers

        Raises
        ------
        ValueError
            On every rank; it names what differs, and the ranks.
        """
        each = self.gather(dict(values))
        for name in values:
            for rank, other in enumerate(each):
                if other.get(name) != each[0].get(name):
                    raise ValueError(
                        f"{name} must be the same on all ranks: {each[0].get(name)!r} on 0, {other.get(name)!r} on {rank}"
                    )

    def share(self, number: int) -> slice:
        """This rank's part of so many things in a row: parts follow each other, and differ by one at most."""
        bounds = [number * rank // self.size for rank in (self.rank, self.rank + 1)]
        return slice(*bounds)


class Alone(Communicator):
    """One rank."""

    def sum(self, array: np.ndarray) -> np.ndarray:
        return array

    def largest(self, array: np.ndarray) -> np.ndarray:
        return array

    def exchange(self, parts: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        return {}

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def broadcast(self, value: Any) -> Any:
        return value

    def abort(self) -> None:
        raise SystemExit(1)
