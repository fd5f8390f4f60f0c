"""Deep forests in O(log n) rounds: the messages are those of the passes from leaves to roots and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.inference.executors import contracting_tables, passes
from factorgraph.inference.layout.contraction import Contraction
from factorgraph.testing import Enumeration

SHAPES = ("chain", "comb", "star", "caterpillar", "random", "forest")


def parents(shape: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Of nodes 1 to n - 1 the node before, -1 for the root of another tree."""
    nodes = np.arange(1, n)
    found = {
        "chain": nodes - 1,
        "comb": np.where(nodes % 2 == 1, nodes - 1, np.maximum(nodes - 2, 0)),
        "star": np.zeros(n - 1, dtype=np.int64),
        "caterpillar": np.where(nodes % 3 == 0, nodes - 3, nodes - nodes % 3),
        "random": np.array([rng.integers(node) for node in nodes]),
        "forest": np.where(nodes % 7 == 0, -1, nodes - 1),
    }
    return found[shape]


def tree(shape: str, n: int, seed: int, hard: bool = False) -> fg.FactorGraph:
    """Spins and variables of two to four states, tied by tables that are shared, one each or couplings; some single factors."""
    rng = np.random.default_rng(seed)
    graph = fg.FactorGraph()
    kinds: list[Any] = [fg.Spin(), fg.Categorical(3), fg.Categorical(4), fg.Spin()]
    order = rng.permutation(n)
    each = [graph.add_variables(f"x{node}", kinds[node % 4]) for node in range(n)]
    for node, parent in enumerate(parents(shape, n, rng), start=1):
        if parent < 0:
            continue
        ends = [each[order[parent]], each[order[node]]]
        sizes = [len(end.type.states) for end in ends]  # type: ignore[attr-defined]
        if sizes == [2, 2] and node % 2:
            graph.add_factors(f"bond{node}", fg.Ising(rng.normal()), *ends)
            continue
        table = 2.0 * rng.normal(size=sizes)
        if hard:
            table[rng.random(sizes) < 0.25] = -np.inf
            table[0, 0] = 0.3
        graph.add_factors(f"table{node}", fg.Table(table), *ends)
    for node in range(0, n, 5):
        graph.add_factors(f"single{node}", fg.Table(rng.normal(size=len(each[node].type.states))), each[node])  # type: ignore[attr-defined]
    for variable in each[1::3]:
        graph.set_prior(variable, rng.normal(size=variable.type.param_shape))
    return graph


def answers(
    graph: fg.FactorGraph, stages: int, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[fg.Inference, fg.Result]:
    monkeypatch.setattr(passes, "_MANY_STAGES", stages)
    monkeypatch.setattr(passes, "_ENTRIES_OF_A_STAGE", 1e9)
    inference = fg.Inference(graph, fg.Tree(), **settings)
    result = inference.run()
    assert (inference._passes.contraction is None) == (stages > 10**6)
    return inference, result


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_contracted_forests_equal_the_passes(
    backend: str, shape: str, hard: bool, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = tree(shape, 23, seed=4, hard=hard)
    graph.observe(graph.variables("x8"), 1 if isinstance(graph.variables("x8").type, fg.Spin) else 0)
    inference, found = answers(graph, 1, monkeypatch, backend=backend, mode=mode)
    assert "program" not in vars(inference._passes)  # the other way was not taken
    _, expected = answers(graph, 10**9, monkeypatch, backend="numpy", mode=mode)
    assert found.log_partition == pytest.approx(expected.log_partition, abs=1e-10)
    assert found.status == "exact"
    for name in graph.variable_blocks:
        variable = graph.variables(name)
        if mode == "sum":
            np.testing.assert_allclose(found.marginals(variable), expected.marginals(variable), atol=1e-11)
        else:
            assert found.mode(variable) == expected.mode(variable)
    for name in graph.factor_blocks:
        np.testing.assert_allclose(found.factor_marginals(name), expected.factor_marginals(name), atol=1e-11)


def test_ties_are_broken_into_one_joint_maximum(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 40)
    graph.add_factors("unlike", fg.Ising(-1.0), x[1:], x[:-1])
    _, found = answers(graph, 1, monkeypatch, backend=backend, mode="max")
    mode = found.mode(x)
    assert (mode[1:] == -mode[:-1]).all()
    assert found.log_partition == pytest.approx(39.0)


def test_sets_of_evidence_are_as_if_run_alone(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fg.FactorGraph()
    rng = np.random.default_rng(0)
    x = graph.add_variables("x", fg.Categorical(3), 30)
    graph.add_factors("steps", fg.Table(rng.normal(size=(29, 3, 3))), x[:-1], x[1:])
    priors, values = rng.normal(size=(4, 30, 3)), rng.integers(3, size=4)
    monkeypatch.setattr(passes, "_MANY_STAGES", 1)
    together = fg.Inference(graph, backend=backend, batch=4)
    together.set_prior(x, priors)
    together.observe(x[7], values)
    found = together.run()
    for number in range(4):
        alone = fg.Inference(graph, backend=backend)
        alone.set_prior(x, priors[number])
        alone.observe(x[7], values[number])
        result = alone.run()
        np.testing.assert_allclose(found.marginals(x)[number], result.marginals(x), atol=1e-12)
        assert found.log_partition[number] == pytest.approx(result.log_partition, abs=1e-10)


def test_new_evidence_priors_and_potentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways are asked for the same changes, one after another."""
    graph = tree("random", 40, seed=1)
    both = [answers(graph, stages, monkeypatch)[0] for stages in (1, 10**9)]
    rng = np.random.default_rng(5)
    tables = [name for name in graph.factor_blocks if name.startswith("table")]
    for step in range(4):
        name, prior = tables[step], rng.normal(size=4)
        sizes = [len(port.type.states) for port in graph.factors(name).ports]  # type: ignore[attr-defined]
        table = fg.Table(rng.normal(size=sizes))
        for inference in both:
            inference.observe(graph.variables(f"x{4 * step + 1}"), step % 3)
            inference.set_prior(graph.variables("x2"), prior)
            inference.set_potentials(name, table)
        one, other = (inference.run() for inference in both)
        assert one.log_partition == pytest.approx(other.log_partition, abs=1e-10)
        for variable in ("x2", "x3", "x20"):
            where = graph.variables(variable)
            np.testing.assert_allclose(one.marginals(where), other.marginals(where), atol=1e-11)


def test_potentials_that_are_far_apart_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Largest terms of the left and of the right table that do not meet: products of exponentials alone would vanish."""
    graph = fg.FactorGraph()
    rng = np.random.default_rng(2)
    x = graph.add_variables("x", fg.Categorical(3), 50)
    graph.add_factors("steps", fg.Table(800.0 * rng.normal(size=(49, 3, 3))), x[:-1], x[1:])
    _, found = answers(graph, 1, monkeypatch)
    _, expected = answers(graph, 10**9, monkeypatch)
    np.testing.assert_allclose(found.marginals(x), expected.marginals(x), atol=1e-9)
    assert found.log_partition == pytest.approx(expected.log_partition, rel=1e-12)


def test_evidence_that_contradicts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 80)
    graph.add_factors("equal", fg.Table(np.array([[0.0, -np.inf], [-np.inf, 0.0]])), x[1:], x[:-1])
    graph.observe(x[0], 1)
    graph.observe(x[70], -1)
    for stages in (1, 10**9):
        monkeypatch.setattr(passes, "_MANY_STAGES", stages)
        with pytest.raises(fg.ContradictionError, match="no state is possible"):
            fg.Inference(graph).run()


def test_rounds_are_few() -> None:
    """About the logarithm to the base 3/2 for any shape; half of a chain in order goes at once."""
    for shape in SHAPES:
        n = 3000
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Categorical(2), n)
        above = parents(shape, n, np.random.default_rng(0))
        ends = np.stack([above, np.arange(1, n)], axis=1)[above >= 0]
        graph.add_factors("ties", fg.Table(np.zeros((2, 2))), x[ends[:, 0]], x[ends[:, 1]])
        contraction = Contraction.of(fg.Inference(graph).layout)
        assert contraction is not None
        assert len(contraction.rounds) <= 2 * np.log(n) / np.log(1.5), shape
        if shape == "chain":
            assert len(contraction.rounds) <= 2 * np.log2(n) + 2


def test_a_long_chain_equals_the_forward_backward_recursion() -> None:
    rng, n, q = np.random.default_rng(0), 100_000, 3
    steps, weights = rng.normal(size=(q, q)), rng.normal(size=(n, q))
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(q), n)
    graph.add_factors("steps", fg.Table(steps), x[:-1], x[1:])
    graph.set_prior(x, weights)
    result = fg.run(graph)
    forward, log_z = np.exp(weights), 0.0
    for i in range(n):
        if i:
            forward[i] *= forward[i - 1] @ np.exp(steps)
        total = forward[i].sum()
        forward[i] /= total
        log_z += np.log(total)
    backward = np.ones(q)
    for i in range(n - 1, -1, -1):
        if i % 997 == 0:
            marginal = forward[i] * backward
            np.testing.assert_allclose(result.marginals(x[i]), marginal / marginal.sum(), atol=1e-10)
        backward = np.exp(steps) @ (backward * np.exp(weights[i]))
        backward /= backward.sum()
    assert result.log_partition == pytest.approx(log_z, rel=1e-13)


def test_many_sets_of_many_states_go_by_depth() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(20), 200)
    graph.add_factors("steps", fg.Table(np.zeros((20, 20))), x[1:], x[:-1])
    assert fg.Inference(graph)._passes.contraction is not None
    assert fg.Inference(graph, batch=50)._passes.contraction is None


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("sets", [None, 2])
@pytest.mark.parametrize("factor", [fg.Parity(0.5), fg.Parity(), fg.Cardinality([0.0, 0.4, -0.7, 0.1, 0.3])], ids=repr)
def test_wide_factors_of_a_chain_are_contracted(
    backend: str, factor: fg.Factor, sets: int | None, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plural ports of four: the first is the last of the factor before, two belong to it alone, in any order."""
    rng = np.random.default_rng(1)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 91)
    scopes = np.arange(0, 90, 3)[:, None] + np.array([1, 3, 0, 2])
    graph.add_factors("wide", factor, x[scopes])
    graph.set_prior(x, rng.normal(size=91))
    graph.observe(x[[7, 9]], [1, -1])
    _, found = answers(graph, 1, monkeypatch, backend=backend, mode=mode, batch=sets)
    _, expected = answers(graph, 10**9, monkeypatch, backend="numpy", mode=mode, batch=sets)
    np.testing.assert_allclose(found.log_partition, expected.log_partition, rtol=1e-12)
    np.testing.assert_allclose(found.marginals(x), expected.marginals(x), atol=1e-11)
    np.testing.assert_allclose(found.factor_marginals("wide"), expected.factor_marginals("wide"), atol=1e-11)
    if mode == "max":
        np.testing.assert_array_equal(found.mode(x), expected.mode(x))


def test_two_sets_are_as_if_run_alone(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = tree("random", 23, seed=2)
    end = graph.variables("x3")
    monkeypatch.setattr(passes, "_MANY_STAGES", 1)
    together = fg.Inference(graph, backend=backend, batch=2)
    together.set_prior(end, [[0.4], [-1.0]] if end.type.param_shape else [0.4, -1.0])
    found = together.run()
    for number, field in enumerate((0.4, -1.0)):
        graph.set_prior(end, field)
        alone = fg.Inference(graph, backend=backend).run()
        for name in graph.variable_blocks:
            x = graph.variables(name)
            np.testing.assert_allclose(found.marginals(x)[number], alone.marginals(x), atol=1e-11)


def test_single_precision_loses_no_small_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), 60)
    rng = np.random.default_rng(0)
    graph.add_factors("steps", fg.Table(rng.choice([-9.0, 0.0, 4.0], size=(59, 3, 3))), x[:-1], x[1:])
    graph.set_prior(x, rng.normal(size=(60, 3)))
    graph.observe(x[30], 1)
    _, found = answers(graph, 1, monkeypatch, dtype="float32")
    _, expected = answers(graph, 10**9, monkeypatch, dtype="float64")
    np.testing.assert_allclose(found.marginals(x), expected.marginals(x), atol=2e-5)
    assert found.log_partition == pytest.approx(expected.log_partition, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_decoded_states_are_a_joint_maximum_where_many_tie(backend: str, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), 8)
    y = graph.add_variables("y", fg.Spin(), 2)
    for node, parent in enumerate(parents(shape, 8, rng), start=1):
        if parent >= 0:
            table = rng.integers(0, 2, size=(3, 3)).astype(float)
            table[rng.random((3, 3)) < 0.2] = -np.inf
            table[1, 1] = 0.0
            graph.add_factors(f"t{node}", fg.Table(table), x[parent], x[node])
    graph.add_factors("ends", fg.Table(rng.integers(0, 2, size=(2, 3, 2)).astype(float)), x[:2], y)
    monkeypatch.setattr(passes, "_MANY_STAGES", 1)
    inference = fg.Inference(graph, fg.Tree(), mode="max", backend=backend, batch=3)
    monkeypatch.setattr(passes, "decode", lambda *_: pytest.fail("decoded by depth"))
    inference.observe(x[2], [1, 0, 1], sets=[0, 1, 2])
    inference.observe(y[0], -1, sets=2)
    result = inference.run()
    modes = {"x": result.mode(x), "y": result.mode(y)}
    for number, value in enumerate((1, 0, 1)):
        graph.observe(x[2], value)
        if number == 2:
            graph.observe(y[0], -1)
        expected = Enumeration(graph)
        if result.contradictions[number]:
            assert expected.log_maximum == -np.inf
            continue
        found = expected.log_weight({name: states[number] for name, states in modes.items()})
        assert found == pytest.approx(expected.log_maximum)


def test_tables_that_underflow_go_by_logarithms(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 60)
    graph.add_factors("steps", fg.Table(rng.choice([0.0, -287.0], size=(59, 2, 2))), x[:-1], x[1:])
    graph.set_prior(x, rng.choice([-400.0, 0.0, 400.0], size=60))
    ways: list[bool] = []
    make = contracting_tables.TableContracting.__init__

    def spy(self: Any, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        ways.append(self.in_numbers)

    monkeypatch.setattr(contracting_tables.TableContracting, "__init__", spy)
    _, found = answers(graph, 1, monkeypatch, backend=backend)
    assert ways == [True, False]
    _, expected = answers(graph, 10**9, monkeypatch, backend=backend)
    np.testing.assert_allclose(found.marginals(x), expected.marginals(x), atol=1e-10)
    assert found.log_partition == pytest.approx(expected.log_partition, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("evidence", [False, True])
def test_positive_tables_go_by_numbers(backend: str, dtype: str, evidence: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(5), 200)
    links = np.array([rng.integers(max(0, node - 4), node) for node in range(1, 200)])
    graph.add_factors("links", fg.Table(2.0 * rng.normal(size=(199, 5, 5))), x[links], x[1:])
    graph.set_prior(x, 3.0 * rng.normal(size=(200, 5)))
    if evidence:
        graph.observe(x[::7], rng.integers(5, size=29))
    monkeypatch.setattr(contracting_tables.TableContracting, "_slow_product", lambda *_: pytest.fail("by logarithms"))
    _, found = answers(graph, 1, monkeypatch, backend=backend, dtype=dtype)
    _, expected = answers(graph, 10**9, monkeypatch)
    np.testing.assert_allclose(found.marginals(x), expected.marginals(x), atol=1e-11 if dtype == "float64" else 2e-5)
    assert found.log_partition == pytest.approx(expected.log_partition, rel=1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("sets", [None, 2])
@pytest.mark.parametrize("hard", [False, True])
def test_inputs_of_a_chain_are_heard_before_its_rounds(
    backend: str, hard: bool, sets: int | None, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that depend on an input and end in an output, both of no other step; the ports in another order."""
    rng = np.random.default_rng(3)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), 20)
    u, y = graph.add_variables("u", fg.Categorical(2), 19), graph.add_variables("y", fg.Spin(), 19)
    tables = 2.0 * rng.normal(size=(19, 2, 3, 2, 3))
    if hard:
        tables[rng.random(tables.shape) < 0.3] = -np.inf
        tables[:, 0, 0, 0, 0] = 0.0
    graph.add_factors("steps", fg.Table(tables), u, x[1:], y, x[:-1])
    graph.add_factors("inputs", fg.Table([0.3, -0.2]), u)
    graph.set_prior(x[0], rng.normal(size=3))
    graph.observe(u[3:5], [0, 0])
    graph.observe(x[7], 0)
    if sets is None:
        graph.observe(y[6], 1)
    _, found = answers(graph, 1, monkeypatch, backend=backend, mode=mode, batch=sets)
    _, expected = answers(graph, 10**9, monkeypatch, backend="numpy", mode=mode, batch=sets)
    np.testing.assert_allclose(found.log_partition, expected.log_partition, rtol=1e-12)
    for block in (x, u, y):
        np.testing.assert_allclose(found.marginals(block), expected.marginals(block), atol=1e-11)
        if mode == "max":
            np.testing.assert_array_equal(found.mode(block), expected.mode(block))
    for name in ("steps", "inputs"):
        np.testing.assert_allclose(found.factor_marginals(name), expected.factor_marginals(name), atol=1e-11)


def test_factors_of_very_many_variables_go_by_depth() -> None:
    """Their tables would have 2^30 entries each."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 100)
    copies = [graph.add_variables(f"copy{number}", fg.Spin(), 99) for number in range(28)]
    graph.add_factors("same", fg.Equality(), x[:-1], x[1:], *copies)
    graph.set_prior(x[0], 0.3)
    graph.set_prior(copies[5], 0.1)
    inference = fg.Inference(graph, fg.Tree())
    assert inference._passes.contraction is None
    np.testing.assert_allclose(inference.run().mean(x), np.tanh(0.3 + 99 * 0.1), rtol=1e-9)
