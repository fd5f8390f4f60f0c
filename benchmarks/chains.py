"""
Exact answers on chains and trees: compiling, the first run and the next one, beside hmmlearn's forward-backward recursion in C.

    python benchmarks/chains.py [--large]

A plain loop of NumPy over the chain is timed in the same run. hmmlearn (pip install hmmlearn) is left out where it is not
found; it starts from log-likelihoods as ours does. Chains of vectors are smoothed beside dynamax (pip install dynamax), in
double precision, compiling apart, in the same way. Chains with approximate messages run until they converge, by `Tree` and by
`Flooding`. ``--large`` adds a chain and a random tree of a million variables.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from scipy.linalg import solveh_banded

import factorgraph as fg

RNG = np.random.default_rng(0)


def loop(steps: np.ndarray, weights: np.ndarray) -> float:
    """Seconds of the recursion in both directions, for one chain."""
    start = time.perf_counter()
    matrix, forward = np.exp(steps), np.exp(weights)
    for i in range(1, len(forward)):
        forward[i] *= forward[i - 1] @ matrix
        forward[i] /= forward[i].sum()
    backward = np.ones(len(steps))
    for i in range(len(forward) - 1, -1, -1):
        backward = matrix @ (backward * np.exp(weights[i]))
        backward /= backward.sum()
    return time.perf_counter() - start


def hmmlearn_seconds(steps: np.ndarray, weights: np.ndarray, sets: int) -> float | None:
    """Seconds of hmmlearn's posteriors by its recursions of logarithms, chain after chain."""
    try:
        from hmmlearn import _hmmc
    except ImportError:
        return None
    matrix = np.exp(steps) / np.exp(steps).sum(axis=1, keepdims=True)
    begin = np.full(len(steps), 1 / len(steps))
    best = np.inf
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(sets):
            _, forward = _hmmc.forward_log(begin, matrix, weights)
            posterior = forward + _hmmc.backward_log(begin, matrix, weights)
            posterior = np.exp(posterior - posterior.max(axis=1, keepdims=True))
            posterior /= posterior.sum(axis=1, keepdims=True)
        best = min(best, time.perf_counter() - start)
    return best


def ours(graph: fg.FactorGraph, x: fg.Variables, sets: int) -> tuple[float, float, float]:
    """Seconds of compiling, of the first run, and of the best of seven more."""
    start = time.perf_counter()
    inference = fg.Inference(graph, batch=None if sets == 1 else sets)
    compiled = time.perf_counter() - start
    start = time.perf_counter()
    inference.run().marginals(x)
    first, best = time.perf_counter() - start, np.inf
    for _ in range(7):
        start = time.perf_counter()
        inference.run().marginals(x)
        best = min(best, time.perf_counter() - start)
    return compiled, first, best


def chain(n: int, q: int) -> tuple[fg.FactorGraph, fg.Variables, np.ndarray, np.ndarray]:
    steps, weights = RNG.normal(size=(q, q)), RNG.normal(size=(n, q))
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(q), n)
    graph.add_factors("steps", fg.Table(steps), x[:-1], x[1:])
    graph.set_prior(x, weights)
    return graph, x, steps, weights


def walk(n: int) -> tuple[fg.FactorGraph, fg.Variables, float, float]:
    """A measured chain of normal variables; seconds of its means by banded algebra, and of a Kalman filter step by step."""
    graph, values = fg.FactorGraph(), RNG.normal(size=n)
    x = graph.add_variables("x", fg.Gaussian(), n)
    graph.add_factors("steps", fg.LinearGaussian([1.0, -0.9], 0.3), x[1:], x[:-1])
    graph.add_factors("seen", fg.LinearGaussian([1.0], 0.7, values), x)
    diagonal = np.full(n, 1 / 0.7)
    diagonal[1:] += 1 / 0.3
    diagonal[:-1] += 0.81 / 0.3
    start = time.perf_counter()
    solveh_banded(np.stack([np.full(n, -0.9 / 0.3), diagonal]), values / 0.7)
    banded = time.perf_counter() - start
    start, mean, precision = time.perf_counter(), np.zeros(n), np.zeros(n)
    for step in range(n):
        before = 1 / (0.81 / precision[step - 1] + 0.3) if step else 0.0
        precision[step] = before + 1 / 0.7
        mean[step] = (before * 0.9 * mean[step - 1] + values[step] / 0.7) / precision[step]
    return graph, x, banded, time.perf_counter() - start


def tracked(n: int, d: int) -> tuple[fg.FactorGraph, fg.Variables, tuple[np.ndarray, ...]]:
    """A measured chain of vectors: half as many measurements as numbers in a state; and its matrices, for others."""
    motion = np.eye(d) + 0.1 * RNG.normal(size=(d, d))
    motion /= max(1.0, np.abs(np.linalg.eigvals(motion)).max())
    m = max(1, d // 2)
    root, look, seen = RNG.normal(size=(d, d)), RNG.normal(size=(m, d)), RNG.normal(size=(n, m))
    drive, noise = root @ root.T / d, np.eye(m)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(d), n)
    graph.set_prior(x[0], fg.Gaussian(d).from_moments(np.zeros(d), np.eye(d)))
    graph.add_factors("steps", fg.LinearGaussian([1, -motion], drive), x[1:], x[:-1])
    graph.add_factors("seen", fg.LinearGaussian([look], noise, seen), x)
    return graph, x, (motion, drive, look, noise, seen)


def dynamax_seconds(matrices: tuple[np.ndarray, ...], expected: np.ndarray) -> tuple[float, float] | None:
    """Seconds of dynamax's smoother, compiling included, and of the best of seven more; its means must be ours."""
    try:
        import jax

        jax.config.update("jax_enable_x64", True)
        from dynamax.linear_gaussian_ssm import LinearGaussianSSM, lgssm_smoother
    except ImportError:
        return None
    motion, drive, look, noise, seen = matrices
    model = LinearGaussianSSM(len(motion), len(look))
    parts = {"initial_mean": np.zeros(len(motion)), "initial_covariance": np.eye(len(motion))}
    parts |= {"dynamics_weights": motion, "dynamics_covariance": drive, "emission_weights": look, "emission_covariance": noise}
    params, _ = model.initialize(jax.random.PRNGKey(0), **parts)
    smooth = jax.jit(lambda y: lgssm_smoother(params, y)[3:5])
    times = []
    for _ in range(4):
        start = time.perf_counter()
        means, covariances = (np.asarray(part) for part in smooth(seen))
        times.append(time.perf_counter() - start)
    assert covariances.shape == (*means.shape, means.shape[-1])
    assert np.abs(means - expected).max() < 1e-6, np.abs(means - expected).max()
    return times[0], min(times[1:])


def bent(n: int, kind: str) -> fg.FactorGraph:
    """A walk with counts seen at each step, or a walk along a curve that is seen through another one."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), n)
    graph.set_prior(x[0], fg.Gaussian.from_moments(0.0, 1.0))
    if kind == "counts":
        graph.add_factors("walk", fg.LinearGaussian([1.0, -0.98], 0.05), x[1:], x[:-1])
        graph.add_factors("seen", fg.Likelihood(lambda x, count: count * x - np.exp(x), [RNG.poisson(2.0, n)]), x)
        return graph
    graph.add_factors("walk", fg.Nonlinear(lambda new, old: new - old - 0.3 * np.sin(old), 0.05), x[1:], x[:-1])
    truth = np.zeros(n)
    for step in range(1, n):
        truth[step] = truth[step - 1] + 0.3 * np.sin(truth[step - 1]) + np.sqrt(0.05) * RNG.normal()
    seen = np.exp(0.3 * truth) + 0.3 * RNG.normal(size=n)
    graph.add_factors("seen", fg.Nonlinear(lambda x, y: np.exp(0.3 * x) - y, 0.09, [seen]), x)
    return graph


def converging(graph: fg.FactorGraph, schedule: fg.Schedule) -> tuple[float, int, np.ndarray]:
    """Seconds of a whole run, its iterations, and the means."""
    inference = fg.Inference(graph, schedule)
    start = time.perf_counter()
    result = inference.run(max_iterations=500)
    assert result.status == "converged", result
    return time.perf_counter() - start, int(result.iterations), result.mean(graph.variables("x"))


def tell(name: str, found: tuple[float, float, float], peer: Any, plain: Any) -> None:
    cells = [f"{value:.3f}" for value in found]
    cells += ["" if peer is None else f"{peer:.3f} ({found[2] / peer:.1f})", "" if plain is None else f"{plain:.3f}"]
    print(f"{name:<34}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    print(
        f"{'seconds':<34}"
        + "".join(f"{n:>18}" for n in ("compiling", "first run", "next run", "hmmlearn (times)", "NumPy loop"))
    )
    for n, q, sets in ((1_000, 3, 1), (10_000, 3, 1), (100_000, 3, 1), (10_000, 20, 1), (1_000, 20, 50)):
        graph, x, steps, weights = chain(n, q)
        peer = hmmlearn_seconds(steps, weights, sets)
        tell(f"{sets} x {n:,} variables, {q} states", ours(graph, x, sets), peer, loop(steps, weights) if sets == 1 else None)
    print(f"{'':<34}" + "".join(f"{n:>18}" for n in ("compiling", "first run", "next run", "banded (times)", "Kalman loop")))
    for n in (1_000, 10_000, 100_000):
        graph, x, banded, loop_seconds = walk(n)
        tell(f"{n:,} normal variables", ours(graph, x, 1), banded, loop_seconds)
    print(
        f"{'':<34}" + "".join(f"{n:>18}" for n in ("compiling", "first run", "next run", "dynamax (times)", "dynamax at first"))
    )
    for n, d in ((1_000, 4), (10_000, 2), (10_000, 4), (10_000, 6), (100_000, 4)):
        graph, x, matrices = tracked(n, d)
        peer = dynamax_seconds(matrices, fg.run(graph).mean(x))
        tell(f"{n:,} vectors of {d}", ours(graph, x, 1), peer and peer[1], peer and peer[0])
    print(f"{'':<34}" + "".join(f"{n:>18}" for n in ("Tree", "iterations", "Flooding", "iterations")))
    for kind in ("counts", "curves"):
        graph = bent(2_000, kind)
        (tree, passes, means), (flooding, others, same) = (converging(graph, s) for s in (fg.Tree(), fg.Flooding()))
        assert np.abs(means - same).max() < 1e-4, np.abs(means - same).max()
        print(f"{f'2,000 {kind}':<34}{tree:>18.3f}{passes:>18}{flooding:>18.3f}{others:>18}", flush=True)
    if options.large:
        graph, x, *_ = chain(1_000_000, 3)
        tell("1 x 1,000,000 variables, 3 states", ours(graph, x, 1), None, None)
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Categorical(3), 1_000_000)
        above = (RNG.random(999_999) * np.arange(1, 1_000_000)).astype(np.int64)
        graph.add_factors("ties", fg.Table(RNG.normal(size=(3, 3))), x[above], x[1:])
        tell("random tree of 1,000,000, 3 states", ours(graph, x, 1), None, None)


if __name__ == "__main__":
    main()
