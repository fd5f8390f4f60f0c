"""What goes from one inference to another: files in the order of the blocks, and adopted messages of a graph that has grown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factorgraph as fg

rng = np.random.default_rng(5)
N = 12
PAIRS = np.array([(i, (i + s) % N) for s in (1, 3) for i in range(N)])
TABLES = rng.normal(size=(len(PAIRS), 3, 3))
COUPLINGS = rng.normal(size=len(PAIRS)) * 0.4


class Near(fg.Factor):
    """A type of one's own, of the states alone."""

    arity = 2

    def __init__(self, strength: Any) -> None:
        self.strength = np.asarray(strength, dtype=np.float64)

    def log_potential(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:  # type: ignore[override]
        return -self.strength * (x - y) ** 2


KINDS: dict[str, tuple[fg.VariableType, Callable[[Any], fg.Factor]]] = {
    "table": (fg.Categorical(3), lambda k: fg.Table(TABLES[k])),
    "ising": (fg.Spin(), lambda k: fg.Ising(COUPLINGS[k])),
    "potts": (fg.Categorical(3), lambda k: fg.Potts(COUPLINGS[k])),
    "own": (fg.Categorical(3), lambda k: Near(abs(COUPLINGS[k]))),
}


def graphs(kind: str, pairs: np.ndarray = PAIRS) -> tuple[fg.FactorGraph, fg.FactorGraph]:
    """Factors added one by one, and at once."""
    made = []
    for alone in (True, False):
        graph = fg.FactorGraph()
        x = graph.add_variables("x", KINDS[kind][0], N)
        graph.set_prior(x, np.linspace(-0.5, 0.5, x.size * (3 if kind != "ising" else 1)).reshape(N, -1).squeeze())
        if alone:
            for k, (i, j) in enumerate(pairs):
                graph.add_factors(f"f{k}", KINDS[kind][1](k), x[int(i)], x[int(j)])
        else:
            graph.add_factors("f", KINDS[kind][1](slice(len(pairs))), x[pairs[:, 0]], x[pairs[:, 1]])
        made.append(graph)
    return made[0], made[1]


def test_files_go_by_the_blocks_however_they_are_merged(tmp_path: Path) -> None:
    loop, _ = graphs("ising")
    x = loop.variables("x")
    for i in range(4):  # blocks of two types in turn
        loop.add_factors(f"t{i}", fg.Table(rng.normal(size=(2, 2))), x[i], x[i + 5])
        loop.add_factors(f"i{i}", fg.Ising(0.3), x[i], x[i + 6])
    inference = fg.Inference(loop)
    result = inference.run()
    inference.state.save(tmp_path / "state.npz")
    with np.load(tmp_path / "state.npz") as file:
        messages, block = file["messages/0"], list(loop.factor_blocks).index("t2")
    edges = inference.layout.edges_of("t2")
    held = inference.state.pools[0].messages
    for port, (_, edge) in enumerate(edges):
        assert messages[..., 2 * block + port] == held[..., edge[0]]
    again = fg.Inference(loop)
    again.state.load(tmp_path / "state.npz")
    np.testing.assert_array_equal(again.state.pools[0].messages, held)
    np.testing.assert_allclose(again.run(keep_messages=True).mean(x), result.mean(x), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_grown_graph_goes_on_warm(dtype: str) -> None:
    loop, _ = graphs("table")
    x = loop.variables("x")
    first = fg.Inference(loop, damping=0.3)
    first.observe(x[0], 2)
    first.set_prior(x[3], [0.0, 1.0, 0.0])
    first.run(tolerance=1e-10)
    y = loop.add_variables("y", fg.Categorical(3))
    loop.add_factors("new", fg.Table(0.01 * TABLES[0]), x[5], y)
    cold, warm = (fg.Inference(loop, damping=0.3, dtype=dtype) for _ in range(2))
    cold.observe(x[0], 2)
    cold.set_prior(x[3], [0.0, 1.0, 0.0])
    warm.adopt(first)
    expected, found = cold.run(check_every=1), warm.run(check_every=1, keep_messages=True)
    assert found.iterations < expected.iterations
    np.testing.assert_allclose(found.marginals(x), expected.marginals(x), atol=1e-5 if dtype == "float64" else 1e-3)


def test_adopting_names_what_does_not_fit() -> None:
    loop, _ = graphs("table")
    other, _ = graphs("ising")
    with pytest.raises(ValueError, match="variables 'x'"):
        fg.Inference(loop).adopt(fg.Inference(other))
    with pytest.raises(ValueError, match="batch"):
        fg.Inference(loop, batch=2).adopt(fg.Inference(loop))
