"""Junction trees that are asked again: against exact answers made anew, and the products inside against einsum."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.junction import cliques, flat_tree, junction_tree, plan
from factorgraph.testing import Enumeration
from tests.factorgraph.test_exact import random_graph


def same(found: Any, expected: Any, graph: fg.FactorGraph, twin: fg.FactorGraph) -> None:
    """Whether all that is read of two exact results, each of its own graph, agrees."""
    np.testing.assert_allclose(found.log_partition, expected.log_partition, rtol=1e-11, atol=1e-11)
    for name in graph.variable_blocks:
        marginals = found.marginals(graph.variables(name)), expected.marginals(twin.variables(name))
        np.testing.assert_allclose(*marginals, atol=1e-11)
    for name in graph.factor_blocks:
        np.testing.assert_allclose(found.factor_marginals(name), expected.factor_marginals(name), atol=1e-11)


@pytest.mark.parametrize("seed", range(30))
def test_plans_equal_einsum(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "LARGEST", (1 << 18, 6, 2)[seed % 3])
    monkeypatch.setattr(plan, "_FEW", (12, 2)[seed % 2])
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 7))
    sizes = rng.integers(1, 5, count).tolist()
    inputs = [tuple(rng.permutation(count)[: rng.integers(0, count + 1)].tolist()) for _ in range(rng.integers(1, 8))]
    inputs.append(tuple(set(range(count)).difference(*inputs)))
    kept = tuple(rng.permutation(count)[: rng.integers(0, count + 1)].tolist())
    found = plan.Plan(sizes, inputs, kept)
    for states in (sizes, [size if rng.random() < 0.6 else 1 for size in sizes]):  # as made for, and with evidence
        tables = [rng.random([states[axis] for axis in axes]) for axes in inputs]
        words = ["".join("abcdefg"[axis] for axis in axes) for axes in inputs]
        result = "".join("abcdefg"[axis] for axis in kept)
        total = found.sum_out(tables)
        np.testing.assert_allclose(total, np.einsum(",".join(words) + "->" + result, *tables), rtol=1e-12)
        around = rng.random(total.shape)
        wanted = [number for number in range(len(inputs)) if rng.random() < 0.6]
        back = found.send_back(tables, around, wanted)
        assert sorted(back) == wanted
        for number in wanted:
            others = [other for other in range(len(inputs)) if other != number]
            spec = ",".join(["abcdefg"[:count], *(words[other] for other in others), result]) + "->" + words[number]
            expected = np.einsum(spec, np.ones(states), *(tables[other] for other in others), around)
            np.testing.assert_allclose(back[number], expected, rtol=1e-12)


def test_pairs_are_taken_where_a_clique_would_be_dear() -> None:
    chain = plan.Plan([50] * 6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], (0,))
    assert chain.entries < 5 * 3 * 50**2
    assert not chain.outer
    full = plan.Plan([64] * 4, [(0, 1, 2), (1, 2, 3), (0, 2, 3), (0, 1, 3)], (0,))
    assert full.outer  # 2^24 states together, a part at a time
    assert full.entries <= 3 * 4 * plan.LARGEST


def with_table(graph: fg.FactorGraph, name: str, table: fg.Table) -> fg.FactorGraph:
    """The same graph with other potentials, built anew."""
    other = fg.FactorGraph()
    for block in graph.variable_blocks.values():
        x = other.add_variables(block.name, block.type, block.shape)
        if block.prior is not None:
            other.set_prior(x, block.prior.reshape((*block.shape, *block.type.param_shape)))
        if block.observed is not None and block.values is not None and block.observed.any():
            other.observe(x, block.values.reshape(block.shape))
    for factors in graph.factor_blocks.values():
        potentials = table if factors.name == name else factors.factor
        other.add_factors(factors.name, potentials, *(other.variables(port.name) for port in factors.ports))
    return other


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("zeros", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(4))
def test_streams_of_changes_equal_answers_made_anew(
    seed: int, zeros: float, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        monkeypatch.setattr(cliques, "_MERGED", 1)
    rng = np.random.default_rng(seed)
    graph, variables = random_graph(rng, 9, zeros, evidence=1)
    twin = copy.deepcopy(graph)
    tree = fg.JunctionTree(graph, mode=mode)
    seen: list[Any] = []
    for number in range(20):
        x = variables[int(rng.integers(len(variables)))]
        y = twin.variables(x.name)
        kind = int(rng.integers(4))
        if kind == 0:
            value = fg.exact(twin).sample(seed=number)[x.name][0]
            tree.observe(x, value)
            twin.observe(y, value)
        elif kind == 1:
            tree.unobserve(x)
            twin.unobserve(y)
        elif kind == 2:
            params = rng.normal(size=x.type.param_shape)
            tree.set_prior(x, params)
            twin.set_prior(y, params)
        else:
            name = f"f{rng.integers(18)}"
            table = fg.Table(rng.normal(size=[len(port.type.states) for port in graph.factors(name).ports]))
            tree.set_potentials(name, table)
            twin = with_table(twin, name, table)
        result, expected = tree.run(), fg.exact(twin, mode=mode)
        if rng.random() < 0.6:  # some results are read at once, some later
            same(result, expected, graph, twin)
        seen.append((result, expected, twin))
    for result, expected, twin in seen:
        same(result, expected, graph, twin)


def test_what_does_not_change_is_not_worked_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(20), 40)
    graph.add_factors("chain", fg.Potts(0.4), x[:-1], x[1:])
    graph.add_factors("next", fg.Potts(0.2), x[:-2], x[2:])
    tree = fg.JunctionTree(graph)
    tree.run().marginals(x)
    calls = []
    sum_out = plan.Plan.sum_out
    monkeypatch.setattr(plan.Plan, "sum_out", lambda self, tables: calls.append(1) or sum_out(self, tables))
    tree.run().marginals(x)
    assert not calls
    ends = []
    for place in (0, 39):
        tree.observe(x[place], 3)
        tree.run().marginals(x)
        ends.append(len(calls))
        calls.clear()
    assert sum(ends) <= 40  # the ways from both ends to the root are the chain once


@pytest.mark.usefixtures("way")
def test_new_evidence_asks_for_no_new_order(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, variables = random_graph(np.random.default_rng(3), 9, 0.0, evidence=0)
    graph.observe(variables[1], variables[1].type.states[0])
    tree = fg.JunctionTree(graph)
    searches = []
    find = junction_tree.find_elimination
    monkeypatch.setattr(junction_tree, "find_elimination", lambda *a: searches.append(1) or find(*a))
    tree.observe(variables[1], variables[1].type.states[-1])  # another value
    tree.observe(variables[2], variables[2].type.states[0])
    tree.set_prior(variables[0], np.zeros(variables[0].type.param_shape))
    tree.run()
    tree.unobserve(variables[2])
    tree.run()
    assert not searches
    for _ in range(3):
        tree.unobserve(variables[1])  # the order was found without it
        tree.run()
        tree.observe(variables[1], variables[1].type.states[0])
        tree.run()
    assert searches == [1]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("mode", ["sum", "max"])
def test_a_batch_equals_its_sets(mode: str) -> None:
    rng = np.random.default_rng(5)
    graph, variables = random_graph(rng, 8, 0.3, evidence=0)
    drawn = fg.exact(graph).sample(4, seed=1)
    tree = fg.JunctionTree(graph, mode=mode, batch=4)
    tree.observe(variables[0], drawn["x0"])
    tree.observe(variables[3], drawn["x3"][1:3], sets=[1, 2])
    tree.unobserve(variables[0], sets=2)
    priors = rng.normal(size=(4, *variables[5].type.param_shape))
    tree.set_prior(variables[5], priors)
    tree.set_prior(variables[6], np.ones(variables[6].type.param_shape), sets=0)
    batch = tree.run()
    assert batch.status == ["exact"] * 4
    singles = []
    for number in range(4):
        single = fg.JunctionTree(graph, mode=mode)
        if number != 2:
            single.observe(variables[0], drawn["x0"][number])
        if number in (1, 2):
            single.observe(variables[3], drawn["x3"][number])
        single.set_prior(variables[5], priors[number])
        if number == 0:
            single.set_prior(variables[6], np.ones(variables[6].type.param_shape))
        singles.append(single.run())
    for x in variables:
        for read in ("marginals", "mean", "mode"):
            expected = np.stack([getattr(single, read)(x) for single in singles])
            np.testing.assert_allclose(getattr(batch, read)(x), expected, atol=1e-12)
    for name in ("f0", "f5"):
        for read in ("factor_marginals", "gradient"):
            expected = np.stack([getattr(single, read)(name) for single in singles])
            np.testing.assert_allclose(getattr(batch, read)(name), expected, atol=1e-12)
    np.testing.assert_allclose(batch.log_partition, [single.log_partition for single in singles], atol=1e-11)


@pytest.mark.usefixtures("way")
def test_sets_that_contradict_are_told() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (2, 2))
    graph.add_factors("equal", fg.Ising(np.inf), x[0], x[1])
    tree = fg.JunctionTree(graph, batch=3)
    tree.observe(x[0, 0], [1, -1, 1])
    tree.observe(x[1, 0], 1)
    result = tree.run()
    assert [bool(found) for found in result.contradictions] == [False, True, False]
    assert np.isneginf(result.log_partition).tolist() == [False, True, False]
    assert np.isnan(result.marginals(x[0])).any(axis=(1, 2)).tolist() == [False, True, False]
    assert np.isnan(result.factor_marginals("equal")[1]).all()
    assert result.mode(x).shape == (3, 2, 2)
    tree.observe(x[0, 0], -1)
    with pytest.raises(fg.ContradictionError, match="in 3 sets, first in set 0"):
        tree.run()
    tree.unobserve(x[0, 0])
    assert not any(tree.run().contradictions)


@pytest.mark.usefixtures("way")
def test_potentials_beyond_double_precision_are_exact() -> None:
    """Weights whose ratio is e^2000 go by logarithms: what evidence leaves of them is exact."""
    rng = np.random.default_rng(0)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), 7)
    for a, b in [(0, 1), (1, 2), (2, 3), (3, 0), (3, 4), (4, 5), (5, 6), (6, 4)]:
        graph.add_factors(
            f"f{a}{b}", fg.Table(rng.choice([-2000.0, 0.0, 500.0, -np.inf], size=(3, 3), p=[0.4, 0.3, 0.2, 0.1])), x[a], x[b]
        )
    tree = fg.JunctionTree(graph)
    for place in (None, 0, 3, 5):
        if place is not None:
            state = Enumeration(graph).marginals(x)[place].argmin() if place == 3 else int(rng.integers(3))
            if not fg.exact(graph).marginals(x)[place][state] > 0:
                state = int(fg.exact(graph).mode(x[place]))
            graph.observe(x[place], state)
            tree.observe(x[place], state)
        result, expected = tree.run(), Enumeration(graph)
        assert result.log_partition == pytest.approx(expected.log_partition, rel=1e-12)
        np.testing.assert_allclose(result.marginals(x), expected.marginals(x), atol=1e-10)
        for factors in graph.factor_blocks.values():
            np.testing.assert_allclose(result.factor_marginals(factors), expected.factor_marginals(factors), atol=1e-10)


@pytest.mark.usefixtures("way")
def test_trees_are_pickled_and_copied() -> None:
    graph, variables = random_graph(np.random.default_rng(1), 8, 0.2, evidence=1)
    tree = fg.JunctionTree(graph)
    expected = tree.run().marginals(variables[4])
    for twin in (pickle.loads(pickle.dumps(tree)), copy.deepcopy(tree)):
        result = twin.run()
        np.testing.assert_array_equal(result.marginals(twin.graph.variables("x4")), expected)
        assert pickle.loads(pickle.dumps(result)).log_partition == result.log_partition


def test_wrong_use_is_refused_by_name() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(["low", "high"]), 3)
    graph.add_factors("pair", fg.Potts(0.5), x[:-1], x[1:])
    tree = fg.JunctionTree(graph)
    tree.observe(x[0], "high")
    assert tree.run().mode(x[0]) == "high"
    with pytest.raises(ValueError, match="'x'"):
        tree.observe(x[0], "middle")
    with pytest.raises(ValueError, match="sets= chooses among the sets of a batch"):
        tree.observe(x[0], "low", sets=0)
    with pytest.raises(ValueError, match="prior of 'x' has shape"):
        tree.set_prior(x, np.zeros((2, 5)))
    with pytest.raises(TypeError, match="factors 'pair' need a new Potts"):
        tree.set_potentials("pair", fg.Ising(1.0))
    with pytest.raises(ValueError, match="factors 'pair'"):
        tree.set_potentials("pair", fg.Potts(np.zeros(3)))
    with pytest.raises(ValueError, match="batch must be a whole number"):
        fg.JunctionTree(graph, batch=0)
    with pytest.raises(ValueError, match="mode must be one of"):
        fg.JunctionTree(graph, mode="mean")
    with pytest.raises(fg.TooLargeError, match="at most 1"):
        fg.JunctionTree(graph, max_clique=1)
    y = graph.add_variables("y", fg.Spin())
    with pytest.raises(RuntimeError, match="has grown since the tree was made"):
        tree.run()
    with pytest.raises(RuntimeError, match="has grown since the tree was made"):
        tree.observe(y, 1)


@pytest.mark.usefixtures("way")
def test_batches_are_read_late() -> None:
    """What is worked out when it is asked for is of the evidence of its run, whatever the tree was told since."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 3)
    pairs = graph.add_factors("pairs", fg.Ising(0.5), x[:2], x[1:])
    graph.observe(x[0], 1)
    tree = fg.JunctionTree(graph, batch=2)
    tree.observe(x[2], -1, sets=1)
    early = tree.run()
    expected = early.factor_marginals(pairs), early.mode(x), early.gradient(pairs)
    tree.unobserve(x)
    tree.set_prior(x, 0.3)
    tree.run()
    for late in (early, pickle.loads(pickle.dumps(early))):
        assert late.log_partition.tolist() == early.log_partition.tolist()
        np.testing.assert_array_equal(late.factor_marginals("pairs"), expected[0])
        np.testing.assert_array_equal(late.gradient("pairs"), expected[2])
    np.testing.assert_array_equal(early.mode(x), expected[1])


def test_an_empty_graph_has_a_sum_of_one() -> None:
    assert fg.JunctionTree(fg.FactorGraph()).run().log_partition == 0.0
    assert fg.JunctionTree(fg.FactorGraph(), batch=2).run().log_partition.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("seed", range(6))
def test_what_logarithms_could_not_tell_is_asked_again(seed: int, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By logarithms a child is told the belief without its own message: what that made vanish is unknown, not impossible."""
    monkeypatch.setattr(cliques, "_MERGED", 1)
    monkeypatch.setattr(flat_tree, "_MOST_PAIRS", 0)
    rng = np.random.default_rng(seed)
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Categorical(2), 6), graph.add_variables("y", fg.Categorical(2), 6)
    for node in range(1, 6):
        graph.add_factors(f"tree{node}", fg.Table(rng.normal(size=(2, 2))), x[rng.integers(node)], x[node])
    for node in range(6):
        graph.add_factors(f"leaf{node}", fg.Table([[0.0, 0.0], [-2000.0, rng.normal()]]), x[node], y[node])
    tree = fg.JunctionTree(graph, mode=mode)
    tree.observe(y, 1)
    graph.observe(y, 1)
    for node in rng.permutation(6):
        for value in (0, 1):  # the leaf rules a state out but for e^-2000, and no longer
            tree.observe(y[node], value)
            graph.observe(y[node], value)
            same(tree.run(), fg.exact(graph, mode=mode), graph, graph)
