"""Real variables: against the joint normal distribution, by linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from factorgraph.inference.layout.program import EdgeCall, edge_call
from factorgraph.inference.state.ports import incoming
from factorgraph.schedules import Step
from factorgraph.semiring import Semiring
from factorgraph.testing import check_factor, check_variable


@pytest.mark.parametrize(
    "relation",
    [
        fg.LinearGaussian([2.0], 0.5, 1.0),
        fg.LinearGaussian([1, -0.9], [0.5, 1.0, 2.0], [0.0, 1.0, -1.0]),
        fg.LinearGaussian([1.0, [0.5, 1.0, -1.0], -2.0], 1.5, 0.3),
        fg.LinearGaussian([1.0, [0.5, 0.0, -1.0]], 0.7),
    ],
    ids=repr,
)
def test_linear_relations_equal_integration(relation: fg.Factor) -> None:
    check_factor(relation, *[fg.Gaussian()] * len(relation.coefficients))


def test_gaussian_variables_equal_the_normal_distribution() -> None:
    check_variable(fg.Gaussian())


def test_a_wrong_relation_is_found() -> None:
    class Wrong(fg.LinearGaussian):
        def messages(self, incoming: Any, parameters: Any, ports: Any, semiring: Any) -> Any:
            return [1.01 * message for message in super().messages(incoming, parameters, ports, semiring)]

    with pytest.raises(AssertionError, match=r"message to port 0 at .* integration gives"):
        check_factor(Wrong([1, 1], 1.0), fg.Gaussian(), fg.Gaussian())


class Joint:
    """The exact joint normal density of a graph of linear relations: ``exp(h x - x J x / 2 + constant)``."""

    def __init__(self, graph: fg.FactorGraph) -> None:
        first, size = graph.first_nodes(), graph.num_variables
        h, precision, constant = np.zeros(size), np.zeros((size, size)), 0.0
        for block in graph.variable_blocks.values():
            if block.prior is not None:
                for i, (field, own) in enumerate(block.prior):
                    h[first[block.name] + i] += field
                    precision[first[block.name] + i, first[block.name] + i] += own
        for factors in graph.factor_blocks.values():
            relation = factors.factor
            assert isinstance(relation, fg.LinearGaussian)
            for f in range(factors.count):
                nodes = [first[port.name] + int(port.index[f]) for port in factors.ports]
                pick = [np.broadcast_to(a, factors.count)[f] for a in relation.coefficients]
                variance = np.broadcast_to(relation.noise_variance, factors.count)[f]
                offset = np.broadcast_to(relation.offset, factors.count)[f]
                a = np.zeros(size)
                a[nodes] = pick
                h += a * offset / variance
                precision += np.outer(a, a) / variance
                constant -= 0.5 * (offset**2 / variance + np.log(2 * np.pi * variance))
        observed = np.zeros(size, dtype=bool)
        values = np.zeros(size)
        for block in graph.variable_blocks.values():
            if block.observed is not None and block.values is not None:
                part = slice(first[block.name], first[block.name] + block.size)
                observed[part], values[part] = block.observed, np.where(block.observed, block.values, 0.0)
        free = ~observed
        constant += h @ values - 0.5 * values @ precision @ values
        h = (h - precision @ values)[free]
        self.variance, self.mean = np.zeros(size), values
        self.covariance = np.zeros((size, size))
        if free.any():
            inverse = np.linalg.inv(precision[np.ix_(free, free)])
            self.mean[free] = inverse @ h
            self.covariance[np.ix_(free, free)] = inverse
            self.variance = np.diag(self.covariance)
            constant += 0.5 * h @ inverse @ h + 0.5 * np.linalg.slogdet(2 * np.pi * inverse)[1]
        self.log_partition = constant


def random_tree(rng: np.random.Generator, size: int, evidence: int) -> tuple[fg.FactorGraph, fg.Variables]:
    """Linear relations of two or three variables on a tree; priors on few of them."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), size)
    reached, waiting = [0], list(range(1, size))
    while waiting:
        members = [int(rng.choice(reached))] + [waiting.pop(0) for _ in range(min(len(waiting), int(rng.integers(1, 3))))]
        relation = fg.LinearGaussian(rng.normal(size=len(members)), np.exp(rng.normal()), rng.normal())
        graph.add_factors(f"f{members[1]}", relation, *(x[m] for m in rng.permutation(members)))
        reached += members[1:]
    for member in range(size):
        if member % 2 == 0:
            graph.set_prior(x[member], [rng.normal(), np.exp(rng.normal())])
        else:
            graph.add_factors(f"u{member}", fg.LinearGaussian([rng.normal()], np.exp(rng.normal()), rng.normal()), x[member])
    graph.observe(x[rng.permutation(size)[:evidence]], rng.normal(size=evidence))
    return graph, x


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("evidence", [0, 3])
@pytest.mark.parametrize("schedule", [None, fg.Flooding()], ids=["tree", "flooding"])
def test_trees_equal_linear_algebra(backend: str, seed: int, evidence: int, schedule: fg.Schedule | None) -> None:
    graph, x = random_tree(np.random.default_rng(seed), 12, evidence)
    exact, result = Joint(graph), fg.run(graph, schedule, backend=backend, tolerance=1e-12)
    np.testing.assert_allclose(result.marginals(x), np.stack([exact.mean, exact.variance], axis=-1), atol=1e-10)
    np.testing.assert_allclose(result.mean(x), exact.mean, atol=1e-10)
    assert result.log_partition == pytest.approx(exact.log_partition, abs=1e-9)
    for factors in graph.factor_blocks.values():
        nodes = [int(port.index[0]) for port in factors.ports]
        joint = result.factor_marginals(factors)[0]
        np.testing.assert_allclose(joint[0], exact.mean[nodes], atol=1e-10)
        np.testing.assert_allclose(joint[1:], exact.covariance[np.ix_(nodes, nodes)], atol=1e-10)
    best = fg.run(graph, schedule, mode="max", tolerance=1e-12)
    np.testing.assert_allclose(best.mode(x), exact.mean, atol=1e-9)
    free = int((exact.variance > 0).sum())
    volume = 0.5 * np.linalg.slogdet(2 * np.pi * exact.covariance[np.ix_(exact.variance > 0, exact.variance > 0)])[1]
    assert free == 0 or best.log_partition == pytest.approx(exact.log_partition - volume, abs=1e-9)


def test_flat_variables_and_one_measurement(backend: str) -> None:
    """A chain with no prior at all and one measured end: every cavity on the way is improper on one side."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 4)
    graph.add_factors("walk", fg.LinearGaussian([1, -1], 0.5), x[1:], x[:-1])
    graph.add_factors("measured", fg.LinearGaussian([2.0], 1.0, offset=3.0), x[0])
    exact, result = Joint(graph), fg.run(graph, backend=backend)
    np.testing.assert_allclose(result.marginals(x), np.stack([exact.mean, exact.variance], axis=-1), atol=1e-12)
    assert result.log_partition == pytest.approx(exact.log_partition, abs=1e-12)


def test_flat_leaves_beside_evidence(backend: str) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 5)
    graph.add_factors("walk", fg.LinearGaussian([1, -0.9], 0.5), x[1:], x[:-1])
    graph.observe(x[2], 1.5)
    exact, result = Joint(graph), fg.run(graph, backend=backend)
    np.testing.assert_allclose(result.marginals(x), np.stack([exact.mean, exact.variance], axis=-1), atol=1e-12)
    assert result.log_partition == pytest.approx(exact.log_partition, abs=1e-12)


@pytest.mark.parametrize("schedule", [None, fg.Flooding(), fg.Residual(), fg.RandomOrder()], ids=repr)
def test_each_set_of_a_batch_is_as_if_run_alone(backend: str, schedule: fg.Schedule | None) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 6)
    graph.add_factors("start", fg.LinearGaussian([1], 2.0), x[0])
    graph.add_factors("walk", fg.LinearGaussian([1, -0.9], 0.5), x[1:], x[:-1])
    together = fg.Inference(graph, schedule, batch=3, backend=backend)
    together.observe(x[3], [1.0, 2.0, 3.0])
    together.observe(x[5], 0.5, sets=1)
    result = together.run(tolerance=1e-12)
    for number in range(3):
        graph.observe(x[3], number + 1.0)
        graph.unobserve(x[5])
        if number == 1:
            graph.observe(x[5], 0.5)
        exact = Joint(graph)
        np.testing.assert_allclose(result.mean(x)[number], exact.mean, atol=1e-9)
        assert result.log_partition[number] == pytest.approx(exact.log_partition, abs=1e-9)


def test_an_improper_belief_is_shown_as_one() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 2)
    graph.add_factors("difference", fg.LinearGaussian([1, -1], 0.5), x[1], x[0])
    with pytest.warns(fg.ImproperWarning, match=r"the belief about x\[0\] is improper"):
        marginals = fg.run(graph).marginals(x)
    assert np.isnan(marginals[:, 0]).all()
    assert np.isinf(marginals[:, 1]).all()


def test_exact_relations_are_kept_exactly(backend: str) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 2)
    total = graph.add_variables("total", fg.Gaussian())
    twin = graph.add_variables("twin", fg.Gaussian())
    graph.set_prior(x, fg.Gaussian.from_moments([1.0, 2.0], [1.0, 3.0]))
    graph.add_factors("sum", fg.LinearGaussian([1, 1, -1], 0.0), x[0], x[1], total)
    graph.add_factors("same", fg.Equality(), total, twin)
    result = fg.run(graph, backend=backend)
    np.testing.assert_allclose(result.marginals(twin), [3.0, 4.0])
    inference = fg.Inference(graph, backend=backend)
    inference.observe(twin, 7.0)
    result = inference.run()
    np.testing.assert_allclose(result.marginals(x), [[2.0, 0.75], [5.0, 0.75]])
    normal = -0.5 * (7.0 - 3.0) ** 2 / 4.0 - 0.5 * np.log(2 * np.pi * 4.0)
    # The prior's own scale is that of exp(h x - J x^2 / 2).
    scale = sum(0.5 * m * m / v + 0.5 * np.log(2 * np.pi * v) for m, v in ((1.0, 1.0), (2.0, 3.0)))
    assert result.log_partition == pytest.approx(normal + scale, abs=1e-12)
    inference.observe(x, [3.0, 4.0])
    np.testing.assert_allclose(inference.run().mean(total), 7.0)
    inference.observe(x, [3.0, 5.0])
    with pytest.raises(fg.ContradictionError):
        inference.run()
    inference.unobserve(x)
    np.testing.assert_allclose(inference.run().marginals(x), [[2.0, 0.75], [5.0, 0.75]])


@pytest.mark.parametrize("seed", range(3))
def test_means_on_loopy_graphs_are_exact(seed: int) -> None:
    """For walk-summable models the means of belief propagation are exact, its variances are not (Weiss, Freeman 2001)."""
    rng = np.random.default_rng(seed)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), (6, 6))
    graph.add_factors("rows", fg.LinearGaussian([1, -1], 1.0), x[1:], x[:-1])
    graph.add_factors("columns", fg.LinearGaussian([1, -1], 1.0), x[:, 1:], x[:, :-1])
    graph.set_prior(x, fg.Gaussian.from_moments(rng.normal(size=(6, 6)), 1.0))
    for factors in graph.factor_blocks.values():
        assert factors.count == 30
    result = fg.run(graph, tolerance=1e-12)
    assert result.converged
    np.testing.assert_allclose(result.mean(x).ravel(), Joint(graph).mean, atol=1e-9)
    assert np.isfinite(result.log_partition)


def test_other_uses_are_refused_by_name() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 2)
    s = graph.add_variables("s", fg.Spin())
    with pytest.raises(ValueError, match="finite number"):
        graph.observe(x[0], np.inf)
    with pytest.raises(ValueError, match="must be finite"):
        graph.set_prior(x[0], [0.0, np.inf])
    with pytest.raises(ValueError, match="variance must be positive"):
        fg.Gaussian.from_moments(0.0, 0.0)
    with pytest.raises(TypeError, match="takes real variables, but port 1 has Spin"):
        graph.add_factors("f", fg.LinearGaussian([1, 1], 1.0), x[0], s)
    with pytest.raises(ValueError, match="1 coefficients for 2 ports"):
        graph.add_factors("f", fg.LinearGaussian([1], 1.0), x[0], x[1])
    with pytest.raises(ValueError, match="noise_variance must be at least 0"):
        graph.add_factors("f", fg.LinearGaussian([1, 1], -1.0), x[0], x[1])
    with pytest.raises(TypeError, match="Table takes variables with states"):
        graph.add_factors("f", fg.Table(np.zeros(2)), x[0])


def test_messages_that_grow_without_end_are_told_early() -> None:
    """A proper model that is not walk-summable; the same with weaker couplings converges, each set of a batch for itself."""
    n = 12
    i, j = np.triu_indices(n, 1)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), (n,))
    graph.add_factors("pairs", fg.LinearGaussian([1, 1], noise_variance=4.0), x[i], x[j])
    prior = np.stack([np.linspace(-1, 1, n), np.full(n, 1 - 0.25 * (n - 1))], 1)
    graph.set_prior(x, prior)
    inference = fg.Inference(graph, batch=2)
    inference.set_prior(x, np.stack([np.zeros(n), np.full(n, 20.0)], 1), sets=[1])
    with pytest.warns(fg.ConvergenceWarning, match="diverged for 1 of 2 sets: messages grow without end"):
        result = inference.run(2000)
    assert result.status == ["diverged", "converged"]
    assert result.converged.tolist() == [False, True]
    assert result.iterations[0] < 200
    np.testing.assert_allclose(result.marginals(x)[1][:, 0], 0.0, atol=1e-9)


@pytest.mark.parametrize("noise", [1e-2, 1e-8, 1e-14, 1e-20, 1e-30, 1e-300, 0.0])
def test_centred_terms_do_not_cancel_where_noise_is_small(noise: float) -> None:
    """Three steps of a walk, each measured: terms of the free energy from the engine's beliefs and cavities."""
    offset = np.array([5.0, 4.0, -3.3])
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 3)
    graph.set_prior(x[0], fg.Gaussian.from_moments(1.0, 4.0))
    graph.add_factors("walk", fg.LinearGaussian([1, -0.9], 1.0), x[1:], x[:-1])
    graph.add_factors("seen", fg.LinearGaussian([1.0], noise, offset), x)
    variance = [4.0, 0.81 * 4.0 + 1.0, 0.81 * (0.81 * 4.0 + 1.0) + 1.0]
    covariance = np.array([[variance[min(i, j)] * 0.9 ** abs(i - j) for j in range(3)] for i in range(3)])
    inside = covariance + noise * np.eye(3)
    apart = offset - [1.0, 0.9, 0.81]
    expected = -0.5 * (apart @ np.linalg.solve(inside, apart) + np.linalg.slogdet(2 * np.pi * inside)[1])
    expected += 0.125 + 0.5 * np.log(8 * np.pi)  # the prior as it is given has no normalisation
    inference = fg.Inference(graph)
    inference.run()
    state, semiring, (pool,) = inference.state, inference.semiring, inference.state.pools
    belief = pool.total if pool.infinite is None else fg.Gaussian().join(pool.total, pool.infinite, state.backend)
    with np.errstate(all="ignore"):
        mean, centred = fg.Gaussian().centre(belief, state.backend)
        alone = fg.Gaussian().log_partition(centred, semiring)
        total = (alone + (pool.terms.prior[0] - 0.5 * pool.terms.prior[1] * mean) * mean).sum()
        for name, ports in (("walk", 2), ("seen", 1)):
            call = edge_call(Step(name, tuple(range(ports))), state.layout, state.backend)
            assert isinstance(call, EdgeCall)
            values = [np.empty(0)] * ports
            for read in call.reads:
                for port, part, _ in read.parts:
                    values[port] = mean[read.places][part]
                total -= alone[read.places].sum()
            potentials = state.potentials[name]
            given = incoming(call, state), values, potentials.parameters, semiring
            total += potentials.bound.factor.centred_log_partition(*given).sum()
    assert total == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("variance", [1e-2, 1e-8, 1e-14, 1e-20, 1e-300, 0.0])
def test_the_log_partition_loses_no_digits_where_noise_is_tiny(variance: float) -> None:
    """A walk of three steps, seen at its end: the density of what is seen, times the mass of the prior as it is given."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), (3,))
    graph.set_prior(x[0], fg.Gaussian.from_moments(1.0, 4.0))
    graph.add_factors("walk", fg.LinearGaussian([1, -1], noise_variance=variance), x[1:], x[:-1])
    graph.add_factors("seen", fg.LinearGaussian([1], noise_variance=0.5, offset=2.0), x[2])
    total = 4.0 + 2 * variance + 0.5
    mass = 1.0 / (2 * 4.0) + 0.5 * np.log(2 * np.pi * 4.0)
    expected = mass - 0.5 * (np.log(2 * np.pi * total) + 1.0 / total)
    np.testing.assert_allclose(fg.run(graph).log_partition, expected, rtol=1e-10)


def test_the_potential_of_a_relation_is_the_density_of_its_noise() -> None:
    exact = fg.LinearGaussian([1.0, 2.0], noise_variance=0.0, offset=5.0)
    np.testing.assert_array_equal(exact.log_potential(np.array([1.0, 3.0]), np.array([2.0, 2.0])), [0.0, -np.inf])
    noisy = fg.LinearGaussian([1.0, 2.0], noise_variance=0.25, offset=5.0)
    expected = stats.norm(5.0, 0.5).logpdf([5.0, 7.0])
    np.testing.assert_allclose(noisy.log_potential(np.array([1.0, 3.0]), np.array([2.0, 2.0])), expected, rtol=1e-12)


def test_a_relation_of_observed_variables_holds_or_contradicts() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 2)
    graph.add_factors("equal", fg.LinearGaussian([1.0, -1.0], 0.0, offset=2.0), x[0], x[1])
    graph.observe(x, [5.0, 3.0])
    assert fg.run(graph).log_partition == pytest.approx(0.0, abs=1e-12)
    graph.observe(x[1], 3.5)
    assert fg.Inference(graph).run(raise_on_contradiction=False).log_partition == -np.inf
    bound, semiring = graph.factors("equal").bound, Semiring(fg.get_backend("numpy", "float64"), "sum")
    assert bound is not None
    for second, expected in ((3.0, 0.0), (3.5, -np.inf)):
        incoming = [fg.Gaussian().observe(np.array([value])) for value in (5.0, second)]
        assert bound.log_partition(incoming, bound.parameters(), semiring).item() == expected


def test_a_belief_without_precision_has_no_mean() -> None:
    x = fg.Gaussian()
    with np.errstate(divide="ignore"):
        mean, variance = x.mean(np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 2.0]]), fg.get_backend("numpy", "float64"))
    np.testing.assert_array_equal(mean, [np.nan, np.nan, 1.5])
    np.testing.assert_array_equal(variance, [np.inf, np.inf, 0.5])


@pytest.mark.parametrize("coefficient", [2.0, -0.25])
def test_an_exact_relation_divides_by_its_coefficient(coefficient: float) -> None:
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Gaussian()), graph.add_variables("y", fg.Gaussian())
    graph.add_factors("relation", fg.LinearGaussian([coefficient, -1.0], 0.0), x, y)
    graph.set_prior(x, [0.0, 1.0])
    graph.observe(y, 3.0)
    assert fg.run(graph).mean(x) == pytest.approx(3.0 / coefficient)


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("coefficients", [[0.0, 1.0], [1.0, 0.0]])
def test_an_exact_relation_of_one_variable_is_evidence(coefficients: list[float], mode: str) -> None:
    """With a coefficient of 0 the other variable has its value for sure, whatever else is said of it."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 3)
    graph.set_prior(x, fg.Gaussian.from_moments([0.1, 0.2, 0.3], 1.0))
    graph.add_factors("fixed", fg.LinearGaussian(coefficients, 0.0, 0.7), x[0], x[1])
    graph.add_factors("step", fg.LinearGaussian([1.0, -1.0], 0.5), x[1], x[2])
    result = fg.Inference(graph, mode=mode).run()
    known = coefficients.index(1.0)
    second = 0.7 if known == 1 else 0.2 + (0.3 - 0.2) / 2.5
    third = (0.3 + second / 0.5) / 3 if known == 1 else 0.3 - (0.3 - 0.2) / 2.5
    np.testing.assert_allclose(result.marginals(x)[:, 0], [0.1 if known == 1 else 0.7, second, third], rtol=1e-12)
    np.testing.assert_allclose(result.mode(x), result.marginals(x)[:, 0], rtol=1e-12)
    assert result.marginals(x)[known, 1] == 0.0


@pytest.mark.parametrize(
    ("schedule", "vectors", "scale"),
    [(fg.Flooding(), False, 1e-8), (fg.Flooding(), True, 1e8), (fg.Residual(), False, 1e8), (fg.Residual(), True, 1e-8)],
)
def test_units_change_neither_the_iterations_nor_the_answer(schedule: fg.Schedule, vectors: bool, scale: float) -> None:
    """A grid with loops, in nanometres or light years: convergence is told in standard deviations."""
    iterations, means = [], []
    for unit in (1.0, scale):
        rng = np.random.default_rng(0)
        graph = fg.FactorGraph()
        kind = fg.Gaussian(2) if vectors else fg.Gaussian()
        x = graph.add_variables("x", kind, (4, 4))
        seen = unit * rng.normal(size=(16, *kind.value_shape))
        graph.add_factors("across", fg.LinearGaussian([1, -1], unit**2), x[:, 1:], x[:, :-1])
        graph.add_factors("down", fg.LinearGaussian([1, -1], unit**2), x[1:], x[:-1])
        graph.add_factors("seen", fg.LinearGaussian([1], 5 * unit**2, seen), x.ravel())
        result = fg.run(graph, schedule)
        assert result.status == "converged"
        assert np.abs(result.mean(x) - fg.exact(graph).mean(x)).max() < 1e-5 * unit
        iterations.append(result.iterations)
        means.append(result.mean(x) / unit)
    assert iterations[0] == iterations[1]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-6, atol=1e-9)
