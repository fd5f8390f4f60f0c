"""Joint states drawn from exact results: against all states of small graphs, and against marginals of large ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

import factorgraph as fg
from factorgraph.junction import clique_tree, cliques, flat_tree, product
from factorgraph.testing import Enumeration

DRAWS = 20_000


def tree(rng: np.random.Generator) -> fg.FactorGraph:
    """Two components, three types, factors of two and three variables, hard zeros, priors and evidence."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 4)
    y = graph.add_variables("y", fg.Categorical(["red", "green", "blue"]), (2, 1))
    z = graph.add_variables("z", fg.Categorical(2))
    graph.add_variables("alone", fg.Spin())
    graph.add_factors("bonds", fg.Ising([0.5, -0.8]), x[:2], x[1:3])
    table = rng.normal(size=(2, 3, 3))
    table[0, 1] = -np.inf
    graph.add_factors("three", fg.Table(table), x[2], y[0, 0], y[1, 0])
    graph.add_factors("last", fg.Table(rng.normal(size=(3, 2))), y[1, 0], z)
    graph.set_prior(x, rng.normal(size=4))
    graph.observe(x[0], -1)
    return graph


def loops(rng: np.random.Generator) -> fg.FactorGraph:
    """A ring with chords, evidence and zeros."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), 6)
    pairs = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 0], [0, 3], [1, 4]])
    tables = rng.normal(size=(8, 3, 3))
    tables[2, 0, 1] = tables[5, 2, 2] = -np.inf
    graph.add_factors("pairs", fg.Table(tables), x[pairs[:, 0]], x[pairs[:, 1]])
    graph.observe(x[5], 1)
    return graph


def joint_states(graph: fg.FactorGraph, drawn: dict[str, np.ndarray]) -> np.ndarray:
    """Positions of all variables' states in one row a draw."""
    columns = []
    for name, block in graph.variable_blocks.items():
        kind: Any = block.type
        numbers = kind.from_labels(drawn[name])
        columns.append(np.searchsorted(kind.states, numbers).reshape(len(numbers), -1))
    return np.concatenate(columns, axis=1)


@pytest.mark.parametrize("by", ["run", "exact", "exact, by cliques", "exact, large cliques", "exact, in pieces"])
@pytest.mark.parametrize("make", [tree, loops])
def test_all_joint_states_come_as_often_as_they_should(make: Any, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chi square of all joint states against enumeration; one of 10,000 right programs would fail at each seed."""
    graph = make(np.random.default_rng(1))
    if by == "run":
        if not graph.is_forest:
            with pytest.raises(ValueError, match=r"drawn from one exact result in sum mode, .* fg.exact draws them"):
                fg.run(graph, max_iterations=500).sample(3)
            return
        result: Any = fg.run(graph)
    else:
        if by != "exact":
            monkeypatch.setattr(flat_tree, "_MOST_PAIRS", 0)
        if by in ("exact, large cliques", "exact, in pieces"):
            monkeypatch.setattr(clique_tree, "PIECE", 0)
            monkeypatch.setattr(cliques, "_MERGED", 1 << 12)
        if by == "exact, in pieces":
            monkeypatch.setattr(product, "PIECE", 4)
        result = fg.exact(graph)
    states = joint_states(graph, result.sample(DRAWS, seed=3))
    sizes = [len(block.type.states) for block in graph.variable_blocks.values() for _ in range(block.size)]
    found = np.bincount(np.ravel_multi_index(tuple(states.T), sizes), minlength=int(np.prod(sizes)))
    every = Enumeration(graph)
    expected = np.exp(every.log_weights - every.log_partition) * DRAWS
    assert found[expected == 0].sum() == 0
    often = expected >= 5
    observed, wanted = np.append(found[often], found[~often].sum()), np.append(expected[often], expected[~often].sum())
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    assert np.sum((observed - wanted) ** 2 / wanted) < chi2.ppf(0.9999, len(wanted) - 1)


def test_draws_are_in_the_shape_and_names_of_the_variables() -> None:
    graph = tree(np.random.default_rng(1))
    for result in (fg.run(graph), fg.exact(graph)):
        drawn = result.sample(5, seed=0)
        assert {name: values.shape for name, values in drawn.items()} == {"x": (5, 4), "y": (5, 2, 1), "z": (5,), "alone": (5,)}
        assert set(np.unique(drawn["y"])) <= {"red", "green", "blue"}
        assert (drawn["x"][:, 0] == -1).all()
        again = result.sample(5, seed=np.random.default_rng(0))
        np.testing.assert_array_equal(again["x"], drawn["x"])
        assert result.sample()["z"].shape == (1,)
        with pytest.raises(ValueError, match="at least"):
            result.sample(0)


def test_long_chains_are_drawn_from_end_to_end() -> None:
    """Neighbours agree as often as they should, all along; and from pieces of a batch of draws."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 2000)
    graph.add_factors("bonds", fg.Ising(0.7), x[:-1], x[1:])
    graph.observe(x[0], 1)
    for result in (fg.run(graph), fg.exact(graph)):
        drawn = result.sample(300, seed=1)["x"]
        agree = np.mean(drawn[:, 1:] == drawn[:, :-1])
        share = 1 / (1 + np.exp(-1.4))
        assert abs(agree - share) < 5 * np.sqrt(share * (1 - share) / drawn[:, 1:].size)
        assert (drawn[:, 0] == 1).all()


def test_what_cannot_be_drawn_is_refused() -> None:
    graph = tree(np.random.default_rng(1))
    with pytest.raises(ValueError, match="sum mode"):
        fg.run(graph, mode="max").sample()
    with pytest.raises(ValueError, match="sum mode"):
        fg.exact(graph, mode="max").sample()
    real = fg.FactorGraph()
    real.set_prior(real.add_variables("v", fg.Gaussian(), 2), [0.0, 1.0])
    with pytest.raises(ValueError, match="'v' are Gaussian"):
        fg.run(real).sample()
    graph.observe(graph.variables("alone"), 1)
    graph.add_factors("never", fg.Table([-np.inf, 0.0]), graph.variables("z"))
    graph.observe(graph.variables("z"), 0)
    for run in (fg.run, fg.exact):
        with pytest.raises(fg.ContradictionError):
            run(graph).sample()
