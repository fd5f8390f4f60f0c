"""CuPy's backend: its own code on a stand-in for CuPy, and on a GPU, where there is one, the same."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from nets.training import Trainer
from tests.factorgraph.stand_in_cupy import stand_in_cupy  # noqa: F401
from tests.factorgraph.test_kernels import problem
from tests.factorgraph.test_nonlinear import pendulum
from tests.factorgraph.test_switch import weather
from tests.factorgraph.vectors import ALONG, MOTION, chain, random_tree

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")


@pytest.fixture(params=["stand-in", pytest.param("GPU", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    """The stand-in, with its counts, or None on a GPU."""
    return request.getfixturevalue("stand_in_cupy") if request.param == "stand-in" else None


@pytest.mark.parametrize("name", ["pairs", "tables", "parity", "hub", "tree"])
def test_sparse_programs_are_captured_and_replayed(device: Any, name: str) -> None:
    found = []
    for backend in ("numpy", "cupy"):
        graph, blocks, schedule = problem(name, np.random.default_rng(3))
        inference = fg.Inference(graph, schedule, backend=backend)
        inference.observe(blocks[0][:2], [1, -1]) if name != "parity" else None
        for _ in range(4):
            inference.step()
        result = inference.run(20, tolerance=0)
        found.append([result.belief(block) for block in blocks])
    for mine, theirs in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)
    if device is not None:
        assert device.graphs
        assert device.replays >= 2


def test_one_capture_serves_all_runs_with_new_evidence(device: Any) -> None:
    """Also where results are kept, and on a tree, whose runs are one iteration each."""
    graph, (spins, _), schedule = problem("tree", np.random.default_rng(3))
    inferences = [fg.Inference(graph, schedule, backend=backend) for backend in ("numpy", "cupy")]
    results: list[list[fg.Result]] = [[], []]
    for value in (1, -1, -1, 1, 1):
        for kept, inference in zip(results, inferences, strict=True):
            inference.observe(spins[5], value)
            kept.append(inference.run())
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine.mean(spins), theirs.mean(spins), atol=1e-12)
    assert results[1][0].mean(spins[5]) == 1.0
    assert results[1][1].mean(spins[5]) == -1.0
    if device is not None:
        assert (len(device.graphs), device.replays) == (1, 4)


def test_graphs_can_be_switched_off(device: Any) -> None:
    backend = fg.get_backend("cupy")
    backend.graphs = False  # type: ignore[attr-defined]
    graph, _, schedule = problem("pairs", np.random.default_rng(3))
    fg.Inference(graph, schedule, backend=backend).run(20, tolerance=0)
    assert device is None or not device.graphs


@pytest.mark.parametrize("hard", [False, True])
def test_what_is_not_fused_runs_as_array_operations(device: Any, hard: bool) -> None:
    found = []
    for backend in ("numpy", "cupy"):
        graph, (spins, states), schedule = problem("pairs", np.random.default_rng(3))
        graph.add_factors("any", fg.Or(), spins[np.arange(12).reshape(4, 3)])
        if hard:
            graph.add_factors("differ", fg.Potts(-np.inf), states[0, :-1], states[1, 1:])
        result = fg.run(graph, schedule, backend=backend, damping=0.2, max_iterations=30, tolerance=0)
        found.append([result.belief(spins), result.belief(states)])
    for mine, theirs in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", ["rounds", "passes", "cycles", "switches", "points"])
def test_vectors_are_as_on_numpy(device: Any, case: str) -> None:
    """Small matrices by the form that is not the host's: no LAPACK."""
    if case == "rounds":
        graph, settings = chain(150, MOTION, ALONG), {"batch": 2}
    elif case == "switches":
        graph, settings = weather(), {"damping": 0.3}
    elif case == "points":
        graph, settings = pendulum(np.zeros((5, 2)), "sigma-points")[0], {}
    else:
        graph, settings = random_tree(11, 2, 12, rank=1, cycle=case == "cycles"), {"damping": 0.3} if case == "cycles" else {}
    x = graph.variables("x")
    found = [fg.Inference(graph, backend=backend, **settings).run() for backend in ("numpy", "cupy")]
    assert found[0].status == found[1].status
    np.testing.assert_allclose(found[1].marginals(x), found[0].marginals(x), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found[1].log_partition, found[0].log_partition, rtol=1e-6)


@pytest.mark.parametrize("products", ["full", "tf32", "bfloat16"])
@pytest.mark.parametrize("method", ["bpi", "mf"])
def test_networks_train_as_on_numpy(device: Any, products: str, method: str, rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(60, 7)).astype(np.float32), rng.integers(3, size=60)
    means = []
    for name in ("numpy", "cupy"):
        backend = fg.get_backend(name, "float32", products)
        settings = (method, "first-order", (1.0,) * 3, (0.8,) * 3, 0.1, 2, 1.0)
        trainer = Trainer((7, 6, 5, 3), 20, *settings, backend, "float32", np.random.default_rng(0), replicas=3)
        for _ in range(2):
            trainer.epoch(X, y)
        means.append(trainer.beliefs())
    for mine, theirs in zip(*means, strict=True):
        # Differences of rounding are carried on by six sweeps.
        np.testing.assert_allclose(mine, theirs, atol=2e-3 if products == "full" else 2e-2)


@pytest.mark.parametrize("products", ["full", "tf32", "bfloat16"])
def test_products_round_their_inputs(device: Any, products: str, rng: np.random.Generator) -> None:
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 9), (9, 4)))
    exact, sizes = a.astype(np.float64) @ b, np.abs(a).astype(np.float64) @ np.abs(b)
    epsilon = {"full": 2.0**-23, "tf32": 2.0**-10, "bfloat16": 2.0**-7}[products]  # of one input, cut off or rounded
    bound = 2 * epsilon * sizes + 1e-6
    modelled = fg.get_backend("numpy", "float32", products).matmul(a, b)
    backend = fg.get_backend("cupy", "float32", products)
    operands = [backend.asarray(x) for x in (a, b, a.T, b.T)]
    for left in (operands[0], operands[2].T):
        for right in (operands[1], operands[3].T):
            out = backend.asarray(np.full((5, 4), np.nan))
            for found in (backend.matmul(left, right), backend.matmul(left, right, out=out), out):
                assert (np.abs(backend.to_host(found) - exact) <= bound).all()
    error = np.abs(modelled - exact)
    low, high = {"full": (0.0, 3e-6), "tf32": (1e-5, 1e-2), "bfloat16": (1e-3, 1e-1)}[products]
    assert (error <= bound).all()
    assert low <= error.max() < high


def test_products_need_float32() -> None:
    with pytest.raises(ValueError, match="rounds float32 numbers"):
        fg.get_backend("numpy", "float64", "tf32")
    with pytest.raises(ValueError, match="must be one of"):
        fg.get_backend("numpy", "float32", "fp8")
