"""Exact answers for normal variables, against dense algebra, belief propagation on forests, and limits."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import factorgraph as fg


def random_graph(rng: np.random.Generator, variables: int = 7, factors: int = 10, arity: int = 2) -> fg.FactorGraph:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), variables)
    graph.set_prior(x, np.stack([rng.normal(size=variables), rng.uniform(0.5, 2.0, variables)], axis=1))
    chosen = np.array([rng.choice(variables, arity, replace=False) for _ in range(factors)])
    coefficients = [rng.normal(size=factors) for _ in range(arity)]
    noise, offset = 10.0 ** rng.uniform(-3, 1, factors), rng.normal(size=factors)
    graph.add_factors("f", fg.LinearGaussian(coefficients, noise, offset), *(x[chosen[:, port]] for port in range(arity)))
    return graph


def dense(graph: fg.FactorGraph) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, covariance and log-partition of a graph of one block whose relations all have noise."""
    block, size = graph.variable_blocks["x"], graph.variable_blocks["x"].size
    prior = np.zeros((size, 2)) if block.prior is None else block.prior
    joint, field, constant = np.diag(prior[:, 1]), prior[:, 0].copy(), 0.0
    for factors in graph.factor_blocks.values():
        coefficients, offset, noise = (part[0] for part in factors.bound.factor.linear(factors.bound.own_parameters())[:3])
        for number in range(factors.count):
            row = np.zeros(size)
            for port, a in zip(factors.ports, coefficients, strict=True):
                row[port.index[number]] = np.broadcast_to(a, factors.count)[number]
            b, v = (np.broadcast_to(array, factors.count)[number] for array in (offset, noise))
            joint, field = joint + np.outer(row, row) / v, field + row * b / v
            constant -= 0.5 * (b * b / v + math.log(2.0 * math.pi * v))
    seen = np.zeros(size, dtype=bool) if block.observed is None else block.observed
    free = ~seen
    values = np.zeros(size) if block.values is None else np.where(seen, block.values, 0.0)
    constant += (field - 0.5 * joint @ values) @ values
    covariance = np.zeros((size, size))
    covariance[np.ix_(free, free)] = np.linalg.inv(joint[np.ix_(free, free)])
    rest = field[free] - (joint @ values)[free]
    mean = values.copy()
    mean[free] = covariance[np.ix_(free, free)] @ rest
    constant += 0.5 * rest @ mean[free] + 0.5 * free.sum() * math.log(2.0 * math.pi)
    return mean, covariance, constant - 0.5 * np.linalg.slogdet(joint[np.ix_(free, free)])[1]


@pytest.mark.parametrize("seed", range(20))
def test_loops_are_as_in_dense_algebra(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, arity=2 + seed % 3)
    x = graph.variables("x")
    if seed % 2:
        graph.observe(x[[2, 5]], rng.normal(size=2))
    result = fg.exact(graph)
    mean, covariance, log_partition = dense(graph)
    np.testing.assert_allclose(result.mean(x), mean, atol=1e-9)
    np.testing.assert_allclose(result.marginals(x)[:, 1], np.diag(covariance), atol=1e-9)
    np.testing.assert_allclose(result.covariance(x[:3], x[1:]), covariance[:3, 1:], atol=1e-9)
    assert result.log_partition == pytest.approx(log_partition, abs=1e-8)
    assert result.status == "exact"
    best = fg.exact(graph, mode="max")
    assert best.mode(x) == pytest.approx(mean)
    assert best.log_partition == pytest.approx(log_density(graph, mean), abs=1e-8)
    ports = np.stack([port.index for port in graph.factors("f").ports], axis=1)
    joint = result.factor_marginals("f")
    np.testing.assert_allclose(joint[:, 0], mean[ports], atol=1e-9)
    np.testing.assert_allclose(joint[:, 1:], covariance[ports[:, :, None], ports[:, None, :]], atol=1e-9)


def log_density(graph: fg.FactorGraph, values: np.ndarray) -> float:
    block = graph.variable_blocks["x"]
    total = float(np.sum((block.prior[:, 0] - 0.5 * block.prior[:, 1] * values) * values))
    for factors in graph.factor_blocks.values():
        total += float(np.sum(factors.bound.factor.log_potential(*(values[port.index] for port in factors.ports))))
    return total


@pytest.mark.parametrize("mode", ["sum", "max"])
def test_forests_are_as_belief_propagation_has_them(mode: str) -> None:
    chain = fg.FactorGraph()
    y = chain.add_variables("y", fg.Gaussian(), 50)
    chain.set_prior(y[0], [0.3, 1.0])
    chain.add_factors("walk", fg.LinearGaussian([1.0, -0.9], 0.5, 0.1), y[1:], y[:-1])
    chain.observe(y[[7, 30]], [1.0, -1.0])
    exact, passed = fg.exact(chain, mode=mode), fg.run(chain, mode=mode)
    np.testing.assert_allclose(exact.marginals(y), passed.marginals(y), atol=1e-9)
    assert exact.log_partition == pytest.approx(passed.log_partition, abs=1e-8)
    # Loops with exact relations: as those of next to no noise.
    answers = []
    for noise in (0.0, 1e-7):
        close = fg.FactorGraph()
        x, total = close.add_variables("x", fg.Gaussian(), (2, 6)), close.add_variables("total", fg.Gaussian(), 6)
        close.set_prior(x[:, 0], [0.3, 1.0])
        close.add_factors("walk", fg.LinearGaussian([1.0, -0.9], 0.5, 0.1), x[:, 1:], x[:, :-1])
        close.add_factors("sum", fg.LinearGaussian([1.0, 1.0, -1.0], noise), x[0], x[1], total)
        close.observe(total[2], 1.5)
        result = fg.exact(close, mode=mode)
        # In max mode an exact relation counts for nothing, a sharp one for the height of its density.
        shift = 3.0 * math.log(2.0 * math.pi * noise) if mode == "max" and noise else 0.0
        answers.append(
            np.concatenate([result.marginals(x).ravel(), result.marginals(total).ravel(), [result.log_partition + shift]])
        )
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)


def test_where_messages_grow_without_end_answers_are_exact() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 4)
    graph.set_prior(x, [1.0, -3.75])  # partial correlations of 2 / 3 with three others
    pairs = np.array([(i, j) for i in range(4) for j in range(i)])
    graph.add_factors("all", fg.LinearGaussian([1.0, 1.0], 0.4), x[pairs[:, 0]], x[pairs[:, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fg.run(graph, max_iterations=3000).status == "diverged"
    mean, covariance, log_partition = dense(graph)
    result = fg.exact(graph)
    np.testing.assert_allclose(result.mean(x), mean, atol=1e-12)
    np.testing.assert_allclose(result.covariance(x), covariance, atol=1e-12)
    assert result.log_partition == pytest.approx(log_partition)


def test_draws_have_the_moments() -> None:
    graph = random_graph(np.random.default_rng(3))
    x = graph.variables("x")
    total = graph.add_variables("total", fg.Gaussian())
    graph.add_factors("sum", fg.LinearGaussian([1.0, 1.0, -1.0], 0.0), x[0], x[1], total)
    graph.observe(x[4], 0.5)
    result = fg.exact(graph)
    drawn = result.sample(40_000, 0)
    assert {name: rows.shape for name, rows in drawn.items()} == {"x": (40_000, 7), "total": (40_000,)}
    covariance = result.covariance(x)
    assert (drawn["x"][:, 4] == 0.5).all()
    np.testing.assert_allclose(drawn["total"], drawn["x"][:, 0] + drawn["x"][:, 1], atol=1e-9)
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(drawn["x"].mean(axis=0) - result.mean(x)) < 5 * spread / 200 + 1e-12).all()
    bound = 5 * np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / 40_000)
    assert (np.abs(np.cov(drawn["x"].T) - covariance) < bound + 1e-12).all()


def test_discrete_and_normal_variables_side_by_side() -> None:
    graph = random_graph(np.random.default_rng(4))
    x, s = graph.variables("x"), graph.add_variables("s", fg.Spin(), 3)
    graph.add_factors("loop", fg.Ising(0.5), s, s[[1, 2, 0]])
    graph.observe(s[0], 1)
    result = fg.exact(graph)
    mean, _, log_partition = dense(random_graph(np.random.default_rng(4)))
    np.testing.assert_allclose(result.mean(x), mean, atol=1e-9)
    assert result.mode(x) == pytest.approx(mean)
    np.testing.assert_allclose(result.marginals(s[1]), [0.1925, 0.8075], atol=1e-4)
    alone = fg.FactorGraph()
    t = alone.add_variables("s", fg.Spin(), 3)
    alone.add_factors("loop", fg.Ising(0.5), t, t[[1, 2, 0]])
    alone.observe(t[0], 1)
    assert result.log_partition == pytest.approx(log_partition + fg.exact(alone).log_partition)
    assert result.factor_marginals("loop").shape == (3, 2, 2)
    assert result.factor_marginals("f").shape == (10, 3, 2)
    assert set(result.sample(5, 0)) == {"x", "s"}
    assert "mean" in str(result.table(x))
    assert result.converged
    assert "SeparateResult" in repr(result)


def test_what_has_no_answer_is_refused_by_name() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), (2, 2))
    with pytest.raises(fg.ImproperModelError, match="nothing fixes some variables"):
        fg.exact(graph)
    graph.add_factors("pairs", fg.LinearGaussian([1.0, -1.0], 1.0), x[0], x[1])
    with pytest.raises(fg.ImproperModelError, match="nothing fixes some variables"):
        fg.exact(graph)
    graph.set_prior(x, [0.0, 1.0])
    assert fg.exact(graph).log_partition < np.inf
    graph.set_prior(x[0, 0], [0.0, -3.0])
    with pytest.raises(fg.ImproperModelError, match="nothing fixes"):
        fg.exact(graph)
    graph.set_prior(x[0, 0], [0.0, -0.3])
    loose = fg.exact(graph)
    with pytest.raises(ValueError, match="negative precision"):
        loose.sample(2)
    graph.set_prior(x, [0.0, 1.0])
    for name in ("once", "twice"):
        graph.add_factors(name, fg.LinearGaussian([1.0, -1.0], 0.0), x[0, 0], x[0, 1])
    with pytest.raises(fg.ImproperModelError, match="repeat or exclude each other"):
        fg.exact(graph)
    graph.observe(x[0], [1.0, 2.0])
    with pytest.raises(fg.ContradictionError):
        fg.exact(graph)
    graph.observe(x[0], [1.0, 1.0])
    assert fg.exact(graph).mean(x[0]).tolist() == [1.0, 1.0]
    graph.observe(x, 1.0)
    every = fg.exact(graph)
    assert every.marginals(x).tolist() == [[[1.0, 0.0]] * 2] * 2
    assert every.log_partition == pytest.approx(4 * -0.5 + 2 * -0.5 * math.log(2.0 * math.pi))

    class Odd(fg.Factor):
        def messages(self, incoming, parameters, ports, semiring):  # type: ignore[no-untyped-def]
            return [0.0 * incoming[port] for port in ports]

    graph.add_factors("odd", Odd(), x[0, 0], x[1, 1])
    with pytest.raises(TypeError, match="factors 'odd' are"):
        fg.exact(graph)
    s = graph.add_variables("s", fg.Spin(), 2)
    graph.add_factors("both", Odd(), x[0], s)
    with pytest.raises(TypeError, match="factors 'both' have discrete and normal variables"):
        fg.exact(graph)
    with pytest.raises(ValueError, match="mode must be"):
        fg.exact(graph, mode="mean")
