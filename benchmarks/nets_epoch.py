"""
Seconds per training epoch of a 784-501-501-10 network, against the bare matrix products that it needs and against a BinaryNet.

    python benchmarks/nets_epoch.py [--methods bpi amp mf] [--replicas 1] [--batch-sizes 128 1024] [--backend numpy]
                                    [--products full] [--torch-python PYTHON]

The bare products of a layer and batch: forward mean and forward variance, (K, N) x (N, M) each; backward to the weights,
(K, M) x (M, N); backward to the activations, (N, K) x (K, M), but for the first layer. The first-order cavity of bpi (at one
sweep a batch the same as AMP) needs two more, (K, M) x (M, N) and (N, K) x (K, M): its second ratio, "own", counts them.
Products and training are timed in turn, in one process, on random data of the size of MNIST. The BinaryNet runs in the
Python given, which needs PyTorch, on the same device; eager, and compiled where that works. On a GPU a batch of ours and the
bare products are CUDA graphs, whose launches are counted, and "host" is the time in which a batch is handed over. The last line
is the evaluation after each epoch of training: point-wise on 10,000 rows, and both predictions on as many others.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from engine import run_json
from timing import seconds_of, wait

import factorgraph as fg
from nets.prediction import Predictor
from nets.training import Trainer

SIZES = (784, 501, 501, 10)
HERE = Path(__file__).parent


class BareProducts:
    """The products of one batch, on operands and into buffers that are there already."""

    def __init__(self, batch_size: int, rng: np.random.Generator, backend: fg.Backend) -> None:
        def normal(*shape: int) -> fg.backends.Array:
            return backend.asarray(rng.normal(size=shape))

        self.backend = backend
        self._run = {curvature: self._recorded(curvature) for curvature in (False, True)}
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

    def _recorded(self, curvature: bool) -> Callable[[], object]:
        action = partial(self._multiply, curvature)
        return self.backend.record([action]) if isinstance(self.backend, fg.backends.KernelBackend) else action

    def __call__(self, curvature: bool) -> None:
        self._run[curvature]()

    def _multiply(self, curvature: bool) -> None:
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
) -> float:
    """One row: seconds per epoch, and its ratios; returns the seconds."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(batch_size * batches, SIZES[0])).astype("f4")
    y = rng.integers(SIZES[-1], size=len(X))
    settings = (method, "first-order", (1.0, 1.0, 0.9), (0.8,) * 3, 0.0, 1, 1.0)
    trainer = Trainer(SIZES, batch_size, *settings, backend, "float32", rng, replicas=replicas)
    products = BareProducts(batch_size, rng, backend)
    with counted_launches(backend) as launches:
        trainer.epoch(X, y)
    for curvature in (False, True, False, True):
        products(curvature)
    wait(backend)
    start = time.perf_counter()
    trainer.epoch(X, y)
    host = (time.perf_counter() - start) / batches
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
    if backend.name == "cupy":
        line += (
            f"   {launches[-1] if launches else 0} launches, {1e6 * np.median(ours):.0f} us a batch, host {1e6 * host:.0f} us"
        )
    print(line, flush=True)
    return float(np.median(ours)) * per_epoch


@contextmanager
def counted_launches(backend: fg.Backend) -> Iterator[list[int]]:
    """How many launches each CUDA graph has that is captured meanwhile."""
    found: list[int] = []
    if backend.name != "cupy":
        yield found
        return
    driver, stream = ctypes.CDLL("libcuda.so.1"), backend.xp.cuda.Stream
    end = stream.end_capture

    def count(self: Any) -> Any:
        status, identity, graph, none, number = (
            ctypes.c_int(),
            ctypes.c_uint64(),
            ctypes.c_void_p(),
            ctypes.c_void_p(),
            ctypes.c_size_t(),
        )
        given = [ctypes.byref(x) for x in (status, identity, graph, none, number)]
        if driver.cuStreamGetCaptureInfo_v2(ctypes.c_void_p(self.ptr), *given) == 0:
            driver.cuGraphGetNodes(graph, None, ctypes.byref(number))
            found.append(number.value)
        return end(self)

    stream.end_capture = count
    try:
        yield found
    finally:
        stream.end_capture = end


def evaluation(backend: fg.Backend, epoch: float, rows: int) -> None:
    """Time of the evaluation after an epoch."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, SIZES[0])).astype("f4")
    predictor = Predictor(SIZES, backend.name)
    observed = predictor.rows(X), predictor.rows(X.copy())
    beliefs = [backend.asarray(np.tanh(rng.normal(size=(k, n)))) for n, k in pairwise(SIZES)]

    def evaluate() -> None:
        for which, bayesian in ((0, False), (1, False), (1, True)):
            predictor.marginals(beliefs, observed[which], bayesian)

    seconds = seconds_of(evaluate, backend, 3)
    print(f"evaluating {rows} rows three times: {seconds:.3f} s, {seconds / epoch:.2f} of the last epoch", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["bpi", "amp", "mf"])
    parser.add_argument("--replicas", type=int, default=1, help="of hidden weights; BPClassifier takes 7 for many rows")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[128, 1024])
    parser.add_argument("--batches", type=int, help="for each timing; default: about 8,000 rows")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--backend", default="numpy", choices=["numpy", "cupy", "compiled"])
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
            epoch = compare(method, options.replicas, size, backend, batches, options.rounds, binarynet)
    evaluation(backend, epoch, min(10_000, 10 * batches * size))


if __name__ == "__main__":
    main()
