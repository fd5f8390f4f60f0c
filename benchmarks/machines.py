"""
Two ranks of one core each against one: large batches, and flooding on a large grid; and what more ranks would give.

    python benchmarks/machines.py [--ranks 2] [--quick]

Runs itself under ``mpiexec``, one thread a rank, with one rank and with several in turn, and prints medians, speed-ups and the
bytes that a rank sends for each batch or iteration. A model is fitted to them: what a rank does for its share of patterns or
factors is divided by the number of ranks, what it does for all weights is not, and an all-reduce of b bytes moves
``2 b (R - 1) / R``. Printed is what it says of 8 GPUs and of 64 machines, with its assumptions.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import factorgraph as fg
from nets.training import Trainer

NETWORKS = {"784-501-501-10": (784, 501, 501, 10), "784-2001-2001-10": (784, 2001, 2001, 10)}
BATCH = 1024
GPU_SPEED, GPU_LINK = 400.0, 450e9  # times one core here (an epoch of 784-501-501-10 on an H200), bytes a second each way
CORES, LINK = 64, 25e9  # of a machine, bytes a second each way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small problems, to see that it runs")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.quick)
        return
    found: dict[int, list[dict[str, Any]]] = {1: [], options.ranks: []}
    for _ in range(options.rounds):
        for ranks, rows in found.items():
            rows.append(launch(ranks, options.quick))
    for case in found[1][0]:
        alone, together = (float(np.median([row[case]["seconds"] for row in found[ranks]])) for ranks in (1, options.ranks))
        sent = found[options.ranks][0][case]["bytes"]
        print(
            f"{case:36} one rank {1e3 * alone:9.1f} ms, {options.ranks} ranks {1e3 * together:9.1f} ms: "
            f"{alone / together:.2f} times; a rank sends {sent / 1e3:,.1f} kB"
        )
    foresee({case: float(np.median([row[case]["seconds"] for row in found[1]])) for case in found[1][0]})


def launch(ranks: int, quick: bool) -> dict[str, Any]:
    """What the first of so many ranks prints."""
    beside = Path(sys.executable).with_name("mpiexec")
    command = [str(beside) if beside.exists() else str(shutil.which("mpiexec")), "-n", str(ranks)]
    command += [sys.executable, __file__, "--worker", *["--quick"] * quick]
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **threads})
    return json.loads(done.stdout.splitlines()[-1])


def work(quick: bool) -> None:
    """Time all cases, on as many ranks as there are."""
    ranks, found = fg.get_communicator("mpi"), {}
    for name, sizes in NETWORKS.items():
        for batch in (128, BATCH):
            found[f"{name}, batch {batch}"] = training(ranks, (784, 51, 10) if quick else sizes, batch)
    side = 60 if quick else 1000
    found[f"grid of {side} x {side} spins"] = flooding(ranks, side)
    if ranks.rank == 0:
        print(json.dumps(found))


def training(ranks: fg.Communicator, sizes: tuple[int, ...], batch: int) -> dict[str, float]:
    """Seconds of a batch, and the bytes that it sends."""
    rng, batches = np.random.default_rng(0), 4
    trainer = Trainer(
        sizes, batch, "mf", "first-order", [1.0] * (len(sizes) - 2) + [0.98], [0.9] * (len(sizes) - 1), 0.0, 1, 1.0, "numpy",
        "float32", rng, replicas=7, communicator=ranks,
    )  # fmt: skip
    X = rng.normal(size=(batch * batches, sizes[0])).astype(np.float32)
    y = rng.integers(sizes[-1], size=len(X))
    return timed(ranks, lambda: trainer.epoch(X, y), batches, trainer.inference)


def flooding(ranks: fg.Communicator, side: int) -> dict[str, float]:
    """Seconds of an iteration on a grid in horizontal stripes, each rank's its own, and the bytes that it sends."""
    first, last = side * ranks.rank // ranks.size, side * (ranks.rank + 1) // ranks.size
    rows = last - first + (last < side)  # and the first row of the next stripe
    graph, rng = fg.FactorGraph(), np.random.default_rng(ranks.rank)
    x = graph.add_variables("x", fg.Spin(), (rows, side))
    mine = x[: last - first]
    graph.add_factors("across", fg.Ising(rng.normal(size=mine[:, 1:].size)), mine[:, :-1].ravel(), mine[:, 1:].ravel())
    graph.add_factors("down", fg.Ising(rng.normal(size=x[1:].size)), x[:-1].ravel(), x[1:].ravel())
    numbers = np.arange(first * side, (first + rows) * side).reshape(rows, side)
    ends = [row for row, other in ((0, ranks.rank > 0), (rows - 1, last < side)) if other]
    shared = {x[ends]: numbers[ends]} if ends else {x[:0]: numbers[:0]}
    inference = fg.Inference(graph, fg.Flooding(), communicator=ranks, shared=shared)
    iterations = 10
    return timed(ranks, lambda: inference.run(iterations, tolerance=0, check_every=iterations), iterations, inference)


def timed(ranks: fg.Communicator, action: Callable[[], Any], times: int, inference: fg.Inference) -> dict[str, float]:
    """Seconds and bytes of each of so many equal steps, the slowest rank's, the best of three."""
    action()
    sharing, seconds = inference.state.sharing, []
    before = 0 if sharing is None else sharing.bytes_sent
    for _ in range(3):
        ranks.gather(None)
        start = time.perf_counter()
        action()
        seconds.append(max(ranks.gather(time.perf_counter() - start)) / times)
    sent = 0 if sharing is None else (sharing.bytes_sent - before) / 3 / times
    return {"seconds": min(seconds), "bytes": sent}


def foresee(alone: dict[str, float]) -> None:
    """What the model says of more ranks, from times of one."""
    print(f"\nThe model, with {GPU_SPEED:g} times one core for a GPU, and {CORES} cores that share the work for a machine:")
    for name, sizes in NETWORKS.items():
        weights = sum(n * k for n, k in pairwise(sizes))
        small, large = alone[f"{name}, batch 128"], alone[f"{name}, batch {BATCH}"]
        pattern = (large - small) / (BATCH - 128)
        update = max(0.0, small - 128 * pattern)
        for what, number, speed, link in (("GPUs", 8, GPU_SPEED, GPU_LINK), ("machines", 64, CORES, LINK)):
            for batch in (BATCH, 16 * BATCH):
                one = (batch * pattern + update) / speed
                many = (batch * pattern / number + update) / speed + 2 * 4 * weights * (number - 1) / number / link
                print(f"  {name}, batch {batch}: {number} {what} {one / many:.1f} times one of them")
    grid = next(seconds for case, seconds in alone.items() if case.startswith("grid"))
    side = int(next(case for case in alone if case.startswith("grid")).split()[2])
    edge = grid / (2 * side * side)
    for edges in (1e8, 1e10):
        sent = 8 * 4 * (edges / 2 / 64) ** 0.5  # four sides of a part, a number for each variable
        seconds = edges * edge / CORES / 64 + sent / LINK
        share = 100 * sent / LINK / seconds
        print(
            f"  square grid of {edges:.0e} edges, 64 machines: {seconds:.3g} s an iteration, {share:.2g} % of it to send halos"
        )
    print("  (no latency, no overlap, memory enough: 10^10 edges are 160 GB of messages in double precision)")


if __name__ == "__main__":
    main()
