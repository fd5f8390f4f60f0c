"""What goes from one inference to another: files in the order of the blocks, and adopted messages of a graph that has grown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import factorgraph as fg

rng = np.random.default_rng(5)
N = 12
PAIRS = [(i, (i + s) % N) for s in (1, 3) for i in range(N)]
TABLES = rng.normal(size=(len(PAIRS), 3, 3))


def graphs(kind: str) -> tuple[fg.FactorGraph, fg.Variables]:
    """Factors on a ring with chords, added one by one."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin() if kind == "ising" else fg.Categorical(3), N)
    for k, (i, j) in enumerate(PAIRS):
        graph.add_factors(f"f{k}", fg.Ising(0.4 * TABLES[k, 0, 0]) if kind == "ising" else fg.Table(TABLES[k]), x[i], x[j])
    return graph, x


def test_files_go_by_the_blocks_however_they_are_merged(tmp_path: Path) -> None:
    loop, x = graphs("ising")
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
def test_a_grown_graph_goes_on_warm(dtype: str, backend: str) -> None:
    loop, x = graphs("table")
    first = fg.Inference(loop, damping=0.3)
    first.observe(x[0], 2)
    first.set_prior(x[3], [0.0, 1.0, 0.0])
    first.run(tolerance=1e-10)
    y = loop.add_variables("y", fg.Categorical(3))
    loop.add_factors("new", fg.Table(0.01 * TABLES[0]), x[5], y)
    cold, warm = (fg.Inference(loop, damping=0.3, backend=backend, dtype=dtype) for _ in range(2))
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


def test_sets_of_a_batch_go_along_with_their_priors_and_evidence() -> None:
    first_rng = np.random.default_rng(0)
    loop, x = graphs("table")
    first = fg.Inference(loop, batch=2, damping=0.3)
    priors = first_rng.normal(size=(2, N, 3))
    first.set_prior(x, priors)
    first.observe(x[0], [2, 1])
    expected = first.run(tolerance=1e-11)
    second = fg.Inference(loop, batch=2, damping=0.3)
    second.adopt(first)
    found = second.run(tolerance=1e-11, keep_messages=True)
    assert max(found.iterations) <= min(expected.iterations)
    np.testing.assert_allclose(found.marginals(x), expected.marginals(x), atol=1e-9)
    np.testing.assert_allclose(found.log_partition, expected.log_partition, atol=1e-8)
