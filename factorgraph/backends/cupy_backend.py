"""CuPy as a backend: NVIDIA GPUs. CuPy is imported only when this backend is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from factorgraph.backends.base import Array, BackendUnavailableError
from factorgraph.backends.kernel_backend import KernelBackend, Launch

_REMEDY = "use backend='numpy', or install the extra that fits the driver: factorgraph-nets[cuda12] or [cuda13]"
_THREADS = 256  # of a block
_BLOCKS = 1 << 20  # threads go on in strides where there are more
_COMPUTE_TYPES = {"tf32": 77, "bfloat16": 75}  # CUBLAS_COMPUTE_32F_FAST_TF32 and _FAST_16BF: float32 in and out


class CupyBackend(KernelBackend):
    """
    Kernels by NVRTC, matrix products by cuBLAS.

    Everything is launched on the current stream and nothing waits for it, but what hands values to the host.

    Attributes
    ----------
    graphs : bool
        Whether launches that are run again and again are captured as a CUDA graph.
    """

    name = "cupy"
    graphs = True

    def __init__(self, dtype: str = "float64", products: str = "full") -> None:
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
        self._functions: dict[tuple[str, str], Any] = {}
        super().__init__(dtype, products)

    def asarray(self, values: Any, copy: bool = True) -> Array:
        return self.xp.asarray(np.array(values, dtype=self.dtype_name, order="C"))

    def index_array(self, indices: np.ndarray) -> Array:
        return self.xp.asarray(np.array(indices, dtype=np.int32, order="C"))

    def mask_array(self, mask: np.ndarray) -> Array:
        return self.xp.asarray(np.array(mask, dtype=np.bool_, order="C"))

    def to_host(self, array: Array) -> np.ndarray:
        return np.array(self.xp.asnumpy(array))

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return self.xp.zeros(shape, dtype=self.dtype)

    def add_at(self, array: Array, index: Array, values: Array, axis: int) -> None:
        self.xp.add.at(array, (slice(None),) * axis + (index,), values)

    # Kernels.

    def launcher(self, source: str, name: str, count: int, arguments: Sequence[Any]) -> Launch:
        function = self._functions.get((source, name))
        if function is None:
            module = self.xp.RawModule(code=self.prelude + source, options=("--std=c++17",))
            function = self._functions[source, name] = module.get_function(name)
        passed = tuple(self._argument(argument) for argument in (count, *arguments))
        grid = (min(-(-count // _THREADS), _BLOCKS),)
        return lambda: function(grid, (_THREADS,), passed)

    def _argument(self, argument: Any) -> Any:
        if argument is None:
            return np.uintp(0)
        if isinstance(argument, self.xp.ndarray):
            assert argument.flags.c_contiguous
            return argument
        if isinstance(argument, (bool, int, np.integer)):
            return np.int32(argument)
        return np.dtype(self.dtype_name).type(argument)

    def record(self, launches: Sequence[Launch]) -> Launch:
        eager = super().record(launches)  # keeps the launches' arrays alive, for the graph too
        runs, graph = 0, None

        def run() -> None:
            nonlocal runs, graph
            runs += 1
            if not self.graphs or runs == 1:
                eager()  # the first time: kernels are loaded, which a capture refuses
                return
            if graph is None:
                with self.xp.cuda.Stream(non_blocking=True) as stream:
                    stream.begin_capture()
                    eager()
                    graph = stream.end_capture()
            graph.launch()

        return run

    # Dense layers.

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        if self.products == "full":
            return self.xp.matmul(a, b, out=out)
        cublas = self.xp.cuda.cublas
        rows, inner, columns = a.shape[0], a.shape[1], b.shape[1]
        out = self.xp.empty((rows, columns), dtype=self.dtype) if out is None else out
        assert out.flags.c_contiguous
        # cuBLAS counts by columns, so that it is asked for the transposed product of the transposed operands.
        (left, transpose_left, width_left), (right, transpose_right, width_right) = _operand(a), _operand(b)
        one, zero = np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
        real = self.xp.cuda.runtime.CUDA_R_32F
        cublas.gemmEx(
            self.xp.cuda.device.get_cublas_handle(),
            transpose_right,
            transpose_left,
            columns,
            rows,
            inner,
            one.ctypes.data,
            right.data.ptr,
            real,
            width_right,
            left.data.ptr,
            real,
            width_left,
            zero.ctypes.data,
            out.data.ptr,
            real,
            columns,
            _COMPUTE_TYPES[self.products],
            cublas.CUBLAS_GEMM_DEFAULT,
        )
        return out

    def erf(self, x: Array) -> Array:
        return self._special.erf(x)

    def log_ndtr(self, x: Array) -> Array:
        return self._special.log_ndtr(x)

    def ndtr(self, x: Array) -> Array:
        return self._special.ndtr(x)


def _operand(matrix: Array) -> tuple[Array, int, int]:
    """A contiguous matrix, whether cuBLAS is to transpose it, and the length of its rows in memory."""
    if matrix.flags.f_contiguous and not matrix.flags.c_contiguous:
        return matrix, 1, matrix.shape[0]
    matrix = matrix if matrix.flags.c_contiguous else matrix.copy()
    return matrix, 0, matrix.shape[1]
