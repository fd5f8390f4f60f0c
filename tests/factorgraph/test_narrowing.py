"""Forests of factors of several shared variables in O(log n) rounds: against passes by depth, and against exact answers."""

from __future__ import annotations

import numpy as np
import pytest

import factorgraph as fg
from tests.factorgraph.test_contraction import answers


def hypertree(rng: np.random.Generator, count: int, hard: bool, integer: bool = False) -> fg.FactorGraph:
    """A random tree of factors of two to four variables, which hang on one variable there is and bring new ones."""
    graph = fg.FactorGraph()
    size = 1 + 3 * count
    x = graph.add_variables("x", fg.Categorical(3), size)
    used = 1
    for number in range(count):
        new = int(rng.integers(1, 4))
        scope = rng.permutation(np.append(rng.integers(used), used + np.arange(new)))
        table = rng.integers(3, size=(3,) * scope.size).astype(float) if integer else 2.0 * rng.normal(size=(3,) * scope.size)
        if hard:
            table[rng.random(table.shape) < 0.3] = -np.inf
            table[(0,) * scope.size] = 0.0
        graph.add_factors(f"f{number}", fg.Table(table), *x[scope])
        used += new
    graph.set_prior(x, np.zeros((size, 3)) if integer else rng.normal(size=(size, 3)))
    graph.observe(x[rng.integers(used, size=2)], 0)
    return graph


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("sets", [None, 2])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_factors_of_several_shared_variables_are_narrowed(
    backend: str, seed: int, hard: bool, sets: int | None, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = hypertree(np.random.default_rng(seed), 14, hard)
    x = graph.variables("x")
    inference, found = answers(graph, 1, monkeypatch, backend=backend, mode=mode, batch=sets)
    assert "program" not in vars(inference._passes)
    _, expected = answers(graph, 10**9, monkeypatch, backend="numpy", mode=mode, batch=sets)
    np.testing.assert_allclose(found.log_partition, expected.log_partition, rtol=1e-12)
    np.testing.assert_allclose(found.marginals(x), expected.marginals(x), atol=1e-11)
    for name in graph.factor_blocks:
        np.testing.assert_allclose(found.factor_marginals(name), expected.factor_marginals(name), atol=1e-11)
    if mode == "max":
        np.testing.assert_array_equal(found.mode(x), expected.mode(x))


@pytest.mark.parametrize("seed", range(4))
def test_ties_of_wide_factors_become_one_joint_maximum(backend: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = hypertree(np.random.default_rng(seed), 14, False, integer=True)
    _, result = answers(graph, 1, monkeypatch, backend=backend, mode="max")
    best = result.mode(graph.variables("x"))
    weight = 0.0
    for block in graph.factor_blocks.values():
        weight += block.bound.table()[..., 0][tuple(int(best[port.index[0]]) for port in block.ports)]
    assert weight == pytest.approx(fg.exact(graph, mode="max").log_partition)


def test_a_chain_of_factors_of_three_shared_variables_takes_few_rounds() -> None:
    """Each input of a step has a tail of its own; by depth there would be 20,000 stages each way."""
    rng, n = np.random.default_rng(0), 10_000
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(2), n + 1)
    u, tail = (graph.add_variables(name, fg.Categorical(2), n) for name in ("u", "tail"))
    graph.add_factors("steps", fg.Table(rng.normal(size=(2, 2, 2))), x[:-1], u, x[1:])
    graph.add_factors("tails", fg.Table(rng.normal(size=(2, 2))), u, tail)
    inference = fg.Inference(graph)
    rounds = inference._passes.contraction.rounds  # type: ignore[union-attr]
    assert len(rounds) <= 3 * np.log2(n)
    result = inference.run()
    exact = fg.exact(graph)
    assert result.log_partition == pytest.approx(exact.log_partition, rel=1e-12)
    for block in (x, u, tail):
        np.testing.assert_allclose(result.marginals(block), exact.marginals(block), atol=1e-11)
