"""Layers as users compose them: shapes, words, files, refusals; and pools against enumeration."""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import factorgraph as fg
from nets import BPClassifier, BPRegressor, Convolution, Dataset, Dense, Network, Pool, load_dataset
from nets.cli import main
from nets.layers import Architecture, layer_of, parse_layer
from nets.layers.notation import layer_as_dict
from nets.layers.pool import AnyOf
from nets.settings import choose_masks
from nets.windows import windows


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.mark.parametrize(
    ("channels", "height", "width", "size", "stride", "padding"), [(2, 5, 7, 3, 1, 0), (1, 6, 6, 3, 2, 1), (3, 4, 4, 4, 3, 2)]
)
def test_windows_are_what_a_loop_finds(channels: int, height: int, width: int, size: int, stride: int, padding: int) -> None:
    places, (rows, columns) = windows((channels, height, width), size, stride, padding)
    assert places.shape == (channels * size * size, rows * columns)
    assert (rows, columns) == tuple(1 + (n + 2 * padding - size) // stride for n in (height, width))
    for place, (top, left) in enumerate(product(range(rows), range(columns))):
        for tap, (channel, down, right) in enumerate(product(range(channels), range(size), range(size))):
            y, x = top * stride + down - padding, left * stride + right - padding
            inside = 0 <= y < height and 0 <= x < width
            assert places[tap, place] == ((channel * height + y) * width + x if inside else -1)


def test_layers_are_words_and_dictionaries() -> None:
    layers = [Dense(501), Convolution(32, 5, 2, 1), Convolution(8, 3), Pool(3), Dense(7, density=0.5, method="amp")]
    assert parse_layer("501r") == Dense(501, skip=0.5)
    assert parse_layer("8c3p1r") == Convolution(8, 3, padding=1, skip=0.5)
    for word, layer in zip(("501", "32c5s2p1", "8c3", "pool3"), layers, strict=False):
        assert parse_layer(word) == layer
        assert layer_of(word) == layer
    for layer in layers:
        assert layer_of(layer_as_dict(layer)) == layer
        assert eval(repr(layer)) == layer  # as it is written
    assert layer_of(np.int64(5)) == Dense(5)
    masked = [Dense(2, density=np.array([[True, False], [True, True]])) for _ in range(2)]
    assert masked[0] == masked[1] == layer_of(layer_as_dict(masked[0]))
    assert hash(masked[0]) == hash(masked[1])
    for wrong, message in (
        ("5d", "'5d' names no layer"),
        (2.5, "2.5 is not a layer"),
        ({"kind": "Dense"}, "is not a layer"),
        (None, "is no"),
    ):
        with pytest.raises(ValueError, match=message):
            layer_of(wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(0), "units must be a whole number of at least 1, not 0"),
        (lambda: Convolution(2, 3, padding=-1), "padding must be a whole number of at least 0, not -1"),
        (lambda: Convolution(2, 3, method="x"), "method must be one of"),
        (lambda: Dense(2, skip=-1.0), "skip must be a finite number of at least 0, not -1.0"),
        (
            lambda: Network(Architecture((5,), (Dense(4), Dense(3, skip=0.5)), 3), 2),
            r"Dense\(3, skip=0.5\) has a residual connection",
        ),
        (
            lambda: Network(Architecture((5,), (Dense(5, skip=0.5),), 3), 2),
            "the layer below must be hidden units with activation 'sign', not Data",
        ),
        (lambda: Network(Architecture((5,), (Dense(4), Dense(4, skip=0.5)), 3), 2, "bp"), "skip needs method 'mf'"),
        (lambda: Dense(2, damping=1.0), "damping must be at least 0 and below 1, not 1.0"),
        (lambda: Architecture((5,), (Convolution(2, 3),), 3), r"layer 1: Convolution\(2, 3\) needs an image"),
        (
            lambda: Architecture((1, 5, 5), (Dense(4), Pool()), 3),
            r"layer 2: Pool\(\) needs an image .*, not units of shape \(4,\)",
        ),
        (
            lambda: Architecture((1, 5, 5), (Convolution(2, 6),), 3),
            "layer 1: windows of size 6 do not fit into images of 5 x 5",
        ),
        (lambda: Network(Architecture((1, 4, 4), (Pool(),), 3), 2), "must have activation 'sign', not units of type Data"),
    ],
)
def test_layers_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("taps", [2, 3, 4])
def test_a_pool_equals_enumeration(backend: str, taps: int, rng: np.random.Generator) -> None:
    """A tree: inputs with fields, the largest of them, which has a field too."""
    below, above = rng.normal(size=(taps, 6)), 2.0 * rng.normal(size=6)
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Spin(), (taps, 6)), graph.add_variables("y", fg.Spin(), 6)
    graph.add_factors("any", AnyOf(), x, y)
    inference = fg.Inference(graph, fg.Flooding(), backend=backend)
    inference.set_prior(x, below)
    inference.set_prior(y, above)
    inference.step()
    states = np.array(list(product((-1, 1), repeat=taps)))
    weight = np.exp(np.einsum("st,tn->sn", states, below) + np.where((states > 0).any(axis=1), 1.0, -1.0)[:, None] * above)
    weight /= weight.sum(axis=0)
    means = np.concatenate([np.einsum("sn,st->tn", weight, states), [weight[(states > 0).any(axis=1)].sum(axis=0) * 2 - 1]])
    found = [np.tanh(inference.state.belief(block)) for block in (x, y)]
    np.testing.assert_allclose(np.concatenate([found[0], found[1][None]]), means, atol=1e-9)


def test_pools_stay_finite_where_all_is_certain() -> None:
    for dtype in ("float32", "float64"):
        graph = fg.FactorGraph()
        x, y = graph.add_variables("x", fg.Spin(), (4, 3)), graph.add_variables("y", fg.Spin(), 3)
        graph.add_factors("any", AnyOf(), x, y)
        inference = fg.Inference(graph, fg.Flooding(), dtype=dtype)
        inference.set_prior(x, np.array([[-40.0, 40.0, -40.0]] * 4))
        inference.set_prior(y, [-30.0, -30.0, 30.0])
        inference.step()
        assert np.isfinite(inference.state.belief(x)).all()
        belief = inference.state.belief(y)
        assert belief[0] < 0 < belief[1]


LAYERS: dict[str, dict[str, Any]] = {
    "convolutions": {"layers": ["16c3", "32c3s2"]},
    "pool and padding": {"layers": [Convolution(8, 3, padding=1), Pool(), Convolution(16, 3), 31], "biases": True},
    "own settings": {"layers": [Convolution(16, 3, method="mf", density=0.8), Dense(31, prior_strength=0.999, damping=0.5)]},
    "real": {"layers": [Convolution(8, 3), Dense(21)], "weights": "ternary", "activation": "relu"},
    "residual": {
        "layers": [Convolution(8, 3, padding=1), Convolution(8, 3, padding=1, skip=0.5), Dense(31), Dense(31, skip=0.5)]
    },
    "mixed": {"layers": [Convolution(8, 3), Dense(21, activation="relu")], "temperature": 0.5},
}


@pytest.mark.parametrize("name", LAYERS)
def test_images_are_learnt_and_kept(digits: Dataset, name: str, tmp_path: Path) -> None:
    model = BPClassifier(**LAYERS[name], epochs=6, random_state=0)
    weight = np.where(np.arange(len(digits.X_train)) % 7, 1.0, 2.0)
    model.fit(digits.X_train, digits.y_train, sample_weight=weight)
    assert model.score(digits.X_test, digits.y_test) > 0.85
    model.save(tmp_path / "net.npz")
    loaded = BPClassifier.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(loaded.predict_proba(digits.X_test[:50]), model.predict_proba(digits.X_test[:50]))
    assert loaded.uncertainty(digits.X_test[:20], draws=2)["epistemic"].shape == (20,)
    again = clone(model).fit(digits.X_train, digits.y_train, sample_weight=weight)
    np.testing.assert_array_equal(again.weight_beliefs_[0], model.weight_beliefs_[0])
    for twin in (loaded, copy.deepcopy(model)):
        twin.partial_fit(digits.X_train[:200], digits.y_train[:200])
    model.partial_fit(digits.X_train[:200], digits.y_train[:200])
    np.testing.assert_array_equal(loaded.weight_beliefs_[0], model.weight_beliefs_[0])


def test_dense_layers_are_those_of_sizes(digits: Dataset) -> None:
    found = []
    for settings in ({"hidden_layer_sizes": (31, 21)}, {"layers": [31, Dense(21)]}):
        model = BPClassifier(epochs=2, random_state=0, **settings)  # type: ignore[arg-type]
        found.append(model.fit(digits.X_train, digits.y_train).predict_proba(digits.X_test))
    np.testing.assert_array_equal(*found)


def test_a_layers_own_settings_are_those_of_lists(digits: Dataset) -> None:
    own = [Dense(31, method="mf", prior_strength=0.99, damping=0.7), Dense(21, cavity="exact")]
    found = []
    for settings in (
        {"layers": own},
        {
            "hidden_layer_sizes": (31, 21),
            "method": ["mf", "bpi", "bpi"],
            "cavity": ["first-order", "exact", "first-order"],
            "prior_strength": [0.99, 1.0, 0.98],
            "damping": [0.7, 0.8, 0.8],
        },
    ):
        model = BPClassifier(epochs=1, random_state=0, **settings)  # type: ignore[arg-type]
        found.append(model.fit(digits.X_train[:200], digits.y_train[:200]).predict_proba(digits.X_test))
    np.testing.assert_array_equal(*found)


def test_numbers_are_told_from_images(digits: Dataset) -> None:
    y = digits.X_train.reshape(-1, 8, 8)[:, 2:5, 2:5].mean(axis=(1, 2))
    model = BPRegressor(layers=["8c3", 31], epochs=10, random_state=0).fit(digits.X_train, y)
    assert model.score(digits.X_train, y) > 0.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": "32c5"}, "layers must be a list of layers, not '32c5'"),
        ({"layers": ["32c5"], "input_shape": (2, 8, 8)}, r"a row of 64 inputs is not an image of shape \(2, 8, 8\)"),
        ({"layers": ["32c5"], "input_shape": (8, 8)}, r"input_shape must be \(channels, height, width\), not \(8, 8\)"),
        ({"layers": ["32c5"], "encoding": "thermometer"}, r"nine inputs of each feature, so Convolution\(32, 5\) cannot"),
        ({"layers": ["32c9"]}, "layer 1: windows of size 9 do not fit"),
    ],
)
def test_settings_that_do_not_fit_images(digits: Dataset, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BPClassifier(**settings).fit(digits.X_train[:50], digits.y_train[:50])


def test_export_says_what_it_takes(digits: Dataset, tmp_path: Path) -> None:
    model = BPClassifier(layers=["4c5"], epochs=1, random_state=0).fit(digits.X_train[:200], digits.y_train[:200])
    with pytest.raises(ValueError, match=r"export takes only dense layers, without skip, not \(Convolution\(4, 5\),\)"):
        model.export(tmp_path / "net.npz")


@pytest.mark.parametrize("layers", [[31, "31r"], [Convolution(8, 3), Convolution(8, 3, method="bp"), 31]])
def test_export_and_several_sweeps_of_composed_layers(digits: Dataset, tmp_path: Path, layers: list[Any]) -> None:
    model = BPClassifier(layers=layers, epochs=1, iterations=2, random_state=0).fit(digits.X_train[:320], digits.y_train[:320])
    assert np.isfinite(model.predict_proba(digits.X_test)).all()
    for name in ("net.npz", "net.onnx"):
        with pytest.raises((ValueError, ImportError), match=r"export takes only dense layers, without skip|needs the package"):
            model.export(tmp_path / name)


def test_layers_on_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "net.npz")
    assert main(["train", "digits", "--layers", "8c3", "pool2", "31", "--epochs", "2", "--seed", "0", "--save", path]) == 0
    assert "network 1x8x8-8x6x6-8x3x3-31-10" in capsys.readouterr().out
    assert main(["evaluate", path, "digits"]) == 0
    assert main(["train", "digits", "--layers", "8c3", "--input-shape", "1", "16", "4", "--epochs", "1"]) == 0
    assert "network 1x16x4-8x14x2-10" in capsys.readouterr().out
    assert main(["train", "digits", "--layers", "8q"]) == 1
    assert "'8q' names no layer" in capsys.readouterr().err


def test_windows_of_one_pixel_and_of_a_whole_side() -> None:
    numbers, shape = windows((2, 2, 3), 1)
    assert shape == (2, 3)
    np.testing.assert_array_equal(numbers, np.arange(12).reshape(2, 6))
    numbers, shape = windows((1, 3, 2), 2)
    assert shape == (2, 1)
    np.testing.assert_array_equal(numbers, [[0, 2], [1, 3], [2, 4], [3, 5]])
    for shape, padding in (((1, 3, 2), 0), ((1, 1, 9), 1), ((1, 9, 1), 1)):
        with pytest.raises(ValueError, match="do not fit"):
            windows(shape, 3 + padding, padding=padding)


def test_the_most_numbers_of_a_pattern_in_one_array() -> None:
    assert Architecture((30,), (Dense(7), Dense(50)), 3).widest == 50
    assert Architecture((1, 6, 6), (Convolution(4, 3),), 2).widest == 16 * 9  # places times inputs of a window
    assert Architecture((1, 6, 6), (Convolution(20, 3),), 2).widest == 16 * 20


def test_a_full_density_takes_no_mask() -> None:
    masks = choose_masks([1.0, 0.5], Architecture((30,), (Dense(7),), 3), np.random.default_rng(0))
    assert masks[0] is None
    assert masks[1] is not None
    with pytest.raises(ValueError, match=r"at most 1, not 1\.5"):
        choose_masks(1.5, Architecture((30,), (Dense(7),), 3), np.random.default_rng(0))
