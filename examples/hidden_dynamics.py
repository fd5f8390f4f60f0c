"""
The rule of a recurrent network, from recordings with gaps
==========================================================

Each of 25 neurons becomes the sign of a weighted sum of all neurons, five times after each other. The weights are -1 or 1 and
unknown. A hundred such sequences were recorded, and three of ten values are missing. One matrix of weights is shared by all
steps: the steps are one block of the factor graph, whose inputs and outputs are two views of one block of variables,
everything but the last step and everything but the first. Belief propagation finds the weights and the missing values
together.
"""

import matplotlib.pyplot as plt
import numpy as np

import factorgraph as fg
from nets import Perceptron

NEURONS, STEPS, SEQUENCES, MISSING = 25, 5, 100, 0.3


def record(rng):
    """Weights, all values (neurons, steps + 1, sequences), and which of these are seen."""
    weights = rng.choice([-1, 1], size=(NEURONS, NEURONS))
    values = [rng.choice([-1, 1], size=(NEURONS, SEQUENCES))]
    for _ in range(STEPS):
        values.append(np.where(weights @ values[-1] > 0, 1, -1))
    values = np.stack(values, axis=1)
    return weights, values, rng.random(values.shape) > MISSING


def infer(values, seen, rng, each=10, checks=15):
    """Shares of the beliefs' signs after every few iterations: weights and values."""
    graph = fg.FactorGraph()
    w = graph.add_variables("weights", fg.Spin(), (NEURONS, NEURONS))
    x = graph.add_variables("values", fg.Spin(), values.shape)
    graph.add_factors("steps", Perceptron(), w, x[:, :-1], x[:, 1:])
    graph.observe(x[seen], values[seen])
    inference = fg.Inference(graph, fg.Flooding(), damping=0.5)
    inference.set_prior(w, 0.1 * rng.normal(size=w.shape))  # to break the symmetry between signs
    for _ in range(checks):
        for _ in range(each):
            inference.step()
        yield [np.where(inference.state.belief(block) > 0, 1, -1) for block in (w, x)]


def main(seeds=5):
    curves = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        weights, values, seen = record(rng)
        found = [[np.mean(guess == weights), np.mean((filled == values)[~seen])] for guess, filled in infer(values, seen, rng)]
        curves.append(found)
        print(f"seed {seed}: {100 * found[-1][0]:.1f} % of the weights, {100 * found[-1][1]:.1f} % of the missing values")
    curves = 100 * np.array(curves)
    assert np.median(curves[:, -1, 0]) > 95

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
    for number, name in enumerate(("weights", "missing values")):
        lines = axes.plot(10 * np.arange(1, curves.shape[1] + 1), curves[:, :, number].T, color=f"C{number}", alpha=0.7)
        lines[0].set_label(name)
    axes.set(xlabel="iteration", ylabel="right (%)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("hidden_dynamics.png", dpi=120)
    print("picture: hidden_dynamics.png")


if __name__ == "__main__":
    main()
