"""Indexed views of plates at the ports of block factors: gathered before an update, added up after it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.inference.layout.views import View


class Pull(fg.BlockFactor):
    """Each place of ``left`` is pulled to the mean of the same place of ``right``, and the other way round: mean field."""

    ports = ("left", "right")
    may_be_outside = ("right",)

    def bind(self, types: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> None:
        if shapes[0] != shapes[1]:
            raise ValueError(f"left and right must have one shape, not {shapes}")

    def update(self, ports: Sequence[Any], memory: dict[str, Any], asked: Sequence[int], backend: Any) -> list[Any]:
        return [0.5 * ports[1 - port].mean for port in asked]


VIEWS = {
    "rows": lambda x: x.gather([3, 0, 0, -1, 2]),
    "windows": lambda x: x.gather([[0, 1, 2], [2, 3, -1]]).reshape(6, 4),
    "transposed": lambda x: x.T,
    "single variables": lambda x: x[[0, 1, 1, 3], [2, 2, 2, 0]],
    "every second": lambda x: x[::2, 1:],
    "the same in another shape": lambda x: x.reshape(2, 8),
    "one many times": lambda x: x[np.zeros(40, dtype=int), np.r_[np.zeros(39, dtype=int), 1]],
}


@pytest.mark.parametrize("name", VIEWS)
def test_places_are_gathered_and_messages_added_up(backend: str, name: str, rng: np.random.Generator) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (4, 4))
    seen = VIEWS[name](x)
    other = graph.add_variables("other", fg.Spin(), seen.shape)
    graph.add_factors("pull", Pull(), other, seen)
    fields, theirs = rng.normal(size=(4, 4)), rng.normal(size=seen.shape)
    inference = fg.Inference(graph, fg.Flooding(), backend=backend)
    inference.set_prior(x, fields)
    inference.set_prior(other, theirs)
    inference.step()
    inside = seen.index >= 0
    expected = theirs.copy()
    expected[inside] += 0.5 * np.tanh(fields.reshape(-1)[seen.index[inside]])
    np.testing.assert_allclose(inference.state.belief(other), expected, atol=1e-12)
    expected = fields.reshape(-1).copy()
    np.add.at(expected, seen.index[inside], 0.5 * np.tanh(theirs[inside]))
    np.testing.assert_allclose(inference.state.belief(x), expected.reshape(4, 4), atol=1e-12)
    again = pickle.loads(pickle.dumps(inference))
    inference.step()
    again.step()
    np.testing.assert_array_equal(again.state.belief(x), inference.state.belief(x))


@pytest.mark.parametrize(
    ("name", "length"), [("rows", 4), ("windows", 4), ("the same in another shape", 16), ("every second", 1)]
)
def test_what_lies_together_is_moved_together(name: str, length: int) -> None:
    x = fg.FactorGraph().add_variables("x", fg.Spin(), (4, 4))
    view = View.of(VIEWS[name](x), fg.get_backend("numpy", "float64"))
    assert view is not None
    assert view.length == length
    assert View.of(x, fg.get_backend("numpy", "float64")) is None


def test_one_block_may_be_at_two_ports_in_different_views() -> None:
    """A chain in one plate: each spin is pulled by the next, and the other way round."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 5)
    graph.add_factors("pull", Pull(), x[:-1], x[1:])
    fields = np.arange(5) / 5
    graph.set_prior(x, fields)
    inference = fg.Inference(graph, fg.Flooding())
    inference.step()
    expected = fields + 0.5 * np.r_[np.tanh(fields[1:]), 0] + 0.5 * np.r_[0, np.tanh(fields[:-1])]
    np.testing.assert_allclose(inference.state.belief(x), expected)
    assert graph.num_edges == 8
    assert graph.to_networkx().degree(("x", 2)) == 1  # of the one block


def test_places_outside_are_refused_where_they_mean_nothing() -> None:
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Spin(), 4), graph.add_variables("y", fg.Spin(), 3)
    hole = x.gather([0, -1, 2])
    with pytest.raises(ValueError, match=r"factors 'a': port 0 has places without a variable \(-1\)"):
        graph.add_factors("a", fg.Ising(1.0), hole, y)
    with pytest.raises(ValueError, match=r"factors 'b': port 'left' cannot have places without a variable \(-1\)"):
        graph.add_factors("b", Pull(), hole, y)
    for change in (lambda: graph.observe(hole, 1), lambda: graph.set_prior(hole[1:], 1.0)):
        with pytest.raises(ValueError, match="variables 'x' have places without a variable"):
            change()
    for places in ([4], [-2], [0.5]):
        with pytest.raises(IndexError, match="places must be whole numbers from -1 to 3"):
            x.gather(places)
    with pytest.raises(ValueError, match="factors 'c': meets a block twice"):
        graph.add_factors("c", Pull(), x, x)
    with pytest.raises(ValueError, match="factors 'd': port 'left' has no variables"):
        graph.add_factors("d", Pull(), y[:0], x[:0])
    graph.add_factors("e", Pull(), y, hole)
    assert graph.edges()[0].tolist() == [4, 5, 6, 0, 2]


def test_data_take_no_messages() -> None:
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Data(), 3), graph.add_variables("y", fg.Spin(), 3)
    block = graph.add_factors("pull", Pull(), y, x)
    assert block.open_ports == (0,)
    for schedule in (fg.Flooding(), fg.RandomOrder()):
        inference = fg.Inference(graph, schedule)
        inference.observe(x, [1.0, 2.0, -4.0])
        inference.step()
        np.testing.assert_allclose(inference.state.belief(y), [0.5, 1.0, -2.0])
