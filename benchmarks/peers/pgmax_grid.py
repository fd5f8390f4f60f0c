"""A spin grid in PGMax: messages per second and time to the first answer, as JSON. Run by ../engine.py."""

import importlib
import json
import sys
import time

import numpy as np

# PGMax 0.6.1 looks for the backend's name in a module that newer JAX does not load by itself.
importlib.import_module("jax.lib.xla_bridge")

import jax  # noqa: E402
from pgmax import fgraph, fgroup, infer, vgroup  # noqa: E402


def main(path: str) -> None:
    data = np.load(path)
    side, iterations, damping = int(data["side"]), int(data["iterations"]), float(data["damping"])
    start = time.perf_counter()
    variables = vgroup.NDVarArray(num_states=2, shape=(side, side))
    graph = fgraph.FactorGraph(variable_groups=variables)
    rows = [[variables[i, j], variables[i + 1, j]] for i in range(side - 1) for j in range(side)]
    columns = [[variables[i, j], variables[i, j + 1]] for i in range(side) for j in range(side - 1)]
    couplings = np.concatenate([data["rows"].ravel(), data["columns"].ravel()])
    signs = np.array([[1.0, -1.0], [-1.0, 1.0]])
    group = fgroup.PairwiseFactorGroup(
        variables_for_factors=rows + columns, log_potential_matrix=couplings[:, None, None] * signs
    )
    graph.add_factors(group)
    built = time.perf_counter()
    bp = infer.build_inferer(graph.bp_state, backend="bp")
    evidence = np.stack([-data["fields"], data["fields"]], axis=-1)
    arrays = bp.init(evidence_updates={variables: evidence})

    def run(number: int) -> float:
        begin = time.perf_counter()
        jax.block_until_ready(bp.run(arrays, num_iters=number, damping=damping, temperature=1.0))
        return time.perf_counter() - begin

    final = bp.run(arrays, num_iters=50, damping=damping, temperature=1.0)
    jax.block_until_ready(infer.get_marginals(bp.get_beliefs(final))[variables])
    first = time.perf_counter() - start
    seconds = min(run(iterations) for _ in range(3))
    final = bp.run(arrays, num_iters=iterations, damping=damping, temperature=1.0)
    marginals = infer.get_marginals(bp.get_beliefs(final))[variables]
    edges = 2 * len(couplings)
    mean = (np.asarray(marginals)[..., 1] - np.asarray(marginals)[..., 0]).ravel()
    print(
        json.dumps(
            {
                "rate": edges * iterations / seconds,
                "build": built - start,
                "first_answer": first,
                "mean": mean[:1000].tolist(),
            }
        )
    )


main(sys.argv[1])
