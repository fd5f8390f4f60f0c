"""Steps of training as one recording: the same numbers, few launches, nothing allocated or read back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from nets.layers import Architecture, Convolution, Pool, architecture_of
from nets.network import Network
from nets.training import Trainer
from tests.factorgraph.stand_in_cupy import Device, stand_in_cupy  # noqa: F401

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")

SETTINGS: dict[str, dict[str, Any]] = {
    "bpi": {},
    "amp": {"method": "amp", "iterations": 3},
    "mf, replicas": {"method": "mf", "replicas": 7},
    "exact cavities": {"cavity": "exact"},
    "exact argmax": {"argmax": "exact"},
    "reinforced": {"reinforcement": 0.1, "iterations": 2},
    "ternary": {"weight_type": fg.Levels([-1, 0, 1])},
    "real, relu, biases": {"weight_type": fg.Gaussian(), "activation": "relu", "biases": True},
    "many biases": {"sizes": (400, 7, 5, 3), "biases": True},
    "convolutions": {"sizes": Architecture((1, 6, 6), (Convolution(4, 3), Pool(2), Convolution(5, 2, padding=1)), 3)},
    "masked": {"masks": [np.random.default_rng(0).random((7, 9)) < 0.5, None, None]},
}
LEFT_ALONE: dict[str, dict[str, Any]] = {
    "soft labels": {"temperature": 0.5},
    "true cavities": {"method": "bp", "iterations": 2},
    "exact argmax of ternary weights": {"argmax": "exact", "weight_type": fg.Levels([-1, 0, 1])},
}


def trainer(backend: fg.Backend, changed: dict[str, Any]) -> Trainer:
    own = {"method": "bpi", "cavity": "first-order", "prior_strength": (1.0, 1.0, 0.9), "damping": (0.8,) * 3}
    own |= {"reinforcement": 0.0, "iterations": 1, "init_scale": 1.0}
    own |= {"sizes": (9, 7, 5, 3), "batch_size": 8, **changed}
    return Trainer(**own, backend=backend, dtype="float32", rng=np.random.default_rng(0))


@pytest.fixture(params=["stand-in", pytest.param("GPU", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    """The stand-in, with its counts, or None on a GPU."""
    return request.getfixturevalue("stand_in_cupy") if request.param == "stand-in" else None


def trained(name: str, graphs: bool, changed: dict[str, Any], epochs: int = 2) -> tuple[Trainer, np.ndarray]:
    inputs = architecture_of(changed.get("sizes", (9, 3))).inputs
    X, y = np.random.default_rng(1).normal(size=(64, inputs)).astype(np.float32), np.random.default_rng(2).integers(3, size=64)
    backend = fg.get_backend(name, "float32")
    if name == "cupy":
        backend.graphs = graphs  # type: ignore[attr-defined]
    found = trainer(backend, changed)
    for _ in range(epochs):
        found.epoch(X, y)
    return found, np.concatenate([belief.ravel() for belief in found.beliefs()])


@pytest.mark.parametrize("name", [*SETTINGS, *LEFT_ALONE])
def test_replayed_steps_give_the_same_bits(device: Any, name: str) -> None:
    changed = {**SETTINGS, **LEFT_ALONE}[name]
    _, replayed = trained("cupy", True, changed)
    if device is not None:
        assert len(device.graphs) == (name in SETTINGS)
        assert device.replays == (14 if name in SETTINGS else 0)  # of 16 batches, the first two being run
    _, eager = trained("cupy", False, changed)
    np.testing.assert_array_equal(replayed, eager)
    _, plain = trained("numpy", False, changed)
    np.testing.assert_allclose(replayed, plain, atol=1e-4)  # rounding, carried on by 16 batches


def test_a_batch_is_few_launches(stand_in_cupy: type[Device]) -> None:  # noqa: F811
    counts = {}
    for name in ("bpi", "mf, replicas"):
        trained("cupy", True, SETTINGS[name])
        counts[name] = len(stand_in_cupy.graphs[-1])
        assert stand_in_cupy.graphs[-1].count("gemm") == (14 if name == "bpi" else 11)
    assert counts["bpi"] <= 60
    assert counts["mf, replicas"] <= 60


def test_settings_that_change_are_recorded_anew(device: Any) -> None:
    found = {}
    for graphs in (True, False):
        steps, _ = trained("cupy", graphs, {})
        X, y = np.random.default_rng(3).normal(size=(64, 9)).astype(np.float32), np.random.default_rng(4).integers(3, size=64)
        steps.prior_strength = (0.9, 1.0, 0.8)
        steps.epoch(X, y)
        steps.snapshot()  # which takes the posterior as the prior
        steps.epoch(X, y)
        steps.resize(16)
        steps.epoch(X, y)
        found[graphs] = np.concatenate([belief.ravel() for belief in steps.beliefs()])
    np.testing.assert_array_equal(found[True], found[False])


CHANGES: list[Callable[[fg.Inference, list[fg.Variables]], Any]] = [
    lambda inference, weights: inference.set_prior(weights[0], np.zeros((7, 9, *weights[0].type.param_shape))),
    lambda inference, weights: inference.state.plate(weights[1]).expectations(),
    lambda inference, weights: inference.observe(weights[1][0, 0], 1),
    lambda inference, weights: inference.unobserve(weights[1]),
    lambda inference, weights: inference.step(),
    lambda inference, weights: setattr(inference, "state", inference.state.copy()),
]


@pytest.mark.parametrize("name", ["bpi", "ternary"])
def test_what_the_user_changes_between_replays_counts(device: Any, name: str) -> None:
    """Evidence, priors and steps between two calls: the recording is made anew, or the numbers would be old."""
    found = []
    for graphs in (True, False):
        steps, _ = trained("cupy", graphs, SETTINGS[name], epochs=1)
        X, y = np.random.default_rng(3).normal(size=(64, 9)).astype(np.float32), np.random.default_rng(4).integers(3, size=64)
        for change in CHANGES:
            steps.epoch(X, y)
            change(steps.inference, steps.network.weights)
        steps.epoch(X, y)
        found.append(np.concatenate([belief.ravel() for belief in steps.beliefs()]))
    np.testing.assert_array_equal(*found)


def test_single_steps_and_runs_are_recorded_too(device: Any) -> None:
    """Not only procedures: ten sweeps with the reaction of the sweep before, and the changes that a run looks at."""
    found = {}
    for graphs in (True, False):
        backend = fg.get_backend("cupy", "float64")
        backend.graphs = graphs  # type: ignore[attr-defined]
        net = Network((9, 7, 3), 20, "amp")
        inference = fg.Inference(net.graph, net.training_schedule(), backend=backend, damping=net.damping((0.5, 0.5)))
        rng = np.random.default_rng(5)
        for weights in net.weights:
            inference.set_prior(weights, 0.1 * rng.normal(size=weights.shape))
        inference.observe(net.input, rng.normal(size=(9, 20)))
        inference.observe(net.output, rng.integers(3, size=20))
        for _ in range(10):
            inference.step()
        result = inference.run(30, tolerance=0.0, keep_messages=True)
        kept = result.belief(net.weights[0])
        inference.step()
        np.testing.assert_array_equal(result.belief(net.weights[0]), kept)  # a result stays as it was
        found[graphs] = kept, result.residuals, inference.state.iteration
    for mine, theirs in zip(found[True], found[False], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    if device is not None:
        assert len(device.graphs) >= 2
        assert device.replays > 20


def test_host_data_in_a_recorded_procedure_are_refused_in_words(device: Any) -> None:
    steps, _ = trained("cupy", True, {})
    inference, net = steps.inference, steps.network
    run = inference.recording()

    def procedure() -> None:
        inference.observe(net.input, np.ones((9, 8)))
        inference.step()

    for _ in range(2):
        run(procedure)
    with pytest.raises(RuntimeError, match="what the host sends cannot be recorded"):
        run(procedure)
    inference.step()  # the state is as it was, and the backend free
    assert np.isfinite(inference.state.belief(net.weights[0])).all()
