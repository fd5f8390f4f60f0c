"""The kernels of GPUs compiled for the CPU, on NumPy arrays: for tests, where no GPU is at hand."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from factorgraph.backends.base import Array, BackendUnavailableError
from factorgraph.backends.kernel_backend import KernelBackend, Launch


class CompiledBackend(KernelBackend):
    """One thread, no vector instructions: slower than NumPy on dense arrays."""

    name = "compiled"
    xp: Any = np

    def __init__(self, dtype: str = "float64", products: str = "full") -> None:
        if shutil.which("g++") is None:
            raise BackendUnavailableError("backend 'compiled' needs the C++ compiler g++; use backend='numpy'")
        super().__init__(dtype, products)

    def asarray(self, values: ArrayLike | Array, copy: bool = True) -> Array:
        return np.array(values, dtype=self.dtype, order="C")

    def index_array(self, indices: ArrayLike) -> Array:
        return np.ascontiguousarray(indices, dtype=np.int32)

    def mask_array(self, mask: np.ndarray) -> Array:
        return np.array(mask, dtype=np.bool_)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, dtype=self.dtype)

    def launcher(self, source: str, name: str, count: int, arguments: Sequence[Any]) -> Launch:
        function = getattr(_library(self.prelude + source), name)
        passed = [ctypes.c_int(count), *(self._argument(argument) for argument in arguments)]
        given = (count, *arguments)  # alive as long as the launch may run
        return Launch(source, name, given, lambda: function(*passed))

    def _argument(self, argument: Any) -> Any:
        if argument is None:
            return ctypes.c_void_p(None)
        if isinstance(argument, np.ndarray):
            assert argument.flags.c_contiguous
            return ctypes.c_void_p(argument.ctypes.data)
        if isinstance(argument, (bool, int, np.integer)):
            return ctypes.c_int(int(argument))
        return (ctypes.c_float if self.dtype_name == "float32" else ctypes.c_double)(float(argument))

    def log_ndtr(self, x: Array) -> Array:
        return np.asarray(special.log_ndtr(x))

    def ndtr(self, x: Array) -> Array:
        return np.asarray(special.ndtr(x))


@cache
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="factorgraph-kernels-")


def _folder() -> Path:
    """Where kernels are kept: a folder that processes share, if one is named, or one for this process."""
    return Path(os.environ.get("FACTORGRAPH_KERNELS") or _own_folder().name)


@cache
def _library(source: str) -> ctypes.CDLL:
    """Compile a text and load it; once for each text, and process or shared folder."""
    flags = os.environ.get("FACTORGRAPH_KERNEL_FLAGS", "-O1")
    kept = _folder() / f"{hashlib.sha256((flags + source).encode()).hexdigest()[:16]}.so"
    if kept.exists():
        return ctypes.CDLL(str(kept))
    stem = kept.with_name(f"{kept.stem}-{os.getpid()}")  # another process may be at it too
    stem.with_suffix(".cpp").write_text(source, encoding="utf-8")
    warnings = ["-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function"]
    command = ["g++", "-std=c++14", *flags.split(), *warnings, "-shared", "-fPIC"]
    done = subprocess.run(
        [*command, str(stem.with_suffix(".cpp")), "-o", str(stem.with_suffix(".so"))],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        told = "\n".join(done.stderr.splitlines()[:20]).replace(str(stem), "kernel")
        raise RuntimeError(f"a kernel does not compile (g++ ended with {done.returncode}):\n{told}")
    stem.with_suffix(".cpp").unlink()
    stem.with_suffix(".so").replace(kept)
    return ctypes.CDLL(str(kept))
