"""
Communities in a random network
===============================

The network is drawn from a stochastic block model: its nodes belong to two hidden groups, and links within a group are more
likely than links between groups. Belief propagation passes messages along the links, and all pairs without a link act
together as a mean field. It finds the groups as well as any method can (Decelle, Krzakala, Moore and Zdeborová, 2011). Below
the threshold ``c_in - c_out = 2 sqrt(c)`` it finds nothing. Above it, its overlap with the true groups is the one that
population dynamics on an infinite tree predicts.
"""

import matplotlib.pyplot as plt
import numpy as np

import factorgraph as fg

NODES, DEGREE = 10_000, 4.0
THRESHOLD = 2 * np.sqrt(DEGREE)  # of c_in - c_out
GAPS = np.array([2.0, 3.2, 5.0, 6.4])


def links(groups, inside, outside, rng):
    """Random links: each pair within a group with probability inside / N, each other with outside / N."""
    drawn = []
    sides = [np.flatnonzero(groups == g) for g in (-1, 1)]
    for a, b, rate in ((0, 0, inside), (1, 1, inside), (0, 1, outside)):
        pairs = sides[a].size * sides[b].size / (2 if a == b else 1)
        count = rng.poisson(pairs * rate / NODES)
        drawn.append(np.stack([rng.choice(sides[a], count), rng.choice(sides[b], count)], axis=1))
    found = np.unique(np.sort(np.concatenate(drawn), axis=1), axis=0)
    return found[found[:, 0] != found[:, 1]]


def detect(pairs, inside, outside, rng):
    """Most probable group of each node, and the iterations it took."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), shape=(NODES,))
    graph.add_factors("links", fg.Ising(0.5 * np.log(inside / outside)), x[pairs[:, 0]], x[pairs[:, 1]])
    inference = fg.Inference(graph, fg.Flooding(), damping=0.1)
    inference.set_prior(x, 0.1 * rng.normal(size=NODES))  # to break the symmetry between the groups

    field = 0.0

    def mean_field(iteration, inference):
        """Absent links: every node repels all nodes of its own group a little; a quarter of the way, else it overshoots."""
        nonlocal field
        field += 0.25 * (-0.5 * (inside - outside) * np.tanh(inference.state.belief(x)).mean() - field)
        inference.set_prior(x, field)

    result = inference.run(150, tolerance=0, callback=mean_field)
    return result.mode(x), result.iterations


def theory(inside, outside, rng, size=40_000, iterations=150):
    """Overlap on an infinite tree: a population of cavity fields, all nodes in group +1 by symmetry."""
    coupling = 0.5 * np.log(inside / outside)
    same = inside / (inside + outside)  # probability that a neighbour is of the own group
    fields = np.full(size, 1.0)

    def step(fields):
        degrees = rng.poisson(DEGREE, size=size)
        owner = np.repeat(np.arange(size), degrees)
        signs = rng.choice([1, -1], p=[same, 1 - same], size=owner.size)
        heard = signs * fields[rng.integers(size, size=owner.size)]
        return np.bincount(owner, np.arctanh(np.tanh(coupling) * np.tanh(heard)), minlength=size)

    for _ in range(iterations):
        fields = step(fields)
    right = (fields > 1e-9).mean() + 0.5 * (np.abs(fields) <= 1e-9).mean()
    return 2 * right - 1


def main():
    rng = np.random.default_rng(0)
    found, expected = [], []
    for gap in GAPS:
        inside, outside = DEGREE + gap / 2, DEGREE - gap / 2
        groups = rng.permutation(np.repeat([-1, 1], NODES // 2))
        guess, _ = detect(links(groups, inside, outside, rng), inside, outside, rng)
        found.append(abs(np.mean(guess * groups)))
        expected.append(theory(inside, outside, rng))
        side = "below" if gap < THRESHOLD else "above"
        print(f"c_in - c_out = {gap:.1f}, {side} the threshold: overlap {found[-1]:.3f}, theory {expected[-1]:.3f}")
    below = GAPS < THRESHOLD
    assert max(np.array(found)[below]) < 0.1
    assert np.abs(np.array(found) - expected)[~below].max() < 0.05

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    axes.plot(GAPS, found, "o", label=f"found, {NODES:,} nodes")
    axes.plot(GAPS, expected, "k-", label="infinite tree")
    axes.axvline(THRESHOLD, color="0.7", label="threshold")
    axes.set(
        xlabel="links to the own group less links to the other, for each node: c_in - c_out",
        ylabel="overlap with the hidden groups",
    )
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("communities.png", dpi=120)
    print("picture: communities.png")


if __name__ == "__main__":
    main()
