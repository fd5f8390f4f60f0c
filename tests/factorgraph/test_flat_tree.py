"""Small junction trees as arrays: against the same trees one clique after another, and against enumeration."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.junction import cliques, flat_tree, found
from factorgraph.junction.tables import TableModel
from factorgraph.testing import Enumeration
from tests.factorgraph.test_exact import compare, random_graph


def by_cliques(monkeypatch: pytest.MonkeyPatch, graph: fg.FactorGraph, **settings: Any) -> fg.JunctionTree:
    with monkeypatch.context() as patch:
        patch.setattr(flat_tree, "_MOST_PAIRS", 0)
        return fg.JunctionTree(graph, **settings)


def went_through_cliques(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with each set that goes through cliques one by one."""
    calls: list[int] = []
    begin = found.FoundByCliques.__init__
    monkeypatch.setattr(found.FoundByCliques, "__init__", lambda self, *a: calls.append(1) or begin(self, *a))
    return calls


def tree_of_loops(
    rng: np.random.Generator, size: int, zeros: float
) -> tuple[fg.FactorGraph, fg.Variables, list[tuple[list[int], np.ndarray]]]:
    """Triangles that hang together as a random tree, so that cliques stand at many depths; all states 0 are possible."""
    graph, tables = fg.FactorGraph(), []
    x = graph.add_variables("x", fg.Categorical(3), size)
    for node in range(2, size):
        first = int(rng.integers(node - 1))
        table = rng.normal(size=(3, 3, 3))
        table[(rng.random(table.shape) < zeros) & (np.indices(table.shape).sum(axis=0) > 0)] = -np.inf
        graph.add_factors(f"f{node}", fg.Table(table), x[first], x[first + 1], x[node])
        tables.append(([first, first + 1, node], table))
    return graph, x, tables


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("zeros", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_cliques_of_several_depths_equal_enumeration(
    seed: int, zeros: float, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cliques, "_MERGED", 1)
    calls = went_through_cliques(monkeypatch)
    graph, variables = random_graph(np.random.default_rng(seed), 9, zeros, evidence=seed % 3)
    compare(graph, variables, mode)
    everything_is_fixed = all((fg.exact(graph).marginals(x) > 0).sum() == 1 for x in variables)
    assert everything_is_fixed or not calls


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("zeros", [0.0, 0.3])
def test_batches_on_large_trees_equal_one_clique_after_another(
    zeros: float, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    graph, x, tables = tree_of_loops(rng, 40, zeros)
    drawn = fg.exact(graph).sample(11, seed=0)["x"]
    trees = fg.JunctionTree(graph, mode=mode, batch=11), by_cliques(monkeypatch, graph, mode=mode, batch=11)
    monkeypatch.setattr(flat_tree, "_CHUNK", 1)  # the sets go by eights
    for tree in trees:
        tree.observe(x[::7], drawn[:, ::7])
        tree.unobserve(x[:14], sets=3)
    flat, expected = (tree.run() for tree in trees)
    np.testing.assert_allclose(flat.log_partition, expected.log_partition, rtol=1e-12)
    np.testing.assert_allclose(flat.marginals(x), expected.marginals(x), atol=1e-12)
    for name in ("f2", "f30", "f39"):
        np.testing.assert_allclose(flat.factor_marginals(name), expected.factor_marginals(name), atol=1e-12)
    if mode == "max":
        best = flat.mode(x)
        for number in range(11):
            seen = np.arange(0, 40, 7) if number != 3 else np.arange(14, 40, 7)
            np.testing.assert_array_equal(best[number, seen], drawn[number, seen])
            weight = sum(table[tuple(best[number, scope])] for scope, table in tables)
            assert weight == pytest.approx(flat.log_partition[number], rel=1e-12)


def test_weights_that_double_precision_does_not_hold_go_by_logarithms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the set that needs it does, in a batch; a single tree does not try again."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(2), 4)
    graph.add_factors("chain", fg.Table([[0.0, -400.0], [-300.0, 5.0]]), x[:-1], x[1:])
    tree = fg.JunctionTree(graph, batch=2)
    tree.set_prior(x, [[[0.0, 0.0]] * 4, [[0.0, -250.0]] * 4])
    calls = went_through_cliques(monkeypatch)
    batch = tree.run()
    assert len(calls) in (1, 2)
    for number in range(2):
        graph.set_prior(x, [0.0, -250.0 * number])
        expected = Enumeration(graph)
        assert batch.log_partition[number] == pytest.approx(expected.log_partition, rel=1e-13)
        np.testing.assert_allclose(batch.marginals(x)[number], expected.marginals(x), atol=1e-13)
    single = fg.JunctionTree(graph)
    calls.clear()
    for _ in range(2):
        single.run().marginals(x)
    assert len(calls) == 2
    with monkeypatch.context() as patch:
        patch.setattr(flat_tree.FlatTree, "run", lambda *a: pytest.fail("the arrays are tried again"))
        single.run()


def test_marginals_that_vanish_but_for_a_tiny_number_are_right() -> None:
    """A message of zero, and one of e^-500, are told apart when the evidence rules all else out."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), 3)
    graph.add_factors("first", fg.Table([[0.0, 0.0, -np.inf], [-500.0, 0.0, 0.0], [-np.inf, 0.0, 0.0]]), x[0], x[1])
    graph.add_factors("second", fg.Table(np.log([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]])), x[1], x[2])
    tree = fg.JunctionTree(graph)
    tree.observe(x[1], 0)
    np.testing.assert_allclose(tree.run().marginals(x[0]), [1.0, np.exp(-500.0), 0.0], rtol=1e-12)
    tree.observe(x[0], 1)
    assert tree.run().log_partition == pytest.approx(-500.0)
    tree.observe(x[0], 2)
    with pytest.raises(fg.ContradictionError):
        tree.run()


@pytest.mark.usefixtures("way")
def test_states_that_were_ruled_out_may_come_back() -> None:
    """New potentials allow what zeros ruled out when the tree was made; variables that zeros fixed are asked for anew."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), 4)
    graph.add_factors("unary", fg.Table([0.0, 0.5, -np.inf]), x[0])
    graph.add_factors("fixes", fg.Table([-np.inf, 0.0, -np.inf]), x[1])
    graph.add_factors("loop", fg.Potts(0.7), x, x[[1, 2, 3, 0]])
    tree = fg.JunctionTree(graph)
    changes = [("unary", [0.1, 0.2, 0.3]), ("fixes", [0.0, 0.0, -np.inf]), ("fixes", [-np.inf, -np.inf, 0.4])]
    tables = {"unary": [0.0, 0.5, -np.inf], "fixes": [-np.inf, 0.0, -np.inf]}
    for name, table in changes:
        tree.set_potentials(name, fg.Table(table))
        tables[name] = table
        twin = fg.FactorGraph()
        y = twin.add_variables("x", fg.Categorical(3), 4)
        twin.add_factors("unary", fg.Table(tables["unary"]), y[0])
        twin.add_factors("fixes", fg.Table(tables["fixes"]), y[1])
        twin.add_factors("loop", fg.Potts(0.7), y, y[[1, 2, 3, 0]])
        result, expected = tree.run(), Enumeration(twin)
        np.testing.assert_allclose(result.marginals(x), expected.marginals(y), atol=1e-13)
        assert result.log_partition == pytest.approx(expected.log_partition)


def test_arrays_are_kept_for_models_that_fit_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), 3)
    graph.add_factors("unary", fg.Table([0.0, 0.5, -np.inf]), x[0])
    graph.add_factors("loop", fg.Potts(0.7), x, x[[1, 2, 0]])
    tree = fg.JunctionTree(graph)
    calls = went_through_cliques(monkeypatch)
    for third in (-np.inf, 0.3, -np.inf):
        tree.set_potentials("unary", fg.Table([0.1, 0.2, third]))
        tree.run().marginals(x)
    assert len(calls) == 1  # the model with a state that the arrays do not have


@pytest.mark.usefixtures("way")
def test_evidence_that_was_there_at_first_may_change_and_go() -> None:
    """Also of variables that this evidence fixed through a hard relation."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), 5)
    graph.add_factors("equal", fg.Table(np.where(np.eye(3), 0.0, -np.inf)), x[0], x[1])
    graph.add_factors("loop", fg.Potts(0.7), x[1:], x[[2, 3, 4, 1]])
    graph.add_factors("fields", fg.Table(np.arange(15.0).reshape(5, 3) / 7), x)
    graph.observe(x[0], 1)
    tree = fg.JunctionTree(graph)
    for evidence in ({0: 1}, {0: 2}, {0: 2, 3: 0}, {3: 0}, {}, {1: 0}, {4: 2, 0: 0}):
        tree.unobserve(x)
        graph.unobserve(x)
        for place, state in evidence.items():
            tree.observe(x[place], state)
            graph.observe(x[place], state)
        np.testing.assert_allclose(tree.run().marginals(x), Enumeration(graph).marginals(x), atol=1e-13)
    tree.observe(x[:2], [0, 1])
    with pytest.raises(fg.ContradictionError):
        tree.run()


def test_draws_have_the_right_marginals() -> None:
    """On a tree of many depths: 40,000 draws within 5 standard deviations of each probability."""
    graph, x, _ = tree_of_loops(np.random.default_rng(2), 30, 0.3)
    result = fg.exact(graph)
    drawn = result.sample(40_000, seed=5)["x"]
    expected = result.marginals(x)
    shares = (drawn[..., None] == np.arange(3)).mean(axis=0)
    assert (np.abs(shares - expected) <= 5 * np.sqrt(expected * (1 - expected) / 40_000) + 1e-12).all()


def test_models_that_nobody_has_any_more_are_forgotten() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), 5)
    graph.add_factors("pairs", fg.Table(np.zeros((4, 3, 3))), x[:-1], x[1:])
    tree = fg.JunctionTree(graph)
    rng = np.random.default_rng(0)
    for _ in range(60):
        tree.set_potentials("pairs", fg.Table(rng.normal(size=(4, 3, 3))))
        tree.set_prior(x[0], rng.normal(size=3))
        tree.run().marginals(x)
    gc.collect()
    assert sum(isinstance(thing, TableModel) for thing in gc.get_objects()) <= 4


def test_the_way_back_is_gone_when_beliefs_are_asked_for_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x, _ = tree_of_loops(np.random.default_rng(4), 20, 0.0)
    tree = fg.JunctionTree(graph)
    calls: list[str] = []
    for name in ("_run", "send_down"):
        method = getattr(flat_tree.FlatTree, name)
        spy = lambda self, *a, name=name, method=method: calls.append(name) or method(self, *a)  # noqa: E731
        monkeypatch.setattr(flat_tree.FlatTree, name, spy)
    log_partition = tree.run().log_partition
    assert calls == ["_run"]
    tree.run().marginals(x)
    tree.run().factor_marginals("f3")
    assert calls == ["_run", "send_down"]
    tree.observe(x[3], 1)
    assert tree.run().log_partition < log_partition
    assert calls == ["_run", "send_down", "_run"]


def test_sets_that_turn_out_wide_on_the_way_back_go_by_logarithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cliques, "_MERGED", 1)
    calls = went_through_cliques(monkeypatch)
    turned_out = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Categorical(2), 6)
        tables = rng.uniform(-500, 0, size=(5, 2, 2))
        pairs = graph.add_factors("pairs", fg.Table(tables), x[:-1], x[1:])
        graph.add_factors("last", fg.Table([0.0, -150.0]), x[0])
        result, expected, before = fg.JunctionTree(graph).run(), Enumeration(graph), len(calls)
        assert result.log_partition == pytest.approx(expected.log_partition, rel=1e-12)
        np.testing.assert_allclose(result.marginals(x), expected.marginals(x), rtol=1e-10, atol=1e-200)
        np.testing.assert_allclose(result.factor_marginals("pairs"), expected.factor_marginals(pairs), rtol=1e-10, atol=1e-200)
        assert (result.sample(5, seed=0)["x"] == result.mode(x)).all()
        turned_out += len(calls) - before
    assert turned_out > 0


def test_answers_are_whole_after_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x, _ = tree_of_loops(np.random.default_rng(5), 20, 0.0)
    tree = fg.JunctionTree(graph)
    expected = fg.exact(graph).marginals(x)
    result = tree.run()
    send_down, calls = flat_tree._send_down, []

    def interrupted(*arguments: Any) -> None:
        send_down(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(flat_tree, "_send_down", interrupted)
    with pytest.raises(KeyboardInterrupt):
        result.marginals(x)
    np.testing.assert_allclose(result.marginals(x), expected, atol=1e-13)
    np.testing.assert_allclose(tree.run().marginals(x), expected, atol=1e-13)
