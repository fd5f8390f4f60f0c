"""
How time and memory grow: exponents fitted to runs of rising size.

    python benchmarks/scaling.py [--quick]

Time is that of one iteration, or one batch of training; memory is what the arrays of a graph's state take. An exponent of 1
is linear. It is fitted to the upper half of the sizes, where fixed costs no longer count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from problems import grid_pairs

import factorgraph as fg
from nets.training import Trainer


def best(function: Callable[[], object], seconds: float = 0.3) -> float:
    """Shortest of several runs."""
    function()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def state_bytes(inference: fg.Inference) -> float:
    """Bytes of a state's messages, beliefs and potentials."""
    pools = sum(pool.messages.nbytes + pool.total.nbytes + pool.terms.prior.nbytes for pool in inference.state.pools)
    potentials = sum(a.nbytes for p in inference.state.potentials.values() for a in p.parameters.values())
    return float(pools + potentials)


def iteration(graph: fg.FactorGraph, batch: int | None = None) -> tuple[float, float]:
    """Seconds of an iteration of flooding, and bytes of the state."""
    inference = fg.Inference(graph, fg.Flooding(), dtype="float32", damping=0.5, batch=batch)
    return best(lambda: inference.run(10, tolerance=0, check_every=10)) / 10, state_bytes(inference)


def spins(side: int, batch: int | None = None) -> tuple[float, float]:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), side * side)
    pairs = grid_pairs(side)
    graph.add_factors("f", fg.Ising(np.full(len(pairs), 0.3)), x[pairs[:, 0]], x[pairs[:, 1]])
    return iteration(graph, batch)


def states(q: int, factor: Callable[[int], fg.Factor]) -> tuple[float, float]:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(q), 1600)
    pairs = grid_pairs(40)
    graph.add_factors("f", factor(len(pairs)), x[pairs[:, 0]], x[pairs[:, 1]])
    return iteration(graph)


def degree(d: int, factor: fg.Factor) -> tuple[float, float]:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (max(1, 20_000 // d), d))
    graph.add_factors("f", factor, x)
    seconds, size = iteration(graph)
    return seconds / x.size * 20_000, size / x.size * 20_000


def layer(inputs: int, hidden: int, rows: int, depth: int) -> tuple[float, float]:
    """Seconds of a batch of training; memory is not looked at."""
    rng = np.random.default_rng(0)
    sizes = (inputs, *[hidden] * depth, 10)
    layers = len(sizes) - 1
    trainer = Trainer(sizes, rows, "bpi", "first-order", (1.0,) * layers, (0.8,) * layers, 0.0, 1, 1.0, None, "float32", rng)
    X, y = rng.normal(size=(4 * rows, inputs)).astype("f4"), rng.integers(10, size=4 * rows)
    return best(lambda: trainer.epoch(X, y)) / 4, 1.0


def exponent(sizes: list[int], values: list[float]) -> float:
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave the largest sizes out")
    less = 1 if parser.parse_args().quick else 0
    rng = np.random.default_rng(0)

    def table(q: int) -> Callable[[int], fg.Factor]:
        return lambda count: fg.Table(rng.normal(size=(count, q, q)))

    rows: list[tuple[str, list[int], Callable[[int], tuple[float, float]]]] = [
        ("edges of a spin grid, by its side", [50, 100, 200, 400, 800], spins),
        ("sets of evidence on 50x50", [1, 4, 16, 64, 256], lambda b: spins(50, b)),
        ("states, general tables (q^2 entries)", [4, 8, 16, 32, 64], lambda q: states(q, table(q))),
        ("states, Potts", [4, 8, 16, 32, 64], lambda q: states(q, lambda count: fg.Potts(0.5))),
        ("degree of Parity, per edge", [4, 16, 64, 256, 1024], lambda d: degree(d, fg.Parity())),
        ("degree of Or, per edge", [4, 16, 64, 256, 1024], lambda d: degree(d, fg.Or())),
        ("degree of Cardinality, per edge", [4, 16, 64, 256], lambda d: degree(d, fg.Cardinality(lambda n: -0.1 * n))),
        ("a net's inputs N", [256, 512, 1024, 2048, 4096], lambda n: layer(n, 512, 128, 1)),
        ("a net's units K", [256, 512, 1024, 2048], lambda k: layer(1024, k, 128, 1)),
        ("a net's batch M", [64, 128, 256, 512, 1024], lambda m: layer(784, 501, m, 2)),
        ("a net's hidden layers", [1, 2, 4, 8], lambda d: layer(501, 501, 128, d)),
    ]
    print(f"{'against':<38}{'sizes':>14}{'time':>7}{'memory':>8}   seconds at the sizes")
    for name, sizes, run in rows:
        sizes = sizes[: len(sizes) - less]
        found = [run(size) for size in sizes]
        # A grid's edges grow with the square of its side.
        power = 2 if "side" in name else 1
        seconds, memory = ([pair[i] for pair in found] for i in (0, 1))
        exponents = exponent(sizes, seconds) / power, exponent(sizes, memory) / power
        is_net = name.startswith("a net")
        shown = "" if is_net else f"{exponents[1]:.2f}"
        times = " ".join(f"{s:.2e}" for s in seconds)
        print(f"{name:<38}{f'{sizes[0]}-{sizes[-1]}':>14}{exponents[0]:>7.2f}{shown:>8}   {times}", flush=True)


if __name__ == "__main__":
    main()
