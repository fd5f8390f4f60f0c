"""Pictures of a network's training, of its weights, and of how good its predictions are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from factorgraph.drawing.colours import BLUE, GREEN, LINE, ORANGE, SERIES
from factorgraph.drawing.texts import literal
from nets.metrics import expected_calibration_error, reliability

_MOST_POINTS = 300  # of predictions with their deviations
_MOST_NUMBERS = 20  # classes up to which a confusion matrix has its counts written in
_CURVES = {"train": ("training rows, point-wise", BLUE), "test": ("test rows, point-wise", ORANGE)}
_BAYES = ("test rows, Bayesian", GREEN)


def plot_model(model: Any, X: Any = None, y: Any = None) -> np.ndarray:
    """
    Training, weights and, on rows whose targets are known, predictions: see `nets.BPClassifier.plot`.

    Returns
    -------
    array of matplotlib Axes
    """
    import matplotlib.pyplot as plt

    if (X is None) != (y is None):
        raise ValueError("plot needs rows with their targets, plot(X, y), or neither, plot(), to draw the training alone")
    panels = 2 if X is None else 4
    _, axes = plt.subplots(panels // 2, 2, figsize=(9.5, 3.8 * (panels // 2)), layout="constrained")
    places = np.ravel(axes)
    plot_error(places[0], model.history_)
    plot_weights(places[1], model)
    if X is not None and model.real_output:
        targets, mean, deviation = predicted_numbers(model, X, y)
        plot_predictions(places[2], targets, mean, deviation)
        plot_coverage(places[3], targets, mean, deviation)
    elif X is not None:
        probabilities, labels = predicted_classes(model, X, y)
        plot_reliability(places[2], probabilities, labels)
        plot_confusion(places[3], probabilities, labels, model.classes_)
    return places


def predicted_classes(model: Any, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``(n, K)`` of the classes, as `predict_proba` gives them, and the class numbers ``(n,)`` of the labels."""
    X, labels = model._check_labelled(X, y)
    return model._probabilities(X, model.prediction == "bayesian"), labels


def predicted_numbers(model: Any, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, means and standard deviations, ``(n, K)`` each."""
    X, targets = model._check_rows(X, y, reset=False)
    mean, deviation = model._numbers.predicted(model._marginals(X, model.prediction == "bayesian"))
    return targets, mean, deviation


def plot_error(axes: Any, history: Sequence[Mapping[str, Any]]) -> None:
    """
    Error after each epoch.

    Parameters
    ----------
    axes : matplotlib Axes
    history : rows as ``history_`` of an estimator has them
    """
    kind = "rmse" if history and "train_rmse" in history[0] else "error"
    _curves(axes, history, kind)
    axes.set_ylabel("error (%)" if kind == "error" else "root mean square error (units of the target)")


def plot_loss(axes: Any, history: Sequence[Mapping[str, Any]]) -> None:
    """Negative log-likelihood of the test rows after each epoch; arguments as in `plot_error`."""
    _curves(axes, history, "nll")
    axes.set_ylabel("-log p of a row (nats)")


def _curves(axes: Any, history: Sequence[Mapping[str, Any]], kind: str) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    style = ".-" if len(epochs) < 60 else "-"
    for part, (label, colour) in _CURVES.items():
        for suffix, (text, shade) in (("", (label, colour)), ("_bayes", _BAYES)):
            name = f"{part}_{kind}{suffix}"
            if history and name in history[0]:
                text = "training rows" if name == "train_rmse" else text
                axes.plot(epochs, [row[name] for row in history], style, color=shade, label=text)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=LINE, alpha=0.3)
    _legend_above(axes)


def plot_weights(axes: Any, model: Any) -> None:
    """
    Histogram of the means of each layer's weights.

    Means of weights of +-1 are magnetisations: a weight near -1 or 1 is settled, and a weight near 0 is open.
    """
    means = [
        layer.ravel() if mask is None else layer[mask] for layer, mask in zip(model.weight_means_, model.masks_, strict=True)
    ]
    limit = max((float(np.abs(layer).max()) for layer in means if layer.size), default=1.0)
    limit = 1.0 if 0.5 < limit <= 1.0 else limit or 1.0
    edges = np.linspace(-limit, limit, 42)
    for number, layer in enumerate(means):
        share = 100.0 * np.histogram(layer, edges)[0] / max(1, layer.size)
        style = ("-", "--", ":")[number // len(SERIES) % 3]
        axes.stairs(
            share, edges, color=SERIES[number % len(SERIES)], linestyle=style, linewidth=1.5, label=f"layer {number + 1}"
        )
    axes.set_xlabel("mean of a weight")
    axes.set_ylabel("weights (% of the layer)")
    axes.set_ylim(bottom=0)
    _legend_above(axes)


def plot_reliability(axes: Any, probabilities: np.ndarray, labels: np.ndarray) -> None:
    """
    Accuracy against confidence, and how many rows have each confidence.

    Parameters
    ----------
    axes : matplotlib Axes
    probabilities : (n, K) array
    labels : (n,) class numbers
    """
    table = reliability(probabilities, labels)
    there = table.rows > 0
    shares = 100.0 * table.rows / table.rows.sum()
    edges = np.linspace(0, 100, len(shares) + 1)
    axes.stairs(shares, edges, fill=True, color=LINE, alpha=0.35, label="rows (%)")
    axes.plot([0, 100], [0, 100], "--", color=LINE, label="as sure as right")
    error = expected_calibration_error(probabilities, labels)
    told = f"predictions, calibration error {error:.2g} %"
    axes.plot(100 * table.confidence[there], 100 * table.accuracy[there], "o-", color=BLUE, label=told, clip_on=False)
    axes.set_xlabel("confidence: probability of the predicted class (%)")
    axes.set_ylabel("accuracy (%)")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 101)
    _legend_above(axes)


def plot_confusion(axes: Any, probabilities: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> None:
    """
    How many rows of each class were predicted as each class.

    Parameters
    ----------
    axes : matplotlib Axes
    probabilities : (n, K) array
    labels : (n,) class numbers
    classes : (K,) array of the names of the classes
    """
    number = len(classes)
    counts = np.zeros((number, number), dtype=np.int64)
    np.add.at(counts, (labels, np.argmax(probabilities, axis=1)), 1)
    shares = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.figure.colorbar(image, ax=axes, label="share of the row's class (%)", fraction=0.046)
    if number <= _MOST_NUMBERS:
        size = float(np.clip(90 / number, 5.0, 10.0))
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 55 else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size)
        names = [str(name) if len(str(name)) <= 12 else str(name)[:11] + "…" for name in classes]
        names = list(map(literal, names))
        axes.set_xticks(range(number), names, rotation=90 if number * max(map(len, names)) > 36 else 0)
        axes.set_yticks(range(number), names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")


def plot_predictions(axes: Any, targets: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> None:
    """
    Predicted numbers against true ones, with one standard deviation to each side. If there are many rows, always the same ones
    are drawn.

    Parameters
    ----------
    axes : matplotlib Axes
    targets, mean, deviation : (n, K) arrays; several outputs are shown in the standard deviations of their targets
    """
    outputs = targets.shape[1]
    rows = np.sort(np.random.default_rng(0).permutation(len(targets))[:_MOST_POINTS])
    centre, scale = np.zeros(outputs), np.ones(outputs)
    if outputs > 1:
        centre, scale = targets.mean(axis=0), np.where(targets.std(axis=0) > 0, targets.std(axis=0), 1.0)
    seen, told, spread = (
        (array[rows] - shift) / scale for array, shift in ((targets, centre), (mean, centre), (deviation, 0.0))
    )
    ends = [min(seen.min(), told.min()), max(seen.max(), told.max())]
    axes.plot(ends, ends, "--", color=LINE, label="as true")
    for output in range(outputs):
        label = "predictions, with one standard deviation" if outputs == 1 else f"output {output + 1}"
        axes.errorbar(
            seen[:, output], told[:, output], spread[:, output], fmt=".", color=SERIES[output % len(SERIES)], elinewidth=0.6,
            markersize=4, alpha=0.7, label=label,
        )  # fmt: skip
    unit = "units of the target" if outputs == 1 else "standard deviations"
    axes.set_xlabel(f"true number ({unit})")
    axes.set_ylabel(f"predicted number ({unit})")
    _legend_above(axes)


def plot_coverage(axes: Any, targets: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> None:
    """Fraction of the numbers that are within central intervals of every size. Arguments are as in `plot_predictions`."""
    promised = np.linspace(0.02, 0.98, 49)
    apart = np.abs(targets - mean) / deviation
    found = [100.0 * float(np.mean(apart < ndtri(0.5 + share / 2))) for share in promised]
    ninety = 100.0 * float(np.mean(apart < ndtri(0.95)))
    axes.plot([0, 100], [0, 100], "--", color=LINE, label="as promised")
    axes.plot(100 * promised, found, color=BLUE, label="predictions")
    axes.plot(90, ninety, "o", color=ORANGE, label=f"90 % promised, {ninety:.1f} % found")
    axes.set_xlabel("interval about the mean that promises (%)")
    axes.set_ylabel("true numbers within it (%)")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 101)
    axes.grid(color=LINE, alpha=0.3)
    _legend_above(axes)


def _legend_above(axes: Any) -> None:
    """A legend that is never over data."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize="small", borderaxespad=0.2)
