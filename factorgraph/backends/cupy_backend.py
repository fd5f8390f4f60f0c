"""CuPy as a backend: NVIDIA GPUs. CuPy is imported only when this backend is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from factorgraph.backends.base import Array, Backend, BackendUnavailableError

_REMEDY = "use backend='numpy', or install the extra that fits the driver: factorgraph-nets[cuda12] or [cuda13]"


class CupyBackend(Backend):
    """The reference form on CuPy arrays."""

    name = "cupy"

    def __init__(self, dtype: str = "float64") -> None:
        try:
            import cupy
            from cupyx.scipy import special
        except ImportError as error:
            raise BackendUnavailableError(f"backend 'cupy' cannot run: CuPy is not installed ({error}); {_REMEDY}") from error
        if not cupy.is_available():
            try:
                cupy.cuda.runtime.getDeviceCount()
                reason = "no CUDA device was found"
            except Exception as error:
                reason = str(error)
            raise BackendUnavailableError(
                f"backend 'cupy' cannot run: CuPy is installed but finds no usable NVIDIA driver or GPU ({reason}); {_REMEDY}"
            )
        self.xp: Any = cupy
        self._special: Any = special
        super().__init__(dtype)

    def asarray(self, values: Any) -> Array:
        return self.xp.asarray(np.asarray(values, dtype=self.dtype_name))

    def index_array(self, indices: np.ndarray) -> Array:
        return self.xp.asarray(np.asarray(indices, dtype=np.int32))

    def mask_array(self, mask: np.ndarray) -> Array:
        return self.xp.asarray(np.asarray(mask, dtype=np.bool_))

    def to_host(self, array: Array) -> np.ndarray:
        return np.array(self.xp.asnumpy(array))

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return self.xp.zeros(shape, dtype=self.dtype)

    def add_at(self, array: Array, index: Array, values: Array, axis: int) -> None:
        self.xp.add.at(array, (slice(None),) * axis + (index,), values)

    def erf(self, x: Array) -> Array:
        return self._special.erf(x)

    def erfcx(self, x: Array) -> Array:
        return self._special.erfcx(x)

    def log_ndtr(self, x: Array) -> Array:
        return self._special.log_ndtr(x)

    def ndtr(self, x: Array) -> Array:
        return self._special.ndtr(x)

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        return self.xp.matmul(a, b, out=out)
