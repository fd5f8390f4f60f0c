"""
A Kalman smoother is belief propagation on a chain
==================================================

A hidden random walk is seen through noise. On this chain of real variables, belief propagation is the Kalman filter in one
direction and the smoother in the other. Means, variances and the likelihood of the data are checked against the joint normal
distribution, by linear algebra.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import linalg, stats

import factorgraph as fg

STEPS = 400
DECAY, DRIVE, NOISE = 0.98, 0.3, 1.5  # x[t+1] = DECAY x[t] + drive, y[t] = x[t] + noise; variances DRIVE and NOISE
START = 4.0  # variance of x[0]


def main():
    rng = np.random.default_rng(0)
    hidden = np.zeros(STEPS)
    hidden[0] = np.sqrt(START) * rng.normal()
    for t in range(1, STEPS):
        hidden[t] = DECAY * hidden[t - 1] + np.sqrt(DRIVE) * rng.normal()
    seen = hidden + np.sqrt(NOISE) * rng.normal(size=STEPS)
    kept = rng.random(STEPS) < 0.6  # the rest is missing
    kept[200:240] = False

    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), shape=(STEPS,))
    graph.add_factors("start", fg.LinearGaussian([1.0], START), x[0])
    graph.add_factors("walk", fg.LinearGaussian([1.0, -DECAY], DRIVE), x[1:], x[:-1])
    graph.add_factors("seen", fg.LinearGaussian([1.0], NOISE, offset=seen[kept]), x[kept])
    result = fg.run(graph)
    mean, variance = result.marginals(x).T

    # The same by linear algebra: the precision matrix of all hidden values, and the covariance of all seen ones.
    step = np.eye(STEPS) - DECAY * np.eye(STEPS, k=-1)
    prior = step.T @ np.diag([1 / START, *[1 / DRIVE] * (STEPS - 1)]) @ step
    posterior = linalg.inv(prior + np.diag(kept / NOISE))
    covariance = linalg.inv(prior)[np.ix_(kept, kept)] + NOISE * np.eye(kept.sum())
    likelihood = stats.multivariate_normal(cov=covariance).logpdf(seen[kept])
    gaps = [
        np.abs(mean - posterior @ np.where(kept, seen / NOISE, 0)).max(),
        np.abs(variance - np.diag(posterior)).max(),
        abs(result.log_partition - likelihood),
    ]
    print(f"largest difference from linear algebra: mean {gaps[0]:.1e}, variance {gaps[1]:.1e}, log-likelihood {gaps[2]:.1e}")
    assert max(gaps[:2]) < 1e-9
    assert gaps[2] < 1e-8
    inside = np.mean(np.abs(hidden - mean) < 1.96 * np.sqrt(variance))
    print(f"{inside:.1%} of the hidden values are within the 95 % band")

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
    axes.fill_between(
        range(STEPS), mean - 1.96 * np.sqrt(variance), mean + 1.96 * np.sqrt(variance), alpha=0.3, label="95 % band"
    )
    axes.plot(mean, label="smoothed")
    axes.plot(hidden, "k", lw=0.8, label="hidden")
    axes.plot(np.flatnonzero(kept), seen[kept], ".", ms=3, color="0.5", label="seen")
    axes.set(xlabel="step", ylabel="place", title="Smoothing a hidden walk")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("kalman_smoother.png", dpi=120)
    print("picture: kalman_smoother.png")


if __name__ == "__main__":
    main()
