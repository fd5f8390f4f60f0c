"""Schedules beyond flooding and trees: residual, random, checked orders; automatic damping; controls by variable."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.schedules.spanning import SpanningForest
from factorgraph.testing import Enumeration
from tests.factorgraph.graphs import random_forest


def grid(side: int, scale: float, seed: int, fields: float = 1.0) -> tuple[fg.FactorGraph, fg.Variables]:
    """A spin grid with uniform random couplings and fields."""
    rng = np.random.default_rng(seed)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (side, side))
    graph.add_factors("rows", fg.Ising(scale * rng.uniform(-1, 1, size=side * (side - 1))), x[:-1], x[1:])
    graph.add_factors("columns", fg.Ising(scale * rng.uniform(-1, 1, size=side * (side - 1))), x[:, :-1], x[:, 1:])
    graph.set_prior(x, fields * rng.uniform(-1, 1, size=(side, side)))
    return graph, x


SCHEDULES = [fg.Residual(), fg.Residual(0.1), fg.RandomOrder(), fg.RandomOrder(batches=10**6, seed=3), fg.Sweep()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_all_schedules_find_the_same_fixed_point(backend: str, schedule: fg.Schedule) -> None:
    graph, x = grid(5, 0.5, seed=0)
    expected = fg.run(graph, fg.Flooding(), tolerance=1e-12)
    result = fg.run(graph, schedule, tolerance=1e-11, backend=backend)
    assert result.converged
    np.testing.assert_allclose(result.mean(x), expected.mean(x), atol=1e-9)
    assert result.log_partition == pytest.approx(expected.log_partition, abs=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("seed", range(3))
def test_iterative_schedules_are_exact_on_forests(schedule: fg.Schedule, mode: str, seed: int) -> None:
    graph, variables, _ = random_forest(np.random.default_rng(seed), 9, zeros=0.3, evidence=2)
    result, exact = fg.run(graph, schedule, mode=mode, tolerance=1e-12), Enumeration(graph)
    for x in variables:
        np.testing.assert_allclose(result.marginals(x), exact.marginals(x, mode), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_residual_converges_where_flooding_does_not(seed: int) -> None:
    graph, x = grid(50, 1.2, seed)
    with pytest.warns(fg.ConvergenceWarning, match="largest_changes"):
        assert not fg.run(graph, fg.Flooding(), max_iterations=300).converged
    result = fg.run(graph, fg.Residual(), max_iterations=60)
    assert result.converged
    np.testing.assert_allclose(fg.run(graph, fg.Residual(0.9), max_iterations=60).mean(x), result.mean(x), atol=1e-4)


def test_residual_takes_evidence_and_priors_between_runs() -> None:
    graph, x = grid(5, 0.5, seed=1)
    inference = fg.Inference(graph, fg.Residual())
    inference.run()
    inference.observe(x[2, 2], 1)
    warm = inference.run(tolerance=1e-11, keep_messages=True)
    graph.observe(x[2, 2], 1)
    np.testing.assert_allclose(warm.mean(x), fg.run(graph, fg.Flooding(), tolerance=1e-12).mean(x), atol=1e-9)
    inference.unobserve(x[2, 2])
    inference.run(tolerance=1e-11, keep_messages=True)


@pytest.mark.parametrize("schedule", [*SCHEDULES, fg.Flooding(), fg.Tree()], ids=repr)
def test_graphs_without_factors_or_variables(schedule: fg.Schedule) -> None:
    graph = fg.FactorGraph()
    assert fg.run(graph, schedule).converged
    x = graph.add_variables("x", fg.Spin(), 2)
    graph.set_prior(x[0], 1.0)
    np.testing.assert_allclose(fg.run(graph, schedule).mean(x), [np.tanh(1.0), 0.0])


def test_residual_takes_new_potentials_between_steps_and_runs() -> None:
    graph, x = grid(4, 0.5, seed=2)
    inference = fg.Inference(graph, fg.Residual())
    inference.run()
    for _ in range(2):
        inference.set_potentials("rows", fg.Ising(0.7))
        inference.set_prior(x[0], 1.0)
        inference.step()
    warm = inference.run(tolerance=1e-11, keep_messages=True).mean(x)
    flooding = fg.Inference(graph, fg.Flooding())
    flooding.set_potentials("rows", fg.Ising(0.7))
    flooding.set_prior(x[0], 1.0)
    np.testing.assert_allclose(warm, flooding.run(tolerance=1e-12).mean(x), atol=1e-9)


@pytest.mark.parametrize("schedule", [fg.Flooding(), *SCHEDULES], ids=repr)
def test_callbacks_may_change_priors_and_evidence(schedule: fg.Schedule) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 5)
    graph.add_factors("checks", fg.Parity(), x[np.array([[0, 1, 2], [2, 3, 4]])])
    graph.set_prior(x, [0.1, 0.2, 0.3, 0.4, 0.5])

    def change(iteration: int, inference: fg.Inference) -> None:
        if iteration == 2:
            inference.set_prior(x[4], -1.0)
        if iteration == 3:
            inference.observe(x[[0, 1]], [1, -1])

    result = fg.run(graph, schedule, max_iterations=12, tolerance=0, callback=change)
    graph.set_prior(x[4], -1.0)
    graph.observe(x[[0, 1]], [1, -1])
    np.testing.assert_allclose(result.mean(x), fg.run(graph).mean(x), atol=1e-12)


def test_residual_converges_where_messages_grow_without_end() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 8)
    graph.add_factors("checks", fg.Parity(), x[np.array([np.roll(np.arange(8), -shift)[:3] for shift in range(8)])])
    graph.set_prior(x, 1.0)
    result = fg.run(graph, fg.Residual(), max_iterations=300)
    assert result.converged
    np.testing.assert_array_equal(result.mean(x), 1.0)


def test_a_random_order_is_reproducible() -> None:
    graph, x = grid(6, 1.0, seed=0)
    runs = [fg.Inference(graph, fg.RandomOrder(seed=seed)).run(3, tolerance=0).mean(x) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-6


def test_an_order_that_leaves_messages_out_says_so() -> None:
    graph, _ = grid(3, 0.5, seed=0)
    with pytest.warns(fg.UnscheduledWarning, match=r"'columns' to 'x' \(port 0\).*partial=True"):
        fg.Inference(graph, fg.Sweep(["rows", ("columns", 1)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fg.Inference(graph, fg.Sweep(["rows"], partial=True))
        fg.Inference(graph, fg.Sweep(["rows", ("columns", 1), ("columns", 0)]))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="share must be above 0"):
        fg.Residual(0.0)
    with pytest.raises(ValueError, match="batches must be at least 1"):
        fg.RandomOrder(batches=0)
    graph, _ = grid(3, 0.5, seed=0)
    with pytest.raises(ValueError, match="'auto'"):
        fg.Inference(graph, damping="much")


class TestAutomaticDamping:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_spin_glass_on_a_complete_graph(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        size = 40
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), size)
        left, right = np.triu_indices(size, 1)
        graph.add_factors("pairs", fg.Ising(rng.normal(size=left.size) * 1.2 / np.sqrt(size)), x[left], x[right])
        graph.set_prior(x, 0.3 * rng.normal(size=size))
        result = fg.run(graph, damping="auto", max_iterations=3000)
        assert result.converged

    @pytest.mark.parametrize("coupling", [0.5, -0.5])
    def test_complete_graphs_that_swing(self, coupling: float) -> None:
        """Attractive with opposed fields, and frustrated: all messages at once overshoot."""
        size = 20
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), size)
        left, right = np.triu_indices(size, 1)
        graph.add_factors("pairs", fg.Ising(coupling), x[left], x[right])
        graph.set_prior(x, 0.2 * (-1.0) ** np.arange(size))
        if coupling < 0:
            with pytest.warns(fg.ConvergenceWarning):
                assert not fg.run(graph, max_iterations=500).converged
        assert fg.run(graph, damping="auto", max_iterations=2000).converged

    def test_it_costs_nothing_where_flooding_converges(self) -> None:
        graph, x = grid(10, 0.5, seed=0)
        plain, auto = fg.run(graph), fg.run(graph, damping="auto")
        assert auto.iterations == plain.iterations
        np.testing.assert_array_equal(auto.mean(x), plain.mean(x))

    def test_with_residual(self) -> None:
        graph, x = grid(10, 1.0, seed=0)
        result = fg.run(graph, fg.Residual(), damping="auto", tolerance=1e-10)
        assert result.converged
        np.testing.assert_allclose(result.mean(x), fg.run(graph, damping=0.5, tolerance=1e-10).mean(x), atol=1e-6)


class TestControlsByVariable:
    def test_damping_may_differ(self, backend: str) -> None:
        graph, x = grid(4, 0.5, seed=0)
        expected = fg.run(graph, tolerance=1e-12).mean(x)
        strengths = np.linspace(0, 0.9, 16).reshape(4, 4)
        for damping in ({x: strengths}, {x[0]: 0.9, x[2:]: 0.3}, {"x": fg.Damping(strengths, "mean")}):
            found = fg.run(graph, damping=damping, tolerance=1e-11, backend=backend)
            np.testing.assert_allclose(found.mean(x), expected, atol=1e-9)

    def test_one_iteration_moves_each_message_by_its_own_share(self) -> None:
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), 3)
        graph.add_factors("f", fg.Table([0.0, 1.0]), x)
        inference = fg.Inference(graph, fg.Flooding(), damping={x[0]: 0.25, x[2]: 0.5})
        inference.step()
        np.testing.assert_allclose(inference.run(1, tolerance=0).belief(x), [0.375, 0.5, 0.25])

    def test_reinforcement_may_differ(self, backend: str) -> None:
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), 3)
        graph.add_factors("f", fg.Table([0.0, 1.0]), x)
        graph.set_prior(x, [1.0, 2.0, 3.0])
        result = fg.run(graph, reinforcement={x[1:]: [0.5, 1.0]}, max_iterations=2, tolerance=0, backend=backend)
        # After one iteration 1.5, 0.5 * 2 + 2.5, 3 + 3.5; after two: prior + r * belief + message.
        np.testing.assert_allclose(result.belief(x), [1.5, 2 + 0.5 * 3.5 + 0.5, 3 + 6.5 + 0.5])

    def test_wrong_settings_are_refused_by_name(self) -> None:
        graph, x = grid(3, 0.5, seed=0)
        with pytest.raises(ValueError, match=r"damping must be at least 0 and below 1, not 1\.5"):
            fg.Inference(graph, damping={x[0]: 1.5})
        with pytest.raises(ValueError, match=r"damping of 'x' has shape \(2,\)"):
            fg.Inference(graph, damping={x[0]: [0.1, 0.2]})
        with pytest.raises(ValueError, match="no variables 'y'"):
            fg.Inference(graph, damping={"y": 0.1})
        with pytest.raises(ValueError, match="reinforcement of 'x' must be at least 0"):
            fg.Inference(graph, fg.Flooding(), reinforcement={x: -1.0})


def test_decimation_makes_an_assignment_and_can_be_undone() -> None:
    rng = np.random.default_rng(0)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 40)
    scopes = np.array([rng.permutation(40)[:3] for _ in range(80)])
    literals = rng.choice([-1, 1], size=(80, 3))
    graph.add_factors("clauses", fg.Or(literals), x[scopes])
    inference = fg.Inference(graph, fg.Flooding())
    before = inference.run().mean(x)
    fixed: list[fg.Variables] = []
    for _ in range(100):
        new = inference.decimate(share=0.1)
        if not new:
            break
        fixed += new
        result = inference.run(keep_messages=True)
    assert sum(part.size for part in fixed) == 40
    values = result.mode(x)
    assert (values[scopes] * literals > 0).any(axis=1).all()
    for part in fixed:
        inference.unobserve(part)
    np.testing.assert_allclose(inference.run(tolerance=1e-9).mean(x), before, atol=1e-5)
    some = inference.decimate(x[:4], share=0.5)
    assert [part.size for part in some] == [2]
    assert set(some[0].index.tolist()) <= {0, 1, 2, 3}


def test_a_sweep_goes_there_and_back() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 6)
    for number in range(5):
        graph.add_factors(f"f{number}", fg.Ising(0.3), x[number], x[number + 1])
    plan = fg.Sweep().plan(graph)
    names = [step.factors if isinstance(step.factors, str) else step.factors.name for stage in plan.stages for step in stage]
    assert names == ["f0", "f1", "f2", "f3", "f4", "f3", "f2", "f1", "f0"]


@pytest.mark.parametrize("order", [[1, 2, 3, 0, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6], [5, 3, 1, 6, 0, 2, 4]])
def test_a_tree_is_rooted_in_its_middle(order: list[int]) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 7)
    graph.add_factors("path", fg.Ising(0.5), x[order[:-1]], x[order[1:]])
    assert SpanningForest.of(graph).roots.tolist() == [order[3]]
