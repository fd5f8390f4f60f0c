"""Predicts with files of `BPClassifier.export`. It needs NumPy alone: copy it to where the network is used."""

from typing import Any

import numpy as np


def predict(path: str, X: Any, rows: int = 256) -> np.ndarray:
    """Labels ``(n,)`` of rows ``(n, features)``; ``rows`` at a time, in about ``rows * units * inputs / 8`` bytes."""
    with np.load(path) as net:
        net = dict(net)
    return np.concatenate([_labels(net, np.asarray(X[i : i + rows], dtype=float)) for i in range(0, len(X), rows)])


def _labels(net: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    if "levels" in net:  # each feature as signs: whether it is above each of these
        x = np.where(X[:, :, None] > net["levels"], 1.0, -1.0).reshape(len(X), -1)
    else:
        varies = net["deviation"] > 0
        x = np.where(varies, X - net["mean"], 0.0) / np.where(varies, net["deviation"], 1.0)
        x = np.clip(x, -net["most"], net["most"]).astype(net["dtype"].item()).astype(float)
    for layer in range(1, net["layers"] + 1):
        bits, digits, bias = (net[f"{name}{layer}"] for name in ("weights", "digits", "bias"))
        sums = bias
        for place, exist in enumerate(digits):  # of the binary digits of the weights' sizes: where they are 1
            if layer == 1:  # sums of numbers
                signs = np.unpackbits(bits, axis=1, count=x.shape[1]) * 2.0 - 1.0
                sums = sums + 2**place * (x @ (signs * np.unpackbits(exist, axis=1, count=x.shape[1])).T)
            else:  # of signs: as many as there are, less twice those that differ
                differ = np.bitwise_count((np.packbits(x > 0, axis=1)[:, None] ^ bits) & exist).sum(2, dtype=np.int64)
                sums = sums + 2**place * (np.bitwise_count(exist).sum(1, dtype=np.int64) - 2 * differ)
        x = np.where(sums >= 0, 1.0, -1.0)
    return net["classes"][np.argmax(sums, axis=1) if sums.shape[1] > 1 else (sums[:, 0] > 0).astype(int)]
