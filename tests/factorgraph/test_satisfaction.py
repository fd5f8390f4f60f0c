"""Runs that stop at a solution of all hard factors."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest

import factorgraph as fg


def code(rng: np.random.Generator, bits: int = 30) -> tuple[fg.FactorGraph, fg.Variables, np.ndarray]:
    """A random code of checks of six bits, three at each bit but for those that would meet one twice."""
    checks = rng.permutation(np.repeat(np.arange(bits), 3)).reshape(-1, 6)
    checks = checks[[len(set(check)) == 6 for check in checks.tolist()]]
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), bits)
    graph.add_factors("checks", fg.Parity(), x[checks])
    return graph, x, checks


def run(inference: fg.Inference, iterations: int = 60, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.ConvergenceWarning)
        return inference.run(iterations, **options)


@pytest.mark.parametrize("mode", ["sum", "max"])
def test_words_stop_at_their_syndrome_set_by_set(mode: str, backend: str, rng: np.random.Generator) -> None:
    graph, x, checks = code(rng)
    noisy = rng.normal(1.0, 0.8, size=(12, 30)) / 0.64
    together = fg.Inference(graph, fg.Flooding(), backend=backend, mode=mode, batch=12)
    together.set_prior(x, noisy)
    result = run(together, stop="satisfied", check_every=1)
    words = result.mode(x)
    solved = (np.prod(words[:, checks], axis=-1) == 1).all(axis=1)
    reached = np.equal(result.status, "satisfied")
    assert reached.any()
    assert solved[reached].all()
    # In mode "max" a run that stops elsewhere is decoded jointly, and may find a word so.
    assert mode == "max" or not solved[~reached].any()
    for number in [*np.flatnonzero(reached)[:3], *np.flatnonzero(~reached)[:1]]:
        alone = fg.Inference(graph, fg.Flooding(), backend=backend, mode=mode)
        alone.set_prior(x, noisy[number])
        found = run(alone, stop="satisfied", check_every=1)
        assert (found.status, found.iterations) == (result.status[number], result.iterations[number])
        np.testing.assert_array_equal(found.mode(x), words[number])
        # One iteration earlier it was no word: it has stopped at the first.
        if found.status == "satisfied" and found.iterations > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", fg.ConvergenceWarning)
                before = alone.run(found.iterations - 1, tolerance=0.0)
            spins = np.where(before.mean(x) > 0, 1, -1)
            assert mode == "max" or not (np.prod(spins[checks], axis=-1) == 1).all()


@pytest.mark.parametrize("schedule", [fg.Flooding(), fg.RandomOrder(), fg.Residual(), fg.Sweep()], ids=repr)
def test_clauses_and_colours_are_satisfied_by_any_schedule(schedule: fg.Schedule, rng: np.random.Generator) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 30)
    clauses = np.array([rng.choice(30, 3, replace=False) for _ in range(60)])
    signs = rng.choice([-1, 1], size=(60, 3))
    graph.add_factors("clauses", fg.Or(signs), x[clauses])
    y = graph.add_variables("y", fg.Categorical(3), 20)
    left, right = np.array([(i, j) for i, j in product(range(20), repeat=2) if 0 < j - i < 2 or j - i == 7]).T
    graph.add_factors("edges", fg.Potts(-np.inf), y[left], y[right])
    graph.add_factors("soft", fg.Potts(0.3), y[:-3], y[3:])
    graph.set_prior(x, rng.normal(size=30))
    graph.set_prior(y, rng.normal(size=(20, 3)))
    graph.observe(y[0], 1)
    inference = fg.Inference(graph, schedule, damping=0.1)
    result = run(inference, 200, stop="satisfied", check_every=1)
    while result.status != "satisfied" and inference.decimate(share=0.1):
        result = run(inference, 200, stop="satisfied", check_every=1, keep_messages=True)
    met = (signs * result.mode(x)[clauses] > 0).any(axis=1).all()
    coloured = (result.mode(y)[left] != result.mode(y)[right]).all()
    assert (result.status == "satisfied") == bool(met and coloured)
    assert result.status == "satisfied"
    assert result.mode(y)[0] == 1


def test_what_cannot_be_satisfied_is_not(rng: np.random.Generator) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(2), 3)
    graph.add_factors("unlike", fg.Potts(-np.inf), x[[0, 1, 2]], x[[1, 2, 0]])
    graph.set_prior(x, rng.normal(size=(3, 2)))
    assert run(fg.Inference(graph, damping=0.5), stop="satisfied", check_every=1).status != "satisfied"


def test_an_exact_run_stays_exact() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 3)
    graph.add_factors("checks", fg.Parity(), x[None])
    assert fg.Inference(graph).run(stop="satisfied").status == "exact"


def test_what_makes_no_sense_is_refused() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 3)
    graph.add_factors("pairs", fg.Ising(0.5), x[[0, 1, 2]], x[[1, 2, 0]])
    inference = fg.Inference(graph)
    with pytest.raises(ValueError, match="no factor rules a configuration out"):
        inference.run(stop="satisfied")
    with pytest.raises(ValueError, match="stop must be None or \"satisfied\", not 'solved'"):
        inference.run(stop="solved")


@pytest.mark.parametrize(
    "factor",
    [
        fg.Table([[-np.inf, 0.0], [0.0, 0.0]]),
        fg.Table(lambda x, y: np.where((x < 0) & (y < 0), -np.inf, 0.0)),
        fg.SparseTable([[-1, 1], [1, -1], [1, 1]]),
    ],
    ids=["array", "function", "sparse"],
)
@pytest.mark.parametrize("batch", [None, 2, 3])
def test_tables_are_asked_like_all_others(factor: fg.Factor, batch: int | None, backend: str) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 3)
    graph.add_factors("ring", factor, x, x[[1, 2, 0]])
    graph.set_prior(x, 2.0)
    result = fg.Inference(graph, fg.Flooding(), batch=batch, backend=backend).run(stop="satisfied", check_every=1)
    assert np.all(np.equal(result.status, "satisfied"))
    assert (result.mode(x) == 1).all()
