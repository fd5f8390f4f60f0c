"""States with names: observed by name, told by name."""

from __future__ import annotations

import builtins
import copy
import pickle
from typing import Any

import numpy as np
import pytest

import factorgraph as fg

LEVELS = ["low", "mid", "high"]
TABLE = np.log(np.eye(3) + np.array([[0.1, 0.2, 0.3], [0.2, 0.1, 0.1], [0.1, 0.1, 0.2]]))


def chain(labels: Any = LEVELS) -> tuple[fg.FactorGraph, fg.Variables]:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(labels), 4)
    graph.add_factors("pairs", fg.Table(TABLE), x[:3], x[1:])
    return graph, x


@pytest.mark.parametrize("labels", [LEVELS, [10, 20, 30], [("a", 1), ("b", 1), "c"], [None, False, 2.5]])
def test_evidence_by_name_is_evidence_by_number(labels: list[Any], backend: str) -> None:
    named, x = chain(labels)
    plain, y = chain(3)
    named.observe(x[0], labels[2])
    plain.observe(y[0], 2)
    found, expected = fg.run(named, backend=backend), fg.run(plain, backend=backend)
    np.testing.assert_array_equal(found.marginals(x), expected.marginals(y))
    modes = [result.mode(x) for result in (found, fg.exact(named), fg.run(named, mode="max"), fg.exact(named, mode="max"))]
    numbers = [result.mode(y) for result in (expected, fg.exact(plain), fg.run(plain, mode="max"), fg.exact(plain, mode="max"))]
    for mode, number in zip(modes, numbers, strict=True):
        assert mode.tolist() == [labels[i] for i in number]
    named.observe(x, modes[2])  # what comes out goes in
    assert fg.run(named).mode(x).tolist() == modes[2].tolist()


def test_numbers_still_work_where_no_name_is_one() -> None:
    graph, x = chain()
    graph.observe(x, [0, 2, 1, 0])
    assert fg.run(graph).mode(x).tolist() == ["low", "high", "mid", "low"]
    graph, x = chain([10, 20, 30])
    with pytest.raises(ValueError, match="observed values of 'x': 0 is not a state; the states are 10, 20, 30"):
        graph.observe(x, [0, 2, 1, 0])


def test_sets_of_a_batch_are_observed_by_name() -> None:
    graph, x = chain()
    inference = fg.Inference(graph, batch=2)
    inference.observe(x, [["low"] * 4, [*LEVELS, "mid"]])
    inference.unobserve(x[3])
    inference.observe(x[3], "high", sets=1)
    modes = inference.run().mode(x)
    assert modes.tolist() == [["low"] * 4, [*LEVELS, "high"]]


def test_a_model_of_named_states_goes_by_positions_too() -> None:
    graph, x = chain([10, 20, 30])
    model = fg.Model(graph, [x], list("abcd"), [["ten", "twenty", "thirty"]] * 4)
    model.observe({"a": "thirty", "b": 0})
    assert model.mode(fg.run(graph))[:2].tolist() == [2, 0]
    assert fg.run(graph).mode(x)[:2].tolist() == [30, 10]


@pytest.mark.parametrize("value", ["hot", 3, 1.5, ["low", "hot", "low", "mid"], ["low"] * 3])
def test_what_is_no_state_is_refused_and_nothing_is_observed(value: Any) -> None:
    graph, x = chain()
    with pytest.raises(ValueError, match="observed values of 'x'"):
        graph.observe(x, value)
    assert x.block.observed is None


@pytest.mark.parametrize("labels", [[], ["a", "a"], "abc", 0, 2.5, None, [[1], [2]]])
def test_names_that_make_no_sense_are_refused(labels: Any) -> None:
    with pytest.raises(ValueError, match=r"Categorical needs|must be hashable"):
        fg.Categorical(labels)


def test_types_with_other_names_meet() -> None:
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Categorical(["a", "b"])), graph.add_variables("y", fg.Categorical(["c", "d"]))
    graph.add_factors("like", fg.Potts(2.0), x, y)
    graph.observe(x, "b")
    assert fg.run(graph).mode(y) == "d"
    assert fg.run(graph).mode(x) == "b"
    assert pickle.loads(pickle.dumps(graph)).variables("y").type.labels == ("c", "d")
    assert copy.deepcopy(graph).variables("x").type.labels == ("a", "b")


def test_sparse_tables_list_configurations_by_name() -> None:
    graph, x = chain()
    graph.add_factors("words", fg.SparseTable([["low", "high"], ["mid", "mid"]]), x[0], x[3])
    graph.observe(x[0], "low")
    assert fg.run(graph).mode(x[3]) == "high"


@pytest.mark.parametrize("run", [fg.run, fg.exact])
def test_a_table_has_names(run: Any) -> None:
    pandas = pytest.importorskip("pandas")
    graph, x = chain()
    graph.observe(x[0], "high")
    result = run(graph)
    table = result.table(x[1:])
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == LEVELS
    assert list(table.index) == ["x[1]", "x[2]", "x[3]"]
    np.testing.assert_array_equal(table.to_numpy(), result.marginals(x[1:]))


def test_a_table_without_pandas_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    find = builtins.__import__

    def without_pandas(name: str, *others: Any, **more: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return find(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    graph, x = chain()
    graph.observe(x, ["low", "mid", "high", "low"])
    expected = ["         low     mid    high", "x[0]  1.0000  0.0000  0.0000", "x[1]  0.0000  1.0000  0.0000"]
    assert fg.run(graph).table(x).splitlines()[:3] == expected
    with pytest.raises(ValueError, match="one set of evidence"):
        fg.Inference(graph, batch=2).run().table(x)


def test_a_table_of_normal_variables_has_means_and_variances() -> None:
    pytest.importorskip("pandas")
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian())
    graph.add_factors("seen", fg.LinearGaussian([1.0], noise_variance=4.0, offset=3.0), x)
    table = fg.run(graph).table(x)
    assert table.loc["x", "mean"] == pytest.approx(3.0)
    assert table.loc["x", "variance"] == pytest.approx(4.0)
