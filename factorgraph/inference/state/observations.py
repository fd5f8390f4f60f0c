"""Evidence for a plate, far more than it holds at once, brought to the device as a whole; batches are gathered there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.backends import Array, Backend
from factorgraph.blocks import Variables
from factorgraph.variables import VariableType


class Observations:
    """
    Values for a block of variables whose last axis counts patterns: see `Inference.observations`.

    ``observations[rows]`` are the patterns of some rows, in the block's shape, for `Inference.observe`. Rows are named as NumPy
    does, or by an integer array on the device, which `Backend.index_array` gives.
    """

    def __init__(self, variables: Variables, values: ArrayLike, backend: Backend) -> None:
        *shape, patterns = variables.shape
        host = variables.type.from_labels(values)
        if host.ndim != len(shape) + 1 or host.shape[1:] != tuple(shape):
            expected = f"({', '.join(['n', *map(str, shape)])})"
            raise ValueError(f"observations of {variables.name!r} have shape {host.shape}; expected {expected}, row by row")
        if host.dtype.kind not in "biuf":
            raise TypeError(f"observations of {variables.name!r} must be numbers, not {host.dtype}")
        kind = variables.type
        try:
            certain = kind.observe(host.reshape(-1)).reshape((*kind.param_shape, *host.shape))
        except ValueError as error:
            raise ValueError(f"observations of {variables.name!r}: {error}") from None
        self.name, self.patterns, self.host = variables.name, patterns, host
        self._backend, self._axis = backend, len(kind.param_shape)
        self._mean = backend.asarray(kind.certain_mean(host.reshape(-1)).reshape(certain.shape), copy=False)
        self._certain = backend.asarray(certain, copy=False) if kind.can_be_random else None

    def __len__(self) -> int:
        return len(self.host)

    def __getitem__(self, rows: Any) -> Rows:
        index = rows
        if type(rows) is np.ndarray or not hasattr(rows, "shape"):
            index = self._backend.index_array(np.arange(len(self.host))[rows])
        if index.shape != (self.patterns,):
            raise ValueError(f"{self.name!r} takes {self.patterns} rows at a time, not {index.shape}")
        return Rows(self, index)

    def gather(self, index: Array) -> tuple[Array, Array | None]:
        """Mean and natural parameters of certainty of some rows, ``(*param_shape, *shape)``, without a copy to the host."""
        arrays = (self._mean, self._certain)
        return tuple(None if array is None else self._rows(array, index) for array in arrays)  # type: ignore[return-value]

    def copy_of(self, index: Array) -> Array:
        """A copy of numbers of rows."""
        return self._backend.xp.asarray(index, copy=True)

    def to_host(self, index: Array) -> np.ndarray:
        """Numbers of rows on the host."""
        return self._backend.to_host(index)

    def _rows(self, array: Array, index: Array) -> Array:
        return self._backend.xp.moveaxis(self._backend.take(array, index, self._axis), self._axis, -1)


class OnDevice(ABC):
    """Observed values that are on the device."""

    @property
    @abstractmethod
    def values(self) -> np.ndarray:
        """The values in one row of a plate's positions, on the host."""

    def kept(self) -> OnDevice:
        """The same values, whatever becomes of the arrays that they were taken from."""
        return self


class Rows(OnDevice):
    """Some rows of `Observations`, by their numbers on the device."""

    def __init__(self, observations: Observations, index: Array) -> None:
        self.observations = observations
        self.index = index

    def kept(self) -> Rows:
        return Rows(self.observations, self.observations.copy_of(self.index))

    @property
    def values(self) -> np.ndarray:
        return np.moveaxis(self.observations.host[self.observations.to_host(self.index)], 0, -1).reshape(-1)


class Values(OnDevice):
    """Values that natural parameters of certainty stand for."""

    def __init__(self, kind: VariableType, certain: Array, backend: Backend) -> None:
        self._kind, self._certain, self._backend = kind, certain, backend

    @property
    def values(self) -> np.ndarray:
        return self._backend.to_host(self._kind.mode(self._certain, self._backend)).reshape(-1)
