"""Factors that are added one by one run as one call, and everything that is asked of a block is still its own."""

from __future__ import annotations

import pickle
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.factors.spin_products import spin_products
from factorgraph.inference.layout.program import EdgeCall
from factorgraph.schedules import Schedule

SCHEDULES: dict[str, Schedule] = {
    "flooding": fg.Flooding(),
    "random order": fg.RandomOrder(batches=3, seed=0),
    "residual": fg.Residual(),
    "sweep": fg.Sweep(),
}


def mixed(rng: np.random.Generator, one_by_one: bool) -> fg.FactorGraph:
    """A loopy graph of spins and three-state variables, its factors in a block of each type or in a block each."""
    graph = fg.FactorGraph()
    s, x = graph.add_variables("s", fg.Spin(), 12), graph.add_variables("x", fg.Categorical(3), 9)
    graph.set_prior(s, 0.3 * rng.normal(size=12))
    graph.set_prior(x, 0.3 * rng.normal(size=(9, 3)))
    pairs = np.array([rng.choice(12, 2, replace=False) for _ in range(10)])
    couplings = 0.4 * rng.normal(size=10)
    triples = np.array([rng.choice(12, 3, replace=False) for _ in range(4)])
    ties = np.array([[rng.integers(12), rng.integers(9)] for _ in range(8)])
    tables = 0.5 * rng.normal(size=(8, 2, 3))
    steps = 0.5 * rng.normal(size=(8, 3, 3))
    steps[2, 0, 1] = -np.inf
    parts: list[tuple[str, Any, tuple[fg.Variables, ...], int]] = []
    for n in range(10):
        parts.append(("bond", fg.Ising(couplings[n]), (s[int(pairs[n, 0])], s[int(pairs[n, 1])]), n))
    parts += [("check", fg.Parity(0.7), (s[triples[n]],), n) for n in range(4)]
    parts += [("tie", fg.Table(tables[n]), (s[int(ties[n, 0])], x[int(ties[n, 1])]), n) for n in range(8)]
    parts += [("step", fg.Table(steps[n]), (x[n], x[n + 1]), n) for n in range(8)]
    if one_by_one:
        for name, factor, ports, n in [parts[i] for i in rng.permutation(len(parts))]:
            graph.add_factors(f"{name}{n}", factor, *ports)
        return graph
    graph.add_factors("bond", fg.Ising(couplings), s[pairs[:, 0]], s[pairs[:, 1]])
    graph.add_factors("check", fg.Parity(0.7), s[triples])
    graph.add_factors("tie", fg.Table(tables), s[ties[:, 0]], x[ties[:, 1]])
    graph.add_factors("step", fg.Table(steps), x[:-1], x[1:])
    return graph


def calls(inference: fg.Inference) -> list[EdgeCall]:
    return [call for stage in inference._passes.program for call in stage.calls if isinstance(call, EdgeCall)]


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "sweep"])
def test_blocks_of_one_factor_run_as_one(backend: str, schedule: str, mode: str) -> None:
    if (backend, schedule) == ("array-api-strict", "residual"):
        pytest.skip("slow, and the same operations as in random order")
    found = []
    for one_by_one in (True, False):
        graph = mixed(np.random.default_rng(3), one_by_one)
        inference = fg.Inference(graph, SCHEDULES[schedule], backend=backend, mode=mode, damping=0.2)
        inference.observe(graph.variables("s")[3], 1)
        result = inference.run(100, tolerance=1e-11)
        found.append(result)
        if schedule == "flooding":
            assert len(calls(inference)) == 4
    for name in ("s", "x"):
        one, other = (result.belief(result._graph.variables(name)) for result in found)
        np.testing.assert_allclose(one, other, atol=1e-8)
    assert found[0].log_partition == pytest.approx(found[1].log_partition, abs=1e-8)
    if mode == "sum":
        for name, count in (("bond", 10), ("tie", 8), ("step", 8), ("check", 4)):
            joined = np.concatenate([found[0].factor_marginals(f"{name}{n}") for n in range(count)])
            np.testing.assert_allclose(joined, found[1].factor_marginals(name), atol=1e-8)
        each = [found[0].gradient(f"bond{n}") for n in range(10)]
        np.testing.assert_allclose(each, found[1].gradient("bond"), atol=1e-8)
    else:
        for name in ("s", "x"):
            one, other = (result.mode(result._graph.variables(name)) for result in found)
            np.testing.assert_array_equal(one, other)


def test_a_sweep_keeps_its_order() -> None:
    """Blocks after each other hear each other: a chain of blocks settles in one sweep each way, as it did."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 6)
    graph.set_prior(x[0], 1.0)
    for n in range(5):
        graph.add_factors(f"bond{n}", fg.Ising(0.8), x[n], x[n + 1])
    order = [(f"bond{n}", 1) for n in range(5)]
    result = fg.Inference(graph, fg.Sweep(order, partial=True)).run(1, tolerance=0)
    exact = fg.exact(graph)
    np.testing.assert_allclose(result.marginals(x), exact.marginals(x), atol=1e-12)


@pytest.mark.parametrize("mode", ["sum", "max"])
def test_trees_of_single_factors_are_exact(backend: str, rng: np.random.Generator, mode: str) -> None:
    graph = fg.FactorGraph()
    x = [graph.add_variables(f"x{n}", fg.Categorical(3)) for n in range(12)]
    for n in range(1, 12):
        graph.add_factors(f"f{n}", fg.Table(rng.normal(size=(3, 3))), x[int(rng.integers(n))], x[n])
    graph.observe(x[5], 1)
    result, exact = fg.Inference(graph, backend=backend, mode=mode).run(), fg.exact(graph, mode=mode)
    assert result.log_partition == pytest.approx(exact.log_partition, abs=1e-10)
    for variable in x:
        if mode == "sum":
            np.testing.assert_allclose(result.marginals(variable), exact.marginals(variable), atol=1e-10)
        else:
            assert result.mode(variable) == exact.mode(variable)


def test_batches_of_evidence(backend: str) -> None:
    found = []
    for one_by_one in (True, False):
        graph = mixed(np.random.default_rng(5), one_by_one)
        inference = fg.Inference(graph, fg.Flooding(), backend=backend, damping=0.2, batch=3)
        inference.observe(graph.variables("s")[:2], np.array([[1, 1], [1, -1], [-1, -1]]))
        found.append(inference.run(400, tolerance=1e-11).marginals(graph.variables("x")))
    np.testing.assert_allclose(found[0], found[1], atol=1e-8)


def test_new_potentials_are_those_of_one_block(backend: str, rng: np.random.Generator) -> None:
    graph = mixed(np.random.default_rng(3), True)
    inference = fg.Inference(graph, fg.Flooding(), backend=backend, damping=0.2)
    before = inference.run(400, tolerance=1e-11).marginals(graph.variables("x"))
    kept = inference.state.copy()
    new = {"tie3": fg.Table(rng.normal(size=(2, 3))), "bond4": fg.Ising(-0.9), "step2": fg.Table(rng.normal(size=(3, 3)))}
    for name, factor in new.items():
        inference.set_potentials(name, factor)
    changed = inference.run(400, tolerance=1e-11)
    other = mixed(np.random.default_rng(3), True)
    fresh = fg.FactorGraph()
    variables = {name: fresh.add_variables(name, block.type, block.shape) for name, block in other.variable_blocks.items()}
    for name, block in other.variable_blocks.items():
        fresh.set_prior(variables[name], block.prior)
    for name, block in other.factor_blocks.items():
        ports = [variables[port.name][port.index.reshape(port.index.shape[1:])] for port in block.ports]
        fresh.add_factors(name, new.get(name, block.factor), *ports)
    expected = fg.Inference(fresh, fg.Flooding(), damping=0.2).run(400, tolerance=1e-11)
    np.testing.assert_allclose(changed.marginals(graph.variables("x")), expected.marginals(variables["x"]), atol=1e-8)
    np.testing.assert_allclose(changed.factor_marginals("tie3"), expected.factor_marginals("tie3"), atol=1e-8)
    inference.state = kept  # which has the old potentials
    np.testing.assert_allclose(inference.run(400, tolerance=1e-11).marginals(graph.variables("x")), before, atol=1e-8)


def test_potentials_of_another_kind_are_refused_where_blocks_run_together() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 4)
    for n in range(3):
        graph.add_factors(f"bond{n}", fg.Ising(0.5), x[n], x[n + 1])
    inference = fg.Inference(graph, fg.Flooding())
    with pytest.raises(TypeError, match="need a new Ising"):
        inference.set_potentials("bond1", Stronger(0.5))
    sparse = fg.FactorGraph()
    y = sparse.add_variables("y", fg.Categorical(2), 3)
    for n in range(2):
        sparse.add_factors(f"f{n}", fg.SparseTable([[0, 1], [1, 0]], [0.1, 0.2]), y[n], y[n + 1])
    with pytest.raises(ValueError, match=r"'f1'.*run together with other blocks.*make a new Inference"):
        fg.Inference(sparse, fg.Flooding()).set_potentials("f1", fg.SparseTable([[0, 0], [1, 1]], [0.1, 0.2]))


@pytest.mark.parametrize("coupling", [np.inf, -np.inf, 60.0])
@pytest.mark.parametrize("kind", [fg.Ising, fg.Parity])
def test_couplings_of_merged_blocks_may_become_strong(backend: str, kind: Any, coupling: float) -> None:
    """Weak couplings have parameters that strong ones do without."""
    found = []
    for changed in (True, False):
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), 5)
        graph.set_prior(x, np.linspace(-0.5, 0.7, 5))
        ports = [(x[n], x[n + 1]) if kind is fg.Ising else (x[n : n + 2],) for n in range(4)]
        for n in range(4):
            graph.add_factors(f"bond{n}", kind(0.4 if changed or n != 2 else coupling), *ports[n])
        inference = fg.Inference(graph, fg.Flooding(), backend=backend)
        if changed:
            assert len(calls(inference)) == 1
            inference.run(20, tolerance=1e-10)
            inference.set_potentials("bond2", kind(coupling))
        found.append(inference.run(50, tolerance=1e-10).marginals(x))
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)


class Weighted(fg.Factor):
    """A user's own pair factor whose messages read a number off the factor itself."""

    arity = 2

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def can_be_hard(self, parameters: Any) -> bool:
        return False

    def messages(self, incoming: Any, parameters: Any, ports: Any, semiring: Any) -> Any:
        backend = semiring.backend
        weight = backend.asarray(np.array([self.weight]))
        return [backend.elementwise(spin_products, incoming[1 - p], weight, None)[0] for p in ports]


class KeyedWeighted(Weighted):
    """Says that blocks of one weight may run as one."""

    def merge_key(self) -> Hashable:
        return self.weight


class Stronger(fg.Ising):
    """Inherits the key of `Ising`, but not its messages."""

    def messages(self, incoming: Any, parameters: Any, ports: Any, semiring: Any) -> Any:
        doubled = {**parameters, "coupling": 2 * parameters["coupling"], "odds": parameters["odds"] ** 2}
        return super().messages(incoming, doubled, ports, semiring)


class Tabulated(fg.Factor):
    def __init__(self, strength: float) -> None:
        self.strength = strength

    def log_potential(self, *states: np.ndarray) -> np.ndarray:
        return self.strength * states[0] * states[1]


@pytest.mark.parametrize(("kind", "groups"), [(Weighted, 4), (KeyedWeighted, 2), (Stronger, 4), (Tabulated, 1), (fg.Ising, 1)])
def test_types_of_ones_own_merge_where_that_is_safe(kind: Any, groups: int) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 5)
    graph.set_prior(x, np.linspace(-0.5, 0.5, 5))
    for n, weight in enumerate((0.3, 0.3, 0.6, 0.6)):
        graph.add_factors(f"f{n}", kind(weight), x[n], x[n + 1])
    inference = fg.Inference(graph, fg.Flooding())
    assert len(calls(inference)) == groups
    alone = fg.FactorGraph()
    y = alone.add_variables("x", fg.Spin(), 5)
    alone.set_prior(y, np.linspace(-0.5, 0.5, 5))
    couplings = np.array([0.3, 0.3, 0.6, 0.6]) * (2 if kind is Stronger else 1)
    alone.add_factors("f", fg.Ising(couplings), y[:-1], y[1:])
    np.testing.assert_allclose(inference.run(tolerance=1e-12).marginals(x), fg.run(alone).marginals(y), atol=1e-9)


def test_large_blocks_keep_a_call_of_their_own() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (40, 50))
    graph.add_factors("rows", fg.Ising(0.1), x[1:], x[:-1])
    graph.add_factors("columns", fg.Ising(0.1), x[:, 1:], x[:, :-1])
    assert [call.factors for call in calls(fg.Inference(graph, fg.Flooding()))] == ["rows", "columns"]


def test_what_swings_is_named_by_block() -> None:
    graph = mixed(np.random.default_rng(3), True)
    result = fg.Inference(graph, fg.Flooding()).run(5, tolerance=0)
    rows = result.largest_changes(20)
    for factors, number, variables, index, change in rows:
        block = graph.factors(factors)
        assert number < block.count
        assert any(
            port.name == variables and np.ravel_multi_index(index, port.block.shape) in port.index for port in block.ports
        )
        assert change >= 0
    assert len({row[0] for row in rows}) > 5


def test_files_and_pickles_of_merged_graphs(tmp_path: Path) -> None:
    graph = mixed(np.random.default_rng(3), True)
    inference = fg.Inference(graph, fg.Flooding(), damping=0.2)
    inference.run(3, tolerance=0)
    inference.state.save(tmp_path / "state.npz")
    other = pickle.loads(pickle.dumps(fg.Inference(graph, fg.Flooding(), damping=0.2)))
    other.state.load(tmp_path / "state.npz")
    for one in (inference, other):
        one.run(3, tolerance=0, keep_messages=True)
    one, two = (found.state.belief(found.graph.variables("x")) for found in (inference, other))
    np.testing.assert_array_equal(one, two)
