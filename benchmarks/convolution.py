"""
Convolutional networks of one-bit weights and activations, on all rows of a set of images or on few, with shifted copies.

    python benchmarks/convolution.py mnist --data FOLDER --rows 640 --shift 2 --epochs 10 --draws 5 --method bpi --replicas 1
    python benchmarks/convolution.py fashion-mnist --data FOLDER --epochs 40 --backend cupy \\
        --layers 32c5p2 pool2 64c5p2 pool2 501

    python benchmarks/convolution.py fashion-mnist --data FOLDER --epochs 40 --torch-python TORCH/bin/python --device cuda \\
        --layers 32c5p2 pool2 64c5p2 pool2 501

Each draw takes other rows and another seed. With ``--validate 10000`` errors are on rows of the training set that are held
out, by which settings are to be chosen; without it on the official test rows. Printed are errors in percent, negative
log-likelihoods in nats and calibration errors in percent, point-wise / Bayesian, of each draw and their medians. With
``--torch-python``, an environment with PyTorch and NumPy, it is a BinaryNet of the same layers with batch normalisation and
Adam that is trained, with ``--rate``; it has point-wise predictions alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import binarynet, write

from nets import BPClassifier, load_dataset
from nets.datasets import Dataset
from nets.layers import Architecture, Dense, parse_layer
from nets.layers.notation import layer_as_dict
from nets.metrics import scores

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
    parser.add_argument("--torch-python", help="Python with PyTorch, for a BinaryNet")
    parser.add_argument("--device", default="cpu", help="of the BinaryNet")
    parser.add_argument("--rate", type=float, default=1e-3, help="of learning of the BinaryNet")
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
        rows = Dataset(data.name, X, y, test_X, test_y)
        figures.append(learn_binarynet(rows, options, draw) if options.torch_python else learn(rows, options, draw))
        print(f"draw {draw}: {told(figures[-1])}", flush=True)
    print(f"medians: {told(np.median(figures, axis=0))}")


def learn(data: Dataset, options: argparse.Namespace, seed: int) -> list[list[float]]:
    """Point-wise and Bayesian figures of a network of ours."""
    settings = {name: getattr(options, name) for name in ("layers", "epochs", "method", "replicas", "backend")}
    start = time.perf_counter()
    model = BPClassifier(**settings, random_state=seed).fit(data.X_train, data.y_train)
    seconds = time.perf_counter() - start
    each = np.median([row["seconds"] for row in model.history_])
    print(f"{model._architecture}: {each:.2f} s an epoch, {seconds:.0f} in all")
    found = model.evaluate(data.X_test, data.y_test)
    return [[found[name + end] for end in ("", "_bayes")] for name in NAMES]


def learn_binarynet(data: Dataset, options: argparse.Namespace, seed: int) -> list[list[float]]:
    """Figures of a BinaryNet, twice."""
    layers = [parse_layer(word) for word in options.layers]
    side, classes = round(data.X_train.shape[1] ** 0.5), len(np.unique(data.y_train))
    shapes = Architecture((1, side, side), tuple(layers), classes).shapes
    first = next((number for number, layer in enumerate(layers) if isinstance(layer, Dense)), len(layers))
    settings = {
        "sizes": [int(np.prod(shape)) for shape in shapes[first:]],
        "image_layers": [layer_as_dict(layer) for layer in layers[:first]],
        "shape": shapes[0],
        "kind": "strong",
        **{name: getattr(options, name) for name in ("rate", "epochs", "device")},
        "seed": seed,
        "threads": 2,
    }
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "probabilities.npy")
        binarynet(options.torch_python, (write(data, folder), "-"), {**settings, "probabilities": file})
        found = scores(np.load(file), data.y_test)
    return [[found[name]] * 2 for name in NAMES]


def told(figures: Any) -> str:
    """Error, likelihood and calibration, of both predictions."""
    (error, bayes), (loss, bayes_loss), (gap, bayes_gap) = figures
    return f"error {error:.2f} / {bayes:.2f}, -log p {loss:.3f} / {bayes_loss:.3f}, calibration {gap:.2f} / {bayes_gap:.2f}"


if __name__ == "__main__":
    main()
