"""
A few iterations of each kind of kernel, for compute-sanitizer.

    compute-sanitizer --tool memcheck python benchmarks/gpu_small.py

Memory comes from CUDA itself, not from CuPy's pool, so that the sanitizer sees where arrays end; launches are not captured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

import factorgraph as fg
from nets.training import Trainer

RNG = np.random.default_rng(0)


def grid(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("x", fg.Spin(), (9, 11))
    graph.add_factors("rows", fg.Ising(RNG.normal(size=88)), x[1:], x[:-1])
    graph.add_factors("columns", fg.Ising(0.2), x[:, 1:], x[:, :-1])


def tables(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("x", fg.Categorical(16), 13)
    graph.add_factors("tables", fg.Table(RNG.normal(size=(12, 16, 16))), x[1:], x[:-1])


def parity(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("x", fg.Spin(), 30)
    graph.add_factors("checks", fg.Parity(), x[np.array([RNG.choice(30, 6, replace=False) for _ in range(15)])])


def hub(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("x", fg.Spin(), 300)
    graph.add_factors("spokes", fg.Ising(0.1), x[0], x[1:])


def clauses(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("x", fg.Spin(), 40)
    graph.add_factors("clauses", fg.Or(), x[np.arange(40).reshape(10, 4)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="cupy", choices=["cupy", "compiled"])
    backend = fg.get_backend(parser.parse_args().backend, "float32")
    if backend.name == "cupy":
        backend.xp.cuda.set_allocator(None)
        backend.graphs = False  # type: ignore[attr-defined]
    problems: list[Callable[[fg.FactorGraph], None]] = [grid, tables, parity, hub, clauses]
    for add in problems:
        for settings in ({"damping": 0.3, "reinforcement": 0.01}, {"mode": "max"}, {"batch": 3, "damping": "auto"}):
            graph = fg.FactorGraph()
            add(graph)
            fg.Inference(graph, fg.Flooding(), backend=backend, **settings).run(3, tolerance=0)  # type: ignore[arg-type]
    residual = fg.FactorGraph()
    grid(residual)
    fg.Inference(residual, fg.Residual(), backend=backend).run(3, tolerance=0)
    X, y = RNG.normal(size=(40, 9)).astype(np.float32), RNG.integers(3, size=40)
    for method in ("bpi", "amp", "mf"):
        settings = ("first-order", (1.0,) * 3, (0.8,) * 3, 0.1, 2, 1.0)
        Trainer((9, 7, 5, 3), 16, method, *settings, backend, "float32", RNG, replicas=3).epoch(X, y)
    print("done")


if __name__ == "__main__":
    main()
