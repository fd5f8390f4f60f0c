"""Layers of other weights and activations than signs: against plain loops, enumeration, and the digits."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

import factorgraph as fg
from nets import BPClassifier, CollapsedTrainingError, Network, load_dataset
from nets.channels.real import FUNCTIONS
from nets.datasets import Dataset
from nets.moments import VARIANCE_FLOOR
from nets.perceptron import Perceptron
from nets.settings import weight_type

_TERNARY, _REAL = fg.Levels((-1, 0, 1)), fg.Gaussian()
_HOST = fg.get_backend("numpy", "float64")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def moments(kind: fg.VariableType, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of beliefs ``(*shape, *param_shape)``."""
    mean = kind.mean(np.moveaxis(params, -1, 0) if kind.param_shape else params, _HOST)
    return kind.expectation(mean, _HOST), kind.variance(mean, _HOST)


@pytest.mark.parametrize("cavity", ["first-order", "exact"])
@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize("weights", [_TERNARY, _REAL, fg.Spin()], ids=["ternary", "real", "binary"])
@pytest.mark.parametrize("inputs", [fg.Data(), fg.Gaussian(), fg.Spin()], ids=["data", "normal", "spins"])
def test_totals_are_the_sums_of_all_messages(
    weights: fg.VariableType, inputs: fg.VariableType, activation: str, cavity: str
) -> None:
    """Every message of every neuron to every weight and input, one by one, with a mask and constant inputs."""
    rng = np.random.default_rng(0)
    neurons, size, patterns, constants = 3, 4, 5, 2
    mask = rng.random((neurons, size + constants)) < 0.8
    graph = fg.FactorGraph()
    w = graph.add_variables("w", weights, (neurons, size + constants))
    x = graph.add_variables("x", inputs, (size, patterns))
    y = graph.add_variables("y", fg.Gaussian(), (neurons, patterns))
    layer = Perceptron("bpi", cavity, mask=mask, activation=activation, scale=0.5, constants=constants)
    graph.add_factors("layer", layer, w, x, y)

    def prior(kind: fg.VariableType, shape: tuple[int, ...]) -> np.ndarray:
        if isinstance(kind, fg.Gaussian):
            return fg.Gaussian.from_moments(rng.normal(size=shape), rng.uniform(0.3, 1.5, size=shape))
        return rng.normal(size=(*shape, *kind.param_shape))

    w_prior, y_prior = prior(weights, w.shape), prior(fg.Gaussian(), y.shape)
    graph.set_prior(w, w_prior)
    graph.set_prior(y, y_prior)
    m, sigma = (array * mask for array in moments(weights, w_prior))
    if isinstance(inputs, fg.Data):
        mean, delta = rng.normal(size=x.shape), np.zeros(x.shape)
        graph.observe(x, mean)
    else:
        x_prior = prior(inputs, x.shape)
        graph.set_prior(x, x_prior)
        mean, delta = moments(inputs, x_prior)
    steps = [("layer", ("weights", "output")) if isinstance(inputs, fg.Data) else ("layer", ("weights", "input", "output"))]
    inference = fg.Inference(graph, fg.Sweep(steps, partial=True), dtype="float64")
    inference.step()

    mean, delta = np.vstack([mean, np.ones((constants, patterns))]), np.vstack([delta, np.zeros((constants, patterns))])
    to_w, to_x = np.zeros((2, *w.shape)), np.zeros((2, size + constants, patterns))
    for k, a in product(range(neurons), range(patterns)):
        omega = m[k] @ mean[:, a]
        variance = sigma[k] @ (mean[:, a] ** 2 + delta[:, a]) + m[k] ** 2 @ delta[:, a] + VARIANCE_FLOOR

        def channel(sum_: float) -> Any:
            arrays = (0.5 * sum_, 0.25 * variance, *y_prior[k, a])  # noqa: B023
            return FUNCTIONS[activation](*(np.full((1, 1), v) for v in arrays), _HOST)

        here = channel(omega)
        g, gamma = 0.5 * here.g.item(), 0.25 * here.gamma.item()
        for i in range(size + constants):
            own = m[k, i] * mean[i, a]
            slope = 0.5 * channel(omega - own).g.item() if cavity == "exact" else g + own * gamma
            to_w[:, k, i] += slope * mean[i, a], (mean[i, a] ** 2 + delta[i, a]) * gamma - delta[i, a] * g**2
            to_x[:, i, a] += m[k, i] * slope, (m[k, i] ** 2 + sigma[k, i]) * gamma - sigma[k, i] * g**2
        field, precision = inference.state.belief(y)[k, a]
        np.testing.assert_allclose([field / precision, 1 / precision], [here.mean.item(), here.variance.item()], rtol=1e-6)
    to_w *= mask

    def message(kind: fg.VariableType, sent: np.ndarray) -> np.ndarray:
        return kind.variables_first(kind.from_quadratic(sent[0], np.maximum(sent[1], 0.0), _HOST))

    np.testing.assert_allclose(inference.state.belief(w), w_prior + message(weights, to_w), rtol=1e-9, atol=1e-9)
    if not isinstance(inputs, fg.Data):
        np.testing.assert_allclose(inference.state.belief(x), x_prior + message(inputs, to_x[:, :size]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft labels"])
@pytest.mark.parametrize("activation", ["sign", "relu", "identity"])
@pytest.mark.parametrize("weights", [_TERNARY, _REAL, fg.Spin()], ids=["ternary", "real", "binary"])
def test_every_kind_runs_on_the_device_alone(weights: fg.VariableType, activation: str, soft: bool) -> None:
    """Three sweeps by array functions of the standard on a device of its own, as on the host."""
    rng = np.random.default_rng(0)
    data, labels = rng.normal(size=(6, 5)), rng.integers(3, size=5)
    network = Network((6, 4, 3), 5, "amp", weight_type=weights, activation=activation, biases=True)
    fields = [rng.normal(size=block.shape) for block in network.weights]
    found = []
    for backend in ("numpy", "array-api-strict"):
        damping = network.damping((0.5, 0.5))
        inference = fg.Inference(network.graph, network.training_schedule(), backend=backend, dtype="float64", damping=damping)
        for block, field in zip(network.weights, fields, strict=True):
            params = weights.from_quadratic(field, np.ones_like(field), _HOST)
            inference.set_prior(block, weights.variables_first(params))
        inference.observe(network.input, data)
        if soft:
            inference.set_prior(network.output, 2.0 * (labels[:, None] == np.arange(3)))
        else:
            inference.observe(network.output, labels)
        for _ in range(3):
            inference.step()
        found.append([inference.state.belief(block) for block in network.weights])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)


def test_tiny_ternary_perceptrons_are_near_enumeration_of_all_weights() -> None:
    """Eight weights of -1, 0 or 1, four random patterns, twenty problems, each against all 3^8 perceptrons."""
    every = np.array(list(product([-1, 0, 1], repeat=8)))
    gaps, blind = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        data = rng.normal(size=(8, 4))
        labels = np.where(rng.choice([-1, 1], size=8) @ data >= 0, 1, -1)
        network = Network((8, 1), 4, weight_type=_TERNARY)
        inference = fg.Inference(network.graph, network.training_schedule(), damping={"weights1": fg.Damping(0.5, "mean")})
        prior = 0.3 * rng.normal(size=(1, 8, 3))
        inference.set_prior(network.weights[0], prior)
        inference.observe(network.input, data)
        inference.observe(network.output, labels[None])
        for _ in range(100):
            inference.step()
        weight = np.exp(prior[0, np.arange(8), every + 1].sum(axis=1)) * (np.sign(every @ data) == labels).all(axis=1)
        exact = weight @ every / weight.sum()
        gaps.append(np.abs(moments(_TERNARY, inference.state.belief(network.weights[0]))[0][0] - exact).mean())
        blind.append(np.abs(moments(_TERNARY, prior)[0][0] - exact).mean())
    assert np.mean(gaps) < 0.5 * np.mean(blind)


def test_a_noisy_label_is_a_field_at_the_output() -> None:
    """With labels in doubt the posterior of a perceptron is nearer to its prior, as by enumeration."""
    every = np.array(list(product([-1, 1], repeat=9)))
    gaps, blind = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        data, labels = rng.normal(size=(9, 12)), rng.choice([-1, 1], size=12)
        network = Network((9, 1), 12)
        inference = fg.Inference(network.graph, network.training_schedule(), damping={"weights1": fg.Damping(0.5, "mean")})
        inference.observe(network.input, data)
        inference.set_prior(network.output, 0.7 * labels[None])
        for _ in range(100):
            inference.step()
        weight = np.exp(0.7 * np.sign(every @ data) @ labels)
        exact = weight @ every / weight.sum()
        gaps.append(np.abs(np.tanh(inference.state.belief(network.weights[0])[0]) - exact).mean())
        blind.append(np.abs(exact).mean())
    assert np.mean(gaps) < 0.5 * np.mean(blind)


_OPTIONS: dict[str, dict[str, Any]] = {
    "ternary": {"weights": "ternary"},
    "real": {"weights": "real"},
    "four values": {"weights": (-3, -1, 1, 3)},
    "relu": {"activation": "relu"},
    "identity below, sign above": {"activation": ["identity", "sign"]},
    "biases, sparse": {"biases": True, "density": 0.5},
    "temperature": {"temperature": 0.2},
}


@pytest.mark.parametrize("name", _OPTIONS)
def test_every_option_trains_and_is_saved(name: str, digits: Dataset, tmp_path: Path) -> None:
    """Far from chance (90 %) after three epochs, and a run taken up from a file goes on as if it had not stopped."""
    path = tmp_path / "model.npz"
    data = digits.X_train, digits.y_train, (digits.X_test, digits.y_test)
    whole = BPClassifier((51, 51), epochs=3, batch_size=32, random_state=0, **_OPTIONS[name]).fit(*data)
    found = whole.evaluate(digits.X_test, digits.y_test)
    assert found["test_error"] < 20
    assert found["test_error_bayes"] < 15
    BPClassifier((51, 51), epochs=3, batch_size=32, random_state=0, **_OPTIONS[name]).fit(
        *data, on_epoch=lambda model: model.save(path) or model.n_iter_ == 2
    )
    resumed = BPClassifier.load(path).fit(*data, resume=True)
    for mine, theirs in zip(resumed.weight_beliefs_, whole.weight_beliefs_, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    whole.save(path)
    loaded = BPClassifier.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(digits.X_test[:50]), whole.predict_proba(digits.X_test[:50]))
    for mean, belief in zip(loaded.weight_means_, loaded.weight_beliefs_, strict=True):
        assert mean.shape == belief.shape[-2:]


def test_two_classes_with_a_temperature(digits: Dataset) -> None:
    model = BPClassifier((51,), epochs=3, temperature=0.5, random_state=0).fit(digits.X_train, digits.y_train % 2)
    assert model.evaluate(digits.X_test, digits.y_test % 2)["test_error_bayes"] < 15


class TestRefused:
    def test_weights(self) -> None:
        for wrong, message in (
            ("quaternary", "weights must be one of"),
            ([1], "at least two values"),
            ([1, 1], "all different"),
        ):
            with pytest.raises(ValueError, match=message):
                weight_type(wrong)

    def test_settings(self, digits: Dataset) -> None:
        for setting, message in (
            ({"activation": "tanh"}, "activation must be one of"),
            ({"activation": ["sign"]}, "1 entries for 2 hidden layers"),
            ({"temperature": -1.0}, "temperature must be a finite number of at least 0"),
            ({"weights": "real", "method": "bp", "iterations": 2}, "true cavities only for spins"),
        ):
            with pytest.raises(ValueError, match=message):
                BPClassifier(epochs=1, **setting).fit(digits.X_train, digits.y_train)

    def test_output_types(self) -> None:
        graph = fg.FactorGraph()
        plates = [graph.add_variables(n, fg.Spin(), s) for n, s in (("w", (3, 4)), ("x", (4, 6)), ("y", (3, 6)))]
        with pytest.raises(TypeError, match="output of activation 'relu' must be Gaussian"):
            graph.add_factors("layer", Perceptron(activation="relu"), *plates)


def test_fields_that_explode_are_named(digits: Dataset) -> None:
    with pytest.raises(CollapsedTrainingError, match="fields explode"):
        BPClassifier((51,), epochs=20, prior_strength=1.5, random_state=0).fit(digits.X_train, digits.y_train)


def test_a_layer_hears_certainty_from_other_factors() -> None:
    """A unit that a hard factor ties to an observed spin learns as one that is observed itself."""
    rng = np.random.default_rng(0)
    data, labels = rng.normal(size=(7, 4)), rng.choice([-1, 1], size=4)
    found = []
    for tied in (True, False):
        graph = fg.FactorGraph()
        w, x = graph.add_variables("w", fg.Spin(), (1, 7)), graph.add_variables("x", fg.Data(), (7, 4))
        y, label = graph.add_variables("y", fg.Spin(), (1, 4)), graph.add_variables("label", fg.Spin(), (4,))
        graph.add_factors("layer", Perceptron(), w, x, y)
        graph.add_factors("same", fg.Table([[0.0, -np.inf], [-np.inf, 0.0]]), y[0], label)
        graph.observe(x, data)
        graph.observe(label, labels)
        if not tied:
            graph.observe(y, labels[None])
        inference = fg.Inference(graph, fg.Sweep([("layer", "output"), "same", ("layer", "weights")], partial=True))
        inference.step()
        found.append(inference.state.belief(w))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
    assert np.abs(found[0]).max() > 0.1


def test_linear_regression_is_ridge_regression() -> None:
    """Real weights, an identity output, noisy targets: AMP's fixed point has the exact posterior means."""
    rng = np.random.default_rng(0)
    size, patterns, noise = 100, 150, 4.0
    data, teacher = rng.normal(size=(size, patterns)), rng.normal(size=size)
    targets = teacher @ data + np.sqrt(noise) * rng.normal(size=patterns)
    graph = fg.FactorGraph()
    w, x = graph.add_variables("w", fg.Gaussian(), (1, size)), graph.add_variables("x", fg.Data(), data.shape)
    y = graph.add_variables("y", fg.Gaussian(), (1, patterns))
    graph.add_factors("layer", Perceptron("amp", activation="identity"), w, x, y)
    graph.set_prior(w, fg.Gaussian.from_moments(np.zeros(w.shape), 1.0))
    graph.observe(x, data)
    sweep = fg.Sweep([("layer", "output"), ("layer", "weights")], partial=True)
    inference = fg.Inference(graph, sweep, damping={"w": fg.Damping(0.3, "mean")})
    inference.set_prior(y, fg.Gaussian.from_moments(targets[None], noise))
    for _ in range(200):
        inference.step()
    covariance = np.linalg.inv(np.eye(size) + data @ data.T / noise)
    mean, variance = (array[0] for array in moments(_REAL, inference.state.belief(w)))
    np.testing.assert_allclose(mean, covariance @ data @ targets / noise, atol=1e-6)
    assert abs(np.mean(variance) / np.mean(np.diag(covariance)) - 1) < 0.1  # right on average for many inputs


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "free outputs"])
def test_bethe_terms_of_a_layer_are_sums_over_its_edges(labels: bool) -> None:
    """Every edge's difference of log-partitions, one by one; the block's are those to second order in the messages."""
    rng = np.random.default_rng(0)
    graph = fg.FactorGraph()
    w, x = graph.add_variables("w", fg.Spin(), (2, 60)), graph.add_variables("x", fg.Spin(), (60, 3))
    y = graph.add_variables("y", fg.Spin(), (2, 3))
    graph.add_factors("layer", Perceptron("mf"), w, x, y)
    priors = {block.name: rng.normal(size=block.shape) for block in (w, x)}
    graph.set_prior(w, priors["w"])
    graph.set_prior(x, priors["x"])
    signs = rng.choice([-1, 1], size=(2, 3))
    if labels:
        graph.observe(y, signs)
    inference = fg.Inference(graph, fg.Sweep([("layer", "output")], partial=True), dtype="float64")
    result = inference.run(1, tolerance=0.0)
    m, mean = np.tanh(priors["w"]), np.tanh(priors["x"])
    omega = m @ mean
    deviation = np.sqrt(60 - m**2 @ mean**2 + VARIANCE_FLOOR)
    u = omega / deviation
    # Fields on outputs and inputs are the priors alone, so that beliefs are too: what is added is the block's terms.
    free = sum(np.log(2 * np.cosh(prior)).sum() for prior in priors.values())
    if labels:
        local = special.log_ndtr(signs * u).sum()
        g = signs * np.exp(-0.5 * u**2 - special.log_ndtr(signs * u)) / np.sqrt(2 * np.pi) / deviation
    else:
        local, g = np.logaddexp(special.log_ndtr(u), special.log_ndtr(-u)).sum(), np.zeros_like(u)
    edges = 0.0
    for k, i, a in product(range(2), range(60), range(3)):
        for field, sent in ((priors["w"][k, i], g[k, a] * mean[i, a]), (priors["x"][i, a], g[k, a] * m[k, i])):
            edges += np.log(np.cosh(field - sent)) - np.log(np.cosh(field))
    assert abs(result.log_partition - (free + local + edges)) < 2e-3 * max(1.0, abs(edges))


@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_observed_real_outputs_are_fitted(activation: str) -> None:
    """Fewer patterns than weights: outputs as observed, and for sums themselves the smallest weights that give them."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(200, 60))
    targets = rng.normal(size=200) @ data
    if activation == "relu":
        targets = np.maximum(targets, 0.0)
    graph = fg.FactorGraph()
    w, x = graph.add_variables("w", fg.Gaussian(), (1, 200)), graph.add_variables("x", fg.Data(), data.shape)
    y = graph.add_variables("y", fg.Gaussian(), (1, 60))
    graph.add_factors("layer", Perceptron("amp", activation=activation), w, x, y)
    graph.set_prior(w, fg.Gaussian.from_moments(np.zeros(w.shape), 1.0))
    graph.observe(x, data)
    graph.observe(y, targets[None])
    sweep = fg.Sweep([("layer", "weights")], partial=True)
    inference = fg.Inference(graph, sweep, damping={"w": fg.Damping(0.3, "mean")})
    for _ in range(200):
        inference.step()
    mean = moments(_REAL, inference.state.belief(w))[0][0]
    sums = mean @ data
    np.testing.assert_allclose(sums if activation == "identity" else np.maximum(sums, 0.0), targets, atol=1e-6)
    if activation == "identity":
        np.testing.assert_allclose(mean, data @ np.linalg.solve(data.T @ data, targets), atol=1e-7)


@pytest.mark.parametrize("activation", ["sign", "argmax", "relu", "identity"])
@pytest.mark.parametrize("method", ["mf", "bpi", "amp"])
def test_evidence_on_some_outputs_is_that_of_these_alone(
    backend: str, method: str, activation: str, rng: np.random.Generator
) -> None:
    """Two of five patterns have labels; those without say nothing, so that weights learn as from the two."""
    neurons, size, patterns, labelled = 3, 6, 5, [1, 3]
    fields, data = rng.normal(size=(neurons, size)), rng.normal(size=(size, patterns))
    kinds = {"sign": fg.Spin(), "argmax": fg.Categorical(neurons)}
    kind = kinds.get(activation, fg.Gaussian())
    values = {"sign": rng.choice([-1, 1], size=(neurons, patterns)), "argmax": rng.integers(neurons, size=patterns)}
    labels = values.get(activation, rng.normal(size=(neurons, patterns)))
    found = []
    for chosen in (slice(None), labelled):
        graph = fg.FactorGraph()
        w = graph.add_variables("w", fg.Spin(), (neurons, size))
        x = graph.add_variables("x", fg.Data(), data[:, chosen].shape)
        y = graph.add_variables("y", kind, labels[..., chosen].shape)
        block = Perceptron(method, activation="sign" if activation == "argmax" else activation, argmax="exact")
        graph.add_factors("layer", block, w, x, y)
        graph.set_prior(w, fields)
        if activation in ("relu", "identity"):
            graph.set_prior(y, [0.0, 1e-9])  # nearly flat: says nothing
        inference = fg.Inference(graph, fg.Sweep([("layer", "weights")], partial=True), backend=backend)
        inference.observe(x, data[:, chosen])
        inference.observe(y if chosen is labelled else y[..., labelled], labels[..., labelled])
        inference.step()
        found.append(inference.state.belief(w))
    np.testing.assert_allclose(*found, atol=1e-6)
    assert np.abs(found[0] - fields).max() > 0.1
