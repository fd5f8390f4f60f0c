"""Iterative runs: fixed points, controls, evidence that changes, what a result tells, states and their files."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.testing import Enumeration


def ring(rng: np.random.Generator, size: int = 6, scale: float = 0.4) -> tuple[fg.FactorGraph, fg.Variables]:
    """Spins on a ring."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), size)
    graph.add_factors("bonds", fg.Ising(scale * rng.normal(size=size)), x, x[np.r_[1:size, 0]])
    graph.set_prior(x, 0.3 * rng.normal(size=size))
    return graph, x


def naive_flooding(couplings: np.ndarray, pairs: np.ndarray, fields: np.ndarray, iterations: int, damping: float) -> np.ndarray:
    """Belief propagation on spins, edge by edge in plain Python: fields of the beliefs."""
    messages = {(int(i), int(j)): 0.0 for pair in pairs for i, j in (pair, pair[::-1])}
    coupling = {(int(i), int(j)): J for (a, b), J in zip(pairs, couplings, strict=True) for i, j in ((a, b), (b, a))}
    neighbours = {v: [i for i, j in messages if j == v] for v in range(len(fields))}
    for _ in range(iterations):
        old = dict(messages)
        for i, j in old:
            cavity = fields[i] + sum(old[k, i] for k in neighbours[i] if k != j)
            update = np.arctanh(np.tanh(coupling[i, j]) * np.tanh(cavity))
            messages[i, j] = damping * old[i, j] + (1 - damping) * update
    return np.array([fields[v] + sum(messages[k, v] for k in neighbours[v]) for v in range(len(fields))])


@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_flooding_equals_belief_propagation_edge_by_edge(
    backend: str, rng: np.random.Generator, damping: float, iterations: int
) -> None:
    pairs = np.array(list(itertools.combinations(range(7), 2)))[rng.permutation(21)[:14]]
    couplings, fields = rng.normal(size=14), rng.normal(size=7)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 7)
    graph.add_factors("bonds", fg.Ising(couplings), x[pairs[:, 0]], x[pairs[:, 1]])
    graph.set_prior(x, fields)
    result = fg.run(graph, fg.Flooding(), max_iterations=iterations, tolerance=0, damping=damping, backend=backend)
    np.testing.assert_allclose(result.belief(x), naive_flooding(couplings, pairs, fields, iterations, damping), atol=1e-12)


def test_power_law_degrees_equal_belief_propagation_edge_by_edge(rng: np.random.Generator) -> None:
    size = 300
    pairs = {(int(rng.integers(0, 1 + v // 8)), v) for v in range(1, size)} | {(0, v) for v in range(1, size, 2)}
    links = np.array(sorted(pairs))
    couplings, fields = 0.3 * rng.normal(size=len(links)), rng.normal(size=size)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), size)
    graph.add_factors("bonds", fg.Ising(couplings), x[links[:, 0]], x[links[:, 1]])
    graph.set_prior(x, fields)
    inference = fg.Inference(graph, fg.Flooding())
    assert 1 < len(inference.layout.pools[0].rows) < 12  # few groups, whatever the degrees
    result = inference.run(3, tolerance=0)
    np.testing.assert_allclose(result.belief(x), naive_flooding(couplings, links, fields, 3, 0.0), atol=1e-12)


def test_sweep_reaches_the_fixed_point_of_flooding(backend: str, rng: np.random.Generator) -> None:
    graph, x = ring(rng)
    flooding = fg.run(graph, fg.Flooding(), tolerance=1e-12, backend=backend)
    sweep = fg.run(graph, fg.Sweep(["bonds"]), tolerance=1e-12, backend=backend)
    assert flooding.status == sweep.status == "converged"
    np.testing.assert_allclose(sweep.marginals(x), flooding.marginals(x), atol=1e-10)
    assert sweep.log_partition == pytest.approx(flooding.log_partition, abs=1e-10)


def test_sweep_takes_ports_in_the_order_given() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 3)
    graph.add_factors("left", fg.Ising(1.0), x[0], x[1])
    graph.add_factors("right", fg.Ising(1.0), x[1], x[2])
    graph.set_prior(x[0], 2.0)
    # From left to right one pass carries the field of x[0] to x[2]; the other way it gets to x[1] only.
    forward = fg.run(graph, fg.Sweep([("left", 1), ("right", 1)], partial=True), max_iterations=1, tolerance=0).belief(x)
    backward = fg.run(graph, fg.Sweep([("right", 1), ("left", 1)], partial=True), max_iterations=1, tolerance=0).belief(x)
    assert forward[2] > 0.5
    assert backward[2] == 0.0
    with pytest.raises(ValueError, match="factors 'left' have no port 2"):
        fg.Inference(graph, fg.Sweep([("left", 2)]))
    with pytest.raises(KeyError, match="no factors 'middle'"):
        fg.Inference(graph, fg.Sweep(["middle"]))


class Backwards(fg.Schedule):
    """All blocks in turn, the last one first: a user's own schedule."""

    def plan(self, graph: fg.FactorGraph) -> fg.Plan:
        blocks = reversed(graph.factor_blocks.values())
        return fg.Plan([(fg.Step(block.name, tuple(range(len(block.ports)))),) for block in blocks])


def test_a_users_own_schedule_reaches_the_same_fixed_point(backend: str, rng: np.random.Generator) -> None:
    graph, x = ring(rng)
    graph.add_factors("chord", fg.Ising(0.3), x[0], x[3])
    own = fg.run(graph, Backwards(), tolerance=1e-12, backend=backend)
    np.testing.assert_allclose(own.marginals(x), fg.run(graph, tolerance=1e-12).marginals(x), atol=1e-10)


def test_observing_a_state_that_the_prior_rules_out_is_found_in_a_compiled_inference() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(2), 2)
    graph.add_factors("f", fg.Potts(1.0), x[0], x[1])
    inference = fg.Inference(graph)
    inference.observe(x[0], 1)
    inference.run()
    inference.set_prior(x[0], [0.0, -np.inf])
    with pytest.raises(fg.ContradictionError, match=r"x\[0\]"):
        inference.run()


def test_bethe_free_energy_of_a_ring_is_close_to_exact_and_stationary(rng: np.random.Generator) -> None:
    graph, x = ring(rng)
    exact = Enumeration(graph)
    result = fg.run(graph, tolerance=1e-13)
    assert result.log_partition == pytest.approx(exact.log_partition, abs=5e-3)
    assert result.log_partition != pytest.approx(exact.log_partition, abs=1e-12)
    # At a fixed point the derivative by a field is the mean of BP, not of the exact measure.
    inference, step = fg.Inference(graph, fg.Flooding()), 1e-4
    values = []
    for sign in (1, -1):
        inference.set_prior(x[2], graph.variable_blocks["x"].prior[2] + sign * step)
        values.append(inference.run(tolerance=1e-14).log_partition)
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(result.mean(x)[2], abs=1e-6)


@pytest.mark.parametrize("parameters", ["natural", "mean"])
@pytest.mark.parametrize("kind", [fg.Spin(), fg.Categorical(3)], ids=repr)
def test_damping_does_not_move_the_fixed_point(
    backend: str, rng: np.random.Generator, parameters: str, kind: fg.DiscreteType
) -> None:
    graph = fg.FactorGraph()
    states = len(kind.states)
    x = graph.add_variables("x", kind, 5)
    graph.add_factors("f", fg.Table(0.4 * rng.normal(size=(5, states, states))), x, x[[1, 2, 3, 4, 0]])
    plain = fg.run(graph, tolerance=1e-12, backend=backend)
    damped = fg.run(graph, tolerance=1e-12, damping=fg.Damping(0.5, parameters), backend=backend)
    assert damped.iterations > plain.iterations
    np.testing.assert_allclose(damped.marginals(x), plain.marginals(x), atol=1e-10)


def test_mean_damping_averages_means_of_messages() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 2)
    graph.add_factors("f", fg.Ising(1.0), x[0], x[1])
    graph.set_prior(x[0], 3.0)
    step = fg.run(graph, fg.Flooding(), max_iterations=1, tolerance=0, damping=fg.Damping(0.6, "mean"))
    assert step.mean(x)[1] == pytest.approx(0.4 * np.tanh(1.0) * np.tanh(3.0))


def test_damping_can_differ_by_block(rng: np.random.Generator) -> None:
    graph = fg.FactorGraph()
    a, b = (graph.add_variables(name, fg.Spin(), 3) for name in "ab")
    graph.add_factors("f", fg.Ising(0.5), a, b)
    graph.set_prior(a, 1.0)
    graph.set_prior(b, 1.0)
    result = fg.run(graph, fg.Flooding(), max_iterations=1, tolerance=0, damping={"a": 0.5})
    message = np.arctanh(np.tanh(0.5) * np.tanh(1.0))
    np.testing.assert_allclose(result.belief(a), 1.0 + 0.5 * message)
    np.testing.assert_allclose(result.belief(b), 1.0 + message)
    with pytest.raises(ValueError, match="damping: no variables 'c'"):
        fg.Inference(graph, damping={"c": 0.5})
    with pytest.raises(ValueError, match="at least 0 and below 1, not 1"):
        fg.Inference(graph, damping=1.0)


def test_reinforcement_adds_a_share_of_the_belief_to_the_prior() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin())
    graph.add_factors("field", fg.Table([0.0, 1.0]), x)
    graph.set_prior(x, 0.25)
    beliefs = []
    fg.run(
        graph, fg.Flooding(), max_iterations=3, tolerance=0, reinforcement=0.5,
        callback=lambda _, inference: beliefs.append(float(inference.state.pools[0].belief[0])),
    )  # fmt: skip
    first = 0.25 + 0.5 * 0.25 + 0.5
    second = 0.25 + 0.5 * first + 0.5
    assert beliefs == pytest.approx([first, second, 0.25 + 0.5 * second + 0.5])


def test_reinforcement_polarises_a_symmetric_problem(rng: np.random.Generator) -> None:
    graph, x = ring(rng, scale=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.ConvergenceWarning)
        result = fg.run(graph, fg.Flooding(), max_iterations=60, reinforcement=0.9)
    assert (np.abs(result.mean(x)) > 0.99).all()
    chain = fg.FactorGraph()
    chain.add_variables("x", fg.Spin())
    with pytest.raises(ValueError, match="reinforcement needs an iterative schedule"):
        fg.Inference(chain, fg.Tree(), reinforcement=0.1)


def test_not_converging_is_told_with_where(rng: np.random.Generator) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 8)
    pairs = np.array(list(itertools.combinations(range(8), 2)))
    graph.add_factors("frustrated", fg.Ising(-2.0 + 0.1 * rng.normal(size=len(pairs))), x[pairs[:, 0]], x[pairs[:, 1]])
    graph.set_prior(x, 0.1)
    with pytest.warns(fg.ConvergenceWarning, match=r"did not converge in 30 iterations.*Try damping"):
        result = fg.run(graph, max_iterations=30)
    assert result.status == "stopped"
    assert not result.converged
    assert result.residual_iterations == [5, 10, 15, 20, 25, 30]
    (block, factor, name, index, change), *_ = result.largest_changes(3)
    assert (block, name) == ("frustrated", "x")
    assert 0 <= factor < len(pairs)
    assert index[0] in pairs[factor]
    assert change == pytest.approx(result.residuals[-1])
    every = [row[-1] for row in result.largest_changes(10 * len(pairs))]
    assert len(every) == 2 * len(pairs)
    assert every == sorted(every, reverse=True)
    assert [row[-1] for row in result.largest_changes(7)] == every[:7]


def test_max_product_decodes_ties_consistently_around_cycles() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (4, 4))
    graph.add_factors("rows", fg.Ising(-1.0), x[:-1], x[1:])
    graph.add_factors("columns", fg.Ising(-1.0), x[:, :-1], x[:, 1:])
    best = fg.run(graph, mode="max").mode(x)
    # Two checkerboards tie, and every single spin is undecided.
    assert (best[:-1] * best[1:] == -1).all()
    assert (best[:, :-1] * best[:, 1:] == -1).all()


class TestEvidence:
    def test_changes_between_runs(self, backend: str, rng: np.random.Generator) -> None:
        graph, x = ring(rng)
        inference = fg.Inference(graph, backend=backend)
        for value in (1, -1):
            inference.observe(x[0], value)
            graph.observe(x[0], value)
            fresh = fg.run(graph, backend=backend)
            np.testing.assert_allclose(inference.run().marginals(x), fresh.marginals(x), atol=1e-9)
        inference.unobserve(x)
        graph.unobserve(x)
        np.testing.assert_allclose(inference.run().marginals(x), fg.run(graph).marginals(x), atol=1e-9)

    def test_kept_messages_start_where_the_run_before_ended(self, rng: np.random.Generator) -> None:
        graph, x = ring(rng, scale=1.0)
        inference = fg.Inference(graph)
        cold = inference.run(check_every=1)
        warm = inference.run(check_every=1, keep_messages=True)
        assert warm.residuals[0] < 1e-5 < cold.residuals[0]
        np.testing.assert_allclose(warm.marginals(x), cold.marginals(x), atol=1e-5)

    def test_new_potentials_and_priors(self, rng: np.random.Generator) -> None:
        graph, x = ring(rng)
        inference = fg.Inference(graph)
        inference.set_potentials("bonds", fg.Ising(0.2))
        inference.set_prior(x, 0.1)
        other = fg.FactorGraph()
        y = other.add_variables("x", fg.Spin(), 6)
        other.add_factors("bonds", fg.Ising(0.2), y, y[[1, 2, 3, 4, 5, 0]])
        other.set_prior(y, 0.1)
        np.testing.assert_allclose(inference.run().marginals(x), fg.run(other).marginals(y), atol=1e-9)
        with pytest.raises(TypeError, match="factors 'bonds' need a new Ising"):
            inference.set_potentials("bonds", fg.Potts(1.0))
        with pytest.raises(ValueError, match="factors 'bonds': coupling has shape"):
            inference.set_potentials("bonds", fg.Ising([1.0, 2.0]))

    def test_potentials_that_become_hard(self) -> None:
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Categorical(2), 3)
        graph.add_factors("f", fg.Table(np.zeros((2, 2))), x[:-1], x[1:])
        inference = fg.Inference(graph)
        inference.run()
        table = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
        inference.set_potentials("f", fg.Table(table))
        inference.observe(x[0], 1)
        np.testing.assert_array_equal(inference.run().marginals(x), [[0.0, 1.0]] * 3)

    @pytest.mark.parametrize("schedule", [None, fg.Flooding()], ids=repr)
    def test_contradictions_are_named(self, backend: str, schedule: fg.Schedule | None) -> None:
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Categorical(2), 3)
        graph.add_factors("equal", fg.Table([[0.0, -np.inf], [-np.inf, 0.0]]), x[:-1], x[1:])
        graph.observe(x[[0, 2]], [0, 1])
        with pytest.raises(
            fg.ContradictionError, match=r"the evidence contradicts the model: no state is possible for .*x\[1\]"
        ) as error:
            fg.run(graph, schedule, backend=backend)
        result = error.value.result
        assert result.log_partition == -np.inf
        with pytest.raises(fg.ContradictionError):
            result.marginals(x)
        quiet = fg.run(graph, schedule, backend=backend, raise_on_contradiction=False)
        assert ("x", (1,)) in quiet.contradictions

    def test_contradictions_of_spins_and_priors(self, backend: str) -> None:
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), 3)
        graph.add_factors("equal", fg.Ising(np.inf), x[:-1], x[1:])
        graph.observe(x[[0, 2]], [-1, 1])
        with pytest.raises(fg.ContradictionError, match=r"x\[1\]"):
            fg.run(graph, backend=backend)
        other = fg.FactorGraph()
        y = other.add_variables("y", fg.Categorical(2))
        other.set_prior(y, [0.0, -np.inf])
        other.observe(y, 1)
        with pytest.raises(fg.ContradictionError, match=r"possible for y$"):
            fg.run(other, backend=backend)


class TestState:
    def test_steps_by_hand_equal_a_run(self, rng: np.random.Generator) -> None:
        graph, _ = ring(rng)
        by_hand, at_once = fg.Inference(graph, fg.Flooding()), fg.Inference(graph, fg.Flooding())
        for _ in range(7):
            by_hand.step()
        result = at_once.run(7, tolerance=0)
        np.testing.assert_array_equal(by_hand.state.pools[0].belief, at_once.state.pools[0].belief)
        assert by_hand.state.iteration == result.iterations == 7

    def test_copies_are_independent(self, rng: np.random.Generator) -> None:
        graph, _ = ring(rng)
        inference = fg.Inference(graph, fg.Flooding())
        inference.step()
        saved = inference.state.copy()
        before = saved.pools[0].messages.copy()
        inference.step()
        np.testing.assert_array_equal(saved.pools[0].messages, before)
        inference.state = saved
        inference.step()
        with pytest.raises(ValueError, match="another Inference"):
            fg.Inference(graph).state = saved

    def test_files_go_on_bit_for_bit(self, rng: np.random.Generator, tmp_path: Path) -> None:
        graph, x = ring(rng)
        first, second = fg.Inference(graph, fg.Flooding()), fg.Inference(graph, fg.Flooding())
        first.observe(x[3], 1)
        for _ in range(3):
            first.step()
        first.state.save(tmp_path / "state.npz")
        second.state.load(tmp_path / "state.npz")
        for inference in (first, second):
            inference.step()
        np.testing.assert_array_equal(first.state.pools[0].belief, second.state.pools[0].belief)
        assert second.state.iteration == 4
        assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]

    def test_files_of_another_graph_are_refused(self, rng: np.random.Generator, tmp_path: Path) -> None:
        small, _ = ring(rng, 5)
        large, _ = ring(rng, 6)
        fg.Inference(small).state.save(tmp_path / "state.npz")
        with pytest.raises(ValueError, match="saved for another graph"):
            fg.Inference(large).state.load(tmp_path / "state.npz")


def test_callback_sees_each_iteration_and_can_stop(rng: np.random.Generator) -> None:
    graph, _ = ring(rng)
    seen: list[int] = []

    def stop_at_three(iteration: int, inference: fg.Inference) -> bool:
        seen.append(iteration)
        return iteration == 3

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who stops a run needs no warning
        result = fg.run(graph, callback=stop_at_three)
    assert seen == [1, 2, 3]
    assert result.iterations == 3


def test_two_runs_give_equal_bits(backend: str, rng: np.random.Generator) -> None:
    graph, x = ring(rng, 50)
    inference = fg.Inference(graph, backend=backend)
    np.testing.assert_array_equal(inference.run().belief(x), inference.run().belief(x))


def test_unknown_modes_schedules_and_backends_are_refused(rng: np.random.Generator) -> None:
    graph, _ = ring(rng)
    with pytest.raises(ValueError, match="mode must be one of"):
        fg.run(graph, mode="map")
    with pytest.raises(TypeError, match="must be a Schedule such as Flooding"):
        fg.run(graph, "flooding")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown backend 'torch'"):
        fg.run(graph, backend="torch")
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64'"):
        fg.run(graph, dtype="float16")
    with pytest.raises(ValueError, match="at least 1"):
        fg.run(graph, max_iterations=0)
