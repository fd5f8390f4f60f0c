"""Fixtures that several test files share, and the choice of tests that can run here."""

from __future__ import annotations

import os
import tempfile

# Before NumPy is loaded: tests run side by side, and threads that fight for the cores slow all of them.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Processes that test side by side compile each kernel once.
if "FACTORGRAPH_KERNELS" not in os.environ:
    _kernels = tempfile.TemporaryDirectory(prefix="factorgraph-tests-")
    os.environ["FACTORGRAPH_KERNELS"] = _kernels.name

# Most kernels run for less time here than it takes to compile them.
os.environ.setdefault("FACTORGRAPH_KERNEL_FLAGS", "-O0")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import factorgraph as fg  # noqa: E402
from factorgraph.junction import flat_tree  # noqa: E402

collect_ignore = ["smoke.py"]  # `make dist-test` runs it in a fresh environment


def _why_no_gpu() -> str | None:
    try:
        fg.get_backend("cupy")
    except fg.BackendUnavailableError as error:
        return str(error)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave GPU tests out where there is no GPU."""
    if _why_no_gpu() is not None:
        gpu = [item for item in items if item.get_closest_marker("gpu")]
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=gpu)


def pytest_report_header() -> str:
    return f"GPU tests left out: {_why_no_gpu()}" if _why_no_gpu() else "GPU tests run"


@pytest.fixture(params=["numpy", "array-api-strict", "compiled", pytest.param("cupy", marks=pytest.mark.gpu)])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    return str(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """A fixed source of random numbers."""
    return np.random.default_rng(20220315)


@pytest.fixture(params=["by arrays", "by cliques"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to exact answers: small trees as arrays, as they are by themselves, and one clique after another."""
    if request.param == "by cliques":
        monkeypatch.setattr(flat_tree, "_MOST_PAIRS", 0)
    return str(request.param)
