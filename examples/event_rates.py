"""
The rate of rare events
=======================

How many events are there in a month, and has their rate changed? The logarithm of the rate is a random walk from month to
month. The counts follow Poisson's law, which is given to the graph as a function, since a count of three says nothing normal
about the rate. Messages have the moments of the beliefs that they make (expectation propagation). The answer is drawn beside
that of sums over a fine grid of rates.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

import factorgraph as fg

MONTHS, STEP = 120, 0.15


def poisson(log_rate: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Log-probability of a count."""
    return count * log_rate - np.exp(log_rate) - gammaln(count + 1.0)


def main() -> None:
    rng = np.random.default_rng(3)
    rate = np.where(np.arange(MONTHS) < 70, 3.5, 1.2)
    counts = rng.poisson(rate).astype(float)

    graph = fg.FactorGraph()
    level = graph.add_variables("level", fg.Gaussian(), MONTHS)
    graph.set_prior(level[0], fg.Gaussian.from_moments(0.0, 4.0))
    graph.add_factors("walk", fg.LinearGaussian([1.0, -1.0], STEP**2), level[1:], level[:-1])
    graph.add_factors("seen", fg.Likelihood(poisson, [counts]), level)
    result = fg.run(graph)
    mean, variance = result.marginals(level).T

    grid_mean, grid_variance = on_a_grid(counts)
    print(f"{result}; log-evidence {result.log_partition:.2f}")
    gap = np.abs(mean - grid_mean).max()
    print(f"means are within {gap:.4f} of sums over a grid; deviations are {np.sqrt(grid_variance).min():.2f} and more")
    assert gap < 0.02
    assert np.abs(variance / grid_variance - 1.0).max() < 0.05
    print(f"rate of month 40: {np.exp(mean[40]):.2f} (3.5), of month 100: {np.exp(mean[100]):.2f} (1.2)")
    picture(counts, rate, mean, np.sqrt(variance))


def on_a_grid(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances by sums over 601 levels, forward and backward."""
    grid = np.linspace(-3.0, 3.5, 601)
    likelihood = np.exp(poisson(grid, counts[:, None]))
    step = np.exp(-0.5 * ((grid[:, None] - grid) / STEP) ** 2)
    forward, backward = [np.exp(-(grid**2) / 8.0) * likelihood[0]], [np.ones_like(grid)]
    for row in likelihood[1:]:
        message = (step @ forward[-1]) * row
        forward.append(message / message.sum())
    for row in likelihood[:0:-1]:
        message = step @ (backward[-1] * row)
        backward.append(message / message.sum())
    beliefs = np.array(forward) * np.array(backward[::-1])
    beliefs /= beliefs.sum(axis=1, keepdims=True)
    means = beliefs @ grid
    return means, np.sum(beliefs * (grid - means[:, None]) ** 2, axis=1)


def picture(counts: np.ndarray, rate: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    months = np.arange(MONTHS)
    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(9, 3.5), layout="constrained")
    axes.bar(months, counts, color="0.85", label="events")
    axes.step(months, rate, where="mid", color="0.4", label="their rate")
    axes.plot(months, np.exp(mean), color="C0", label="as found")
    axes.fill_between(
        months, np.exp(mean - 2 * deviation), np.exp(mean + 2 * deviation), color="C0", alpha=0.2, label="2 deviations"
    )
    axes.set(xlabel="month", ylabel="events a month")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("event_rates.png", dpi=120)
    print("picture: event_rates.png")


if __name__ == "__main__":
    main()
