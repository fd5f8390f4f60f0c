"""
A few iterations of each kind of kernel, for compute-sanitizer.

    compute-sanitizer --tool memcheck python benchmarks/gpu_small.py [grid tables parity hub clauses tree residual nets]

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


def tree(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("x", fg.Spin(), 60)
    graph.add_factors("branches", fg.Ising(RNG.normal(size=59)), x[np.arange(1, 60) // 2], x[1:])


PROBLEMS: dict[str, Callable[[fg.FactorGraph], None]] = {
    problem.__name__: problem for problem in (grid, tables, parity, hub, clauses, tree)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[*PROBLEMS, "residual", "nets"])
    parser.add_argument("--backend", default="cupy", choices=["cupy", "compiled"])
    options = parser.parse_args()
    backend = fg.get_backend(options.backend, "float32")
    if backend.name == "cupy":
        backend.xp.cuda.set_allocator(None)
        backend.graphs = False  # type: ignore[attr-defined]
    for name in options.parts:
        for settings in ({"damping": 0.3}, {"mode": "max"}, {"batch": 3, "damping": "auto"}) if name in PROBLEMS else ():
            graph = fg.FactorGraph()
            PROBLEMS[name](graph)
            fg.Inference(graph, backend=backend, **settings).run(3, tolerance=0)  # type: ignore[arg-type]
    if "residual" in options.parts:
        graph = fg.FactorGraph()
        grid(graph)
        fg.Inference(graph, fg.Residual(), backend=backend).run(3, tolerance=0)
    X, y = RNG.normal(size=(40, 9)).astype(np.float32), RNG.integers(3, size=40)
    for method in ("bpi", "amp", "mf") if "nets" in options.parts else ():
        training = ("first-order", (1.0,) * 3, (0.8,) * 3, 0.1, 2, 1.0)
        Trainer((9, 7, 5, 3), 16, method, *training, backend, "float32", RNG, replicas=3).epoch(X, y)
    print("done")


if __name__ == "__main__":
    main()
