"""
Exact and loopy answers on UAI problems: time, memory, and errors against reference marginals.

    python benchmarks/uai.py FOLDER

The folder has NAME.uai, NAME.uai.evid and NAME.uai.MAR, as the UAI competitions give them.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from pathlib import Path

import numpy as np

import factorgraph as fg


def gaps(model: fg.Model, result: fg.Result | fg.ExactResult, reference: list[np.ndarray]) -> np.ndarray:
    """Errors of all probabilities."""
    return np.concatenate([np.abs(p - q) for p, q in zip(model.marginals(result), reference, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    warnings.simplefilter("ignore", fg.ConvergenceWarning)
    columns = f"{'problem':<18}{'variables':>10}{'width':>6}{'clique':>8}{'seconds':>9}{'error':>9}"
    print(f"{columns}{'loopy':>11}{'mean error':>11}{'largest':>9}")
    for path in sorted(folder.glob("*.uai")):
        model = fg.read_uai(path)
        for evidence in fg.read_uai_evidence(f"{path}.evid", model):
            model.observe(evidence)
        reference = fg.read_uai_result(f"{path}.MAR")[1]

        size = fg.exact_size(model.graph)
        row = f"{path.stem:<18}{len(model):>10}{size.width:>6}{f'2^{np.log2(size.largest_clique):.0f}':>8}"
        start = time.perf_counter()
        try:
            error = gaps(model, fg.exact(model.graph), reference).max()
            row += f"{time.perf_counter() - start:>9.2f}{error:>9.1e}"
        except fg.TooLargeError:
            row += f"{'refused':>18}"
        loopy = fg.run(model.graph, fg.Residual(), damping="auto", max_iterations=200)
        errors = gaps(model, loopy, reference)
        print(f"{row}{loopy.status:>11}{errors.mean():>11.1e}{errors.max():>9.2f}", flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
