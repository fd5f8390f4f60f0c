"""Loopy graphs of tables with zeros: against a plain belief propagation on probabilities, message by message."""

from __future__ import annotations

import numpy as np
import pytest

import factorgraph as fg

Factors = list[tuple[list[int], np.ndarray]]


def random_tables(rng: np.random.Generator) -> tuple[list[int], Factors]:
    sizes = [int(rng.integers(2, 4)) for _ in range(8)]
    factors: Factors = []
    for _ in range(11):
        scope = rng.permutation(8)[: rng.integers(1, 4)].tolist()
        table = np.exp(0.7 * rng.normal(size=[sizes[v] for v in scope]))
        table[rng.random(table.shape) < 0.1] = 0
        table.flat[0] = max(table.flat[0], 0.3)
        factors.append((scope, table))
    return sizes, factors


def along(vector: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    return vector.reshape([-1 if k == axis else 1 for k in range(ndim)])


def plain_belief_propagation(sizes: list[int], factors: Factors) -> tuple[list[np.ndarray], float, float]:
    """Beliefs, Bethe's log-partition from its entropies, and the last change."""
    messages = {(a, v): np.ones(sizes[v]) / sizes[v] for a, (scope, _) in enumerate(factors) for v in scope}
    touching = {v: [a for a, (scope, _) in enumerate(factors) if v in scope] for v in range(len(sizes))}

    def product(v: int, without: int = -1) -> np.ndarray:
        total = np.ones(sizes[v])
        for a in touching[v]:
            if a != without:
                total = total * messages[a, v]
        return total / total.sum()

    change = 1.0
    for _ in range(2000):
        new = {}
        for a, (scope, table) in enumerate(factors):
            for i, v in enumerate(scope):
                joint = table
                for j, u in enumerate(scope):
                    if u != v:
                        joint = joint * along(product(u, a), j, len(scope))
                sums = joint.sum(axis=tuple(k for k in range(len(scope)) if k != i))
                new[a, v] = 0.5 * messages[a, v] + 0.5 * sums / sums.sum()
        change = max(float(np.abs(new[key] - messages[key]).max()) for key in messages)
        messages = new
        if change < 1e-14:
            break
    energy = 0.0
    for a, (scope, table) in enumerate(factors):
        joint = table
        for j, u in enumerate(scope):
            joint = joint * along(product(u, a), j, len(scope))
        joint = joint / joint.sum()
        energy += float((joint[joint > 0] * np.log(table[joint > 0] / joint[joint > 0])).sum())
    beliefs = [product(v) for v in range(len(sizes))]
    for v, belief in enumerate(beliefs):
        energy -= (1 - len(touching[v])) * float((belief[belief > 0] * np.log(belief[belief > 0])).sum())
    return beliefs, energy, change


@pytest.mark.parametrize("seed", range(6))
def test_fixed_points_and_bethe_energies(seed: int) -> None:
    sizes, factors = random_tables(np.random.default_rng(seed))
    beliefs, energy, change = plain_belief_propagation(sizes, factors)
    assert change < 1e-12
    model = fg.Model.of_tables(sizes, factors)
    for schedule in (fg.Flooding(), fg.Residual(), fg.RandomOrder()):
        result = fg.run(model.graph, schedule, damping=0.3, tolerance=1e-12, max_iterations=5000)
        for found, expected in zip(model.marginals(result), beliefs, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-10)
        assert result.log_partition == pytest.approx(energy, abs=1e-9)
