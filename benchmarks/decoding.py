"""
Decoding by syndrome on toric codes, beside the C++ decoder of the ldpc package: the same words after as many iterations?

    python benchmarks/decoding.py [--errors 200] [--rate 0.06] [--iterations 30]

Needs ldpc (pip install ldpc). A code of side L has 2 L^2 bits and L^2 checks of four bits; each check joins its bits and its
syndrome, which is observed. Both pass messages in parallel and stop at the first word that has the syndrome; the decoder in C++
goes through the syndromes one by one, ours takes them as one batch. Log-odds are compared after 1, 2, 5 and 10 iterations.
"""

from __future__ import annotations

import argparse
import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import time
import warnings
from typing import Any

import numpy as np
from scipy import sparse

import factorgraph as fg


def toric(side: int) -> np.ndarray:
    """Bits of each check, ``(side^2, 4)``: the edges that meet at each vertex of a square lattice on a torus."""
    vertex = np.arange(side * side).reshape(side, side)
    upright = vertex + side * side
    around = (vertex, np.roll(vertex, 1, axis=1), upright, np.roll(upright, 1, axis=0))
    return np.stack(around, axis=-1).reshape(-1, 4)


def ours(scopes: np.ndarray, bits: int, rate: float) -> tuple[fg.FactorGraph, fg.Variables, fg.Variables]:
    """Errors (-1) of the bits, and syndromes (-1 where a check is odd)."""
    graph = fg.FactorGraph()
    errors, syndrome = graph.add_variables("errors", fg.Spin(), bits), graph.add_variables("syndrome", fg.Spin(), len(scopes))
    graph.add_factors("checks", fg.Parity(), fg.concatenate(errors[scopes], syndrome[:, None]))
    graph.set_prior(errors, 0.5 * np.log((1 - rate) / rate))
    return graph, errors, syndrome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--errors", type=int, default=200, help="error patterns for each code")
    parser.add_argument("--rate", type=float, default=0.06, help="share of bits that are wrong")
    parser.add_argument("--iterations", type=int, default=30)
    options = parser.parse_args()
    from ldpc import BpDecoder

    warnings.simplefilter("ignore", fg.ConvergenceWarning)
    rng = np.random.default_rng(0)
    names = ("side", "solved", "theirs", "both", "same words", "iterations", "log-odds", "ms each", "theirs")
    widths = (4, 8, 8, 6, 12, 12, 10, 9, 8)
    print("".join(name.rjust(width) for name, width in zip(names, widths, strict=True)))
    for side in (4, 6, 8, 10):
        scopes, bits = toric(side), 2 * side * side
        checks = np.repeat(np.arange(len(scopes)), 4)
        matrix = sparse.csr_matrix((np.ones(checks.size, dtype=np.uint8), (checks, scopes.ravel())), shape=(len(scopes), bits))
        wrong = (rng.random((options.errors, bits)) < options.rate).astype(np.uint8)
        syndromes = wrong @ matrix.T.toarray() % 2
        syndromes = syndromes[syndromes.any(axis=1)]  # their decoder does not start without

        def decoder(iterations: int, matrix: Any = matrix) -> Any:
            settings = {"bp_method": "product_sum", "schedule": "parallel", "input_vector_type": "syndrome"}
            return BpDecoder(matrix, error_rate=options.rate, max_iter=iterations, **settings)

        graph, errors, syndrome = ours(scopes, bits, options.rate)
        inference = fg.Inference(graph, fg.Flooding(), batch=len(syndromes))
        inference.observe(syndrome, 1 - 2 * syndromes.astype(int))
        inference.step()
        start = time.perf_counter()
        result = inference.run(options.iterations, tolerance=0.0, check_every=1, stop="satisfied")
        mine = (result.mode(errors) < 0).astype(np.uint8)
        seconds = time.perf_counter() - start
        solved, took = np.equal(result.status, "satisfied"), np.array(result.iterations)

        theirs, found, converged = decoder(options.iterations), [], []
        start = time.perf_counter()
        for row in syndromes:
            word = theirs.decode(row.astype(np.uint8))
            found.append((word.copy(), theirs.iter))
            converged.append(theirs.converge)
        their_seconds = time.perf_counter() - start
        both = solved & np.array(converged)
        words, iterations = np.array([word for word, _ in found]), np.array([count for _, count in found])

        gap, single = 0.0, fg.Inference(graph, fg.Flooding())
        for row in syndromes[:5]:
            single.observe(syndrome, 1 - 2 * row.astype(int))
            for count in (1, 2, 5, 10):
                their = decoder(count)
                their.decode(row.astype(np.uint8))
                if their.iter == count:
                    single.run(count, tolerance=0.0)
                    gap = max(gap, np.abs(2 * single.state.belief(errors) - np.array(their.log_prob_ratios)).max())
        same = (words[both] == mine[both]).all(axis=1).sum(), (iterations[both] == took[both]).sum()
        each = 1e3 * seconds / len(syndromes), 1e3 * their_seconds / len(syndromes)
        row_text = f"{side:>4}{solved.sum():>8}{np.sum(converged):>8}{both.sum():>6}{same[0]:>12}{same[1]:>12}"
        print(f"{row_text}{gap:>10.0e}{each[0]:>9.3f}{each[1]:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
