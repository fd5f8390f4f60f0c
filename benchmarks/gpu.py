"""
The fused programs on a GPU: share of the memory bandwidth, latency of a small plan, and PGMax on the same GPU.

    python benchmarks/gpu.py [bandwidths latency peer] [--backend cupy] [--scale 1] [--repeats 20] [--only TEXT]
                             [--peer-python PYTHON]

Bandwidth is a ratio to a copy between two arrays of the same device in the same run. Bytes of an iteration are counted, not
measured: every belief, message, parameter and index that a launch reads or writes, once. Without a GPU, ``--backend
compiled --scale 0.02`` runs the same code on small problems (its ratios mean nothing: one thread, no vector instructions). The
peer is a Python that has PGMax and a JAX that sees the GPU; without one it is left out.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
from engine import build, run_json
from problems import DAMPING, ising, parity_checks, restricted_boltzmann_machine, tables_on_a_grid
from timing import seconds_of

import factorgraph as fg

HERE = Path(__file__).parent


def copy_bandwidth(backend: fg.Backend, scale: float) -> float:
    """Bytes read and written per second by a copy too large for any cache."""
    source, target = (backend.zeros((max(1 << 20, int(scale * (1 << 28))),)) for _ in range(2))
    source += 1.0

    def copy() -> None:
        target[...] = source

    return 2.0 * source.nbytes / seconds_of(copy, backend, 10)


def bytes_of_an_iteration(inference: fg.Inference) -> int:
    """What the launches of a flooding iteration read and write: floats of 4 or 8 bytes, indices of 4."""
    size = 4 if inference.backend.dtype_name == "float32" else 8
    sets, total = inference.batch or 1, 0
    for factors in inference.graph.factor_blocks.values():
        for port in factors.ports:
            # Belief in, message in and out; where the belief lies.
            total += port.size * (3 * math.prod(port.type.param_shape) * size * sets + 4)
        potentials = inference.state.potentials[factors.name]
        body = potentials.bound.device_messages(inference.mode)[0]  # another only does some factors again
        total += sum(array.nbytes for name, array in potentials.parameters.items() if name in body)
    for pool in inference.state.pools:
        states = math.prod(pool.pool.type.param_shape)
        total += pool.pool.num_edges * (states * size * sets + 4) + 2 * pool.pool.size * states * size * sets
    return total


def bandwidths(backend: fg.Backend, scale: float, repeats: int, only: str) -> None:
    """Rates of large problems whose names have a text, and what share of the copy's bandwidth their counted bytes are."""
    copy = copy_bandwidth(backend, scale)
    print(f"copy: {copy / 1e9:.0f} GB/s")
    side = math.sqrt(scale)
    cases = {
        "spin grid 4096x4096": (lambda: ising(int(4096 * side)), "sum", DAMPING),
        "16-state tables 512x512, sum": (lambda: tables_on_a_grid(int(512 * side), 16), "sum", DAMPING),
        "16-state tables 512x512, max": (lambda: tables_on_a_grid(int(512 * side), 16), "max", DAMPING),
        "parity checks, 4,000,000 bits": (lambda: parity_checks(2 * int(2e6 * scale), 0.12), "sum", 0.0),
    }
    for name, (make, mode, damping) in cases.items():
        if only not in name:
            continue
        graph, _ = build(make())
        inference = fg.Inference(graph, fg.Flooding(), backend=backend, mode=mode, damping=damping)
        seconds = seconds_of(inference.step, backend, repeats)
        moved = bytes_of_an_iteration(inference)
        print(
            f"{name:<32}{graph.num_edges / seconds / 1e9:8.2f} G messages/s, {moved / graph.num_edges:6.1f} bytes a message, "
            f"{moved / seconds / copy:5.2f} of the copy's bandwidth",
            flush=True,
        )


def latency(backend: fg.Backend) -> None:
    """Time of one exact answer on a tree of 1,000 spins, with and without a captured graph, and on NumPy."""
    rng = np.random.default_rng(0)
    parents = np.array([rng.integers(max(0, i - 40), i) for i in range(1, 1000)])
    rows = {"numpy": fg.get_backend("numpy", backend.dtype_name), f"{backend.name}, captured": backend}
    if hasattr(backend, "graphs"):
        plain = fg.get_backend("cupy", backend.dtype_name)
        plain.graphs = False
        rows["cupy, launch by launch"] = plain
    for name, device in rows.items():
        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Spin(), 1000)
        graph.add_factors("f", fg.Ising(0.5), x[parents], x[1:])
        inference = fg.Inference(graph, backend=device)
        inference.observe(x[0], 1)
        print(
            f"tree of 1,000 spins, {name:<24}{1e6 * seconds_of(inference.step, device, 50):10.0f} microseconds a pass",
            flush=True,
        )


def against_pgmax(backend: fg.Backend, scale: float, python: str) -> None:
    """Messages per second and PGMax's, with the same damping and number of iterations."""
    side = math.sqrt(scale)
    cases = {
        "spin grid 400x400": (lambda: ising(int(400 * side)), 200),
        "RBM 100+100, 1,000 sets": (lambda: restricted_boltzmann_machine(100, 100, max(2, int(1000 * scale))), 200),
        "16-state tables 100x100": (lambda: tables_on_a_grid(int(100 * side), 16), 200),
    }
    for name, (make, iterations) in cases.items():
        data = make()
        batch = data["fields"].shape[0] if "fields" in data and data["fields"].ndim == 2 else None
        graph, x = build(data)
        inference = fg.Inference(graph, fg.Flooding(), backend=backend, damping=DAMPING, batch=batch)
        if batch:
            inference.set_prior(x, data["fields"])

        def run(inference: fg.Inference = inference, iterations: int = iterations) -> None:
            for _ in range(iterations):
                inference.step()

        rate = graph.num_edges * iterations * (batch or 1) / seconds_of(run, backend, 3)
        line = f"{name:<32}{rate / 1e9:8.3f} G messages/s"
        if python:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "problem.npz"
                np.savez(path, **data, mode="sum", iterations=iterations, damping=DAMPING)
                theirs = run_json([python, HERE / "peers" / "pgmax_problem.py", path])
            line += f", PGMax {theirs['rate'] / 1e9:8.3f}, ratio {rate / theirs['rate']:.1f}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", default=["bandwidths", "latency", "peer"], help="bandwidths, latency, peer; default: all"
    )
    parser.add_argument("--repeats", type=int, default=20, help="of each large problem")
    parser.add_argument("--only", default="", help="large problems whose names have this text")
    parser.add_argument("--no-graphs", action="store_true", help="launch by launch, for profilers")
    parser.add_argument("--backend", default="cupy", choices=["cupy", "compiled"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes")
    parser.add_argument("--peer-python", default="", help="Python with PGMax and JAX")
    options = parser.parse_args()
    backend = fg.get_backend(options.backend, options.dtype)
    if options.backend == "cupy":
        properties = backend.xp.cuda.runtime.getDeviceProperties(0)
        print(f"{properties['name'].decode()}, CuPy {backend.xp.__version__}, {options.dtype}")
    if options.no_graphs:
        backend.graphs = False
    if "bandwidths" in options.parts:
        bandwidths(backend, options.scale, options.repeats, options.only)
    if "latency" in options.parts:
        latency(backend)
    if "peer" in options.parts:
        against_pgmax(backend, options.scale, options.peer_python)


if __name__ == "__main__":
    main()
