"""
Small tables: `BPClassifier` as it comes beside scikit-learn's classifiers, error in percent and log loss, medians of splits.

    python benchmarks/tables.py [--only TEXT] [--splits 3] [--seed 0] [--ours-alone] [--settings JSON] [--data FOLDER]

MLPClassifier and LogisticRegression come after StandardScaler, the forest and ours take features as they are. Splits are
stratified, a third for the test. With ``--seed`` other than 0 other splits are drawn: settings are chosen on those, and the
table is of seed 0. MNIST is left out where its files are not found.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nets import BPClassifier, DatasetError, load_dataset

Table = tuple[str, np.ndarray, np.ndarray]


def tables(folder: str | None) -> Iterator[Table]:
    """Name, features and labels of each."""
    for name, load in (
        ("digits", datasets.load_digits),
        ("wine", datasets.load_wine),
        ("breast cancer", datasets.load_breast_cancer),
    ):
        yield name, *load(return_X_y=True)
    yield "iris", *datasets.load_iris(return_X_y=True)
    X, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    yield "diabetes", X, (y > np.median(y)).astype(int)
    yield "two moons", *datasets.make_moons(600, noise=0.2, random_state=0)
    yield "circles", *datasets.make_circles(600, noise=0.08, factor=0.6, random_state=0)
    mixed = {"n_features": 20, "n_informative": 8, "n_classes": 4, "n_clusters_per_class": 2, "class_sep": 1.5}
    yield "four classes", *datasets.make_classification(2000, random_state=0, **mixed)
    X, y = datasets.make_hastie_10_2(2000, random_state=0)
    yield "Hastie", X, (y > 0).astype(int)
    X, y = datasets.make_gaussian_quantiles(n_samples=800, n_features=4, n_classes=3, random_state=0)
    yield "quantiles", X, y
    X, y = datasets.make_classification(1500, 30, n_informative=5, n_redundant=10, weights=[0.9], random_state=1)
    yield "one in ten", X, y
    try:
        data = load_dataset("mnist", folder)
        yield "MNIST, 2,100 rows", data.X_train[:2100], data.y_train[:2100]
    except DatasetError:
        print("MNIST was not found and is left out")


def scores(model: Any, X: np.ndarray, y: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Error in percent, log loss, and seconds of the fit."""
    train_X, test_X, train_y, test_y = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=seed)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(train_X, train_y)
    seconds = time.perf_counter() - start
    probabilities = model.predict_proba(test_X)
    wrong = model.classes_[np.argmax(probabilities, axis=1)] != test_y
    return 100.0 * float(np.mean(wrong)), float(log_loss(test_y, probabilities, labels=model.classes_)), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="tables whose names have this text")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", type=json.loads, default={}, help="of ours, as JSON")
    parser.add_argument("--ours-alone", action="store_true")
    parser.add_argument("--data", metavar="FOLDER", help="where MNIST is")
    options = parser.parse_args()
    peers = {
        "MLP": lambda seed: make_pipeline(StandardScaler(), MLPClassifier(random_state=seed)),
        "logistic": lambda seed: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "forest": lambda seed: RandomForestClassifier(random_state=seed),
    }
    models = {"ours": lambda seed: BPClassifier(random_state=seed, **options.settings)}
    models |= {} if options.ours_alone else peers
    print(f"{'error % / log loss':<20}" + "".join(f"{name:>18}" for name in models) + f"{'seconds, ours':>16}")
    within = best_loss = number = 0
    behind = 0.0
    for name, X, y in tables(options.data):
        if options.only not in name:
            continue
        found = {
            who: np.median([scores(make(seed), X, y, 100 * options.seed + seed) for seed in range(options.splits)], axis=0)
            for who, make in models.items()
        }
        cells = "".join(f"{f'{error:.1f} / {loss:.3f}':>18}" for error, loss, _ in found.values())
        print(f"{name:<20}{cells}{found['ours'][2]:>16.2f}", flush=True)
        gap = found["ours"][0] - min(error for error, _, _ in found.values())
        number, within, behind = number + 1, within + (gap <= 1.0), max(behind, gap)
        best_loss += found["ours"][1] <= min(loss for _, loss, _ in found.values())
    if not options.ours_alone:
        print(f"within 1 point of the best on {within} of {number}, at most {behind:.1f} behind; best log loss on {best_loss}")


if __name__ == "__main__":
    main()
