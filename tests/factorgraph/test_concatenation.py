"""Variables of several blocks at one plural port: the same as if they were of one block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.testing import Enumeration

SPLIT = 5  # variables of the first block

FACTORS: dict[str, tuple[Any, Any, int]] = {
    "Parity": (fg.Parity, fg.Spin(), 0),
    "ExactlyOne": (fg.ExactlyOne, fg.Spin(), 0),
    "AtMost": (lambda: fg.AtMost(2), fg.Spin(), 0),
    "Or": (fg.Or, fg.Spin(), 0),
    "NoisyOr": (lambda: fg.NoisyOr([0.3, 0.6, 0.8], 0.1), fg.Categorical(2), 1),
    "Max": (fg.Max, fg.Categorical(3), 1),
}


def graphs(kind: str, forest: bool) -> tuple[fg.FactorGraph, fg.FactorGraph]:
    """Factors of three variables, and some of one more: of two blocks (and a third in turn), and of one block."""
    make, states, more = FACTORS[kind]
    places = np.array([[0, 1, 5], [2, 3, 6], [4, 1, 7], [2, 0, 8]])[: 2 if forest else 4]
    rng = np.random.default_rng(3)
    field = rng.normal(size=(9, *states.param_shape))
    couplings = rng.normal(size=4)
    found = []
    for split in (True, False):
        graph = fg.FactorGraph()
        if split:
            first, second = graph.add_variables("first", states, SPLIT), graph.add_variables("second", states, 9 - SPLIT)
            graph.set_prior(first, field[:SPLIT])
            graph.set_prior(second, field[SPLIT:])
            port: Any = fg.concatenate(first[places[:, :2]], second[places[:, 2] - SPLIT, None])
        else:
            whole = graph.add_variables("whole", states, 9)
            graph.set_prior(whole, field)
            port, first = whole[places], whole[:SPLIT]
        extra = []
        if more:
            effect = graph.add_variables("effect", states, len(places))
            graph.set_prior(effect, 0.5 * field[: len(places)])
            extra = [effect]
        graph.add_factors("wide", make(), port, *extra)
        if isinstance(states, fg.Spin):
            graph.add_factors("pair", fg.Ising(couplings[0]), first[0], first[2])
        else:
            graph.add_factors("pair", fg.Potts(couplings[0]), first[0], first[2])
        found.append(graph)
    return found[0], found[1]


def whole(graph: fg.FactorGraph, read: Any) -> np.ndarray:
    """What is read of the variables of both blocks, or of the one that they are."""
    names = ["first", "second"] if "first" in graph.variable_blocks else ["whole"]
    return np.concatenate([read(graph.variables(name)) for name in names])


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("kind", FACTORS)
def test_two_blocks_are_as_one(kind: str, mode: str, backend: str) -> None:
    split, one = graphs(kind, forest=False)
    options = {"schedule": fg.Flooding(), "mode": mode, "backend": backend, "damping": 0.2}
    mine, theirs = (fg.Inference(graph, **options).run(max_iterations=15, tolerance=0.0) for graph in (split, one))
    np.testing.assert_allclose(whole(split, mine.marginals), whole(one, theirs.marginals), atol=1e-10)
    np.testing.assert_allclose(mine.factor_marginals("wide"), theirs.factor_marginals("wide"), atol=1e-10)
    assert mine.log_partition == pytest.approx(theirs.log_partition, abs=1e-9)


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("kind", FACTORS)
def test_trees_and_exact_answers_equal_enumeration(kind: str, mode: str, backend: str) -> None:
    split, _ = graphs(kind, forest=True)
    expected = Enumeration(split)
    results = [fg.Inference(split, mode=mode, backend=backend).run()]
    results += [
        fg.run(split, schedule, mode=mode, max_iterations=200) for schedule in (fg.Residual(), fg.RandomOrder(), fg.Sweep())
    ]
    for result in [*results, fg.exact(split, mode=mode)]:
        for name in split.variable_blocks:
            x = split.variables(name)
            np.testing.assert_allclose(result.marginals(x), expected.marginals(x, mode), atol=2e-6)
        found = result.factor_marginals("wide")
        np.testing.assert_allclose(found, expected.factor_marginals(split.factors("wide"), mode), atol=2e-6)


def test_sets_of_evidence_new_potentials_files_and_small_blocks(tmp_path: Path, backend: str) -> None:
    fields = np.random.default_rng(0).normal(size=(2, 8, 2))
    results = []
    for split in (True, False):
        graph = fg.FactorGraph()
        cells, rest = (graph.add_variables(name, fg.Categorical(2), 4) for name in ("cells", "rest"))
        both = graph.add_variables("both", fg.Categorical(2), 8)
        for number in range(4):  # added one by one, and run as one
            near = np.array([number, (number + 1) % 4])
            port = fg.concatenate(cells[near], rest[number, None]) if split else both[[*near, 4 + number]]
            graph.add_factors(
                f"f{number}",
                fg.NoisyOr([0.2, 0.5, 0.7], 0.05),
                port,
                rest[number - 1] if split else both[3 + number if number else 7],
            )
        inference = fg.Inference(graph, batch=2, backend=backend)
        assert len(inference.layout.groups) == 1
        inference.set_potentials("f2", fg.NoisyOr([0.9, 0.1, 0.3], 0.2))
        parts = [(cells, fields[:, :4]), (rest, fields[:, 4:])] if split else [(both, fields)]
        for x, values in parts:
            inference.set_prior(x, values)
        inference.observe(cells[1] if split else both[1], [1, 0])
        found = inference.run(max_iterations=8, tolerance=0.0)
        inference.state.save(tmp_path / "state.npz")
        again = fg.Inference(graph, batch=2, backend=backend)
        again.state.load(tmp_path / "state.npz")
        np.testing.assert_allclose(*(i.backend.to_host(i.state.pools[0].messages) for i in (again, inference)))
        results.append(np.concatenate([found.marginals(x) for x, _ in parts], axis=1))
    np.testing.assert_allclose(results[0], results[1], atol=1e-10)


def test_models_go_to_files_and_back(tmp_path: Path) -> None:
    split, _ = graphs("Parity", forest=False)
    fg.write_uai(tmp_path / "model.uai", split)
    model = fg.read_uai(tmp_path / "model.uai")
    assert fg.exact(model.graph).log_partition == pytest.approx(fg.exact(split).log_partition)


def test_parts_of_one_block_are_an_index() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 6)
    port = fg.concatenate(x[[[0, 1], [2, 3]]], x[[[4], [5]]])
    assert isinstance(port, fg.Variables)
    np.testing.assert_array_equal(port.index, [[0, 1, 4], [2, 3, 5]])


def test_wrong_concatenations_are_refused_by_name() -> None:
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Spin(), 6), graph.add_variables("y", fg.Spin(), 2)
    z = graph.add_variables("z", fg.Categorical(3), 2)
    other = fg.FactorGraph().add_variables("y", fg.Spin(), 2)
    with pytest.raises(ValueError, match="one block at least"):
        fg.concatenate()
    with pytest.raises(TypeError, match="part 1 must be Variables"):
        fg.concatenate(x, np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'x' is a single variable; give it an axis, as x\[None\]"):
        fg.concatenate(x[0], y)
    with pytest.raises(ValueError, match=r"'x' has \(3, 2\), 'y' has \(2, 1\)"):
        fg.concatenate(x.reshape(3, 2), y[:, None])
    with pytest.raises(TypeError, match=r"Spin\(\) and Categorical"):
        fg.concatenate(x[:2, None], z[:, None])
    with pytest.raises(TypeError, match="factors 'f': port 0 is not plural"):
        graph.add_factors("f", fg.Ising(1.0), fg.concatenate(x[:2, None], y[:, None]), x[:2])
    with pytest.raises(ValueError, match="port 0 has variables 'y' that belong to another graph"):
        graph.add_factors("f", fg.Parity(), fg.concatenate(x[:2, None], other[:, None]))
    with pytest.raises(ValueError, match=r"meets variable 'x'\[0\] twice"):
        graph.add_factors("f", fg.Parity(), fg.concatenate(x[[0]], y[:1], x[[0]]))
