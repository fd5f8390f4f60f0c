"""Likelihood and calibration against scikit-learn and by hand, and what Bayesian predictions are for."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from nets import BPClassifier, load_dataset
from nets.metrics import expected_calibration_error, negative_log_likelihood, reliability, scores


def test_likelihood_equals_scikit_learns(rng: np.random.Generator) -> None:
    probabilities = rng.dirichlet(np.ones(4), size=200)
    labels = rng.integers(4, size=200)
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(log_loss(labels, probabilities, labels=range(4)))
    certain = np.eye(3)[[0, 1]]
    assert negative_log_likelihood(certain, np.array([0, 2])) == pytest.approx(-np.log(1e-15) / 2)


def test_calibration_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [1.0, 0.0]])
    labels = np.array([0, 1, 1, 0])
    table = reliability(probabilities, labels, bins=10)
    assert table.rows.tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 3]
    np.testing.assert_allclose(table.confidence[[7, 9]], [0.7, 2.8 / 3])
    np.testing.assert_allclose(table.accuracy[[7, 9]], [1.0, 2 / 3])
    assert np.isnan(table.accuracy[0])
    expected = 100 * (0.3 * 1 + (2.8 / 3 - 2 / 3) * 3) / 4
    assert expected_calibration_error(probabilities, labels, bins=10) == pytest.approx(expected)


def test_probabilities_that_are_right_are_calibrated(rng: np.random.Generator) -> None:
    """Labels drawn from the probabilities themselves: an error of the size of the counts' noise, over seeds."""
    errors = []
    for _ in range(5):
        probabilities = rng.dirichlet(0.5 * np.ones(5), size=20_000)
        labels = (rng.random(20_000)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1)
        errors.append(expected_calibration_error(probabilities, np.minimum(labels, 4)))
    assert np.mean(errors) < 1.5
    overconfident = probabilities**2 / (probabilities**2).sum(axis=1, keepdims=True)
    assert scores(overconfident, labels)["ece"] > 5.0


def test_marginalised_weights_give_better_probabilities_than_the_most_probable_ones() -> None:
    data = load_dataset("digits")
    for seed in range(3):
        model = BPClassifier((51, 51), epochs=10, random_state=seed).fit(data.X_train, data.y_train)
        found = model.evaluate(data.X_test, data.y_test)
        assert found["nll_bayes"] < 0.5 * found["nll"]
        assert found["ece_bayes"] < found["ece"] + 1.0
        assert found["test_error"] == pytest.approx(100 * (1 - point_wise(model).score(data.X_test, data.y_test)))
        assert found["test_error_bayes"] == pytest.approx(100 * (1 - model.score(data.X_test, data.y_test)))


def point_wise(model: BPClassifier) -> BPClassifier:
    """The same weights, with point-wise predictions."""
    twin = BPClassifier.__new__(BPClassifier)
    twin.__dict__ = {**model.__dict__, "prediction": "point"}
    return twin
