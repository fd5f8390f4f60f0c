"""A stand-in for CuPy on the CPU: what `CupyBackend` asks of it, as strict as the real one, with kernels compiled by g++.

It checks the backend's own code: how kernels are compiled and launched with arguments of the right types, what may happen while
a graph is captured, and how matrix products are handed to cuBLAS. It shows nothing of speed or of CuPy itself.
"""

from __future__ import annotations

import ctypes
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import special

from factorgraph.backends.compiled_backend import _library
from factorgraph.backends.numpy_backend import round_significand


class Pointer:
    def __init__(self, address: int) -> None:
        self.ptr = address


class ndarray(np.ndarray):
    """An array on the stand-in's device: no NumPy function takes it while a graph is captured."""

    @property
    def data(self) -> Any:
        return Pointer(self.ctypes.data)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        assert not Device.capturing, f"{ufunc.__name__} while a graph is captured"
        plain = [x.view(np.ndarray) if isinstance(x, ndarray) else x for x in inputs]
        assert not any(type(x) is np.ndarray and x.ndim for x in inputs), f"{ufunc.__name__} mixes host and device arrays"
        if out is not None:
            kwargs["out"] = tuple(x.view(np.ndarray) for x in out)
        found = getattr(ufunc, method)(*plain, **kwargs)
        return out[0] if out is not None else on_device(found)


class Device:
    capturing: list[Any] | None = None
    captures = 0
    replays = 0


def on_device(found: Any) -> Any:
    return np.asarray(found).view(ndarray) if isinstance(found, (np.ndarray, np.generic)) else found


class Graph:
    def __init__(self, launches: list[Any]) -> None:
        self.launches = launches

    def launch(self, stream: Any = None) -> None:
        Device.replays += 1
        for launch in self.launches:
            launch()


class Stream:
    def __init__(self, non_blocking: bool = False) -> None:
        assert non_blocking, "the null stream cannot be captured"

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: Any) -> None:
        assert not Device.capturing

    def begin_capture(self) -> None:
        Device.capturing = []

    def end_capture(self) -> Graph:
        launches, Device.capturing = Device.capturing, None
        Device.captures += 1
        assert launches
        return Graph(launches)


class RawModule:
    def __init__(self, *, code: str, options: tuple[str, ...] = ()) -> None:
        assert not Device.capturing, "a module is loaded while a graph is captured"
        self.compiled = _library(code)

    def get_function(self, name: str) -> Any:
        function = getattr(self.compiled, name)

        def call(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            assert 0 < grid[0] < 2**31
            assert 0 < block[0] <= 1024
            passed = [argument_of(argument) for argument in arguments]

            def launch() -> None:
                function(*passed)

            if Device.capturing is None:
                launch()
            else:
                Device.capturing.append(launch)

        return call


def argument_of(argument: Any) -> Any:
    """As CuPy passes it: an array's address, or the bytes of a NumPy scalar."""
    kinds: dict[Any, Any] = {np.int32: ctypes.c_int, np.float32: ctypes.c_float, np.float64: ctypes.c_double}
    kinds[np.uintp] = ctypes.c_void_p
    if isinstance(argument, ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return kinds[type(argument)](argument.item() or (None if type(argument) is np.uintp else 0))


def gemm_ex(
    handle: int, transpose_a: int, transpose_b: int, m: int, n: int, k: int, alpha: int, a: int, a_type: int, lda: int,
    b: int, b_type: int, ldb: int, beta: int, c: int, c_type: int, ldc: int, compute_type: int, algorithm: int,
) -> None:  # fmt: skip
    """cuBLAS's product of matrices that are stored by columns."""

    def matrix(address: int, rows: int, columns: int, leading: int) -> np.ndarray:
        assert leading >= rows
        flat = np.ctypeslib.as_array((ctypes.c_float * (leading * columns)).from_address(address))
        return flat.reshape(columns, leading).T[:rows]

    left = matrix(a, k, m, lda).T if transpose_a else matrix(a, m, k, lda)
    right = matrix(b, n, k, ldb).T if transpose_b else matrix(b, k, n, ldb)
    name = {77: "tf32", 75: "bfloat16"}[compute_type]
    rounded = [round_significand(np.ascontiguousarray(x), name) for x in (left, right)]
    matrix(c, m, n, ldc)[...] = rounded[0] @ rounded[1]


def build() -> types.ModuleType:
    module = types.ModuleType("cupy")

    def lend(name: str) -> Any:
        value = getattr(np, name)
        if not callable(value) or isinstance(value, type):
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            assert not Device.capturing, f"{name} while a graph is captured"
            found = value(*arguments, **options)
            return on_device(found)

        return call

    module.__getattr__ = lend  # type: ignore[method-assign]
    module.ndarray, module.RawModule = ndarray, RawModule  # type: ignore[attr-defined]
    module.is_available = lambda: True  # type: ignore[attr-defined]
    module.asnumpy = lambda array: np.array(array.view(np.ndarray))  # type: ignore[attr-defined]
    cublas = types.SimpleNamespace(gemmEx=gemm_ex, CUBLAS_GEMM_DEFAULT=-1)
    module.cuda = types.SimpleNamespace(  # type: ignore[attr-defined]
        Stream=Stream,
        cublas=cublas,
        runtime=types.SimpleNamespace(CUDA_R_32F=0),
        device=types.SimpleNamespace(get_cublas_handle=lambda: 1),
    )
    return module


@pytest.fixture
def stand_in_cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Device]]:
    """CuPy's place taken for one test."""
    scipy_like = types.ModuleType("cupyx.scipy")
    scipy_like.special = types.SimpleNamespace(  # type: ignore[attr-defined]
        **{
            name: (lambda f: lambda x: on_device(f(x.view(np.ndarray))))(getattr(special, name))
            for name in ("erf", "ndtr", "log_ndtr")
        }
    )
    monkeypatch.setitem(sys.modules, "cupy", build())
    monkeypatch.setitem(sys.modules, "cupyx", types.ModuleType("cupyx"))
    monkeypatch.setitem(sys.modules, "cupyx.scipy", scipy_like)
    monkeypatch.setattr(Device, "captures", 0)
    monkeypatch.setattr(Device, "replays", 0)
    yield Device
    Device.capturing = None
