"""
A perceptron with binary weights, and what theory says
======================================================

The perceptron's weights are -1 or 1. In the left picture it learns from a teacher, and its overlap with the teacher follows
state evolution, iteration by iteration. In the right picture it stores random labels. Belief propagation whose reinforcement
grows slowly finds weights that give every pattern its label, for up to 0.7 patterns a weight and more. Such weights exist up
to 0.833 patterns a weight (Krauth and Mézard, 1989).
"""

import numpy as np

import factorgraph as fg
from nets import Network
from nets.state_evolution import generalisation_error, perceptron_overlaps


def perceptron(patterns, labels):
    """A compiled run of AMP on patterns (N, M) with labels (M,)."""
    network = Network((len(patterns), 1), patterns.shape[1], "amp")
    inference = fg.Inference(network.graph, network.training_schedule(), dtype="float32")
    inference.observe(network.input, patterns)
    inference.observe(network.output, labels[None])
    return network.weights[0], inference


def learn(alpha, size, iterations, rng):
    """Overlap with a random teacher after each iteration, and the error of the final weights on new patterns."""
    patterns = rng.choice([-1, 1], size=(size, int(alpha * size)))
    teacher = rng.choice([-1, 1], size=size)
    weights, inference = perceptron(patterns, np.where(teacher @ patterns >= 0, 1, -1))
    overlaps = []
    for _ in range(iterations):
        inference.step()
        mean = np.tanh(inference.state.belief(weights)[0])
        overlaps.append(mean @ teacher / size)
    new = rng.choice([-1, 1], size=(size, 4000))
    return np.array(overlaps), np.mean(np.sign(mean @ new) != np.sign(teacher @ new))


def store(alpha, size, rng, growth=0.995, limit=1000):
    """Iterations until all random labels are satisfied; None if that did not happen."""
    patterns = rng.choice([-1, 1], size=(size, int(alpha * size)))
    labels = rng.choice([-1, 1], size=patterns.shape[1])
    weights, inference = perceptron(patterns, labels)
    for iteration in range(limit):
        # Reinforcement: the belief of before, raised to a power that goes to 1, is the prior.
        inference.posterior_as_prior(weights, 1.0 - growth**iteration)
        inference.step()
        chosen = np.where(inference.state.belief(weights)[0] >= 0, 1, -1)
        if (chosen @ patterns * labels > 0).all():
            return iteration + 1
    return None


def main():
    rng = np.random.default_rng(0)
    iterations, curves = 12, {}
    print("a teacher's rule, 3,001 inputs: overlap after 12 iterations, and error on new patterns, with the theory's")
    for alpha in (0.3, 0.6, 1.0):
        theory = perceptron_overlaps(alpha, iterations)
        found, error = learn(alpha, 3001, iterations, rng)
        curves[alpha] = found, theory
        expected = float(generalisation_error(theory[-1]))
        print(f"alpha {alpha}: overlap {found[-1]:.3f} ({theory[-1]:.3f}), error {error:.3f} ({expected:.3f})")
        assert np.abs(found - theory).max() < 0.06
        assert abs(error - expected) < 0.03

    loads, instances = (0.5, 0.6, 0.7, 0.75), 8
    fractions = []
    print("random labels, 501 inputs: instances solved of 8, and the median of their iterations")
    for alpha in loads:
        solved = [t for t in (store(alpha, 501, rng) for _ in range(instances)) if t is not None]
        fractions.append(len(solved) / instances)
        print(f"alpha {alpha}: {len(solved)}" + (f", {np.median(solved):.0f} iterations" if solved else ""))
    assert fractions[0] == 1.0
    assert fractions[2] >= 0.5

    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    plt.style.use("tableau-colorblind10")
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for alpha, (found, theory) in curves.items():
        (line,) = left.plot(range(1, iterations + 1), theory, label=f"theory, alpha = {alpha}")
        left.plot(range(1, iterations + 1), found, "o", color=line.get_color())
    left.set(xlabel="iteration", ylabel="overlap with the teacher", title="Learning a rule")
    left.plot([], [], "o", color="0.4", label="found")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)
    right.plot(loads, fractions, "o-", label="found")
    right.axvline(0.833, color="gray", linestyle="--", label="capacity")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)
    right.set(
        xlabel="patterns for each weight", ylabel="share of problems solved", ylim=(-0.02, 1.05), title="Storing random labels"
    )
    figure.savefig("binary_perceptron.png", dpi=120)
    print("picture: binary_perceptron.png")


if __name__ == "__main__":
    main()
