"""array-api-strict as a backend: the reference form, run on a device that is not the CPU.

The library refuses all that is not in the Array API standard and all that mixes devices, so that code that runs here
runs on any array library. What the standard lacks is lent from NumPy and SciPy here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from factorgraph.backends.base import Array, Backend, BackendUnavailableError, Index


class StrictBackend(Backend):
    """The reference form on array-api-strict, for tests; slow."""

    name = "array-api-strict"

    def __init__(self, dtype: str = "float64", products: str = "full") -> None:
        try:
            import array_api_strict
        except ImportError as error:
            raise BackendUnavailableError(
                "backend 'array-api-strict' needs the package array-api-strict: pip install array-api-strict"
            ) from error
        self.xp: Any = array_api_strict
        self.device: Any = array_api_strict.Device("device1")
        self._cpu: Any = array_api_strict.Device("CPU_DEVICE")
        super().__init__(dtype, products)

    def to_host(self, array: Array) -> np.ndarray:
        return np.array(np.asarray(array.to_device(self._cpu)))

    def put(self, array: Array, index: Index, values: Array, axis: int) -> None:
        if isinstance(index, slice):
            super().put(array, index, values, axis)
            return
        # The standard has no assignment by an integer array.
        host = self.to_host(array)
        host[(slice(None),) * axis + (self.to_host(index),)] = self.to_host(values)
        array[...] = self.xp.asarray(host, device=self.device)

    def _lend(self, function: Callable[[np.ndarray], np.ndarray], x: Array) -> Array:
        return self.xp.asarray(np.asarray(function(self.to_host(x)), dtype=self.dtype_name), device=self.device)

    def erfcx(self, x: Array) -> Array:
        return self._lend(special.erfcx, x)

    def log_ndtr(self, x: Array) -> Array:
        return self._lend(special.log_ndtr, x)

    def ndtr(self, x: Array) -> Array:
        return self._lend(special.ndtr, x)
