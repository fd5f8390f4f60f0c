"""Graphs in parts: all factors once, all variables that they touch, potentials of their own."""

from __future__ import annotations

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.factors.selected import SelectedFactor


def some_graph(seed: int = 0) -> fg.FactorGraph:
    rng, graph = np.random.default_rng(seed), fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), (4, 5))
    s = graph.add_variables("s", fg.Spin(), 12)
    graph.add_variables("alone", fg.Spin(), 3)
    graph.set_prior(x, rng.normal(size=(4, 5, 3)))
    graph.observe(s[2], -1)
    graph.add_factors("rows", fg.Table(rng.normal(size=(16, 3, 3))), x[:, :-1].ravel(), x[:, 1:].ravel())
    graph.add_factors("same", fg.Potts(0.3), x[:-1], x[1:])
    graph.add_factors("count", fg.Cardinality(rng.normal(size=5)), s.reshape(3, 4))
    graph.add_factors("mixed", fg.Table(rng.normal(size=(2, 3))), s[:4], x[:, 0])
    return graph


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_each_factor_is_in_one_part_with_its_variables_and_potentials(parts: int) -> None:
    pytest.importorskip("pymetis")
    graph = some_graph()
    found = fg.partition(graph, parts)
    assert len(found) == parts
    for name, block in graph.factor_blocks.items():
        numbers = np.concatenate([part.numbers.get(name, np.zeros(0, dtype=int)) for part in found])
        assert sorted(numbers) == list(range(block.count))
        for part in found:
            if name not in part.numbers:
                continue
            mine = part.graph.factors(name)
            for here, there in zip(mine.ports, block.ports, strict=True):
                np.testing.assert_array_equal(part.numbers[here.name][here.index], there.index[part.numbers[name]])
            whole, table = block.bound.table(), mine.bound.table()
            expected = whole[..., part.numbers[name]] if whole.shape[-1] == block.count > 1 else whole
            np.testing.assert_array_equal(table, expected)
    for name, variables in graph.variable_blocks.items():
        times = np.zeros(variables.size, dtype=int)
        for part in found:
            times[part.numbers.get(name, [])] += 1
        assert times.min() >= 1
        for part in found:
            shared = [numbers for port, numbers in part.shared.items() if port.name == name]
            expected = [number for number in part.numbers.get(name, []) if times[number] > 1]
            assert sorted(np.concatenate(shared)) == expected if shared else not expected
    for part in found:
        for name, block in part.graph.variable_blocks.items():
            whole = graph.variable_blocks[name]
            if whole.prior is not None:
                np.testing.assert_array_equal(block.prior, whole.prior[part.numbers[name]])
            if whole.observed is not None:
                np.testing.assert_array_equal(block.observed, whole.observed[part.numbers[name]])


def test_a_long_grid_is_cut_at_few_variables() -> None:
    pytest.importorskip("pymetis")
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (6, 60))
    graph.add_factors("rows", fg.Ising(0.1), x[:, :-1], x[:, 1:])
    graph.add_factors("columns", fg.Ising(0.1), x[:-1], x[1:])
    left, right = fg.partition(graph, 2)
    assert sum(len(numbers) for numbers in left.shared.values()) <= 12
    sizes = [part.graph.num_factors for part in (left, right)]
    assert max(sizes) <= 1.1 * min(sizes)


def test_new_potentials_of_a_part_are_those_of_the_whole_block() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 4)
    graph.add_factors("bonds", fg.Ising([0.1, 0.2, 0.3]), x[:-1], x[1:])
    part = fg.partition(graph, 2, owners={"bonds": [0, 1, 1]})[1]
    inference = fg.Inference(part.graph)
    inference.set_potentials("bonds", fg.Ising([1.0, 2.0, 3.0]))
    expected = fg.FactorGraph()
    y = expected.add_variables("y", fg.Spin(), 3)
    expected.add_factors("bonds", fg.Ising([2.0, 3.0]), y[:-1], y[1:])
    assert inference.run().log_partition == pytest.approx(fg.run(expected).log_partition)


def test_what_cannot_be_split_is_refused_by_name() -> None:
    graph = some_graph()
    with pytest.raises(ValueError, match="parts must be a whole number of at least 1, not 0"):
        fg.partition(graph, 0)
    with pytest.raises(ValueError, match="owners of factors 'rows' must be 16 whole numbers"):
        fg.partition(graph, 2, owners={"rows": [0, 1]})
    with pytest.raises(ValueError, match="owners of factors 'rows' must be numbers from 0 to 1"):
        fg.partition(graph, 2, owners={"rows": np.full(16, 2)})

    class Mine(fg.Factor):
        def messages(self, incoming, parameters, ports, semiring):  # type: ignore[no-untyped-def]
            return [0.0 * incoming[port] for port in ports]

    x = graph.variables("x")
    graph.add_factors("mine", Mine(), x[:, 0], x[:, 1])
    owners = {name: np.arange(block.count) % 2 for name, block in graph.factor_blocks.items()}
    with pytest.raises(TypeError, match="factors 'mine': Mine needs a merge_key"):
        fg.partition(graph, 2, owners=owners)
    owners["mine"] = np.ones(4, dtype=int)
    assert fg.partition(graph, 2, owners=owners)[1].graph.factors("mine").count == 4


def test_selected_factors_are_asked_by_their_messages_alone() -> None:
    graph = some_graph()
    block = graph.factors("count")
    assert not SelectedFactor(block.bound, np.array([0, 2])).factor.pointwise
    assert block.bound.factor.pointwise == fg.Cardinality.pointwise
