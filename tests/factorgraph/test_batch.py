"""Many sets of evidence at once: each as if it had been run alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import factorgraph as fg


def loopy(rng: np.random.Generator) -> tuple[fg.FactorGraph, fg.Variables, fg.Variables]:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (3, 4))
    c = graph.add_variables("c", fg.Categorical(3), 4)
    graph.add_factors("rows", fg.Ising(rng.normal(size=8)), x[:-1], x[1:])
    graph.add_factors("columns", fg.Ising(0.4), x[:, :-1], x[:, 1:])
    table = rng.normal(size=(4, 2, 3))
    table[0, 1, 2] = -np.inf
    graph.add_factors("mixed", fg.Table(table), x[0], c)
    graph.add_factors("check", fg.Parity(), x[[0, 2]][:, :3])
    graph.add_factors("potts", fg.Potts(0.5), c[:-1], c[1:])
    graph.set_prior(x[1], rng.normal(size=4))
    return graph, x, c


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize(
    ("damping", "schedule"),
    [(0.4, fg.Flooding()), ("auto", fg.Flooding()), ("auto", fg.Sweep()), (0.4, fg.RandomOrder(3))],
    ids=repr,
)
def test_each_set_is_as_if_run_alone(
    backend: str, mode: str, schedule: fg.Schedule, damping: object, rng: np.random.Generator
) -> None:
    graph, x, c = loopy(rng)
    batch = 5
    priors = rng.normal(size=(batch, 3, 4))
    observed = rng.choice([-1, 1], size=(batch, 4))
    together = fg.Inference(graph, schedule, mode=mode, damping=damping, batch=batch, backend=backend)
    together.set_prior(x, priors)
    together.observe(x[2], observed[:3], sets=slice(0, 3))
    together.observe(c[0], 1, sets=2)
    alone = fg.Inference(graph, schedule, mode=mode, damping=damping, backend=backend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.ConvergenceWarning)
        result = together.run(20, raise_on_contradiction=False)
        for number in (0, 2, 4):  # with evidence, with more of it, with none
            alone.set_prior(x, priors[number])
            alone.unobserve(x)
            alone.unobserve(c)
            if number < 3:
                alone.observe(x[2], observed[number])
            if number == 2:
                alone.observe(c[0], 1)
            one = alone.run(20, raise_on_contradiction=False)
            assert result.status[number] == one.status
            assert result.iterations[number] == one.iterations
            assert result.contradictions[number] == one.contradictions
            if one.contradictions:
                assert result.log_partition[number] == -np.inf
                continue
            for block in (x, c):
                np.testing.assert_allclose(result.marginals(block)[number], one.marginals(block), atol=1e-10)
                if mode == "max":
                    np.testing.assert_array_equal(result.mode(block)[number], one.mode(block))
            np.testing.assert_allclose(result.mean(x)[number], one.mean(x), atol=1e-10)
            np.testing.assert_allclose(result.belief(x)[number], one.belief(x), atol=1e-8)
            for name in graph.factor_blocks:
                np.testing.assert_allclose(result.factor_marginals(name)[number], one.factor_marginals(name), atol=1e-10)
            assert result.log_partition[number] == pytest.approx(one.log_partition, abs=1e-9)


def test_residual_finds_each_sets_own_fixed_point(backend: str, rng: np.random.Generator) -> None:
    if backend == "array-api-strict":
        pytest.skip("slow, and the same operations as in the tests of random order")
    graph, x, c = loopy(rng)
    priors = 0.3 * rng.normal(size=(3, 3, 4))
    results = []
    for schedule in (fg.Residual(), fg.Flooding()):
        inference = fg.Inference(graph, schedule, batch=3, damping="auto", backend=backend)
        inference.set_prior(x, priors)
        inference.observe(c[0], [0, 1, 0])
        results.append(inference.run(500, tolerance=1e-9))
        assert results[-1].converged.all()
    np.testing.assert_allclose(results[0].mean(x), results[1].mean(x), atol=1e-7)
    np.testing.assert_allclose(results[0].marginals(c), results[1].marginals(c), atol=1e-7)


def test_batches_are_refused_where_they_make_no_sense() -> None:
    graph, x, _ = loopy(np.random.default_rng(0))
    inference = fg.Inference(graph, batch=2)
    with pytest.raises(ValueError, match=r"observed values of 'x' has shape \(3, 3, 4\); expected \(3, 4\) or \(2, 3, 4\)"):
        inference.observe(x, np.ones((3, 3, 4)))
    with pytest.raises(ValueError, match="takes one set of evidence"):
        inference.decimate()
    with pytest.raises(ValueError, match="callback"):
        inference.run(callback=lambda iteration, inference: None)
    with pytest.raises(ValueError, match="sets= chooses among the sets of a batch"):
        fg.Inference(graph).observe(x[0], 1, sets=0)
    with pytest.raises(ValueError, match="batch must be a whole number"):
        fg.Inference(graph, batch=0)
    forest = fg.FactorGraph()
    y = forest.add_variables("y", fg.Spin(), 3)
    forest.add_factors("same", fg.Equality(), *y)
    contradictory = fg.Inference(forest, batch=3)
    contradictory.observe(y[:2], [[1, 1], [1, -1], [-1, -1]])
    with pytest.raises(fg.ContradictionError, match="in 1 sets, first in set 1"):
        contradictory.run()
    result = contradictory.run(raise_on_contradiction=False)
    np.testing.assert_array_equal(result.mean(y)[[0, 2], 2], [1, -1])
    assert result.log_partition[1] == -np.inf


def test_marginals_are_refused_where_every_set_contradicts_the_model() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 2)
    graph.add_factors("equal", fg.Equality(), x[0], x[1])
    inference = fg.Inference(graph, batch=2)
    inference.observe(x, [[-1, 1], [1, 1]])
    assert inference.run(raise_on_contradiction=False).marginals(x)[1].tolist() == [[0.0, 1.0], [0.0, 1.0]]
    inference.observe(x, [[-1, 1], [1, -1]])
    result = inference.run(raise_on_contradiction=False)
    with pytest.raises(fg.ContradictionError, match="2 sets"):
        result.marginals(x)
