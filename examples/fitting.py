"""
Fitting a model to data
=======================

The couplings and fields of a grid of spins are found from samples, by the gradient of the log-partition. The gradient of the
log-likelihood is what the data say, which are averages of products of neighbours, minus what the model says, which is
``result.gradient``. The fit is compared with the true couplings, in units of the error that the Fisher information allows.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import optimize

import factorgraph as fg

SIDE, SAMPLES = 4, 20_000


def main():
    rng = np.random.default_rng(0)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), shape=(SIDE * SIDE,))
    spins = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    left = np.concatenate([spins[:-1].ravel(), spins[:, :-1].ravel()])
    right = np.concatenate([spins[1:].ravel(), spins[:, 1:].ravel()])
    size = left.size
    graph.add_factors("pairs", fg.Ising(np.zeros(size)), x[left], x[right])
    inference = fg.Inference(graph, damping="auto")

    # Data: samples from all 65,536 states, weighed by a true model.
    states = 1 - 2 * ((np.arange(2 ** (SIDE * SIDE))[:, None] >> np.arange(SIDE * SIDE)) & 1)
    truth = 0.5 * rng.normal(size=size)
    weights = np.exp((states[:, left] * states[:, right]) @ truth)
    data = states[rng.choice(len(states), size=SAMPLES, p=weights / weights.sum())]
    products = (data[:, left] * data[:, right]).mean(axis=0)

    def loss(couplings, solve):
        """Minus the log-likelihood of a sample, and its gradient."""
        result = solve(fg.Ising(couplings))
        return result.log_partition - couplings @ products, result.gradient("pairs") - products

    def exact(factor):
        model = fg.FactorGraph()
        y = model.add_variables("x", fg.Spin(), shape=(SIDE * SIDE,))
        model.add_factors("pairs", factor, y[left], y[right])
        return fg.exact(model)

    def bethe(factor):
        inference.set_potentials("pairs", factor)  # compiled once
        return inference.run(tolerance=1e-9)

    fits = {}
    for name, solve in (("exact", exact), ("Bethe", bethe)):
        found = optimize.minimize(loss, np.zeros(size), args=(solve,), jac=True, method="L-BFGS-B")
        fits[name] = found.x
        print(f"{name}: {found.nit} steps, root mean square error of a coupling {np.sqrt(np.mean((found.x - truth) ** 2)):.3f}")

    features = data[:, left] * data[:, right]
    error = np.sqrt(np.diag(np.linalg.inv(np.cov(features.T))) / SAMPLES)
    deviation = (fits["exact"] - truth) / error
    print(f"deviations of the exact fit in units of the expected error: root mean square {np.sqrt(np.mean(deviation**2)):.2f}")
    assert np.abs(loss(fits["exact"], exact)[1]).max() < 1e-3
    assert np.abs(deviation).max() < 5
    assert np.sqrt(np.mean((fits["Bethe"] - truth) ** 2)) < 0.1

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    axes.errorbar(truth, fits["exact"], 2 * error, fmt="o", label="exact, 2 deviations")
    axes.plot(truth, fits["Bethe"], "x", label="Bethe")
    axes.plot([-1.5, 1.5], [-1.5, 1.5], "k-", lw=0.5, label="as true")
    axes.set(xlabel="true coupling", ylabel="fitted coupling")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("fitting.png", dpi=120)
    print("picture: fitting.png")


if __name__ == "__main__":
    main()
