"""
The engine against its peers: messages per second, time to the first answer and peak memory, core against core, in one run.

    python benchmarks/engine.py [--only NAME ...]

A message is one factor-to-variable message in one iteration: flooding, damping 0.5 (parity checks: none), the same number of
iterations, each in a process of its own on one core. Kernels of the backend ``compiled`` are compiled before. The peers are
PGMax (float32, on JAX) and, for parity checks, the C++ decoder of the ldpc package; they are installed on demand into an
environment of their own beside this file. Answers are compared too. The residual schedule is timed on hard grids at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from problems import DAMPING, PROBLEMS, hard_grid

import factorgraph as fg

HERE = Path(__file__).parent
PEERS = HERE / ".venv-peers"


def peer_python() -> Path:
    """Python of the peers' environment, made on first use."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        venv.create(PEERS, with_pip=True)
        packages = ["pgmax==0.6.1", "jax==0.5.3", "jaxlib==0.5.3", "ldpc==2.4.1"]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, stderr=subprocess.DEVNULL)
    return python


def build(data: dict[str, np.ndarray]) -> tuple[fg.FactorGraph, fg.Variables]:
    """A problem as a graph."""
    graph = fg.FactorGraph()
    ports = data["scopes"].T
    if "received" in data:
        x = graph.add_variables("x", fg.Spin(), data["received"].size)
        graph.add_factors("f", fg.Parity(), x[data["scopes"]])
        strength = 0.5 * np.log((1 - data["flip"]) / data["flip"])
        graph.set_prior(x, np.where(data["received"], -strength, strength))
    elif "couplings" in data:
        x = graph.add_variables("x", fg.Spin(), data["fields"].shape[-1])
        graph.add_factors("f", fg.Ising(data["couplings"]), x[ports[0]], x[ports[1]])
        if data["fields"].ndim == 1:
            graph.set_prior(x, data["fields"])
    else:
        x = graph.add_variables("x", fg.Categorical(data["weights"].shape[-1]), len(data["weights"]))
        graph.add_factors("f", fg.Table(data["tables"]), *(x[port] for port in ports))
        graph.set_prior(x, data["weights"])
    return graph, x


def ours(path: str, backend: str, dtype: str) -> dict[str, Any]:
    """The engine's figures on a problem."""
    data = dict(np.load(path))
    iterations, mode = int(data["iterations"]), str(data["mode"])
    batch = data["fields"].shape[0] if "fields" in data and data["fields"].ndim == 2 else None
    start = time.perf_counter()
    graph, x = build(data)
    built = time.perf_counter() - start
    settings: dict[str, Any] = {"mode": mode, "damping": float(data["damping"]), "batch": batch}
    inference = fg.Inference(graph, fg.Flooding(), backend=backend, dtype=dtype, **settings)
    if batch:
        inference.set_prior(x, data["fields"])

    def answer(number: int) -> np.ndarray:
        result = inference.run(number, tolerance=0, check_every=10)
        if "received" in data:
            return (result.mode(x) < 0).astype(int)
        return result.marginals(x) if mode == "sum" else np.argmax(result.belief(x), axis=-1)

    answer(iterations if batch else 50)
    first = time.perf_counter() - start
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        inference.run(iterations, tolerance=0, check_every=10)
        seconds.append(time.perf_counter() - begin)
    found = answer(iterations).reshape(batch or 1, -1)[-1][:2000]
    return {
        "rate": graph.num_edges * iterations * (batch or 1) / min(seconds),
        "build": built,
        "first": first,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "answer": found.tolist(),
    }


def run_json(command: list[Any]) -> dict[str, Any]:
    """Run a command and read the JSON in its last line."""
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    if output.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{output.stderr}")
    figures: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    return figures


def compare(name: str, python: Path) -> None:
    """One row for each backend and precision of the engine."""
    make, mode, iterations = PROBLEMS[name]
    data = make()
    damping = 0.0 if "received" in data else DAMPING
    peer = "ldpc_problem.py" if "received" in data else "pgmax_problem.py"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, **data, mode=mode, iterations=iterations, damping=damping)
        theirs = run_json([python, HERE / "peers" / peer, path])
        for backend, dtype in ((b, t) for b in ("numpy", "compiled") for t in ("float32", "float64")):
            command = [sys.executable, __file__, "--own", path, backend, dtype]
            if backend == "compiled":
                run_json(command)  # compiles the kernels, which are kept
            own = run_json(command)
            gap = np.abs(np.array(own["answer"]) - np.array(theirs["answer"])).max()
            print(
                f"{name:<30}{backend:>9}{dtype:>8}{own['rate'] / 1e6:>8.1f}{theirs['rate'] / 1e6:>8.2f}"
                f"{own['rate'] / theirs['rate']:>7.1f}"
                f"{own['build'] * 1e3:>8.1f}{own['first'] * 1e3:>8.0f}{theirs['first'] * 1e3:>8.0f}"
                f"{own['memory']:>7.0f}{theirs['memory']:>7.0f}{gap:>9.1e}",
                flush=True,
            )


def residual() -> None:
    """Seconds and sweeps to converge on grids where flooding does not."""
    warnings.simplefilter("ignore", fg.ConvergenceWarning)
    for kind in ("uniform", "normal"):
        graph, _ = build(hard_grid(100, kind == "normal"))
        for schedule, limit in ((fg.Flooding(), 500), (fg.Residual(), 100)):
            start = time.perf_counter()
            result = fg.run(graph, schedule, max_iterations=limit, tolerance=1e-6)
            seconds = time.perf_counter() - start
            print(f"hard grid 100x100, {kind} couplings: {schedule!r}: {seconds:.2f} s, {result}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--own", nargs=3, metavar=("FILE", "BACKEND", "DTYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own:
        print(json.dumps(ours(*options.own)))
        return
    python = peer_python()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print("millions of messages a second, times in ms, peak memory in MiB; ours, then the peer's")
    print(
        f"{'problem':<30}{'backend':>9}{'dtype':>8}{'ours':>8}{'peer':>8}{'ratio':>7}{'build':>8}{'first':>8}{'peer':>8}{'MiB':>7}{'peer':>7}{'gap':>9}"
    )
    for name in options.only:
        compare(name, python)
    residual()


if __name__ == "__main__":
    main()
