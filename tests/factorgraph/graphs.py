"""Random graphs that tests solve."""

from __future__ import annotations

import numpy as np

import factorgraph as fg


def random_forest(
    rng: np.random.Generator, num_variables: int, zeros: float = 0.0, evidence: int = 0, integer: bool = False
) -> tuple[fg.FactorGraph, list[fg.Variables], list[fg.Factors]]:
    """
    A random forest of spins and categorical variables with unary, pair and triple factors, added one by one.

    Potentials allow at least one joint state, drawn first; ``zeros`` of the others are ruled out. ``integer`` potentials
    make ties.
    """
    graph = fg.FactorGraph()
    variables, truth = [], []
    for number in range(num_variables):
        kind = fg.Spin() if rng.random() < 0.3 else fg.Categorical(int(rng.integers(1, 5)))
        variables.append(graph.add_variables(f"x{number}", kind))
        truth.append(int(rng.integers(len(kind.states))))

    def add(name: str, members: list[int]) -> fg.Factors:
        sizes = [len(variables[m].type.states) for m in members]
        table = rng.normal(size=sizes) if not integer else rng.integers(0, 2, size=sizes).astype(float)
        ruled_out = rng.random(sizes) < zeros
        ruled_out[tuple(truth[m] for m in members)] = False
        table[ruled_out] = -np.inf
        return graph.add_factors(name, fg.Table(table), *(variables[m] for m in members))

    factors, reached = [], [0]
    waiting = list(range(1, num_variables))
    while waiting:
        if rng.random() < 0.15:
            reached = [waiting.pop(0)]  # a new component
            continue
        members = [int(rng.choice(reached))] + [waiting.pop(0) for _ in range(min(len(waiting), int(rng.integers(1, 3))))]
        factors.append(add(f"f{len(factors)}", [members[i] for i in rng.permutation(len(members))]))
        reached += members[1:]
    for number in range(0, num_variables, 3):
        factors.append(add(f"u{number}", [number]))
    if not integer:
        for number in range(0, num_variables, 2):
            shape = variables[number].type.param_shape
            graph.set_prior(variables[number], rng.normal(size=shape))
    for number in rng.permutation(num_variables)[:evidence]:
        graph.observe(variables[number], variables[number].type.states[truth[number]])
    return graph, variables, factors
