"""A stand-in for CuPy on the CPU: what `CupyBackend` asks of it, as strict as the real one, with kernels compiled by g++.

It checks the backend's own code: how kernels are compiled and launched with arguments of the right types, what may happen while
a graph is captured, and how matrix products are handed to cuBLAS. While it captures, whatever would write to memory is kept and
not done, and runs at each launch of the graph on the same memory. It shows nothing of speed or of CuPy itself.
"""

from __future__ import annotations

import ctypes
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from scipy import special

from factorgraph.backends import cublas
from factorgraph.backends.compiled_backend import load
from factorgraph.backends.numpy_backend import round_significand


class Device:
    capturing: list[tuple[str, Callable[[], Any]]] | None = None
    replays = 0
    graphs: list[list[str]]  # what each graph launches
    memory: list[Any]  # that was taken while a graph was captured: its pool keeps it


class Pointer:
    def __init__(self, address: int) -> None:
        self.ptr = address


def plain(x: Any) -> Any:
    """Arrays on the stand-in's device as NumPy's own, within lists and tuples too."""
    if isinstance(x, (list, tuple)):
        return type(x)(plain(item) for item in x)
    return x.view(np.ndarray) if isinstance(x, ndarray) else x


def on_device(found: Any) -> Any:
    return np.asarray(found).view(ndarray) if isinstance(found, (np.ndarray, np.generic)) else found


def compute(action: Callable[[], Any], given: Any, name: str) -> Any:
    """What an operation returns: a view of what it was given, or new memory that each launch fills."""
    if any(type(x) is np.ndarray and x.ndim for x in flat(given)):
        raise TypeError(f"{name} mixes host and device arrays")
    with np.errstate(all="ignore"):
        found = on_device(action())
    if Device.capturing is not None and isinstance(found, ndarray):
        Device.memory.append(found)
        if name != "empty" and not any(np.may_share_memory(found, x) for x in flat(given) if isinstance(x, np.ndarray)):
            target = found.view(np.ndarray)
            Device.capturing.append((name, lambda: np.copyto(target, action())))
    return found


def run(action: Callable[[], Any], name: str) -> None:
    """Something that writes to memory that is there already."""
    if Device.capturing is None:
        action()
    else:
        Device.capturing.append((name, action))


def flat(given: Any) -> list[Any]:
    return [x for item in given for x in flat(item)] if isinstance(given, (list, tuple)) else [given]


def read_by_host(name: str) -> Any:
    def method(self: Any, *arguments: Any) -> Any:
        assert Device.capturing is None, "the host reads a value while a graph is captured"
        return getattr(np.ndarray, name)(self, *arguments)

    return method


class ndarray(np.ndarray):
    """An array on the stand-in's device: NumPy's own functions do not take it together with arrays of the host."""

    @property
    def data(self) -> Any:
        return Pointer(self.ctypes.data)

    __bool__, __float__, __int__, __index__ = (read_by_host(n) for n in ("__bool__", "__float__", "__int__", "__index__"))
    item, tolist = read_by_host("item"), read_by_host("tolist")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        inside, call = [plain(x) for x in inputs], getattr(ufunc, method)
        if out is None:
            return compute(lambda: call(*inside, **kwargs), inputs, ufunc.__name__)
        kwargs["out"] = tuple(plain(x) for x in out)
        run(lambda: call(*inside, **kwargs), f"{ufunc.__name__} in place")
        return out[0]

    def __getitem__(self, key: Any) -> Any:
        return compute(lambda: self.view(np.ndarray)[plain(key)], [self], "indexing")

    def __setitem__(self, key: Any, value: Any) -> None:
        assert not (type(value) is np.ndarray and value.ndim), "a host array is assigned to a device array"
        run(lambda: self.view(np.ndarray).__setitem__(plain(key), plain(value)), "assignment")

    def copy(self, order: Any = "C") -> Any:
        return compute(lambda: self.view(np.ndarray).copy(order), [self], "copy")

    def astype(self, *arguments: Any, **options: Any) -> Any:
        return compute(lambda: self.view(np.ndarray).astype(*arguments, **options), [self], "astype")


class Graph:
    def __init__(self, launches: list[tuple[str, Callable[[], Any]]]) -> None:
        self.launches = launches

    def launch(self, stream: Any = None) -> None:
        Device.replays += 1
        with np.errstate(all="ignore"):
            for _, launch in self.launches:
                launch()


class Stream:
    current: list[Any]

    def __init__(self, non_blocking: bool = False) -> None:
        assert non_blocking, "the null stream cannot be captured"
        self.ptr = id(self)

    def __enter__(self) -> Stream:
        Stream.current.append(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        assert Stream.current.pop() is self

    def wait_event(self, event: Event) -> None:
        assert event.recorded, "waits for an event that is never recorded"

    def begin_capture(self, mode: int | None = None) -> None:
        assert Device.capturing is None
        Device.capturing = []

    def end_capture(self) -> Graph:
        launches, Device.capturing = Device.capturing, None
        assert launches
        Device.graphs.append([name for name, _ in launches])
        return Graph(launches)


class Event:
    """Marks a point of a stream. Branches of a graph run one after the other here."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.recorded = False

    def record(self, stream: Any = None) -> None:
        self.recorded = True


class NullStream:
    ptr = 0


class RawModule:
    def __init__(self, *, code: str, options: tuple[str, ...] = ()) -> None:
        assert Device.capturing is None, "a module is loaded while a graph is captured"
        self.compiled = load(code, "")

    def get_function(self, name: str) -> Any:
        function = getattr(self.compiled, name)

        def call(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            assert 0 < grid[0] < 2**31
            assert 0 < block[0] <= 1024
            passed = [argument_of(argument) for argument in arguments]
            run(lambda: function(*passed), name)

        return call


def argument_of(argument: Any) -> Any:
    """As CuPy passes it: an array's address, or the bytes of a NumPy scalar."""
    kinds: dict[Any, Any] = {np.int32: ctypes.c_int, np.float32: ctypes.c_float, np.float64: ctypes.c_double}
    kinds[np.uintp] = ctypes.c_void_p
    if isinstance(argument, ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return kinds[type(argument)](argument.item() or (None if type(argument) is np.uintp else 0))


class Cublas:
    """cuBLAS's C interface: matrices that are stored by columns, on a stream and with a workspace that are set beforehand."""

    def __init__(self) -> None:
        self.streams: list[int] = []  # of each handle
        self.workspaces: list[int] = []

    def cublasCreate_v2(self, handle: Any) -> int:
        assert Device.capturing is None, "a handle is made while a graph is captured"
        self.streams.append(0)
        self.workspaces.append(0)
        handle._obj.value = len(self.streams)
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: ctypes.c_void_p) -> int:
        self.streams[handle.value - 1], self.workspaces[handle.value - 1] = stream.value or 0, 0
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, address: ctypes.c_void_p, size: ctypes.c_size_t) -> int:
        assert size.value
        assert address.value not in self.workspaces, "two handles share a workspace"
        self.workspaces[handle.value - 1] = address.value or 0
        return 0

    def cublasGemmEx(
        self, handle: Any, transpose_a: int, transpose_b: int, m: int, n: int, k: int, alpha: int, a: int, a_type: int,
        lda: int, b: int, b_type: int, ldb: int, beta: int, c: int, c_type: int, ldc: int, compute_type: int, algorithm: int,
    ) -> int:  # fmt: skip
        assert self.streams[handle.value - 1] == Stream.current[-1].ptr, "another stream is current"
        assert self.workspaces[handle.value - 1], "no workspace that a graph may keep"
        real: Any = {0: ctypes.c_float, 1: ctypes.c_double}[c_type]
        assert a_type == b_type == c_type
        name = {68: "full", 70: "full", 77: "tf32", 75: "bfloat16"}[compute_type]

        def matrix(address: int, rows: int, columns: int, leading: int) -> np.ndarray:
            assert leading >= rows
            there = np.ctypeslib.as_array((real * (leading * columns)).from_address(address))
            return there.reshape(columns, leading).T[:rows]

        left = matrix(a, k, m, lda).T if transpose_a else matrix(a, m, k, lda)
        right = matrix(b, n, k, ldb).T if transpose_b else matrix(b, k, n, ldb)
        target = matrix(c, m, n, ldc)

        def product() -> None:
            inside = [x if name == "full" else round_significand(np.ascontiguousarray(x), name) for x in (left, right)]
            target[...] = inside[0] @ inside[1]

        run(product, "gemm")
        return 0


class MemoryPool:
    def malloc(self, size: int) -> Any:
        raise AssertionError("never asked here")


def build() -> types.ModuleType:
    module = types.ModuleType("cupy")

    def lend(name: str) -> Any:
        value = getattr(np, name)
        if not callable(value) or isinstance(value, type):
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            inside, settings = plain(arguments), {key: plain(option) for key, option in options.items()}
            assert "device" not in options, f"cupy.{name} takes no device"
            if settings.get("out") is not None:
                run(lambda: value(*inside, **settings), name)
                return options["out"]
            return compute(lambda: value(*inside, **settings), list(arguments), name)

        return call

    def asarray(array: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False) -> Any:
        if isinstance(array, ndarray):
            return compute(lambda: np.array(plain(array), dtype=dtype, copy=copy), [array], "asarray")
        assert Device.capturing is None, "the host sends an array while a graph is captured"
        return np.array(array, dtype=dtype).view(ndarray)

    def asnumpy(array: Any) -> np.ndarray:
        assert Device.capturing is None, "the host reads an array while a graph is captured"
        return np.array(plain(array))

    def argsort(array: Any, axis: int = -1, kind: str | None = None) -> Any:
        return compute(lambda: np.argsort(plain(array), axis=axis), [array], "argsort")

    @contextmanager
    def using_allocator(allocator: Any) -> Iterator[None]:
        yield

    module.__getattr__ = lend  # type: ignore[method-assign]
    module.ndarray, module.RawModule = ndarray, RawModule  # type: ignore[attr-defined]
    module.asarray, module.asnumpy, module.argsort = asarray, asnumpy, argsort  # type: ignore[attr-defined]
    module.is_available = lambda: True  # type: ignore[attr-defined]
    workspaces: list[Any] = []

    def alloc(size: int) -> Pointer:
        workspaces.append(np.empty(size, dtype=np.uint8))
        return Pointer(workspaces[-1].ctypes.data)

    module.cuda = types.SimpleNamespace(  # type: ignore[attr-defined]
        Stream=Stream,
        Event=Event,
        MemoryPool=MemoryPool,
        using_allocator=using_allocator,
        alloc=alloc,
        get_current_stream=lambda: Stream.current[-1],
        runtime=types.SimpleNamespace(getDevice=lambda: 0),
        device=types.SimpleNamespace(get_cublas_handle=lambda: 1),
    )
    return module


@pytest.fixture
def stand_in_cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Device]]:
    """CuPy's place taken for one test."""
    scipy_like = types.ModuleType("cupyx.scipy")

    def lent(function: Any) -> Any:
        return lambda x: compute(lambda: function(plain(x)), [x], function.__name__)

    scipy_like.special = types.SimpleNamespace(  # type: ignore[attr-defined]
        **{name: lent(getattr(special, name)) for name in ("ndtr", "log_ndtr")}
    )
    monkeypatch.setitem(sys.modules, "cupy", build())
    monkeypatch.setitem(sys.modules, "cupyx", types.ModuleType("cupyx"))
    monkeypatch.setitem(sys.modules, "cupyx.scipy", scipy_like)
    library = Cublas()
    monkeypatch.setattr(cublas, "library", lambda: library)
    monkeypatch.setattr(Device, "replays", 0)
    monkeypatch.setattr(Device, "graphs", [], raising=False)
    monkeypatch.setattr(Device, "memory", [], raising=False)
    monkeypatch.setattr(Stream, "current", [NullStream()], raising=False)
    yield Device
    Device.capturing = None
