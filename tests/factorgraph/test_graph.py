"""Building graphs: blocks index like arrays, and what is wrong is refused by name."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import factorgraph as fg


@pytest.fixture
def graph() -> fg.FactorGraph:
    return fg.FactorGraph()


@pytest.mark.parametrize(
    "key", [3, -1, slice(1, 3), (slice(None), 2), (1, 2), [0, 2], (..., 0), np.array([[0, 1], [2, 3]])], ids=repr
)
def test_variables_index_like_an_array(graph: fg.FactorGraph, key: object) -> None:
    x = graph.add_variables("x", fg.Spin(), (4, 3))
    numbers = np.arange(12).reshape(4, 3)
    np.testing.assert_array_equal(x[key].index, numbers[key])
    assert x[key].shape == numbers[key].shape


def test_one_number_is_no_prior_of_a_type_with_several_parameters() -> None:
    graph = fg.FactorGraph()
    x, c = graph.add_variables("x", fg.Gaussian(), 3), graph.add_variables("c", fg.Categorical(2))
    for variables in (x, c):
        graph.set_prior(variables, 0.0)  # flat
        with pytest.raises(ValueError, match=r"takes natural parameters of shape \(2,\), not a number"):
            graph.set_prior(variables, 5.0)


def test_variables_take_masks_reshape_and_iterate(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("x", fg.Categorical(2), (4, 3))
    mask = np.arange(12).reshape(4, 3) % 2 == 0
    np.testing.assert_array_equal(x[mask].index, [0, 2, 4, 6, 8, 10])
    assert x.reshape(2, 6).shape == x.reshape((2, 6)).shape == (2, 6)
    assert x.T.shape == (3, 4)
    assert x.ravel().size == x.size == 12
    assert [row.shape for row in x] == [(3,)] * 4
    assert len(x) == 4
    assert x.ndim == 2
    assert x.is_whole
    assert not x[:].reshape(12).is_whole


def test_index_out_of_range_names_the_block(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("pixels", fg.Spin(), (4, 3))
    with pytest.raises(IndexError, match=r"'pixels' of shape \(4, 3\).*index 4"):
        x[4]


def test_a_single_variable_meets_all_factors_of_a_block(graph: fg.FactorGraph) -> None:
    hub = graph.add_variables("hub", fg.Spin())
    leaves = graph.add_variables("leaves", fg.Spin(), 5)
    spokes = graph.add_factors("spokes", fg.Ising(0.1), hub, leaves)
    assert spokes.count == 5
    assert graph.is_forest


def test_repr_summarises_the_graph(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("x", fg.Spin(), (3, 3))
    graph.add_factors("rows", fg.Ising(0.1), x[:-1], x[1:])
    graph.add_factors("columns", fg.Ising(0.1), x[:, :-1], x[:, 1:])
    assert repr(graph).startswith("FactorGraph: 9 variables, 12 factors, 24 edges, 1 component, with cycles")
    assert "<table>" in graph._repr_html_()
    assert repr(x[0]) == "<Variables 'x': Spin(), shape (3,)>"


def test_to_networkx_keeps_structure(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("x", fg.Spin(), 3)
    graph.add_variables("alone", fg.Categorical(2))
    graph.add_factors("bonds", fg.Ising(0.1), x[:-1], x[1:])
    network = graph.to_networkx()
    assert (network.number_of_nodes(), network.number_of_edges()) == (6, 4)
    assert nx.number_connected_components(network) == graph.components()[0] == 2
    assert nx.is_forest(network)
    assert network.edges[("bonds", 0), ("x", 1)]["port"] == 1


def test_forest_is_told_from_cycles(graph: fg.FactorGraph) -> None:
    x = graph.add_variables("x", fg.Spin(), 4)
    graph.add_factors("path", fg.Ising(0.1), x[:-1], x[1:])
    assert graph.is_forest
    graph.add_factors("closing", fg.Ising(0.1), x[0], x[3])
    assert not graph.is_forest


class TestRefused:
    """Bad input gives an error of the right type that names the block and the value."""

    @pytest.fixture
    def x(self, graph: fg.FactorGraph) -> fg.Variables:
        return graph.add_variables("x", fg.Categorical(3), (4,))

    def test_taken_names(self, graph: fg.FactorGraph, x: fg.Variables) -> None:
        with pytest.raises(ValueError, match="the name 'x' is already used"):
            graph.add_variables("x", fg.Spin())

    @pytest.mark.parametrize("shape", [0, (3, 0), -1, (2.5,)])
    def test_empty_or_odd_shapes(self, graph: fg.FactorGraph, shape: object) -> None:
        with pytest.raises(ValueError, match="variables 'y': shape"):
            graph.add_variables("y", fg.Spin(), shape)  # type: ignore[arg-type]

    @pytest.mark.parametrize("states", [0, -2, 2.0])
    def test_impossible_state_counts(self, states: object) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            fg.Categorical(states)  # type: ignore[arg-type]

    def test_not_a_type(self, graph: fg.FactorGraph) -> None:
        with pytest.raises(TypeError, match="must be a VariableType"):
            graph.add_variables("y", fg.Spin)  # type: ignore[arg-type]

    def test_ports_of_unequal_length(self, graph: fg.FactorGraph, x: fg.Variables) -> None:
        with pytest.raises(ValueError, match=r"factors 'f': ports must have equal shapes: port 1 \('x'\) has \(2,\)"):
            graph.add_factors("f", fg.Potts(1.0), x[:3], x[2:])

    def test_a_variable_twice(self, graph: fg.FactorGraph, x: fg.Variables) -> None:
        with pytest.raises(ValueError, match=r"factors 'f': factor 1 meets variable 'x'\[2\] twice"):
            graph.add_factors("f", fg.Potts(1.0), x[[0, 2]], x[[1, 2]])
        with pytest.raises(ValueError, match=r"factor 0 meets variable 'x'\[1\] twice"):
            graph.add_factors("g", fg.Table(np.zeros((3, 3, 3))), x[0], x[1], x[1])

    @pytest.mark.parametrize("shape", [(3, 2), (5, 3, 3), (3,), (3, 3, 3)])
    def test_potentials_of_a_wrong_shape(self, graph: fg.FactorGraph, x: fg.Variables, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"factors 'f': log_potentials has shape .*expected \(3, 3\).*or \(2, 3, 3\)"):
            graph.add_factors("f", fg.Table(np.zeros(shape)), x[:2], x[2:])

    def test_all_zero_factors(self, graph: fg.FactorGraph, x: fg.Variables) -> None:
        tables = np.zeros((2, 3, 3))
        tables[1] = -np.inf
        with pytest.raises(ValueError, match=r"factors 'f': all log-potentials of factor 1 are -inf"):
            graph.add_factors("f", fg.Table(tables), x[:2], x[2:])
        assert "f" not in graph.factor_blocks

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_potentials_that_are_not_numbers(self, graph: fg.FactorGraph, x: fg.Variables, value: float) -> None:
        with pytest.raises(ValueError, match=r"factors 'f': its log-potentials contain"):
            graph.add_factors("f", fg.Table(np.full((3, 3), value)), x[0], x[1])

    def test_couplings_of_a_wrong_shape(self, graph: fg.FactorGraph) -> None:
        s = graph.add_variables("s", fg.Spin(), 4)
        with pytest.raises(ValueError, match=r"factors 'f': coupling has shape \(2,\); expected a number or \(3,\)"):
            graph.add_factors("f", fg.Ising([1.0, 2.0]), s[:-1], s[1:])
        with pytest.raises(ValueError, match="coupling of factor 2 is NaN"):
            graph.add_factors("f", fg.Ising([1.0, 2.0, np.nan]), s[:-1], s[1:])

    def test_variables_of_a_type_that_the_factor_cannot_take(self, graph: fg.FactorGraph, x: fg.Variables) -> None:
        with pytest.raises(TypeError, match=r"factors 'f': Ising couples spins, but port 0 has Categorical\(num_states=3\)"):
            graph.add_factors("f", fg.Ising(1.0), x[0], x[1])

    def test_a_wrong_number_of_ports(self, graph: fg.FactorGraph, x: fg.Variables) -> None:
        with pytest.raises(ValueError, match="factors 'f': Potts takes 2 ports, not 3"):
            graph.add_factors("f", fg.Potts(1.0), x[0], x[1], x[2])

    def test_values_that_are_not_states(self, graph: fg.FactorGraph, x: fg.Variables) -> None:
        with pytest.raises(ValueError, match=r"observed values of 'x': .*3.* is not a state of Categorical"):
            graph.observe(x[0], 3)
        with pytest.raises(ValueError, match=r"observed values of 'x' have shape \(2,\); expected \(4,\)"):
            graph.observe(x, [0, 1])
        spin = graph.add_variables("s", fg.Spin())
        with pytest.raises(ValueError, match=r"observed values of 's': .*0.* is not a state of Spin"):
            graph.observe(spin, 0)

    def test_priors(self, graph: fg.FactorGraph, x: fg.Variables) -> None:
        with pytest.raises(ValueError, match=r"prior of 'x' has shape \(2,\); expected \(4, 3\)"):
            graph.set_prior(x, [0.0, 1.0])
        with pytest.raises(ValueError, match="prior of 'x': NaN"):
            graph.set_prior(x[0], [0.0, np.nan, 0.0])
        with pytest.raises(ValueError, match="prior of 'x': it rules out every state"):
            graph.set_prior(x[0], [-np.inf] * 3)
        with pytest.raises(ValueError, match=r"prior of 'x': \+inf"):
            graph.set_prior(x[0], [np.inf, 0.0, 0.0])

    def test_variables_of_another_graph(self, graph: fg.FactorGraph, x: fg.Variables) -> None:
        other = fg.FactorGraph().add_variables("x", fg.Categorical(3), (4,))
        with pytest.raises(ValueError, match="another graph"):
            graph.add_factors("f", fg.Potts(1.0), x[0], other[1])
        with pytest.raises(ValueError, match="'x' belong to another graph"):
            graph.observe(other[0], 1)
        inference = fg.Inference(graph)
        for change in (
            lambda: inference.observe(other[0], 1),
            lambda: inference.unobserve(other[0]),
            lambda: inference.set_prior(other, 0.0),
        ):
            with pytest.raises(ValueError, match="'x' belong to another graph"):
                change()

    def test_unknown_names(self, graph: fg.FactorGraph, x: fg.Variables) -> None:
        with pytest.raises(KeyError, match=r"there are no variables 'z'; the graph has \['x'\]"):
            graph.variables("z")
        with pytest.raises(KeyError, match="no factors 'f'"):
            graph.factors("f")

    def test_data_variables_at_edgewise_factors(self, graph: fg.FactorGraph) -> None:
        data = graph.add_variables("data", fg.Data(), 3)
        with pytest.raises(TypeError, match="only block factors take"):
            graph.add_factors("f", fg.Table(np.zeros(2)), data)

    def test_tables_too_large_to_enumerate(self, graph: fg.FactorGraph) -> None:
        wide = graph.add_variables("wide", fg.Spin(), 40)
        with pytest.raises(ValueError, match=r"factors 'f': its table would have 1\.1e\+12 entries"):
            graph.add_factors("f", fg.Table(lambda *states: 0.0), *wide)


def test_a_graph_that_has_grown_is_told() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (3,))
    graph.add_factors("f", fg.Ising(0.5), x[:-1], x[1:])
    inference = fg.Inference(graph)
    result = inference.run()
    y = graph.add_variables("y", fg.Spin())
    for act in (
        lambda: inference.run(),
        lambda: inference.step(),
        lambda: inference.observe(x[0], 1),
        lambda: inference.reset(),
    ):
        with pytest.raises(RuntimeError, match="has grown since it was compiled: make a new Inference"):
            act()
    with pytest.raises(RuntimeError, match="'y' were added to the graph after it was compiled"):
        result.mean(y)
    np.testing.assert_array_equal(result.mean(x), fg.run(graph).mean(x))


def test_decimating_nothing_fixes_nothing() -> None:
    assert fg.Inference(fg.FactorGraph()).decimate() == []
