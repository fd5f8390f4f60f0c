"""Programs that several ranks run, where MPI can start some here."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

collect_ignore = ["programs"]  # importing one runs it
PROGRAMS = Path(__file__).parent / "programs"


@functools.cache
def why_not() -> str | None:
    """Why MPI cannot start ranks here; None if it can."""
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    if launcher() is None:
        return "there is no mpiexec"
    done = start(2, ["-c", "from mpi4py import MPI; assert MPI.COMM_WORLD.size == 2"])
    return None if done.returncode == 0 else f"MPI cannot start two ranks: {done.stderr.strip()[-300:]}"


def launcher() -> str | None:
    """The mpiexec of this environment, or of the system."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def start(ranks: int, arguments: list[str], timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Python with these arguments on so many ranks, one thread each."""
    command = [str(launcher()), "-n", str(ranks), sys.executable, *arguments]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)


@pytest.fixture(scope="session")
def mpi() -> Callable[..., Any]:
    """Runs a program on so many ranks and returns what the first one printed last, as JSON."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)

    def run(program: str, ranks: int, *words: str) -> Any:
        done = start(ranks, [str(PROGRAMS / program), *words])
        assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run
