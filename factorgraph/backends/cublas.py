"""
Matrix products by cuBLAS's own C interface.

CuPy's refuses to be captured in a CUDA graph. cuBLAS does not, once it has a workspace that outlives the graph.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from functools import cache
from typing import Any

import numpy as np

from factorgraph.backends.base import Array, BackendUnavailableError

_WORKSPACE = 1 << 25  # bytes: what NVIDIA advises for its largest GPUs
_TYPES = {"float32": 0, "float64": 1}  # CUDA_R_32F, CUDA_R_64F
# CUBLAS_COMPUTE_32F, _32F_FAST_TF32, _32F_FAST_16BF, _64F: numbers go in and come out as they are.
_COMPUTE = {"full": {"float32": 68, "float64": 70}, "tf32": {"float32": 77}, "bfloat16": {"float32": 75}}
_DEFAULT_ALGORITHM = -1
_ARGUMENTS: list[Any] = [ctypes.c_void_p, *[ctypes.c_int] * 5, ctypes.c_void_p]  # handle, transpose a and b, m, n, k, alpha
_ARGUMENTS += [ctypes.c_void_p, ctypes.c_int, ctypes.c_int] * 2  # a and b: address, type, leading dimension
_ARGUMENTS += [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int] * 4]  # beta; c: address, type, leading dimension; how


@cache
def library() -> Any:
    """
    The library that CuPy has loaded.

    Raises
    ------
    BackendUnavailableError
        There is none.
    """
    names = [
        f"cublas64_{version}.dll" if sys.platform == "win32" else f"libcublas.so.{version}" for version in (14, 13, 12, 11)
    ]
    for name in names:
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        found.cublasGemmEx.argtypes = _ARGUMENTS
        return found
    raise BackendUnavailableError(
        f"matrix products need cuBLAS, and none of {names} was found; install it with factorgraph-nets[cuda12] or [cuda13]"
    )


class Products:
    """
    Matrix products of one floating-point type; handles, each with a workspace, for each thread and device.

    Parameters
    ----------
    cupy : the module
    dtype : {"float32", "float64"}
    products : {"full", "tf32", "bfloat16"}
    """

    def __init__(self, cupy: Any, dtype: str, products: str) -> None:
        self._cupy, self._type, self._compute = cupy, _TYPES[dtype], _COMPUTE[products][dtype]
        self._one, self._zero = np.ones(1, dtype=dtype), np.zeros(1, dtype=dtype)
        self._known = threading.local()

    def __call__(self, a: Array, b: Array, out: Array, handle: int = 0) -> None:
        """``out = a b``, of two matrices, by the handle of a number; ``out`` is contiguous."""
        assert out.flags.c_contiguous
        rows, inner, columns = a.shape[0], a.shape[1], b.shape[1]
        # cuBLAS counts by columns, so that it is asked for the transposed product of the transposed operands.
        (left, transpose_left, width_left), (right, transpose_right, width_right) = _operand(a), _operand(b)
        _check(
            library().cublasGemmEx(
                self.handle(handle),
                transpose_right,
                transpose_left,
                columns,
                rows,
                inner,
                self._one.ctypes.data,
                right.data.ptr,
                self._type,
                width_right,
                left.data.ptr,
                self._type,
                width_left,
                self._zero.ctypes.data,
                out.data.ptr,
                self._type,
                columns,
                self._compute,
                _DEFAULT_ALGORITHM,
            )
        )

    def handle(self, number: int) -> Any:
        """A handle of this thread and device, on the current stream, with a workspace of its own."""
        cuda = self._cupy.cuda
        key, stream = (cuda.runtime.getDevice(), number), cuda.get_current_stream().ptr
        handles = self._known.__dict__.setdefault("handles", {})
        if key not in handles:
            cuda.device.get_cublas_handle()  # CuPy loads the library that it was built for
            handle = ctypes.c_void_p()
            _check(library().cublasCreate_v2(ctypes.byref(handle)))
            handles[key] = [handle, None, cuda.alloc(_WORKSPACE)]
        handle, last, workspace = handles[key]
        if last != stream:
            _check(library().cublasSetStream_v2(handle, ctypes.c_void_p(stream)))
            # Which a change of stream takes away.
            _check(library().cublasSetWorkspace_v2(handle, ctypes.c_void_p(workspace.ptr), ctypes.c_size_t(_WORKSPACE)))
            handles[key][1] = stream
        return handle


def _operand(matrix: Array) -> tuple[Array, int, int]:
    """A contiguous matrix, whether cuBLAS is to transpose it, and the length of its rows in memory."""
    if matrix.flags.f_contiguous and not matrix.flags.c_contiguous:
        return matrix, 1, matrix.shape[0]
    matrix = matrix if matrix.flags.c_contiguous else matrix.copy()
    return matrix, 0, matrix.shape[1]


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"cuBLAS failed with status {status}")
