"""Graphs of all edgewise types in parts, against the run of one process. Prints the largest differences as JSON."""

from __future__ import annotations

import json
import sys
import tempfile

import numpy as np

import factorgraph as fg

ranks = fg.get_communicator("mpi")


def grid() -> fg.FactorGraph:
    """Tables and Potts factors on a grid of categorical variables, some of them observed."""
    rng, graph = np.random.default_rng(0), fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(3), (8, 9))
    graph.set_prior(x, rng.normal(size=(8, 9, 3)))
    graph.observe(x[3, 4], 2)
    graph.add_factors("rows", fg.Table(0.4 * rng.normal(size=(64, 3, 3))), x[:, :-1].ravel(), x[:, 1:].ravel())
    graph.add_factors("columns", fg.Potts(0.3), x[:-1], x[1:])
    return graph


def ising() -> fg.FactorGraph:
    rng, graph = np.random.default_rng(1), fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 60)
    graph.set_prior(x, rng.normal(size=60))
    pairs = np.array([rng.choice(60, 2, replace=False) for _ in range(110)])
    graph.add_factors("bonds", fg.Ising(0.3 * rng.normal(size=110)), x[pairs[:, 0]], x[pairs[:, 1]])
    return graph


def counting() -> fg.FactorGraph:
    """Hard and soft factors of many variables, of two types of variables."""
    rng, graph = np.random.default_rng(2), fg.FactorGraph()
    s = graph.add_variables("s", fg.Spin(), 48)
    c = graph.add_variables("c", fg.Categorical(3), 12)
    graph.set_prior(s, rng.normal(size=48))
    graph.set_prior(c, rng.normal(size=(12, 3)))
    rows = rng.permutation(48).reshape(-1, 4)
    graph.add_factors("parity", fg.Parity(), s[rows])
    graph.add_factors("one", fg.AtMost(2), s[rng.permutation(48)[:32].reshape(-1, 4)])
    graph.add_factors("count", fg.Cardinality(rng.normal(size=5)), s[rng.permutation(48)[:24].reshape(-1, 4)])
    graph.add_factors("mixed", fg.Table(rng.normal(size=(2, 3))), s[:12], c)
    graph.observe(s[rows[0][:2]], [1, -1])
    return graph


def normal() -> fg.FactorGraph:
    rng, graph = np.random.default_rng(3), fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 40)
    graph.set_prior(x, np.stack([rng.normal(size=40), np.full(40, 2.0)], axis=1))
    pairs = np.array([rng.choice(40, 2, replace=False) for _ in range(60)])
    graph.add_factors("links", fg.LinearGaussian([0.3, -0.2], 1.0, rng.normal(size=60)), x[pairs[:, 0]], x[pairs[:, 1]])
    graph.observe(x[0], 0.5)
    return graph


def vectors() -> fg.FactorGraph:
    """Vectors that are related by matrices, one of them observed in part."""
    rng, graph = np.random.default_rng(5), fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), 30)
    graph.set_prior(x, fg.Gaussian(2).from_moments(rng.normal(size=(30, 2)), np.eye(2)))
    pairs = np.array([rng.choice(30, 2, replace=False) for _ in range(45)])
    ties = fg.LinearGaussian([0.3, 0.2 * rng.normal(size=(45, 2, 2))], np.eye(2), rng.normal(size=(45, 2)))
    graph.add_factors("ties", ties, x[pairs[:, 0]], x[pairs[:, 1]])
    graph.observe(x[0], [0.5, np.nan])
    return graph


def compare(graph: fg.FactorGraph, schedule: fg.Schedule, owners: object = None, **settings: object) -> dict[str, float]:
    """Largest differences of marginals, log Z and residuals; schedules that end at the same point are run to it."""
    part = fg.partition(graph, ranks.size, owners)[ranks.rank]
    steps = dict(max_iterations=12, tolerance=0.0) if isinstance(schedule, fg.Flooding) else dict(tolerance=1e-12)
    inference = fg.Inference(part.graph, schedule, communicator=ranks, shared=part.shared, **settings)
    result = inference.run(**steps)
    whole = fg.Inference(graph, schedule, **settings).run(**steps)
    found = {"log_partition": abs(result.log_partition - whole.log_partition)}
    for name in graph.variable_blocks:
        mine = result.marginals(part.graph.variables(name)) if name in part.numbers else None
        found[name] = float(np.abs(part.gather(ranks, name, mine) - whole.marginals(graph.variables(name))).max())
    assert len(set(ranks.gather(result.iterations))) == 1
    assert len(set(ranks.gather(result.log_partition))) == 1
    return found


def uneven(graph: fg.FactorGraph) -> dict[str, np.ndarray]:
    """All factors on the last rank but two of the first block: with three ranks one has none."""
    owners = {name: np.full(block.count, ranks.size - 1) for name, block in graph.factor_blocks.items()}
    next(iter(owners.values()))[:2] = 0
    return owners


def solved() -> dict[str, float]:
    """Decoding stops on all ranks at once, at a word that fulfils all checks."""
    rng, graph = np.random.default_rng(3), fg.FactorGraph()
    bits = graph.add_variables("bits", fg.Spin(), 60)
    graph.set_prior(bits, 1.0 + 0.7 * rng.normal(size=60))
    rows = np.concatenate([rng.permutation(60).reshape(-1, 6) for _ in range(3)])
    graph.add_factors("checks", fg.Parity(), bits[rows])
    part = fg.partition(graph, ranks.size)[ranks.rank]
    inference = fg.Inference(part.graph, fg.Flooding(), communicator=ranks, shared=part.shared)
    result = inference.run(200, stop="satisfied", check_every=1)
    whole = fg.Inference(graph, fg.Flooding()).run(200, stop="satisfied", check_every=1)
    word = part.gather(ranks, "bits", result.mode(part.graph.variables("bits")))
    assert result.status == whole.status == "satisfied"
    assert (word[rows].prod(axis=1) == 1).all()
    return {"iterations": abs(result.iterations - whole.iterations), "bits": float(np.abs(word - whole.mode(bits)).max())}


def sets_of_evidence() -> dict[str, float]:
    graph = grid()
    part = fg.partition(graph, ranks.size)[ranks.rank]
    whole = fg.Inference(graph, fg.Flooding(), batch=3)
    mine = fg.Inference(part.graph, fg.Flooding(), batch=3, communicator=ranks, shared=part.shared)
    place = np.flatnonzero(part.numbers["x"] == 31)
    whole.observe(graph.variables("x")[3, 4], np.arange(3))
    if place.size:
        mine.observe(part.graph.variables("x")[place[0]], np.arange(3))
    results = [inference.run(tolerance=1e-12) for inference in (mine, whole)]
    rows = np.moveaxis(results[0].marginals(part.graph.variables("x")), 0, 1)
    found = part.gather(ranks, "x", rows)
    expected = np.moveaxis(results[1].marginals(graph.variables("x")), 0, 2)
    return {
        "x": float(np.abs(found - expected).max()),
        "log_partition": float(np.abs(results[0].log_partition - results[1].log_partition).max()),
    }


def copied() -> dict[str, float]:
    """States go through copies and files, and go on from there."""
    graph = ising()
    part = fg.partition(graph, ranks.size)[ranks.rank]
    x = part.graph.variables("x")
    inference = fg.Inference(part.graph, fg.Flooding(), communicator=ranks, shared=part.shared)
    inference.run(5, tolerance=0)
    with tempfile.TemporaryDirectory() as folder:
        inference.state.save(f"{folder}/{ranks.rank}.npz")
        kept = inference.state.copy()
        expected = inference.run(5, tolerance=0, keep_messages=True).mean(x)
        inference.state = kept
        again = inference.run(5, tolerance=0, keep_messages=True).mean(x)
        other = fg.Inference(part.graph, fg.Flooding(), communicator=ranks, shared=part.shared)
        other.state.load(f"{folder}/{ranks.rank}.npz")
        loaded = other.run(5, tolerance=0, keep_messages=True).mean(x)
    return {"copy": float(np.abs(again - expected).max()), "file": float(np.abs(loaded - expected).max())}


found = {}
for build in (grid, ising, counting, normal, vectors):
    found[f"{build.__name__}, flooding"] = compare(build(), fg.Flooding())
    found[f"{build.__name__}, uneven"] = compare(build(), fg.Flooding(), uneven(build()))
for build in (ising, normal):
    found[f"{build.__name__}, random order"] = compare(build(), fg.RandomOrder(4, seed=0), damping=0.3)
found["grid, damped"] = compare(grid(), fg.Flooding(), damping=0.5)
found["grid, max"] = compare(grid(), fg.Flooding(), mode="max")
found["ising, single precision"] = compare(ising(), fg.Flooding(), dtype="float32")
found["ising, reinforced"] = compare(ising(), fg.Flooding(), reinforcement=0.1)
found["counting, other arrays"] = compare(counting(), fg.Flooding(), backend="array-api-strict")
found["ising, damped as needed"] = compare(ising(), fg.Flooding(), damping="auto")
found["counting, solved"] = solved()
found["grid, sets of evidence"] = sets_of_evidence()
found["ising, copied and saved"] = copied()
if ranks.rank == 0:
    print(json.dumps(found))
sys.stdout.flush()
