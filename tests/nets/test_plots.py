"""Pictures of training, weights and predictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nets import BPClassifier, BPRegressor
from nets.metrics import expected_calibration_error
from nets.plots import plot_confusion, plot_coverage, plot_loss, plot_predictions, plot_reliability

pytest.importorskip("matplotlib").use("Agg")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 3))
LABELS = np.array(["left", "middle", "right"])[np.digitize(X[:, 0], [-0.5, 0.5])]


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def axes() -> Any:
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


@pytest.fixture(scope="module")
def classifier() -> BPClassifier:
    return BPClassifier((11,), epochs=3, random_state=0).fit(X[:200], LABELS[:200], (X[200:], LABELS[200:]))


@pytest.fixture(scope="module")
def regressor() -> BPRegressor:
    return BPRegressor((7,), epochs=3, random_state=0).fit(X[:200], X[:200, 0])


def assert_labelled_and_clear(found: Any) -> None:
    """Axes are labelled, and no legend is over data."""
    found[0].figure.canvas.draw()
    for panel in found:
        assert panel.get_xlabel()
        assert panel.get_ylabel()
        legend = panel.get_legend()
        if legend is not None:
            assert not legend.get_window_extent().overlaps(panel.bbox)


def test_a_classifier_is_drawn_with_and_without_rows(classifier: BPClassifier) -> None:
    found = classifier.plot()
    assert len(found) == 2
    history = classifier.history_
    curves = {line.get_label(): line.get_ydata() for line in found[0].lines}
    assert curves["training rows, point-wise"].tolist() == [row["train_error"] for row in history]
    assert curves["test rows, Bayesian"].tolist() == [row["test_error_bayes"] for row in history]
    assert len(found[1].patches) == 2  # a histogram for each layer
    found = classifier.plot(X[200:], LABELS[200:])
    assert len(found) == 4
    assert_labelled_and_clear(found)
    assert [label.get_text() for label in found[3].get_xticklabels()] == ["left", "middle", "right"]


def test_a_regressor_is_drawn_with_the_coverage_of_its_intervals(regressor: BPRegressor) -> None:
    found = regressor.plot(X[200:], X[200:, 0])
    assert_labelled_and_clear(found)
    coverage = regressor.evaluate(X[200:], X[200:, 0])["coverage_bayes"]
    assert f"90 % promised, {coverage:.1f} % found" in found[3].get_legend_handles_labels()[1]


def test_half_of_the_rows_is_refused(classifier: BPClassifier) -> None:
    with pytest.raises(ValueError, match="rows with their targets"):
        classifier.plot(X)
    with pytest.raises(ValueError, match="labels that the training data lack"):
        classifier.plot(X[:2], np.array(["up", "left"]))


def test_a_reliability_diagram_tells_the_calibration_error(axes: Any) -> None:
    chances = RNG.dirichlet(np.ones(3), 200)
    labels = RNG.integers(0, 3, 200)
    plot_reliability(axes, chances, labels)
    assert f"{expected_calibration_error(chances, labels):.2g} %" in " ".join(axes.get_legend_handles_labels()[1])
    accuracy = axes.lines[1].get_ydata()
    assert ((accuracy >= 0) & (accuracy <= 100)).all()


def test_a_confusion_matrix_counts_rows(axes: Any) -> None:
    chances = np.eye(3)[[0, 0, 1, 2, 2, 2]]
    plot_confusion(axes, chances, np.array([0, 0, 1, 1, 2, 2]), np.array(["a", "b", "a very long name of a class"]))
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "2", (1, 1): "1", (2, 1): "1", (2, 2): "2"}
    np.testing.assert_allclose(axes.images[0].get_array(), [[100, 0, 0], [0, 50, 50], [0, 0, 100]])


def test_many_classes_have_no_counts(axes: Any) -> None:
    plot_confusion(axes, np.eye(40), np.arange(40), np.arange(40))
    assert not axes.texts


def test_normal_numbers_are_covered_as_promised(axes: Any) -> None:
    mean, deviation = RNG.normal(size=(20000, 1)), RNG.uniform(0.5, 2.0, (20000, 1))
    plot_coverage(axes, mean + deviation * RNG.normal(size=(20000, 1)), mean, deviation)
    promised, found = axes.lines[1].get_data()
    np.testing.assert_allclose(found, promised, atol=1.5)  # four deviations of a share of 20,000


def test_several_outputs_are_shown_in_deviations(axes: Any) -> None:
    targets = RNG.normal(size=(500, 2)) * [1.0, 1e6]
    plot_predictions(axes, targets, 1.1 * targets, np.ones((500, 2)) * [0.1, 1e5])
    assert "standard deviations" in axes.get_xlabel()
    assert axes.get_xlim()[1] < 6
    assert len(axes.containers) == 2
    assert len(axes.containers[0].lines[0].get_xdata()) == 300


def test_a_history_without_test_rows_has_one_curve(axes: Any, regressor: BPRegressor) -> None:
    plot_loss(axes, regressor.history_)
    assert not axes.lines
    assert len(regressor.plot()[0].lines) == 1
