"""
Bayesian logistic regression
============================

Which tumours are malignant? The weights of the regression are one vector of a factor graph. Each row of the table has a
number, the product of the weights with the row's features, by an exact relation. A likelihood of one line of Python ties this
number to the label. Messages are normal densities that match moments (expectation propagation), so that the answer is a
belief about the weights and not one vector of them, and each prediction says how sure it is. Under the same prior,
scikit-learn's logistic regression finds the most probable weights.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import factorgraph as fg

PRIOR = 4.0  # variance of each weight
ROWS = 60  # that are learnt from: few, so that much remains uncertain
FEATURES = 8


def logistic(x: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Log-probability of a label, -1 or 1."""
    return -np.logaddexp(0.0, -label * x)


def log_loss(probability: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.where(labels > 0, probability, 1 - probability)).mean())


def sampled_weights(features: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the weights by a random walk through their posterior (Metropolis), slow and exact in the end."""
    d = features.shape[1]

    def log_density(w: np.ndarray) -> np.ndarray:
        return logistic(w @ features.T, labels).sum(axis=-1) - 0.5 * (w**2).sum(axis=-1) / PRIOR

    walkers, kept = np.zeros((200, d)), []
    density = log_density(walkers)
    for step in range(4000):
        proposal = walkers + 0.35 * rng.normal(size=walkers.shape)
        new = log_density(proposal)
        taken = np.log(rng.random(len(walkers))) < new - density
        walkers[taken], density[taken] = proposal[taken], new[taken]
        if step >= 1000 and step % 10 == 0:
            kept.append(walkers.copy())
    drawn = np.concatenate(kept)
    return drawn.mean(axis=0), drawn.std(axis=0)


def main() -> None:
    table = load_breast_cancer()
    labels = np.where(table.target == 0, 1, -1)  # 1: malignant
    train, test, y_train, y_test = train_test_split(
        table.data[:, :FEATURES], labels, train_size=ROWS, stratify=labels, random_state=0
    )
    scaler = StandardScaler().fit(train)
    train, test = (np.column_stack([scaler.transform(rows), np.ones(len(rows))]) for rows in (train, test))
    d = train.shape[1]

    graph = fg.FactorGraph()
    weights = graph.add_variables("weights", fg.Gaussian(d))
    scores = graph.add_variables("scores", fg.Gaussian(), ROWS)
    graph.set_prior(weights, fg.Gaussian(d).from_moments(np.zeros(d), PRIOR * np.eye(d)))
    graph.add_factors("product", fg.LinearGaussian([1, -train[:, None, :]], 0.0), scores, weights)
    graph.add_factors("label", fg.Likelihood(logistic, data=[y_train]), scores)
    result = fg.run(graph)
    moments = result.marginals(weights)
    mean, covariance = moments[0], moments[1:]
    print(result)

    exact_mean, exact_deviation = sampled_weights(train, y_train, np.random.default_rng(0))
    deviation = np.sqrt(np.diag(covariance))
    gaps = np.abs(mean - exact_mean).max(), np.abs(deviation / exact_deviation - 1).max()
    print(f"weights against samples of the posterior: means within {gaps[0]:.2f}, deviations (about 1) within {gaps[1]:.0%}")
    assert gaps[0] < 0.1
    assert gaps[1] < 0.1

    # A label's probability is the mean of the logistic function over the score's density.
    nodes, share = np.polynomial.hermite_e.hermegauss(31)
    score, spread = test @ mean, np.sqrt(np.einsum("ri,ij,rj->r", test, covariance, test))
    probability = np.exp(logistic(score[:, None] + spread[:, None] * nodes, np.ones(1))) @ share / share.sum()
    peer = LogisticRegression(C=PRIOR, fit_intercept=False).fit(train, y_train)
    most_probable = peer.predict_proba(test)[:, 1]
    for name, found in (("factor graph", probability), ("scikit-learn", most_probable)):
        error = np.mean((found > 0.5) != (y_test > 0))
        print(f"{name}: {error:.1%} of {len(test)} test rows wrong, log loss {log_loss(found, y_test):.3f}")
    picture(peer.coef_[0], mean, deviation, exact_mean, [*table.feature_names[:FEATURES], "intercept"])


def picture(peer: np.ndarray, mean: np.ndarray, deviation: np.ndarray, sampled: np.ndarray, names: list[str]) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    places = np.arange(len(mean))
    axes.axvline(0, color="0.8", lw=1)
    axes.errorbar(mean, places, xerr=2 * deviation, fmt="o", capsize=3, label="factor graph, 2 deviations")
    axes.plot(sampled, places, "kx", label="mean of samples")
    axes.plot(peer, places, "C1d", label="scikit-learn")
    axes.set_yticks(places, names)
    axes.set(xlabel="weight (features in standard deviations)", ylim=(len(mean) - 0.5, -0.5))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("logistic_regression.png", dpi=120)
    print("picture: logistic_regression.png")


if __name__ == "__main__":
    main()
