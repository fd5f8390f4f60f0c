"""
Exact marginals of Bayesian networks: the first answer and answers to new evidence, beside pyAgrum's lazy propagation in C++.

    python benchmarks/exact.py FOLDER [--names andes pigs ...] [--batch]

The folder has NAME.bif, as the Bayesian network repository gives them. Both run in one thread and give the marginals of all
variables. Each evidence observes five variables at states of one joint sample; its time is the median of five, by the same
engine. "Batch" is the time of one of 100 such sets that are asked together; pyAgrum answers sets one after another. pyAgrum
(pip install pyagrum) is left out where it is not found. Its first answer finds an order too: the ratio is to our compiling and
first answer together.
"""

from __future__ import annotations

import argparse
import gc
import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import time
from pathlib import Path
from typing import Any

import numpy as np

import factorgraph as fg

Answers = list[np.ndarray]
_SETS = 100  # of a batch


def timed(work: Any) -> tuple[float, Any]:
    """Seconds of a call, and what it returns; what other calls have left to clear up is cleared up before."""
    gc.collect()
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def ours(model: fg.Model, sets: list[dict[int, int]]) -> tuple[float, float, list[float], list[Answers]]:
    """Seconds of compiling, of the first answer without it, and of each further one; the answers."""
    compiling, tree = timed(lambda: fg.JunctionTree(model.graph))
    first, found = timed(lambda: model.marginals(tree.run()))
    seconds, answers, before = [], [found], dict[int, int]()
    for evidence in sets:

        def ask(evidence: dict[int, int] = evidence, before: dict[int, int] = before) -> Answers:
            for v in before:
                tree.unobserve(model[v])
            for v, state in evidence.items():
                tree.observe(model[v], model[v].type.states[state])
            return model.marginals(tree.run())

        took, found = timed(ask)
        seconds.append(took)
        answers.append(found)
        before = evidence
    return compiling, first, seconds, answers


def in_a_batch(model: fg.Model, seed: int) -> float:
    """Seconds of one of many sets, each a joint sample of the same five variables, that are asked together."""
    drawn = fg.exact(model.graph).sample(_SETS, seed=seed)
    tree = fg.JunctionTree(model.graph, batch=_SETS)
    seen = [model[int(v)] for v in np.random.default_rng(seed).permutation(len(model))[:5]]
    seconds = []
    for number in range(3):  # each time other sets
        for x in seen:
            tree.observe(x, np.roll(drawn[x.name].reshape(_SETS, -1)[:, x.index.reshape(-1)[0]], number))
        seconds.append(timed(lambda: model.marginals(tree.run()))[0])
    return float(np.median(seconds)) / _SETS


def agrum(path: Path, names: list[str], sets: list[dict[int, int]]) -> tuple[float, list[float], list[Answers]] | None:
    """The same by pyAgrum."""
    try:
        import pyagrum
    except ImportError:
        return None
    network = pyagrum.loadBN(str(path))
    nodes = [network.idFromName(name) for name in names]

    def first() -> Any:
        engine = pyagrum.LazyPropagation(network)
        engine.setNumberOfThreads(1)
        engine.makeInference()
        return engine, [engine.posterior(node).toarray() for node in nodes]

    took, (engine, found) = timed(first)
    seconds, answers = [], [found]
    for evidence in sets:

        def ask(evidence: dict[int, int] = evidence) -> Answers:
            engine.setEvidence({nodes[v]: state for v, state in evidence.items()})
            engine.makeInference()
            return [engine.posterior(node).toarray() for node in nodes]

        one, found = timed(ask)
        seconds.append(one)
        answers.append(found)
    return took, seconds, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", nargs="*", help="which networks; default all")
    parser.add_argument("--batch", action="store_true", help="ask many sets together too")
    options = parser.parse_args()
    head = f"{'network':<12}{'compile':>9}{'first':>8}{'evidence':>10}{'batch':>10}{'pyAgrum':>9}{'evidence':>10}"
    print(f"{head}{'ratio':>8}{'ratio':>8}{'batch':>8}{'largest difference':>20}")
    for path in sorted(options.folder.glob("*.bif")):
        if options.names and path.stem not in options.names:
            continue
        model = fg.read_bif(path)
        rng = np.random.default_rng(0)
        sample = fg.exact(model.graph).sample(5, seed=0)
        states = [sample[model[v].name].reshape(5, -1)[:, model[v].index.reshape(-1)[0]] for v in range(len(model))]
        sets = []
        for number in range(5):
            chosen = rng.permutation(len(model))[:5]
            sets.append({int(v): int(np.flatnonzero(model[v].type.states == states[v][number])[0]) for v in chosen})
        compiling, first, later, answers = ours(model, sets)
        each = in_a_batch(model, 0) if options.batch else np.nan
        row = f"{path.stem:<12}{compiling:>9.4f}{first:>8.4f}{np.median(later):>10.5f}{each:>10.6f}"
        peer = agrum(path, model.names, sets)
        if peer is not None:
            took, seconds, others = peer
            gap = max(np.abs(p - q).max() for a, b in zip(answers, others, strict=True) for p, q in zip(a, b, strict=True))
            row += f"{took:>9.3f}{np.median(seconds):>10.4f}{(compiling + first) / took:>8.2f}"
            row += f"{np.median(later) / np.median(seconds):>8.2f}{each / np.median(seconds):>8.3f}{gap:>20.1e}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
