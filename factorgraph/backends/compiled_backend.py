"""The kernels of GPUs compiled for the CPU, on NumPy arrays, by g++."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.backends.base import Array, BackendUnavailableError, Operand
from factorgraph.backends.kernel_backend import KernelBackend, Launch
from factorgraph.backends.kernels import LARGEST_GROUP
from factorgraph.backends.numpy_backend import NumpyBackend

_FLAGS = "-O3 -march=native -fopenmp-simd -fno-math-errno -fno-trapping-math"
_WARNINGS = ["-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function"]
_LEAST_SHARE = 1 << 13  # of the threads of a launch, for which another thread of the CPU is worth waking
_ALL = 0x7FFFFFFF  # threads
_WRITTEN_OUT = re.compile(r"#pragma unroll(\s+for \([^;]*; \w+ [<>]=? \d+;)")  # loops whose number of rounds is known


class CompiledBackend(NumpyBackend, KernelBackend):
    """
    The kernels of steps and of elementwise functions, compiled to vector instructions; gathers and sums alone are NumPy's.

    Kernels are kept in a folder of the user's, so that each is compiled once: ``FACTORGRAPH_KERNELS`` names another one.

    Raises
    ------
    BackendUnavailableError : no g++ here
    """

    name = "compiled"
    specialises_from = 1 << 9
    specialises_up_to = 1 << 12

    def __init__(self, dtype: str = "float64", products: str = "full") -> None:
        if shutil.which("g++") is None:
            raise BackendUnavailableError("backend 'compiled' needs the C++ compiler g++; use backend='numpy'")
        super().__init__(dtype, products)

    def index_array(self, indices: ArrayLike) -> Array:
        return np.ascontiguousarray(indices, dtype=np.int32)

    def elementwise(self, function: Callable[..., tuple[Array, ...]], *arrays: Operand) -> tuple[Array, ...]:
        return KernelBackend.elementwise(self, function, *arrays)

    erfcx = KernelBackend.erfcx
    add_product = KernelBackend.add_product

    def launcher(self, source: str, name: str, count: int, arguments: Sequence[Any]) -> Launch:
        library = load(self.prelude, source)
        function = getattr(library, name)
        passed = [ctypes.c_int(count), *(self._argument(argument) for argument in arguments)]
        given = (count, *arguments)  # alive as long as the launch may run
        shares = min(_number_of_threads(), count // _LEAST_SHARE)
        if shares < 2:
            return Launch(source, name, given, lambda: function(*passed))
        size = math.ceil(count / shares / LARGEST_GROUP) * LARGEST_GROUP

        def do_share(number: int, kept: object = given) -> None:
            library.set_share(number * size, (number + 1) * size)
            function(*passed)

        return Launch(source, name, given, lambda: _do_all(do_share, shares, library))

    def _argument(self, argument: Any) -> Any:
        if argument is None:
            return ctypes.c_void_p(None)
        if isinstance(argument, np.ndarray):
            assert argument.flags.c_contiguous
            return ctypes.c_void_p(argument.ctypes.data)
        if isinstance(argument, (bool, int, np.integer)):
            return ctypes.c_int(int(argument))
        return (ctypes.c_float if self.dtype_name == "float32" else ctypes.c_double)(float(argument))


def _do_all(do_share: Callable[[int], None], shares: int, library: ctypes.CDLL) -> None:
    """
    Work out all shares of a launch, by other threads.

    This one, which an exception may leave anywhere, only waits; and it does so until the last share is done, as the arrays are
    written to until then.
    """
    running: list[Future[None]] = []
    try:
        for number in range(shares):
            running.append(_threads().submit(do_share, number))
    except RuntimeError:  # the interpreter is about to end, and starts no more threads
        try:
            for number in range(len(running), shares):
                do_share(number)
        finally:
            library.set_share(0, _ALL)
    finally:
        stopped: BaseException | None = None
        while any(not share.done() for share in running):
            try:
                wait(running)
            except BaseException as error:  # Ctrl-C
                stopped = error
        if stopped is not None:
            raise stopped
    for share in running:
        share.result()


def _number_of_threads() -> int:
    """Threads of a large launch: as many as cores that this process may use, or as ``OMP_NUM_THREADS`` says."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(asked) if asked.isdecimal() and int(asked) else cores


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="factorgraph")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked process has none of the threads


@cache
def _own_folder() -> Path:
    """A folder of this process, and of those that it forks."""
    folder, owner = tempfile.mkdtemp(prefix="factorgraph-kernels-"), os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    return Path(folder)


def _folder() -> Path:
    """Where kernels are kept: ``FACTORGRAPH_KERNELS``, or the user's cache; if that cannot be written, this process's own."""
    named = os.environ.get("FACTORGRAPH_KERNELS")
    if named:
        folder = Path(named).expanduser().resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            told = f"backend 'compiled' keeps kernels in FACTORGRAPH_KERNELS={named!r}, which is no folder that can be written"
            raise BackendUnavailableError(f"{told} ({error}); name another one") from error
        return folder
    kept = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")).resolve() / "factorgraph" / "kernels"
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _own_folder()
    return kept if os.access(kept, os.W_OK) else _own_folder()


@cache
def _machine() -> str:
    """What kernels are compiled for: the compiler and the instructions that it finds here."""
    asked = ["g++", "--version"], ["g++", "-march=native", "-Q", "--help=target"]
    return "".join(_run(command).stdout for command in asked)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)


@cache
def load(beginning: str, source: str) -> ctypes.CDLL:
    """Compile a text and load it, unless that was done before, here or by another process."""
    flags = os.environ.get("FACTORGRAPH_KERNEL_FLAGS", _FLAGS)
    if "KERNEL sequence(" in source:  # of small kernels, where compiling counts for more
        flags = flags.replace("-O3", "-O1")
    whole = _WRITTEN_OUT.sub(r"#pragma GCC unroll 1024\1", f"{beginning}{source}}}\n")
    folder = _folder()
    kept = folder / f"{hashlib.sha256((_machine() + flags + whole).encode()).hexdigest()[:24]}.so"
    if kept.exists():
        with contextlib.suppress(OSError):  # a damaged file, which is made anew
            return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory(prefix="compiling-", dir=folder) as own:
        _compiled(whole, flags, Path(own)).replace(kept)  # at once: another process may be at it too
    return ctypes.CDLL(str(kept))


def _compiled(source: str, flags: str, folder: Path) -> Path:
    """The library made of a text, in a folder that may be written to."""
    text, made = folder / "kernel.cpp", folder / "kernel.so"
    text.write_text(source, encoding="utf-8")
    command = ["g++", "-std=gnu++14", *flags.split(), *_WARNINGS, "-shared", "-fPIC", str(text), "-o", str(made)]
    done = _run(command)
    if done.returncode:
        told = "\n".join(done.stderr.splitlines()[:20]).replace(str(text), "kernel.cpp")
        raise RuntimeError(f"a kernel does not compile (g++ ended with {done.returncode}):\n{told}")
    return made
