"""
Seconds per training epoch of a 784-501-501-10 network, against the bare matrix products that it needs and against a BinaryNet.

    python benchmarks/nets_epoch.py [--methods bpi amp mf] [--replicas 1] [--batch-sizes 128 1024] [--backend numpy]
                                    [--products full] [--torch-python PYTHON]

The bare products of a layer and batch: forward mean and forward variance, (K, N) x (N, M) each; backward to the weights,
(K, M) x (M, N); backward to the activations, (N, K) x (K, M), but for the first layer. The first-order cavity of bpi (at one
sweep a batch the same as AMP) needs two more, (K, M) x (M, N) and (N, K) x (K, M): its second ratio, "own", counts them.
Products and training are timed in turn, in one process, on random data of the size of MNIST. The BinaryNet runs in the
Python given, which needs PyTorch, on the same device; eager, and compiled where that works.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from engine import run_json
from timing import wait

import factorgraph as fg
from nets.training import Trainer

SIZES = (784, 501, 501, 10)
HERE = Path(__file__).parent


class BareProducts:
    """The products of one batch, on operands and into buffers that are there already."""

    def __init__(self, batch_size: int, rng: np.random.Generator, backend: fg.Backend) -> None:
        def normal(*shape: int) -> fg.backends.Array:
            return backend.asarray(rng.normal(size=shape))

        self.backend = backend
        self.layers = []
        for size, neurons in pairwise(SIZES):
            weights = normal(neurons, size), normal(neurons, size)
            inputs = normal(size, batch_size)
            outputs = (
                normal(neurons, batch_size),
                normal(neurons, batch_size),
                normal(neurons, size),
                normal(size, batch_size),
            )
            self.layers.append((weights, (inputs, inputs * inputs), normal(neurons, batch_size), outputs))

    def __call__(self, curvature: bool) -> None:
        multiply = self.backend.matmul
        for number, ((mean, variance), (x, x_square), gradient, outputs) in enumerate(self.layers):
            multiply(mean, x, out=outputs[0])
            multiply(variance, x_square, out=outputs[1])
            for _ in range(2 if curvature else 1):
                multiply(gradient, x.T, out=outputs[2])
                if number:
                    multiply(mean.T, gradient, out=outputs[3])


def compare(
    method: str, replicas: int, batch_size: int, backend: fg.Backend, batches: int, rounds: int, binarynet: dict[str, float]
) -> None:
    """One row: seconds per epoch, and its ratios."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(batch_size * batches, SIZES[0])).astype("f4")
    y = rng.integers(SIZES[-1], size=len(X))
    settings = (method, "first-order", (1.0, 1.0, 0.9), (0.8,) * 3, 0.0, 1, 1.0)
    trainer = Trainer(SIZES, batch_size, *settings, backend, "float32", rng, replicas=replicas)
    products = BareProducts(batch_size, rng, backend)
    trainer.epoch(X, y)
    products(True)
    ours, bare, own = [], [], []
    for _ in range(rounds):
        for found, action in (
            (ours, lambda: trainer.epoch(X, y)),
            (bare, lambda: [products(False) for _ in range(batches)]),
            (own, lambda: [products(method != "mf") for _ in range(batches)]),
        ):
            wait(backend)
            start = time.perf_counter()
            action()
            wait(backend)
            found.append((time.perf_counter() - start) / batches)
    ratio, own_ratio = (np.median(np.array(ours) / np.array(other)) for other in (bare, own))
    per_epoch = 60_000 / batch_size
    line = f"{batch_size:>6} {method:>5}{np.median(ours) * per_epoch:8.2f}{np.median(bare) * per_epoch:8.2f}"
    line += f"{ratio:8.2f}{own_ratio:8.2f}"
    for name in ("eager", "compiled"):
        if name in binarynet:
            line += f"{binarynet[name] * per_epoch:9.2f}{np.median(ours) / binarynet[name]:8.2f}"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["bpi", "amp", "mf"])
    parser.add_argument("--replicas", type=int, default=1, help="of hidden weights; BPClassifier takes 7 for many rows")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[128, 1024])
    parser.add_argument("--batches", type=int, help="for each timing; default: about 8,000 rows")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--backend", default="numpy", choices=["numpy", "cupy"])
    parser.add_argument("--products", default="full", choices=["full", "tf32", "bfloat16"])
    parser.add_argument("--torch-python", default="", help="Python with PyTorch, for the BinaryNet")
    options = parser.parse_args()
    backend = fg.get_backend(options.backend, "float32", options.products)
    print(f"{backend!r}, {os.cpu_count()} cores, numpy {np.__version__}; seconds per epoch of 60,000 rows")
    columns = (("batch", 6), ("", 6), ("ours", 8), ("bare", 8), ("ratio", 8), ("own", 8))
    peers = (("eager", 9), ("ratio", 8), ("compiled", 9), ("ratio", 8)) if options.torch_python else ()
    print("".join(f"{name:>{width}}" for name, width in (*columns, *peers)))
    for size in options.batch_sizes:
        batches = options.batches or max(4, 8000 // size)
        binarynet = {}
        if options.torch_python:
            device = "cuda" if options.backend == "cupy" else "cpu"
            command = [options.torch_python, HERE / "peers" / "binarynet.py", "-".join(map(str, SIZES))]
            binarynet = run_json([*command, str(size), str(batches), device])
            print(f"PyTorch {binarynet['version']}, {binarynet.get('not compiled', 'eager and compiled')}")
        for method in options.methods:
            compare(method, options.replicas, size, backend, batches, options.rounds, binarynet)


if __name__ == "__main__":
    main()
