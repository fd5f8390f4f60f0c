"""What the doubt of a prediction is made of, against networks that are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import entropy
from sklearn.datasets import make_classification

from nets import BPClassifier, BPRegressor


def data(classes: int) -> tuple[np.ndarray, np.ndarray]:
    X, y = make_classification(600, 12, n_informative=8, n_classes=classes, class_sep=0.7, random_state=0)
    return X, y


@pytest.mark.parametrize("settings", [{}, {"weights": "ternary", "activation": "relu"}, {"biases": True, "density": 0.7}])
@pytest.mark.parametrize("classes", [2, 4])
def test_parts_add_up_to_the_entropy_of_the_prediction(classes: int, settings: dict[str, Any]) -> None:
    X, y = data(classes)
    model = BPClassifier((31, 21), epochs=3, random_state=0, **settings).fit(X[:400], y[:400])
    found = model.uncertainty(X[400:], draws=8)
    np.testing.assert_allclose(found["total"], entropy(model.predict_proba(X[400:]), axis=1), atol=1e-9)
    np.testing.assert_allclose(found["aleatoric"] + found["epistemic"], found["total"], atol=1e-12)
    assert all(part.shape == (200,) and (part >= 0).all() for part in found.values())
    again = model.uncertainty(X[400:], draws=8)
    np.testing.assert_array_equal(found["epistemic"], again["epistemic"])


@pytest.mark.parametrize("seed", range(3))
def test_the_epistemic_part_is_that_of_drawn_hidden_weights(seed: int) -> None:
    """
    Networks with one hidden layer, whose weights are drawn, and normal sums of the output's.

    Given the drawn hidden units the label's probability is a normal tail; its entropy is averaged over 1,000 networks, and the
    bound is five standard errors of both averages. Units share no weights, so that their marginals say all.
    """
    X, y = data(2)
    settings = {"weights": "binary", "activation_noise": 0.0, "biases": False, "encoding": "each-feature"}
    model = BPClassifier((15,), epochs=2, random_state=seed, **settings).fit(X[:400], y[:400])
    rows, networks, draws = X[400:], 1000, 256
    inputs = model._encoder(rows)
    signs = np.sign(np.einsum("ski,ri->skr", model.sample(networks, seed)[0], inputs))
    (means,) = model.weight_means_[1]
    u = np.einsum("skr,k->sr", signs, means) / np.sqrt(np.sum(1 - means**2))
    entropies = entropy(np.stack([ndtr(u), ndtr(-u)]))  # of each network and row
    found = model.uncertainty(rows, draws=draws)
    error = entropies.std(axis=0) * np.sqrt(1 / networks + 1 / draws)
    # The hidden sums of 12 inputs are not quite normal: Berry and Esseen, here 0.02 of the entropy at most.
    assert (np.abs(found["aleatoric"] - np.minimum(entropies.mean(axis=0), found["total"])) < 5 * error + 0.02).all()
    assert abs(np.mean(found["aleatoric"]) - np.mean(np.minimum(entropies.mean(axis=0), found["total"]))) < 0.005
    assert found["epistemic"].mean() > 0.01


def test_hidden_weights_that_are_certain_leave_nothing_epistemic() -> None:
    X, y = data(4)
    model = BPClassifier((31,), epochs=3, weights="binary", activation_noise=0.0, random_state=0).fit(X, y)
    model.weight_beliefs_ = [np.where(model.weight_beliefs_[0] > 0, 1.0, -1.0), model.weight_beliefs_[1]]
    found = model.uncertainty(X[:50], draws=4)
    assert found["total"].min() > 0.01
    np.testing.assert_allclose(found["epistemic"], 0.0, atol=1e-5)


def test_without_hidden_layers_all_is_aleatoric() -> None:
    X, y = data(4)
    found = BPClassifier((), epochs=3, random_state=0).fit(X, y).uncertainty(X[:5])
    np.testing.assert_array_equal(found["epistemic"], 0.0)
    with pytest.raises(ValueError, match="draws must be a whole number of at least 1, not 0"):
        BPClassifier((5,), epochs=1, random_state=0).fit(X, y).uncertainty(X[:5], draws=0)


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_variance_of_a_number_is_its_noise_and_the_weights(outputs: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = np.stack([X[:, 0], 3 * X[:, 1]], axis=1)[:, :outputs] + 0.1 * rng.normal(size=(300, outputs))
    model = BPRegressor((31,), epochs=20, random_state=0).fit(X, y[:, 0] if outputs == 1 else y)
    far = np.concatenate([X[:50], X[:50] * 4])
    found = model.uncertainty(far)
    _, deviation = model.predict(far, return_std=True)
    np.testing.assert_allclose(found["total"], deviation**2)
    np.testing.assert_allclose(
        found["aleatoric"], np.broadcast_to(model.noise_ if outputs > 1 else model.noise_[0], deviation.shape)
    )
    assert found["epistemic"][50:].mean() > 2 * found["epistemic"][:50].mean()  # nothing was seen there
