"""Where arrays live and how they are computed with: one object per array library.

`get_backend` is the only way in. Everything else in the project takes its array namespace, its special
functions and its fused elementwise chains from the object that this returns.
"""

from __future__ import annotations

import logging

from factorgraph.backends.base import Array, Backend, BackendUnavailableError, Index
from factorgraph.backends.compiled_backend import CompiledBackend
from factorgraph.backends.cupy_backend import CupyBackend
from factorgraph.backends.kernel_backend import KernelBackend, Launch, device_function
from factorgraph.backends.numpy_backend import NumpyBackend
from factorgraph.backends.strict_backend import StrictBackend

__all__ = [
    "HOST",
    "Array",
    "Backend",
    "BackendUnavailableError",
    "Index",
    "KernelBackend",
    "Launch",
    "backend_names",
    "device_function",
    "get_backend",
]

_BACKENDS: dict[str, type[Backend]] = {
    "numpy": NumpyBackend,
    "cupy": CupyBackend,
    "array-api-strict": StrictBackend,
    "compiled": CompiledBackend,
}
_logger = logging.getLogger("factorgraph")


def backend_names() -> list[str]:
    """Names that `get_backend` takes: ``"auto"`` and one for each array library."""
    return ["auto", *_BACKENDS]


def get_backend(name: str | Backend | None = None, dtype: str | None = None, products: str | None = None) -> Backend:
    """
    Return the backend of a name and floating-point type.

    Parameters
    ----------
    name : str or Backend, default "numpy"
        ``"numpy"``; ``"cupy"`` (an NVIDIA GPU); ``"auto"``: CuPy where it can run, else NumPy, which is logged;
        for tests ``"array-api-strict"``, the plain Array-API form, and ``"compiled"``, the GPU's kernels compiled for the CPU
        by g++. A backend is returned as it is.
    dtype : {"float64", "float32"}, default "float64"
        Type of all messages and beliefs.
    products : {"full", "tf32", "bfloat16"}, default "full"
        What matrix products (of block factors) round their float32 inputs to, for the GPU's matrix units; on the CPU, rounding
        is modelled, which shows what it costs in accuracy.

    Raises
    ------
    ValueError
        The name, the dtype or the products are not one of these, or do not go together.
    BackendUnavailableError
        The named library is not installed, or has no device to run on.
    """
    if isinstance(name, Backend):
        if dtype is not None and name.dtype_name != dtype:
            raise ValueError(f"the backend given computes in {name.dtype_name}, but dtype={dtype!r} was asked for")
        if products is not None and name.products != products:
            raise ValueError(f"the backend given has products={name.products!r}, but {products!r} was asked for")
        return name
    name, dtype, products = name or "numpy", dtype or "float64", products or "full"
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', not {dtype!r}")
    if name == "auto":
        try:
            return CupyBackend(dtype, products)
        except BackendUnavailableError as error:
            _logger.info("backend 'auto' uses numpy: %s", error)
            return NumpyBackend(dtype, products)
    if name not in _BACKENDS:
        raise ValueError(f"unknown backend {name!r}; choose one of {backend_names()}")
    return _BACKENDS[name](dtype, products)


HOST: Backend = get_backend("numpy", "float64")
"""NumPy in double precision: for what is worked out on the host, whatever backend a run takes."""
