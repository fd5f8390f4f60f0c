"""Rows that count more than once, or not at all: sample_weight and class_weight."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import balanced_accuracy_score

import factorgraph as fg
from nets import BPClassifier, BPRegressor
from nets.settings import weight_type
from nets.training import Trainer


@pytest.mark.parametrize("backend", ["numpy", "array-api-strict", "compiled"])
@pytest.mark.parametrize("method", ["mf", "bpi", "amp"])
@pytest.mark.parametrize(
    ("weights", "activation", "outputs"),
    [("binary", "sign", 3), ("binary", "sign", 1), ("ternary", "relu", 3), ("real", "relu", 1)],
)
def test_whole_numbers_are_repeated_rows(
    rng: np.random.Generator, backend: str, method: str, weights: str, activation: str, outputs: int
) -> None:
    """One batch of all rows, three of them after each other; sums in another order differ by rounding alone."""
    X, times = rng.normal(size=(12, 5)), rng.integers(1, 4, size=12)
    y = np.where(rng.random(12) < 0.5, -1, 1) if outputs == 1 else rng.integers(0, outputs, 12)
    settings: dict[str, Any] = {
        "weight_type": weight_type(weights),
        "activation": activation,
        "biases": True,
        "temperature": 0.5,
    }

    def beliefs(X: np.ndarray, y: np.ndarray, counts: np.ndarray | None) -> list[np.ndarray]:
        rng = np.random.default_rng(1)
        common = ((5, 6, outputs), len(X), method, "first-order", (1.0, 1.0), (0.5, 0.5), 0.0, 2, 1.0)
        trainer = Trainer(*common, backend, "float64", rng, counted=counts is not None, **settings)
        for _ in range(3):
            trainer.epoch(X, y, counts=counts)
        return trainer.beliefs()

    repeated = beliefs(np.repeat(X, times, axis=0), np.repeat(y, times), None)
    for once, often in zip(beliefs(X, y, times.astype(float)), repeated, strict=True):
        np.testing.assert_allclose(once, often, atol=1e-11)


def test_rows_of_weight_zero_are_not_there(rng: np.random.Generator) -> None:
    X, y = make_classification(300, 6, random_state=0)
    weight = (rng.random(300) < 0.7).astype(float)
    settings: dict[str, Any] = {"hidden_layer_sizes": (15,), "epochs": 3, "random_state": 0}
    without = BPClassifier(**settings).fit(X[weight > 0], y[weight > 0])
    np.testing.assert_array_equal(
        BPClassifier(**settings).fit(X, y, sample_weight=weight).predict_proba(X), without.predict_proba(X)
    )
    number = X[:, 0] + X[:, 1] ** 2
    alone = BPRegressor(**settings).fit(X[weight > 0], number[weight > 0])
    counted = BPRegressor(**settings).fit(X, number, sample_weight=weight)
    np.testing.assert_allclose(counted.predict(X), alone.predict(X), rtol=1e-6)
    some = BPClassifier(**settings).partial_fit(X, y, sample_weight=weight)
    some.partial_fit(X, y)
    assert some.partial_fit(X, y, sample_weight=2 * weight).score(X, y) > 0.8


def test_a_rare_class_is_heard() -> None:
    """One row in fifty: balanced weights find more of the rare class, by balanced accuracy, means of three draws."""
    found = np.zeros(3)
    for seed in range(3):
        X, y = make_classification(4000, 8, n_informative=4, weights=[0.98], flip_y=0.0, random_state=seed)
        for number, weight in enumerate((None, "balanced", {0: 1.0, 1: 50.0})):
            model = BPClassifier((51,), epochs=10, class_weight=weight, random_state=seed).fit(X[::2], y[::2])
            found[number] += balanced_accuracy_score(y[1::2], model.predict(X[1::2])) / 3
    assert min(found[1:]) > found[0] + 0.05


@pytest.mark.parametrize(
    ("settings", "weight", "message"),
    [
        ({}, np.ones(7), "sample_weight must be 20 numbers"),
        ({}, np.full(20, -1.0), "sample_weight must be 20 numbers of at least 0"),
        ({}, np.full(20, np.nan), "sample_weight must be"),
        ({}, np.zeros(20), "leave no row"),
        ({"cavity": "exact"}, np.full(20, 2.0), "need cavity='first-order'"),
        ({"method": "bp"}, np.full(20, 2.0), "need cavity='first-order', and method"),
        ({"class_weight": "even"}, None, "class_weight must be None, 'balanced', or a dict"),
        ({"class_weight": {0: -1.0}}, None, "class_weight must contain numbers"),
    ],
)
def test_weights_that_make_no_sense_are_refused(settings: dict[str, Any], weight: Any, message: str) -> None:
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    with pytest.raises(ValueError, match=message):
        BPClassifier((5,), **settings).fit(X, y, sample_weight=weight)


def test_balanced_weights_need_all_rows() -> None:
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows"):
        BPClassifier(class_weight="balanced").partial_fit(np.eye(4), [0, 1, 0, 1])


def test_a_layer_refuses_counts_that_do_not_fit() -> None:
    from nets import Perceptron

    graph = fg.FactorGraph()
    w, x = graph.add_variables("w", fg.Spin(), (3, 4)), graph.add_variables("x", fg.Data(), (4, 5))
    y, c = graph.add_variables("y", fg.Spin(), (3, 5)), graph.add_variables("c", fg.Data(), (4,))
    with pytest.raises(ValueError, match=r"counts must be Data of shape \(5,\)"):
        graph.add_factors("layer", Perceptron(counted=True), w, x, y, c)
    with pytest.raises(ValueError, match="need method"):
        graph.add_factors("layer", Perceptron("bp", counted=True), w, x, y, graph.add_variables("d", fg.Data(), (5,)))


@pytest.mark.parametrize("labels", [np.array([3, 7]), np.array(["a", "b"])])
def test_class_weights_are_saved_and_resumed(tmp_path: Path, labels: np.ndarray) -> None:
    X, y = make_classification(100, 6, random_state=0)
    weight = {labels[0]: 1.0, labels[1]: 2}
    whole = BPClassifier((15,), epochs=4, class_weight=weight, random_state=0).fit(X, labels[y])
    begun = BPClassifier((15,), epochs=2, class_weight=weight, random_state=0).fit(X, labels[y])
    begun.save(tmp_path / "model.npz")
    loaded = BPClassifier.load(tmp_path / "model.npz")
    assert loaded.class_weight == weight
    loaded.set_params(epochs=4).fit(X, labels[y], resume=True)
    np.testing.assert_array_equal(loaded.predict_proba(X), whole.predict_proba(X))


def test_chance_is_that_of_rows_as_they_count(rng: np.random.Generator) -> None:
    """Balanced weights cost errors among the others: more than always naming these, which is not chance then."""
    X = rng.normal(size=(1000, 3))
    y = (X[:, 0] + 0.5 * rng.normal(size=1000) > 1.8).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = BPClassifier((51,), class_weight="balanced", random_state=0).fit(X, y)
    assert model.history_[-1]["train_error"] < 25  # of 50
    assert 100 * (1 - model.score(X, y)) > 100 * y.mean()
