"""
Random 3-satisfiability
=======================

A formula of 10,000 variables has 4.0 clauses for each variable. Belief propagation finds the marginals of the uniform
distribution over all solutions, and reinforcement sharpens these marginals until they are one assignment. The assignment is
then verified clause by clause.
"""

import matplotlib.pyplot as plt
import numpy as np

import factorgraph as fg

VARIABLES, RATIO = 10_000, 4.0


def main():
    rng = np.random.default_rng(0)
    clauses = int(RATIO * VARIABLES)
    scopes = np.array([rng.choice(VARIABLES, size=3, replace=False) for _ in range(clauses)])
    signs = rng.choice([-1, 1], size=(clauses, 3))

    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), shape=(VARIABLES,))
    graph.add_factors("clauses", fg.Or(signs), x[scopes])
    solver = fg.Inference(graph, fg.Flooding(), reinforcement=0.2, damping=0.1, dtype="float32")
    history = []

    def watch(iteration, inference):
        """Stop once the most probable values satisfy all clauses."""
        if iteration % 5:
            return False
        values = np.where(inference.state.belief(x) > 0, 1, -1)
        violated = int((~(values[scopes] * signs > 0).any(axis=1)).sum())
        history.append((iteration, violated))
        return violated == 0

    result = solver.run(500, tolerance=0, callback=watch)
    values = result.mode(x)

    satisfied = 0
    for scope, sign in zip(scopes.tolist(), signs.tolist(), strict=True):  # clause by clause
        satisfied += any(values[v] == s for v, s in zip(scope, sign, strict=True))
    print(f"{satisfied:,} of {clauses:,} clauses satisfied after {result.iterations} iterations")
    assert satisfied == clauses

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.semilogy(*zip(*[(t, max(v, 0.5)) for t, v in history], strict=True), ".-")
    axes.set(
        xlabel="iteration",
        ylabel="violated clauses (none is drawn as 0.5)",
        title=f"3-SAT, {VARIABLES:,} variables, {RATIO} clauses for each",
    )
    figure.savefig("satisfiability.png", dpi=120)
    print("picture: satisfiability.png")


if __name__ == "__main__":
    main()
