"""The range of potentials: right inside, refused outside; and what users hand over stays theirs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.semiring import LARGEST

PAIRS: dict[str, Callable[[float], fg.Factor]] = {
    "table": lambda v: fg.Table([[v, 0.0], [0.0, v]]),
    "callable": lambda v: fg.Table(lambda x, y: np.where(x == y, v, 0.0)),
    "ising": fg.Ising,
    "parity": fg.Parity,
    "potts": fg.Potts,
    "cardinality": lambda v: fg.Cardinality([v, 0.0, v]),
    "sparse": lambda v: fg.SparseTable([[0, 0], [1, 1], [0, 1]], [v, v, 0.0]),
}


def pair(name: str, size: float) -> tuple[fg.FactorGraph, fg.Variables]:
    graph = fg.FactorGraph()
    spins = name not in ("potts", "sparse")
    x = graph.add_variables("x", fg.Spin() if spins else fg.Categorical(2), 2)
    ports = (x[None],) if name in ("parity", "cardinality") else (x[0], x[1])
    graph.add_factors("f", PAIRS[name](size), *ports)
    graph.set_prior(x[0], 0.25 if spins else [0.0, 0.5])
    return graph, x


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [1.0, 1e3, LARGEST, -1e3])
@pytest.mark.parametrize("name", PAIRS)
def test_potentials_in_range_give_right_answers(name: str, size: float, dtype: str) -> None:
    graph, x = pair(name, size)
    found, expected = fg.run(graph, dtype=dtype), fg.exact(graph)
    # A message is off by at most a few rounding errors of the largest potential.
    np.testing.assert_allclose(found.marginals(x), expected.marginals(x), atol=abs(size) * np.finfo(dtype).eps + 1e-6)
    assert found.log_partition == pytest.approx(expected.log_partition, rel=4 * float(np.finfo(dtype).eps), abs=1e-5)


@pytest.mark.parametrize("size", [1.5e6, 1e39, 1e150, -1e308])
@pytest.mark.parametrize("name", PAIRS)
def test_potentials_out_of_range_are_refused_by_name(name: str, size: float) -> None:
    with pytest.raises(ValueError, match=rf"factors 'f': .*{size!r} is out of range.*-1e\+06 to 1e\+06".replace("e+", r"e\+")):
        pair(name, size)


def test_priors_out_of_range_are_refused_by_name() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 3)
    y = graph.add_variables("y", fg.Categorical(2), 3)
    for variables, prior in ((x, [0.0, -1e39, 0.0]), (y, [0.0, 1e7])):
        with pytest.raises(ValueError, match=f"prior of '{variables.name}'.*out of range"):
            graph.set_prior(variables, prior)
    graph.set_prior(x, [0.0, np.inf, -LARGEST])


def test_factors_keep_copies_of_what_they_are_given() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 3)
    c = graph.add_variables("c", fg.Categorical(2), 2)
    r = graph.add_variables("r", fg.Gaussian(), 1)
    given = {
        "table": np.zeros((2, 2)),
        "ising": np.zeros(1),
        "parity": np.zeros(1),
        "potts": np.zeros(1),
        "counts": np.zeros(4),
        "literals": np.ones((1, 3)),
        "rows": np.array([[0, 0], [1, 1]]),
        "weights": np.zeros(2),
        "coefficient": np.ones(1),
        "noise": np.ones(1),
        "offset": np.zeros(1),
        "prior": np.zeros(3),
        "seen": np.array([1]),
    }
    graph.add_factors("table", fg.Table(given["table"]), x[:1], x[1:2])
    graph.add_factors("ising", fg.Ising(given["ising"]), x[:1], x[1:2])
    graph.add_factors("parity", fg.Parity(given["parity"]), x[None])
    graph.add_factors("potts", fg.Potts(given["potts"]), c[:1], c[1:])
    graph.add_factors("counts", fg.Cardinality(given["counts"], given["literals"]), x[None])
    graph.add_factors("sparse", fg.SparseTable(given["rows"], given["weights"]), c[0], c[1])
    graph.add_factors("linear", fg.LinearGaussian([given["coefficient"]], given["noise"], given["offset"]), r)
    graph.set_prior(x, given["prior"])
    graph.observe(c[:1], given["seen"])
    before = fg.run(graph, fg.Flooding())
    for array in given.values():
        array[...] = 1 - array if array.dtype.kind == "i" else 3.0 + np.arange(array.size).reshape(array.shape)
    given["literals"][...] = -1
    after = fg.run(graph, fg.Flooding())
    for variables in (x, c, r):
        np.testing.assert_array_equal(after.marginals(variables), before.marginals(variables))
