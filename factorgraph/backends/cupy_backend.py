"""CuPy as a backend: NVIDIA GPUs. CuPy is imported only when this backend is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.backends.base import Array, BackendUnavailableError
from factorgraph.backends.cublas import Products
from factorgraph.backends.kernel_backend import KernelBackend, Launch, T, copying_kernel

_REMEDY = "use backend='numpy', or install the extra that fits the driver: factorgraph-nets[cuda12] or [cuda13]"
_THREADS = 256  # of a block
_BRANCHES = 3  # of a graph, for products side by side
_BLOCKS = 1 << 20  # threads go on in strides where there are more


class CupyBackend(KernelBackend):
    """
    Kernels by NVRTC, matrix products by cuBLAS.

    Everything is launched on the current stream and nothing waits for it, but what hands values to the host.

    Attributes
    ----------
    graphs : bool
        Whether launches that are run again and again are captured as a CUDA graph and replayed.
    """

    name = "cupy"
    graphs = True
    chunk = 4096
    serves_threads = False

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
        self._recording = False
        self._branches: list[Any] = []  # streams beside the one on which a graph is captured
        super().__init__(dtype, products)
        self._multiply = Products(cupy, dtype, products)

    def asarray(self, values: ArrayLike | Array, copy: bool = True) -> Array:
        if isinstance(values, self.xp.ndarray):
            return self.xp.ascontiguousarray(self.xp.astype(values, self.dtype))
        self._refuse_while_recording("what the host sends")
        return self.xp.asarray(np.array(values, dtype=self.dtype_name, order="C"))

    def index_array(self, indices: ArrayLike) -> Array:
        self._refuse_while_recording("what the host sends")
        return self.xp.asarray(np.array(indices, dtype=np.int32, order="C"))

    def mask_array(self, mask: np.ndarray) -> Array:
        self._refuse_while_recording("what the host sends")
        return self.xp.asarray(np.array(mask, dtype=np.bool_, order="C"))

    def to_host(self, array: Array) -> np.ndarray:
        self._refuse_while_recording("what the host reads")
        return np.array(self.xp.asnumpy(array))

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return self.xp.zeros(shape, dtype=self.dtype)

    def largest(self, array: Array) -> float:
        self._refuse_while_recording("what the host reads")
        return super().largest(array)

    # Kernels.

    def launcher(self, source: str, name: str, count: int, arguments: Sequence[Any]) -> Launch:
        function = self._function(source, name)
        passed = tuple(self._argument(argument) for argument in (count, *arguments))
        grid = (min(-(-count // _THREADS), _BLOCKS),)
        return Launch(source, name, (count, *arguments), lambda: function(grid, (_THREADS,), passed))

    def _function(self, source: str, name: str) -> Any:
        if (source, name) not in self._functions:
            module = self.xp.RawModule(code=self.prelude + source, options=("--std=c++17",))
            self._functions[source, name] = module.get_function(name)
        return self._functions[source, name]

    def _argument(self, argument: Any) -> Any:
        if argument is None:
            return np.uintp(0)
        if isinstance(argument, self.xp.ndarray):
            assert argument.flags.c_contiguous
            return argument
        if isinstance(argument, (bool, int, np.integer)):
            return np.int32(argument)
        return np.dtype(self.dtype_name).type(argument)

    @property
    def can_record(self) -> bool:
        return self.graphs and not self._recording

    def capture(self, procedure: Callable[[], T]) -> tuple[Callable[[], object], T]:
        # Memory that the launches use is theirs as long as the graph may run: nothing else is ever allocated from this pool.
        pool = self.xp.cuda.MemoryPool()
        # Nothing is loaded or made while a graph is captured.
        self._function(copying_kernel(), "copy_all")
        self._branches = self._branches or [self.xp.cuda.Stream(non_blocking=True) for _ in range(_BRANCHES)]
        for number in range(_BRANCHES + 1):
            self._multiply.handle(number)
        self._recording = True
        try:
            with self.xp.cuda.using_allocator(pool.malloc), self.xp.cuda.Stream(non_blocking=True) as stream:
                stream.begin_capture()
                try:
                    found = procedure()
                except BaseException:
                    with suppress(Exception):  # of a capture that is void already
                        stream.end_capture()
                    raise
                graph = stream.end_capture()
        finally:
            self._recording = False

        def launch(_pool: Any = pool) -> None:
            graph.launch()

        return launch, found

    def address(self, array: Array) -> int:
        return int(array.data.ptr)

    def _refuse_while_recording(self, what: str) -> None:
        if self._recording:
            raise RuntimeError(f"{what} cannot be recorded: bring it to the device beforehand, or read it afterwards")

    # Dense layers.

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        out = self.xp.empty((a.shape[0], b.shape[1]), dtype=self.dtype) if out is None else out
        self._multiply(a, b, out)
        return out

    def matmul_all(self, pairs: Sequence[tuple[Array, Array]]) -> list[Array]:
        if not self._recording:
            return super().matmul_all(pairs)
        # Branches of the graph, each on a stream of its own, which begin here and end here.
        cuda, products = self.xp.cuda, [self.xp.empty((a.shape[0], b.shape[1]), dtype=self.dtype) for a, b in pairs]
        main, begin = cuda.get_current_stream(), cuda.Event(disable_timing=True)
        begin.record(main)
        for number, ((a, b), product) in enumerate(zip(pairs, products, strict=True)):
            branch = number % (len(self._branches) + 1)
            if branch == 0:
                self._multiply(a, b, product)
                continue
            with self._branches[branch - 1] as stream:
                stream.wait_event(begin)
                self._multiply(a, b, product, handle=branch)
                end = cuda.Event(disable_timing=True)
                end.record(stream)
            main.wait_event(end)
        return products

    def log_ndtr(self, x: Array) -> Array:
        return self._special.log_ndtr(x)

    def ndtr(self, x: Array) -> Array:
        return self._special.ndtr(x)
