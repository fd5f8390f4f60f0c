"""
Seconds per training epoch of a 784-501-501-10 network, as a ratio to the bare matrix products that it needs.

    python benchmarks/nets_epoch.py [--methods bpi mf] [--batch-size 128] [--batches 100]

The bare products of a layer and batch: forward mean and forward variance, (K, N) x (N, M) each; backward to the weights,
(K, M) x (M, N); backward to the activations, (N, K) x (K, M), but for the first layer. The first-order cavity of bpi needs
two more products a layer, which are ours to pay. Products and training are timed in turn, in one process, on random data of
the size of MNIST.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import pairwise

import numpy as np

from nets.training import Trainer

SIZES = (784, 501, 501, 10)


class BareProducts:
    """The products of one batch, on operands and into buffers that are there already."""

    def __init__(self, batch_size: int, rng: np.random.Generator) -> None:
        def normal(*shape: int) -> np.ndarray:
            return rng.normal(size=shape).astype("f4")

        self.layers = []
        for size, neurons in pairwise(SIZES):
            weights, inputs, gradient = (
                (normal(neurons, size), normal(neurons, size)),
                normal(size, batch_size),
                normal(neurons, batch_size),
            )
            buffers = (
                normal(neurons, batch_size),
                normal(neurons, batch_size),
                normal(neurons, size),
                normal(size, batch_size),
            )
            self.layers.append((weights, (inputs, inputs * inputs), gradient, buffers))

    def __call__(self) -> None:
        for number, ((mean, variance), (x, x_square), gradient, buffers) in enumerate(self.layers):
            np.matmul(mean, x, out=buffers[0])
            np.matmul(variance, x_square, out=buffers[1])
            np.matmul(gradient, x.T, out=buffers[2])
            if number:
                np.matmul(mean.T, gradient, out=buffers[3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["bpi", "mf"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = options.batch_size * options.batches
    X = rng.normal(size=(rows, SIZES[0])).astype("f4")
    y = rng.integers(SIZES[-1], size=rows)
    per_epoch = 60_000 / options.batch_size
    print(f"{os.cpu_count()} cores, numpy {np.__version__}, batch {options.batch_size}, float32")
    for method in options.methods:
        trainer = Trainer(
            SIZES,
            options.batch_size,
            method,
            "first-order",
            (1.0, 1.0, 0.9),
            (0.8, 0.8, 0.8),
            0.0,
            1,
            1.0,
            None,
            "float32",
            rng,
        )
        trainer.epoch(X, y)
        products = BareProducts(options.batch_size, rng)
        products()
        ours, bare = [], []
        for _ in range(options.rounds):
            start = time.perf_counter()
            trainer.epoch(X, y)
            ours.append((time.perf_counter() - start) / options.batches)
            start = time.perf_counter()
            for _ in range(options.batches):
                products()
            bare.append((time.perf_counter() - start) / options.batches)
        ratio = np.median([a / b for a, b in zip(ours, bare, strict=True)])
        print(
            f"{method:>4}: {np.median(ours) * per_epoch:6.2f} s per epoch, bare products "
            f"{np.median(bare) * per_epoch:6.2f} s, ratio {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
