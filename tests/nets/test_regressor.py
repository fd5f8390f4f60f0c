"""Networks that tell numbers: how well, how sure, and that they go on, are saved and refused as the classifier's are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import BayesianRidge
from sklearn.utils.estimator_checks import parametrize_with_checks

from nets import BPClassifier, BPRegressor, CollapsedTrainingError
from nets.targets import LEAST_NOISE, Numbers, judge_numbers

BINARY: dict[str, Any] = {"weights": "binary", "activation": "sign"}
# Repeated rows fall into other mini-batches than one that counts more.
NOT_MET = dict.fromkeys([f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")], "other batches")


@parametrize_with_checks(
    [BPRegressor((21,), epochs=20, random_state=0)],
    expected_failed_checks=lambda _: NOT_MET,
)
def test_scikit_learn_estimator_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_texts_are_no_numbers() -> None:
    with pytest.raises(ValueError, match=r"needs numbers as targets.*for labels, use BPClassifier"):
        BPRegressor().fit(np.zeros((4, 2)), np.array(["1", "2", "1", "2"]))


def test_validation_data_are_of_the_same_features() -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(ValueError, match="X has 2 features, but BPRegressor is expecting 3"):
        BPRegressor((5,), epochs=1).fit(X, X[:, 0], validation_data=(X[:, :2], X[:, 0]))
    with pytest.raises(ValueError, match="y has 2 outputs, but the model has 1"):
        BPRegressor((5,), epochs=1).fit(X, X[:, 0], validation_data=(X, X[:, :2]))


def test_curved_functions_are_learnt_with_their_noise() -> None:
    """Friedman's first function, noise of variance 1, three draws: linear ones err by 2.5."""
    found, linear = [], []
    for seed in range(3):
        X, y = make_friedman1(900, 7, noise=1.0, random_state=seed)
        model = BPRegressor((51,), random_state=seed).fit(X[:600], y[:600])
        found.append(model.evaluate(X[600:], y[600:]))
        assert 0.5 < model.noise_[0] < 1.6
        linear.append(np.sqrt(np.mean((BayesianRidge().fit(X[:600], y[:600]).predict(X[600:]) - y[600:]) ** 2)))
    rmse, coverage = (np.mean([one[name] for one in found]) for name in ("rmse_bayes", "coverage_bayes"))
    assert rmse < 1.35 < np.mean(linear) - 0.8
    assert 84 < coverage < 96


@pytest.mark.parametrize("settings", [BINARY, {"weights": "ternary"}, {"activation": "identity"}])
def test_layers_of_any_kind(settings: dict[str, Any]) -> None:
    X, y = make_friedman1(600, 5, noise=0.5, random_state=0)
    found = BPRegressor((51,), random_state=0, **settings).fit(X[:400], y[:400]).evaluate(X[400:], y[400:])
    assert found["rmse_bayes"] < 0.7 * y.std()
    assert np.isfinite(found["nll"])


def test_units_of_the_numbers_change_nothing() -> None:
    X, y = make_friedman1(200, 5, noise=0.5, random_state=0)
    plain = BPRegressor((21,), epochs=5, random_state=0).fit(X, y)
    scaled = BPRegressor((21,), epochs=5, random_state=0).fit(X, 2.0**40 * y)
    for one, other in zip(plain.predict(X, return_std=True), scaled.predict(X, return_std=True), strict=True):
        np.testing.assert_allclose(other, 2.0**40 * one, rtol=1e-6)
    np.testing.assert_allclose(scaled.noise_, 2.0**80 * plain.noise_, rtol=1e-5)


def test_several_outputs_have_a_noise_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    y = np.stack([X[:, 0] * X[:, 1] + 0.1 * rng.normal(size=500), 100 * np.abs(X[:, 2]) + 40 * rng.normal(size=500)], axis=1)
    model = BPRegressor((51,), random_state=0).fit(X[:400], y[:400])
    mean, deviation = model.predict(X[400:], return_std=True)
    assert mean.shape == deviation.shape == (100, 2)
    assert model.noise_[0] < 0.1
    assert 900 < model.noise_[1] < 3000
    model.save(tmp_path / "net.npz")
    np.testing.assert_array_equal(BPRegressor.load(tmp_path / "net.npz").predict(X), model.predict(X))


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True, "n_epochs_no_change": 2}, BINARY])
def test_a_saved_run_goes_on_bit_for_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    X, y = load_diabetes(return_X_y=True)
    common: dict[str, Any] = {"hidden_layer_sizes": (21,), "random_state": 0, **settings}
    whole = BPRegressor(epochs=6, **common).fit(X, y)
    BPRegressor(epochs=3, **common).fit(X, y).save(tmp_path / "net.npz")
    loaded = BPRegressor.load(tmp_path / "net.npz").set_params(epochs=6).fit(X, y, resume=True)
    for one, other in zip(whole.predict(X, return_std=True), loaded.predict(X, return_std=True), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [row["train_rmse"] for row in loaded.history_] == [row["train_rmse"] for row in whole.history_]


def test_parts_are_learnt_one_after_the_other(tmp_path: Path) -> None:
    X, y = make_friedman1(800, 5, noise=0.5, random_state=0)
    model = BPRegressor((51,), random_state=0)
    for _ in range(10):
        for part in range(0, 600, 100):
            model.partial_fit(X[part : part + 100], y[part : part + 100])
    assert model.evaluate(X[600:], y[600:])["rmse_bayes"] < 0.5 * y.std()
    model.save(tmp_path / "net.npz")
    other = BPRegressor.load(tmp_path / "net.npz")
    for one in (model, other):
        one.partial_fit(X[:100], y[:100])
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    with pytest.raises(ValueError, match="y has 2 outputs, but the model has 1"):
        model.partial_fit(X, np.stack([y, y], axis=1))


def test_numbers_are_judged_as_normal() -> None:
    y = np.array([[0.0], [1.0], [2.0], [30.0]])
    found = judge_numbers(np.zeros((4, 1)), np.full((4, 1), 2.0), y)
    assert found["rmse"] == pytest.approx(np.sqrt(905 / 4))
    assert found["nll"] == pytest.approx(np.mean(0.5 * np.log(2 * np.pi * 4) + y**2 / 8))
    assert found["coverage"] == 75.0
    constant = Numbers.of(np.full((5, 1), 7.0))
    constant.learn_noise(np.zeros((5, 2)), constant.standardised(np.full((5, 1), 7.0)))
    assert constant.noise == [LEAST_NOISE]


def test_training_without_bounds_is_told() -> None:
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(CollapsedTrainingError, match=r"no bounds\. Raise prior_strength"):
        BPRegressor(prior_strength=0.3, random_state=0).fit(X, y)
    assert BPRegressor((21,), epochs=5, prior_strength=0.99, random_state=0).fit(X, y).score(X, y) > 0.3


def test_the_classifier_names_what_takes_numbers() -> None:
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match="BPRegressor is for numbers"):
        BPClassifier().fit(X, y + 0.5)


def test_one_kind_of_model_does_not_load_as_the_other(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True)
    BPRegressor((11,), epochs=1).fit(X, y).save(tmp_path / "net.npz")
    with pytest.raises(ValueError, match=r"not a model saved by BPClassifier \(it holds nets.BPRegressor"):
        BPClassifier.load(tmp_path / "net.npz")


@pytest.mark.parametrize("backend", ["array-api-strict", "compiled"])
def test_backends_agree(backend: str) -> None:
    X, y = load_diabetes(return_X_y=True)
    common: dict[str, Any] = {"hidden_layer_sizes": (11,), "epochs": 2, "dtype": "float64", "random_state": 0}
    expected = BPRegressor(**common).fit(X[:60], y[:60]).predict(X)
    np.testing.assert_allclose(BPRegressor(backend=backend, **common).fit(X[:60], y[:60]).predict(X), expected, rtol=1e-8)


def test_rows_of_weight_zero_do_not_set_the_scale_of_parts() -> None:
    rng = np.random.default_rng(3)
    X, weight = rng.normal(size=(120, 3)), np.repeat([1.0, 0.0], [100, 20])
    y = X[:, 0] + 1000.0 * (weight == 0)
    counted = BPRegressor((11,), random_state=0).partial_fit(X, y, sample_weight=weight)
    alone = BPRegressor((11,), random_state=0).partial_fit(X[:100], y[:100])
    np.testing.assert_allclose(counted.predict(X), alone.predict(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "value"), [("mean", np.nan), ("deviation", 0.0), ("noise", -1.0)])
def test_a_file_with_impossible_scales_is_refused(tmp_path: Path, name: str, value: float) -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    BPRegressor((11,), epochs=1, random_state=0).fit(X, X[:, 0]).save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as file:
        arrays = dict(file)
    arrays[f"target/{name}"] = np.full_like(arrays[f"target/{name}"], value)
    np.savez(tmp_path / "damaged.npz", **arrays)
    with pytest.raises(ValueError, match=r"damaged\.npz"):
        BPRegressor.load(tmp_path / "damaged.npz")


@pytest.mark.parametrize(
    ("settings", "name"), [({"prior_strength": -1.0}, "prior_strength"), ({"hidden_layer_sizes": None}, "hidden_layer_sizes")]
)
def test_parts_too_need_settings_that_make_sense(settings: dict[str, Any], name: str) -> None:
    X = np.random.default_rng(0).normal(size=(30, 3))
    for learn in (BPRegressor(**settings).fit, BPRegressor(**settings).partial_fit):
        with pytest.raises((ValueError, TypeError), match=f"{name}.* not (-1.0|None)"):
            learn(X, X[:, 0])


def test_what_is_not_fitted_says_so() -> None:
    for ask in ("evaluate", "predict"):
        with pytest.raises(NotFittedError):
            getattr(BPRegressor(), ask)(*([np.zeros((3, 2))] if ask == "predict" else [np.zeros((3, 2)), np.zeros(3)]))


def test_numbers_are_standardised_whatever_their_spread() -> None:
    y = np.array([[1.0, 2.0], [1.2, 2.0], [0.8, 2.0]])
    found = Numbers.of(y).standardised(y)
    np.testing.assert_allclose(found.std(axis=0), [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-12)
