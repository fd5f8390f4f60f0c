"""A problem in PGMax: messages per second, time to the first answer, peak memory, marginals; as JSON. Run by ../engine.py."""

import functools
import importlib
import json
import resource
import sys
import time
import types

import jax
import jax.extend.backend
import numpy as np

# PGMax 0.6.1 asks a module for the backend's name that newer JAX does not load by itself, or no longer has.
try:
    importlib.import_module("jax.lib.xla_bridge")
except ModuleNotFoundError:
    old_place = getattr(jax, "lib", None) or types.ModuleType("jax.lib")
    old_place.xla_bridge = types.SimpleNamespace(get_backend=jax.extend.backend.get_backend)
    sys.modules.setdefault("jax.lib", old_place)
    jax.lib = old_place

from pgmax import fgraph, fgroup, infer, vgroup


def build(data, states, count):
    """The graph, its variables and its evidence."""
    variables = vgroup.NDVarArray(num_states=states, shape=(count,))
    graph = fgraph.FactorGraph(variable_groups=variables)
    scopes = [[variables[int(v)] for v in scope] for scope in data["scopes"]]
    if "couplings" in data:
        signs = np.array([[1.0, -1.0], [-1.0, 1.0]])
        group = fgroup.PairwiseFactorGroup(scopes, data["couplings"][:, None, None] * signs)
        evidence = np.stack([-data["fields"], data["fields"]], axis=-1)
    elif data["tables"].ndim == 3:
        group, evidence = fgroup.PairwiseFactorGroup(scopes, data["tables"]), data["weights"]
    else:
        shape = data["tables"].shape[1:]
        configurations = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1)
        group = fgroup.EnumFactorGroup(scopes, configurations, data["tables"].reshape(len(scopes), -1))
        evidence = data["weights"]
    graph.add_factors(group)
    return graph, variables, evidence


def main(path):
    data = dict(np.load(path))
    iterations, damping = int(data["iterations"]), float(data["damping"])
    temperature = 0.0 if data["mode"] == "max" else 1.0
    start = time.perf_counter()
    batch = data["fields"].shape[0] if "fields" in data and data["fields"].ndim == 2 else 0
    states = data["weights"].shape[-1] if "weights" in data else 2
    count = data["weights"].shape[0] if "weights" in data else data["fields"].shape[-1]
    graph, variables, evidence = build(data, states, count)
    built = time.perf_counter() - start
    bp = infer.build_inferer(graph.bp_state, backend="bp")

    def steps(number):
        run = functools.partial(bp.run, num_iters=number, damping=damping, temperature=temperature)
        return jax.vmap(run, in_axes=0, out_axes=0) if batch else run

    if batch:
        arrays = jax.vmap(bp.init, in_axes=0, out_axes=0)(evidence_updates={variables: evidence})
    else:
        arrays = bp.init(evidence_updates={variables: evidence})

    def answer(number):
        beliefs = jax.vmap(bp.get_beliefs)(steps(number)(arrays)) if batch else bp.get_beliefs(steps(number)(arrays))
        return infer.get_marginals(beliefs)[variables] if temperature else infer.decode_map_states(beliefs)[variables]

    jax.block_until_ready(answer(50 if not batch else iterations))
    first = time.perf_counter() - start

    def timed():
        begin = time.perf_counter()
        jax.block_until_ready(steps(iterations)(arrays))
        return time.perf_counter() - begin

    timed()
    seconds = min(timed() for _ in range(3))
    messages = data["scopes"].size * iterations * max(batch, 1)
    found = np.asarray(answer(iterations)).reshape(max(batch, 1), -1)[-1][:2000]
    print(
        json.dumps(
            {
                "rate": messages / seconds,
                "build": built,
                "first": first,
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "answer": found.tolist(),
            }
        )
    )


main(sys.argv[1])
