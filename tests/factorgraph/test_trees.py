"""On forests belief propagation is exact: everything equals enumeration, elimination or a transfer matrix."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.special import logsumexp

import factorgraph as fg
from factorgraph.testing import Enumeration
from tests.factorgraph.graphs import random_forest

EXACT = 1e-10  # float64 rounding over some tens of operations


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("zeros", "evidence"), [(0.0, 0), (0.4, 0), (0.0, 3), (0.4, 3)])
def test_tree_equals_enumeration(backend: str, seed: int, zeros: float, evidence: int) -> None:
    check_sums(seed, zeros, evidence, backend)


@pytest.mark.parametrize("seed", range(3, 15))
def test_many_trees_equal_enumeration(seed: int) -> None:
    check_sums(seed, 0.4 * (seed % 2), seed % 4, "numpy")


def check_sums(seed: int, zeros: float, evidence: int, backend: str) -> None:
    graph, variables, factors = random_forest(np.random.default_rng(seed), 9, zeros, evidence)
    exact = Enumeration(graph)
    result = fg.run(graph, backend=backend)
    assert result.status == "exact"
    assert result.log_partition == pytest.approx(exact.log_partition, abs=EXACT)
    for block in variables:
        np.testing.assert_allclose(result.marginals(block), exact.marginals(block), atol=EXACT)
    for block in factors:
        np.testing.assert_allclose(result.factor_marginals(block), exact.factor_marginals(block), atol=EXACT)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("zeros", "evidence", "integer"), [(0.0, 0, False), (0.4, 2, False), (0.3, 0, True), (0.0, 1, True)])
def test_tree_max_product_finds_one_joint_maximum_also_with_ties(
    backend: str, seed: int, zeros: float, evidence: int, integer: bool
) -> None:
    check_maxima(seed, zeros, evidence, integer, backend)


@pytest.mark.parametrize("seed", range(3, 15))
def test_many_trees_are_decoded_to_a_joint_maximum(seed: int) -> None:
    check_maxima(seed, 0.4 * (seed % 2), seed % 3, seed % 4 < 2, "numpy")


def check_maxima(seed: int, zeros: float, evidence: int, integer: bool, backend: str) -> None:
    graph, variables, _ = random_forest(np.random.default_rng(100 + seed), 9, zeros, evidence, integer)
    exact = Enumeration(graph)
    result = fg.run(graph, backend=backend, mode="max")
    assert result.log_partition == pytest.approx(exact.log_maximum, abs=EXACT)
    found = exact.log_weight({block.name: result.mode(block) for block in variables})
    assert found == pytest.approx(exact.log_maximum, abs=EXACT)
    for block in variables:
        np.testing.assert_allclose(result.marginals(block), exact.marginals(block, "max"), atol=EXACT)


@pytest.mark.parametrize("seed", range(6))
def test_flooding_converges_to_the_same_on_a_forest(seed: int) -> None:
    graph, variables, _ = random_forest(np.random.default_rng(200 + seed), 9, 0.3, 2)
    exact = Enumeration(graph)
    result = fg.run(graph, fg.Flooding(), tolerance=1e-13)
    assert result.status == "converged"
    assert result.log_partition == pytest.approx(exact.log_partition, abs=EXACT)
    for block in variables:
        np.testing.assert_allclose(result.marginals(block), exact.marginals(block), atol=EXACT)


def test_evidence_that_forces_neighbours_through_hard_factors_is_exact(backend: str) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 4)
    graph.add_factors("equal", fg.Ising(np.inf), x[:-1], x[1:])
    graph.set_prior(x, [0.1, -0.2, 0.5, 0.3])
    graph.observe(x[0], -1)
    result = fg.run(graph, backend=backend)
    np.testing.assert_array_equal(result.mean(x), -1.0)
    assert result.log_partition == pytest.approx(-0.7, abs=EXACT)


def test_chain_of_10000_equals_the_transfer_matrix(rng: np.random.Generator) -> None:
    length, states = 10_000, 3
    tables = rng.normal(size=(length - 1, states, states))
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(states), length)
    graph.add_factors("bonds", fg.Table(tables), x[:-1], x[1:])
    forward = np.zeros((length, states))
    backward = np.zeros((length, states))
    for i in range(length - 1):
        forward[i + 1] = np.logaddexp.reduce(forward[i][:, None] + tables[i], axis=0)
        backward[-2 - i] = np.logaddexp.reduce(tables[-1 - i] + backward[-1 - i], axis=1)
    log_partition = logsumexp(forward[-1])
    result = fg.run(graph)
    assert result.log_partition == pytest.approx(log_partition, rel=1e-12)
    np.testing.assert_allclose(result.marginals(x), np.exp(forward + backward - log_partition), atol=EXACT)
    viterbi = np.zeros(states)
    for table in tables:
        viterbi = (viterbi[:, None] + table).max(axis=0)
    best = fg.run(graph, mode="max").mode(x)
    assert tables[np.arange(length - 1), best[:-1], best[1:]].sum() == pytest.approx(viterbi.max(), rel=1e-12)


def test_star_of_degree_1000_equals_elimination(backend: str, rng: np.random.Generator) -> None:
    leaves = 1000
    tables = rng.normal(size=(leaves, 2, 3))
    tables[:500, 0, 0] = -np.inf
    graph = fg.FactorGraph()
    hub = graph.add_variables("hub", fg.Categorical(2))
    leaf = graph.add_variables("leaf", fg.Categorical(3), leaves)
    graph.add_factors("spokes", fg.Table(tables), hub, leaf)
    to_hub = logsumexp(tables, axis=2)
    weight = to_hub.sum(axis=0)
    result = fg.run(graph, backend=backend)
    assert result.log_partition == pytest.approx(logsumexp(weight), abs=EXACT)
    np.testing.assert_allclose(result.marginals(hub), np.exp(weight - logsumexp(weight)), atol=EXACT)
    at_leaf = logsumexp((weight - to_hub)[:, :, None] + tables, axis=1)
    np.testing.assert_allclose(result.marginals(leaf), np.exp(at_leaf - logsumexp(at_leaf, axis=1, keepdims=True)), atol=EXACT)


def test_isolated_variables_and_separate_components_are_ordinary(backend: str) -> None:
    graph = fg.FactorGraph()
    alone = graph.add_variables("alone", fg.Categorical(3), 2)
    pair = graph.add_variables("pair", fg.Spin(), 2)
    graph.add_factors("bond", fg.Ising(0.7), pair[0], pair[1])
    graph.set_prior(alone[1], [0.0, -np.inf, 1.0])
    result = fg.run(graph, backend=backend)
    np.testing.assert_allclose(result.marginals(alone)[0], 1 / 3)
    assert result.marginals(alone)[1, 1] == 0.0
    exact = Enumeration(graph)
    assert result.log_partition == pytest.approx(exact.log_partition, abs=EXACT)


def test_a_graph_without_factors_is_its_priors() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 3)
    graph.set_prior(x, [0.0, 1.0, -np.inf])
    result = fg.run(graph)
    assert result.status == "exact"
    np.testing.assert_allclose(result.mean(x), np.tanh([0.0, 1.0, -np.inf]))


def test_many_components_of_unequal_depth_equal_enumeration() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 14)
    links = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [5, 6], [7, 8], [7, 9], [7, 10], [10, 11]])
    bonds = graph.add_factors("bonds", fg.Ising(np.linspace(-1, 1, len(links))), x[links[:, 0]], x[links[:, 1]])
    graph.set_prior(x, np.linspace(-0.5, 0.5, 14))
    exact, result = Enumeration(graph), fg.run(graph)
    np.testing.assert_allclose(result.marginals(x), exact.marginals(x), atol=EXACT)
    np.testing.assert_allclose(result.factor_marginals(bonds), exact.factor_marginals(bonds), atol=EXACT)
    assert result.log_partition == pytest.approx(exact.log_partition, abs=EXACT)


def test_float32_trees_are_exact_to_float32(rng: np.random.Generator) -> None:
    graph, variables, _ = random_forest(rng, 9, 0.3, 2)
    exact, result = Enumeration(graph), fg.run(graph, dtype="float32")
    for block in variables:
        np.testing.assert_allclose(result.marginals(block), exact.marginals(block), atol=2e-6)


def test_tree_refuses_a_cycle_and_names_one() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 5)
    graph.add_factors("ring", fg.Ising(0.3), x[[0, 1, 2]], x[[1, 2, 0]])
    graph.add_factors("tail", fg.Ising(0.3), x[2:4], x[3:])
    with pytest.raises(fg.NotAForestError) as error:
        fg.Inference(graph, fg.Tree())
    cycle = str(error.value).split("a cycle: ")[1].split(";")[0].split(" - ")
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"x[0]", "x[1]", "x[2]", "ring[0]", "ring[1]", "ring[2]"}
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 30)
    graph.add_factors("trunk", fg.Ising(0.3), x[:20], x[1:21])  # all edges before the cycle's are of a tree
    graph.add_factors("ring", fg.Ising(0.3), x[20:30], x[[*range(21, 30), 20]])
    with pytest.raises(fg.NotAForestError) as error:
        fg.Inference(graph, fg.Tree())
    cycle = str(error.value).split("a cycle: ")[1].split(";")[0].split(" - ")
    assert all(int(name[2:-1]) >= 20 for name in cycle if name.startswith("x["))


def test_results_do_not_change_when_the_inference_is_run_again() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 3)
    graph.add_factors("bonds", fg.Ising(1.0), x[:-1], x[1:])
    inference = fg.Inference(graph)
    inference.observe(x[0], 1)
    first = inference.run()
    before, weight = first.mean(x), Enumeration(graph).log_partition
    inference.observe(x[0], -1)
    second = inference.run()
    np.testing.assert_array_equal(first.mean(x), before)
    np.testing.assert_allclose(second.mean(x), -before)
    assert first.log_partition == pytest.approx(weight - np.log(2), abs=EXACT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inference.unobserve(x[0])
        assert inference.run().log_partition == pytest.approx(weight, abs=EXACT)
