"""Other people's tables: units, odd columns, rare classes, streams; and one model that many threads ask."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine, make_classification, make_hastie_10_2

from factorgraph import get_backend
from nets import BPClassifier, Dataset, load_dataset
from nets.datasets import stratified_rows
from nets.encoding import EachFeature, Standardization, choose_code, share_one_scale
from nets.prediction import Predictor
from nets.settings import weight_type
from nets.training import CollapsedTrainingError


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def error(model: BPClassifier, data: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> float:
    train_X, train_y, test_X, test_y = data
    return 100.0 * (1.0 - model.fit(train_X, train_y).score(test_X, test_y))


ODD: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant columns": lambda X: np.c_[X, np.full((len(X), 20), 100.0)],
    "a year": lambda X: np.c_[X, 2015 + np.arange(len(X)) % 10],
    "a row number": lambda X: np.c_[np.arange(len(X)) * 1.0, X],
    "an absurd value": lambda X: np.r_[[np.r_[1e200, X[0, 1:]]], X[1:]],
    "other units": lambda X: X * 10.0 ** np.linspace(-6, 6, X.shape[1]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_columns_do_not_decide_what_is_learnt(digits: Dataset, name: str) -> None:
    change = ODD[name]
    data = change(digits.X_train), digits.y_train, change(digits.X_test), digits.y_test
    errors = [error(BPClassifier(random_state=seed), data) for seed in (0, 1)]
    assert np.mean(errors) < 4.5  # plain: 2.0 to 2.8


def test_a_value_is_absurd_wherever_the_others_lie(rng: np.random.Generator) -> None:
    """Far from the others in units of their spread, and not as seen from 0."""
    X = 1000.0 + rng.normal(size=(500, 1))
    plain = EachFeature.of(X)
    X[0] = 1500.0
    spoilt = EachFeature.of(X)
    np.testing.assert_allclose(spoilt.mean, plain.mean, atol=0.1)
    np.testing.assert_allclose(spoilt.deviation, plain.deviation, rtol=0.3)


def test_images_are_encoded_as_one_and_tables_each_feature_by_itself(digits: Dataset, rng: np.random.Generator) -> None:
    assert share_one_scale(digits.X_train)
    assert isinstance(choose_code("auto", digits.X_train), Standardization)
    for X in (load_wine().data, rng.normal(size=(100, 40)), np.zeros((5, 64)), ODD["constant columns"](digits.X_train)):
        assert isinstance(choose_code("auto", X), EachFeature)
    model = BPClassifier((15,), epochs=1).fit(load_wine().data, load_wine().target)
    chosen = {"encoding": "each-feature", "biases": True, "method": "bpi", "replicas": 1, "batch_size": 32}
    chosen |= {"temperature": 0.0, "init_scale": 1.0, "weights": (-3, -2, -1, 1, 2, 3), "activation_noise": 0.1, "damping": 0.8}
    assert model.settings_ == chosen


@pytest.mark.parametrize(
    ("settings", "weights", "noise"),
    [
        ({}, (-3, -2, -1, 1, 2, 3), 0.1),
        ({"encoding": "standardize"}, "binary", 0.0),
        ({"method": "bp", "iterations": 2}, "binary", 0.0),
        ({"method": ["bpi", "bp"]}, "binary", 0.0),
        ({"activation": "relu"}, "binary", 0.0),
        ({"weights": "ternary"}, "ternary", 0.1),
        ({"weights": "binary", "activation_noise": 0.0}, "binary", 0.0),
        ({"weights": [-1, 1], "activation_noise": 2}, [-1, 1], 2.0),
    ],
)
def test_weights_and_noise_by_default(settings: dict[str, Any], weights: Any, noise: float, tmp_path: Path) -> None:
    X, y = load_wine(return_X_y=True)
    model = BPClassifier((13,), epochs=1, random_state=0, **settings).fit(X, y)
    assert (model.settings_["weights"], model.settings_["activation_noise"]) == (weights, noise)
    model.save(tmp_path / "net.npz")
    again = BPClassifier.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.partial_fit(X, y).predict_proba(X), model.partial_fit(X, y).predict_proba(X))


def test_convolutions_keep_weights_of_one_bit(rng: np.random.Generator) -> None:
    """Also on images whose pixels have scales of their own, as standardised ones do."""
    model = BPClassifier(layers=["4c3", 11], epochs=1, random_state=0).fit(rng.normal(size=(60, 16)), np.arange(60) % 2)
    assert model.settings_["encoding"] == "each-feature"
    assert (model.settings_["weights"], model.settings_["activation_noise"]) == ("binary", 0.0)


def test_units_of_few_inputs_learn_what_few_bits_cannot() -> None:
    """Two moons, three draws."""
    errors: dict[str, list[float]] = {"ours": [], "binary": []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        angle, side = rng.uniform(0, np.pi, 600), rng.integers(0, 2, 600)
        moons = np.column_stack([side + (1 - 2 * side) * np.cos(angle), 0.5 * side + (1 - 2 * side) * np.sin(angle)])
        moons += 0.15 * rng.normal(size=moons.shape)
        for name, chosen in (("ours", {}), ("binary", {"weights": "binary", "activation_noise": 0.0})):
            model = BPClassifier((51, 51), random_state=seed, **chosen).fit(moons[:400], side[:400])
            errors[name].append(100 * (1 - model.score(moons[400:], side[400:])))
    assert np.mean(errors["ours"]) < 5.0
    assert np.mean(errors["ours"]) < np.mean(errors["binary"])


@pytest.mark.parametrize(
    ("sizes", "settings", "temperature", "scale"),
    [
        ((51,), {}, 0.0, 1.0),
        ((51, 9), {}, 0.5, 1.0),
        ((), {}, 0.5, 1.0),
        ((51,), {"activation": "relu"}, 0.5, 1.0),
        ((51,), {"weights": "real"}, 0.5, 1.0),
        ((51,) * 4, {}, 0.0, 3.0),
        ((51,) * 4, {"weights": "real", "temperature": 0.0, "init_scale": 2.0}, 0.0, 2.0),
    ],
)
def test_doubt_and_scale_by_default(sizes: tuple[int, ...], settings: dict[str, Any], temperature: float, scale: float) -> None:
    model = BPClassifier(sizes, epochs=1, random_state=0, **settings).fit(load_wine().data, load_wine().target)
    assert (model.settings_["temperature"], model.settings_["init_scale"]) == (temperature, scale)


def test_units_change_nothing_at_all(rng: np.random.Generator) -> None:
    """Powers of two, which floats hold exactly: inputs are the same to the bit, also where squares would overflow."""
    X = rng.normal(size=(200, 6)) * [1, 1, 1, 5, 5, 5]
    plain = EachFeature.of(X)(X)
    units = 2.0 ** np.array([-600, -20, 0, 20, 300, 600])
    np.testing.assert_array_equal(EachFeature.of(X * units)(X * units), plain)
    assert np.abs(plain).max() <= 5.0
    parts = [EachFeature.of(Z[:100]).with_rows(Z[100:])(Z) for Z in (X, X * units)]
    np.testing.assert_allclose(parts[1], parts[0], rtol=1e-12)


def test_scales_go_on_being_learnt(rng: np.random.Generator) -> None:
    X = rng.normal(size=(400, 3)) * [1.0, 10.0, 0.0] + [5.0, 0.0, 7.0]
    code = EachFeature.of(np.zeros((3, 3)))
    for part in np.split(X, 8):
        code = code.with_rows(part)
    for part in np.split(np.tile(X, (10, 1)), 8):
        code = code.with_rows(part)
    whole = EachFeature.of(X)
    np.testing.assert_allclose(code.mean, whole.mean, atol=0.2)
    np.testing.assert_allclose(code.deviation[:2], whole.deviation[:2], rtol=0.1)


def test_features_without_biases_in_sight_are_learnt() -> None:
    """Whether the sum of squares is large: nothing that a network without thresholds could tell."""
    X, y = make_hastie_10_2(3000, random_state=3)
    assert error(BPClassifier(random_state=0), (X[:2000], y[:2000], X[2000:], y[2000:])) < 15.0


def test_rows_are_held_out_class_by_class(rng: np.random.Generator) -> None:
    y = np.r_[np.zeros(100), np.ones(40), [2, 2, 2], [3]]
    X = np.arange(len(y), dtype=float)[:, None]
    with pytest.warns(UserWarning, match=r"classes \[3.0\] have too few rows"):
        kept, held = stratified_rows(y, 0.3, rng)
    train_X, train_y, held_X, held_y = X[kept], y[kept], X[held], y[held]
    assert np.unique(held_y, return_counts=True)[1].tolist() == [30, 12, 1]
    assert np.unique(train_y, return_counts=True)[1].tolist() == [70, 28, 2, 1]
    assert sorted(np.r_[train_X, held_X][:, 0]) == list(range(len(y)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all classes have rows held out
        kept, _ = stratified_rows(np.array([0, 0, 1, 1, 1]), 0.95, rng)
    assert np.array([0, 0, 1, 1, 1])[kept].tolist() == [0, 1]
    with pytest.raises(ValueError, match="no class has two"):
        stratified_rows(np.arange(4), 0.5, rng)


def test_chance_is_told_after_five_epochs_and_once(rng: np.random.Generator) -> None:
    X, y = np.zeros((600, 3)), rng.integers(2, size=600)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        epochs: list[int] = []
        BPClassifier((31,), epochs=12, random_state=0).fit(X, y, on_epoch=lambda model: epochs.append(len(told)))
    assert epochs == [0] * 4 + [1] * 8


def test_rare_classes_survive_early_stopping() -> None:
    rng = np.random.default_rng(1)
    y = np.r_[np.zeros(100, int), np.ones(100, int), [2, 2, 2]]
    X = rng.normal(size=(203, 20)) + 6 * np.eye(20)[y]
    for seed in range(5):
        model = BPClassifier((31,), early_stopping=True, validation_fraction=0.3, epochs=10, random_state=seed).fit(X, y)
        assert np.mean(model.predict(X[-3:]) == 2) > 0.5


def test_parts_and_resumed_runs_are_refused_by_name(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(60, 4)), rng.integers(2, size=60)
    with pytest.raises(ValueError, match="early_stopping needs all rows at once"):
        BPClassifier((3,), early_stopping=True).partial_fit(X, y)
    model = BPClassifier((3,), epochs=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=r"has hidden_layer_sizes \[3\], not \[4\]: set that, or fit anew"):
        model.set_params(hidden_layer_sizes=(4,), epochs=3).fit(X, y, resume=True)
    twin = BPClassifier((3,), epochs=4, random_state=0).fit(X, y)
    again = model.set_params(hidden_layer_sizes=(3,), epochs=4).fit(X, y, resume=True)
    np.testing.assert_array_equal(again.predict_proba(X), twin.predict_proba(X))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prior_strength", -1),
        ("prior_strength", "strong"),
        ("temperature", np.inf),
        ("temperature", "cold"),
        ("memory_limit", -5),
        ("density", "x"),
        ("density", [0.5, "x"]),
        ("hidden_layer_sizes", None),
        ("hidden_layer_sizes", "many"),
        ("damping", [0.5, None]),
        ("reinforcement", np.nan),
        ("biases", "yes"),
        ("early_stopping", 2),
        ("validation_fraction", 1.0),
        ("init_scale", np.inf),
    ],
)
def test_absurd_settings_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        BPClassifier(**{name: value}).fit(np.eye(4), [0, 1, 0, 1])


def test_many_threads_may_ask_one_model(digits: Dataset) -> None:
    """While another evaluates: each answer is that of one thread alone, bit for bit."""
    model = BPClassifier((31,), epochs=2, random_state=0).fit(digits.X_train, digits.y_train)
    parts = [slice(70 * i, 70 * i + 33 + i) for i in range(8)]
    alone = [model.predict_proba(digits.X_test[part]) for part in parts]
    whole = model.evaluate(digits.X_test, digits.y_test)
    wrong: list[int] = []

    def ask(number: int) -> None:
        for turn in range(6):
            if turn == number % 6:
                if model.evaluate(digits.X_test, digits.y_test) != whole:
                    wrong.append(number)
            elif not np.array_equal(model.predict_proba(digits.X_test[parts[number]]), alone[number]):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_row_is_predicted_as_among_others(digits: Dataset) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = BPClassifier((31, 31), epochs=2, random_state=0).fit(digits.X_train, digits.y_train)
        together = model.predict_proba(digits.X_test[:9])
        alone = np.concatenate([model.predict_proba(row[None]) for row in digits.X_test[:9]])
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-12)


def test_training_at_chance_is_told_with_advice_that_works() -> None:
    """Units that died, and what the warning names."""
    X, y = make_classification(900, 20, n_informative=10, n_redundant=2, n_classes=4, random_state=1)
    dead = {"weights": "real", "activation": "relu", "biases": True, "temperature": 0.0, "batch_size": 128, "epochs": 6}
    with pytest.warns(UserWarning, match=r"after \d+ epochs the training error .* try temperature=0.5.* or weights='binary'"):
        model = BPClassifier((51, 51), random_state=0, **dead).fit(X, y)
    assert model.history_[-1]["train_error"] > 60.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for advice in ({"weights": "binary", "activation": "sign"}, {"temperature": 0.5}):
            assert BPClassifier((51, 51), random_state=0, **{**dead, **advice}).fit(X, y).history_[-1]["train_error"] < 55.0


@pytest.mark.parametrize("bayesian", [False, True])
@pytest.mark.parametrize("weights", ["binary", "ternary", "real"])
def test_a_predictor_forgets_the_weights_before(weights: str, bayesian: bool) -> None:
    X = np.random.default_rng(0).normal(size=(40, 5))
    kind = weight_type(weights)

    def beliefs(seed: int) -> list[np.ndarray]:
        fields = [np.random.default_rng(seed + layer).normal(size=shape) for layer, shape in enumerate([(7, 5), (3, 7)])]
        backend = get_backend("numpy", "float64")
        return [kind.mean(kind.from_quadratic(h, np.ones_like(h), backend), backend) for h in fields]

    used, fresh = (Predictor((5, 7, 3), "numpy", weight_type=kind) for _ in range(2))
    first = used.marginals(beliefs(1), used.rows(X), bayesian)
    second = used.marginals(beliefs(7), used.rows(X), bayesian)
    assert np.array_equal(second, fresh.marginals(beliefs(7), fresh.rows(X), bayesian))
    assert not np.allclose(first, second)


@pytest.mark.parametrize(("sizes", "most"), [((), 12.0), ((5,), 20.0), ((3,), 60.0), ((1,), 90.0), ((51,) * 10, 15.0)])
def test_shallow_narrow_and_deep_networks_learn_by_default(digits: Dataset, sizes: tuple[int, ...], most: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        errors = [
            BPClassifier(sizes, random_state=seed).fit(digits.X_train, digits.y_train).evaluate(digits.X_test, digits.y_test)
            for seed in (0, 1)
        ]
    assert all(found["test_error_bayes"] < most for found in errors)


def test_what_a_network_cannot_satisfy_is_told_with_advice_that_works(digits: Dataset) -> None:
    with pytest.raises(CollapsedTrainingError, match=r"temperature=0\.5"):
        BPClassifier((), temperature=0.0, batch_size=128, random_state=0).fit(digits.X_train, digits.y_train)
    model = BPClassifier((), temperature=0.5, batch_size=128, random_state=0).fit(digits.X_train, digits.y_train)
    assert model.score(digits.X_test, digits.y_test) > 0.9


def test_biases_do_not_ruin_real_weights() -> None:
    X, y = make_classification(1200, 20, n_informative=10, n_redundant=2, n_classes=4, random_state=0)
    kept, held = stratified_rows(y, 0.3, np.random.default_rng(0))
    X, y, held_X, held_y = X[kept], y[kept], X[held], y[held]
    model = BPClassifier((51, 51), weights="real", activation="relu", biases=True, random_state=0).fit(X, y)
    found = model.evaluate(held_X, held_y)
    assert found["test_error_bayes"] < 35
    assert found["test_error"] < 35


def test_one_row_is_held_out_where_the_share_rounds_to_none(rng: np.random.Generator) -> None:
    y = np.array([0, 0, 1, 1, 1, 1])
    with pytest.warns(UserWarning, match=r"classes \[0\] have too few rows to hold any out"):
        kept, held = stratified_rows(y, 0.1, rng)
    assert y[held].tolist() == [1]
    assert kept.sum() == 5


def test_rows_are_held_out_unless_others_are_given(rng: np.random.Generator) -> None:
    X = rng.normal(size=(200, 5))
    y = (X[:, 0] > 0).astype(int)
    model = BPClassifier((7,), epochs=2, batch_size=10, early_stopping=True, validation_fraction=0.25, random_state=0)
    own, held = (X[:16], y[:16]), stratified_rows(y, 0.25, np.random.default_rng(0))[1]
    for data, tested in ((None, held.sum()), (own, 16)):
        errors = [row["test_error"] for row in model.fit(X, y, validation_data=data).history_]
        # Errors are whole numbers of the rows that are tested.
        np.testing.assert_allclose(np.array(errors) * tested / 100, np.round(np.array(errors) * tested / 100), atol=1e-9)
