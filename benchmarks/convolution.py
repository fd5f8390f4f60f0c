"""
Convolutional networks of one-bit weights and activations, on all rows of a set of images or on few, with shifted copies.

    python benchmarks/convolution.py mnist --data FOLDER --rows 640 --shift 2 --epochs 10 --draws 5 --method bpi --replicas 1
    python benchmarks/convolution.py fashion-mnist --data FOLDER --epochs 40 --backend cupy \\
        --layers 32c5p2 pool2 64c5p2 pool2 501

Each draw takes other rows and another seed. With ``--validate 10000`` errors are on rows of the training set that are held
out, by which settings are to be chosen; without it on the official test rows. Printed are errors in percent, negative
log-likelihoods in nats and calibration errors in percent, point-wise / Bayesian, of each draw and their medians.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from nets import BPClassifier, load_dataset

NAMES = ("test_error", "nll", "ece")


def shifted(X: np.ndarray, most: int) -> np.ndarray:
    """All copies of images in rows, square, moved by up to so many pixels in both directions; what moves in is 0."""
    side = round(X.shape[1] ** 0.5)
    wide = np.pad(X.reshape(-1, side, side), ((0, 0), (most, most), (most, most)))
    steps = range(2 * most + 1)
    return np.concatenate([wide[:, down : down + side, right : right + side] for down in steps for right in steps]).reshape(
        -1, X.shape[1]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--data", metavar="FOLDER")
    parser.add_argument("--layers", nargs="+", default=["32c5s2", "64c4s2"])
    parser.add_argument("--rows", type=int, default=0, help="of the training set; 0 for all")
    parser.add_argument("--shift", type=int, default=0, help="pixels by which copies are moved, at most")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--validate", type=int, default=0, help="test on so many rows that are held out")
    parser.add_argument("--method", default=None)
    parser.add_argument("--replicas", type=int, default=None)
    parser.add_argument("--backend", default=None)
    options = parser.parse_args()
    data = load_dataset(options.dataset, options.data)
    figures = []
    for draw in range(options.draws):
        order = np.random.default_rng(draw).permutation(len(data.X_train))
        test_X, test_y = data.X_test, data.y_test
        if options.validate:
            held, order = order[: options.validate], order[options.validate :]
            test_X, test_y = data.X_train[held], data.y_train[held]
        rows = order[: options.rows or len(order)]
        X, y = data.X_train[rows], data.y_train[rows]
        if options.shift:
            X, y = shifted(X, options.shift), np.tile(y, (2 * options.shift + 1) ** 2)
        settings = {"method": options.method, "replicas": options.replicas, "backend": options.backend}
        start = time.perf_counter()
        model = BPClassifier(layers=options.layers, epochs=options.epochs, random_state=draw, **settings).fit(X, y)
        seconds = time.perf_counter() - start
        found = model.evaluate(test_X, test_y)
        figures.append([[found[name + end] for end in ("", "_bayes")] for name in NAMES])
        each = np.median([row["seconds"] for row in model.history_])
        print(
            f"draw {draw}, {model._architecture}: {told(figures[-1])}; {each:.2f} s an epoch, {seconds:.0f} in all", flush=True
        )
    print(f"medians: {told(np.median(figures, axis=0))}")


def told(figures: Any) -> str:
    """Error, likelihood and calibration, of both predictions."""
    (error, bayes), (loss, bayes_loss), (gap, bayes_gap) = figures
    return f"error {error:.2f} / {bayes:.2f}, -log p {loss:.3f} / {bayes_loss:.3f}, calibration {gap:.2f} / {bayes_gap:.2f}"


if __name__ == "__main__":
    main()
