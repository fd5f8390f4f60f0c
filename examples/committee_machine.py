"""
A committee of perceptrons: a layer and a table in one graph
============================================================

Three perceptrons vote, and a committee of the same form learns from their answers. Each unit sees a third of the inputs and
has weights of -1 and 1. The units are one ``nets.Perceptron`` block with a mask, run as approximate message passing. The
majority vote is a table, so that its messages are exact. The overlap with the teacher follows state evolution, iteration by
iteration.
"""

from itertools import product

import numpy as np

import factorgraph as fg
from nets import Perceptron
from nets.state_evolution import committee_overlaps

UNITS = 3


def mask_of(size):
    """Which inputs each unit has."""
    return np.kron(np.eye(UNITS, dtype=bool), np.ones((1, size // UNITS), dtype=bool))


def majority():
    """Log-potential of three units' outputs and the answer: 0 where it is the majority's, else -inf."""
    signs = np.array(list(product([-1, 1], repeat=UNITS + 1)))
    agrees = np.sign(signs[:, :-1].sum(axis=1)) == signs[:, -1]
    return np.where(agrees, 0.0, -np.inf).reshape((2,) * (UNITS + 1))


def committee(patterns, answers):
    """A compiled run on patterns (N, M) with answers (M,)."""
    size, count = patterns.shape
    graph = fg.FactorGraph()
    weights = graph.add_variables("weights", fg.Spin(), (UNITS, size))
    inputs = graph.add_variables("inputs", fg.Data(), (size, count))
    hidden = graph.add_variables("hidden", fg.Spin(), (UNITS, count))
    answer = graph.add_variables("answer", fg.Spin(), (count,))
    graph.add_factors("units", Perceptron("amp", mask=mask_of(size)), weights, inputs, hidden)
    graph.add_factors("majority", fg.Table(majority()), *hidden, answer)
    graph.observe(inputs, patterns)
    graph.observe(answer, answers)
    sweep = fg.Sweep([("units", "output"), "majority", ("units", "weights")], partial=True)
    return weights, fg.Inference(graph, sweep, dtype="float32")


def learn(alpha, size, iterations, rng):
    """Overlap with a random teacher after each iteration."""
    patterns = rng.choice([-1, 1], size=(size, int(alpha * size)))
    teacher = rng.choice([-1, 1], size=(UNITS, size)) * mask_of(size)
    weights, inference = committee(patterns, np.sign(np.sign(teacher @ patterns).sum(axis=0)).astype(int))
    found = []
    for _ in range(iterations):
        inference.step()
        found.append(np.sum(np.tanh(inference.state.belief(weights)) * teacher) / size)
    return np.array(found)


def main():
    rng = np.random.default_rng(0)
    iterations, curves = 12, {}
    print("2,001 inputs, 12 iterations: overlap with the teacher, the theory's, and the error that goes with it")
    for alpha in (0.5, 1.0, 1.5):
        theory, errors = committee_overlaps(alpha, UNITS, iterations)
        found = learn(alpha, 2001, iterations, rng)
        curves[alpha] = found, theory
        print(f"alpha {alpha}: overlap {found[-1]:.3f} ({theory[-1]:.3f}), error {errors[-1]:.3f}")
        assert np.abs(found - theory).max() < 0.08

    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for alpha, (found, theory) in curves.items():
        (line,) = axes.plot(range(1, iterations + 1), theory, label=f"theory, alpha = {alpha}")
        axes.plot(range(1, iterations + 1), found, "o", color=line.get_color())
    axes.set(xlabel="iteration", ylabel="overlap with the teacher", title="A committee of three")
    axes.plot([], [], "o", color="0.4", label="found")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("committee_machine.png", dpi=120)
    print("picture: committee_machine.png")


if __name__ == "__main__":
    main()
