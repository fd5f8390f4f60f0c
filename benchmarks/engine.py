"""
The engine against PGMax on spin grids: messages per second, core against core, in one run.

    python benchmarks/engine.py [--sides 100 300] [--iterations 200]

A message is one factor-to-variable message in one iteration: flooding, damping 0.5, float32, random couplings and fields.
PGMax is installed on demand into an environment of its own beside this file. The marginals of both are compared too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np

import factorgraph as fg

HERE = Path(__file__).parent
PEER = HERE / ".venv-pgmax"


def peer_python() -> Path:
    """Python of the peer's environment, made on first use."""
    python = PEER / "bin" / "python"
    if not python.exists():
        venv.create(PEER, with_pip=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "pgmax==0.6.1", "jax==0.5.3", "jaxlib==0.5.3"],
            check=True,
            stderr=subprocess.DEVNULL,
        )
    return python


def problem(side: int, iterations: int) -> dict[str, np.ndarray]:
    """Weak random couplings, for which flooding converges, so that marginals compare."""
    rng = np.random.default_rng(side)
    return {
        "side": np.array(side),
        "iterations": np.array(iterations),
        "damping": np.array(0.5),
        "rows": 0.5 * rng.normal(size=(side - 1, side)),
        "columns": 0.5 * rng.normal(size=(side, side - 1)),
        "fields": 0.3 * rng.normal(size=(side, side)),
    }


def ours(data: dict[str, np.ndarray], dtype: str) -> dict[str, object]:
    """Our figures on a problem."""
    side, iterations = int(data["side"]), int(data["iterations"])
    start = time.perf_counter()
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (side, side))
    graph.add_factors("rows", fg.Ising(data["rows"].ravel()), x[:-1], x[1:])
    graph.add_factors("columns", fg.Ising(data["columns"].ravel()), x[:, :-1], x[:, 1:])
    graph.set_prior(x, data["fields"])
    built = time.perf_counter()
    inference = fg.Inference(graph, fg.Flooding(), dtype=dtype, damping=float(data["damping"]))
    mean = inference.run(50, tolerance=0).mean(x)
    first = time.perf_counter() - start
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        result = inference.run(iterations, tolerance=0, check_every=10)
        seconds.append(time.perf_counter() - begin)
        mean = result.mean(x)
    rate = graph.num_edges * iterations / min(seconds)
    return {"rate": rate, "build": built - start, "first_answer": first, "mean": mean.ravel()[:1000]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--iterations", type=int, default=200)
    options = parser.parse_args()
    python = peer_python()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(" grid         dtype   ours M/s   PGMax M/s  ratio    build    first    PGMax      gap")
    for side in options.sides:
        data = problem(side, options.iterations)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "problem.npz"
            np.savez(path, **data)
            output = subprocess.run(
                [python, HERE / "peers" / "pgmax_grid.py", path], capture_output=True, text=True, check=False
            )
        if output.returncode:
            sys.exit(f"PGMax failed:\n{output.stderr}")
        peer = json.loads(output.stdout.splitlines()[-1])
        for dtype in ("float32", "float64"):
            own = ours(data, dtype)
            gap = np.abs(own["mean"] - np.array(peer["mean"])).max()
            print(
                f"{side:>4}x{side:<4} {dtype:>8} {own['rate'] / 1e6:>10.1f} {peer['rate'] / 1e6:>11.1f} "
                f"{own['rate'] / peer['rate']:>6.1f} {own['build'] * 1e3:>6.1f}ms {own['first_answer'] * 1e3:>6.1f}ms "
                f"{peer['first_answer'] * 1e3:>6.0f}ms {gap:>8.1e}"
            )


if __name__ == "__main__":
    main()
