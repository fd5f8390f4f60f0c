"""
A price that is calm on most days and jumps on some
===================================================

On which days did the price jump, and how did it really move? A discrete variable for each day says which of two random walks
held on that day. The beliefs about the price are then mixtures of normal densities, with more members every day. Belief
propagation keeps the mean and the variance of each mixture (expectation propagation). For some days around a jump the answer
is checked against the sum over all ways in which these days may have been.
"""

from __future__ import annotations

import itertools

import numpy as np

import factorgraph as fg

DAYS, CHECKED = 50, 6
NOISE, CALM, JUMP, SHARE = 0.2, 0.01, 9.0, 0.08  # variances of what is seen and of a day's step; share of days with a jump


def walk(seen: np.ndarray, steps: list[fg.Factor] | None = None) -> tuple[fg.FactorGraph, fg.Variables, fg.Variables | None]:
    """The price, its steps by a switch on each day, or by given factors."""
    graph = fg.FactorGraph()
    price = graph.add_variables("price", fg.Gaussian(), len(seen))
    graph.set_prior(price[0], fg.Gaussian.from_moments(0.0, 4.0))
    graph.add_factors("seen", fg.LinearGaussian([1.0], NOISE, offset=seen), price)
    if steps is not None:
        for day, step in enumerate(steps):
            graph.add_factors(f"step {day}", step, price[day + 1], price[day])
        return graph, price, None
    mode = graph.add_variables("day", fg.Categorical(["calm", "jump"]), len(seen) - 1)
    graph.set_prior(mode, np.log([1 - SHARE, SHARE]))
    either = fg.Switch([fg.LinearGaussian([1, -1], variance) for variance in (CALM, JUMP)])
    graph.add_factors("step", either, mode, price[1:], price[:-1])
    return graph, price, mode


def of_all_modes(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact means of the price, and probabilities of jumps, by the sum over all ways in which the days may have been."""
    weights, means = [], []
    modes = np.array(list(itertools.product((0, 1), repeat=len(seen) - 1)))
    for row in modes:
        graph, price, _ = walk(seen, [fg.LinearGaussian([1, -1], (CALM, JUMP)[m]) for m in row])
        result = fg.run(graph)
        weights.append(result.log_partition + np.log([1 - SHARE, SHARE])[row].sum())
        means.append(result.mean(price))
    probability = np.exp(weights - np.logaddexp.reduce(weights))
    return probability @ np.array(means), probability @ modes


def main() -> None:
    rng = np.random.default_rng(0)
    jumps = rng.random(DAYS - 1) < SHARE
    price = np.concatenate([[0.0], np.cumsum(np.sqrt(np.where(jumps, JUMP, CALM)) * rng.normal(size=DAYS - 1))])
    seen = price + np.sqrt(NOISE) * rng.normal(size=DAYS)

    graph, x, mode = walk(seen)
    assert mode is not None
    result = fg.run(graph, damping=0.4)
    moments, probability = result.marginals(x), result.marginals(mode)[:, 1]

    start = max(0, int(np.argmax(probability)) - 2)
    part = seen[start : start + CHECKED] - seen[start]
    short, y, days = walk(part)
    assert days is not None
    found = fg.run(short, damping=0.4)
    means, chances = of_all_modes(part)
    gaps = np.abs(found.mean(y) - means).max(), np.abs(found.marginals(days)[:, 1] - chances).max()
    print(f"{result}")
    print(f"{CHECKED} days about a jump, against the sum over all {2 ** (CHECKED - 1)} ways in which they may have been:")
    print(f"price within {gaps[0]:.3f}, chance of a jump within {gaps[1]:.3f}")
    assert gaps[0] < 0.1
    assert gaps[1] < 0.25
    large = jumps & (np.abs(np.diff(price)) > 4 * np.sqrt(NOISE))
    wrong = (probability[~jumps] > 0.5).sum()
    print(f"{(probability[large] > 0.5).sum()} of {large.sum()} large jumps found; {wrong} calm days taken for a jump")
    calm = fg.FactorGraph()
    y = calm.add_variables("price", fg.Gaussian(), DAYS)
    calm.set_prior(y[0], fg.Gaussian.from_moments(0.0, 4.0))
    calm.add_factors("seen", fg.LinearGaussian([1.0], NOISE, offset=seen), y)
    calm.add_factors("step", fg.LinearGaussian([1, -1], (1 - SHARE) * CALM + SHARE * JUMP), y[1:], y[:-1])
    errors = [np.sqrt(np.mean((found.mean(variables) - price) ** 2)) for found, variables in ((result, x), (fg.run(calm), y))]
    print(f"error of the price {errors[0]:.3f}; with one walk of the same variance for all days {errors[1]:.3f}")
    picture(price, seen, moments, probability)


def picture(price: np.ndarray, seen: np.ndarray, moments: np.ndarray, probability: np.ndarray) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    plt.style.use("tableau-colorblind10")
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 4.5), sharex=True, height_ratios=(3, 1), layout="constrained")
    mean, deviation = moments[:, 0], np.sqrt(moments[:, 1])
    days = np.arange(len(price))
    above.fill_between(days, mean - 2 * deviation, mean + 2 * deviation, alpha=0.3, label="2 deviations")
    above.plot(days, mean, label="believed")
    above.plot(days, price, "k", lw=0.7, label="price")
    above.plot(days, seen, ".", color="0.6", ms=3, label="seen")
    above.set(ylabel="price")
    above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    below.bar(days[1:], probability, width=1.0, color="C5")
    below.set(xlabel="day", ylabel="P(jump)", ylim=(0, 1))
    figure.savefig("switching_walk.png", dpi=120)
    print("picture: switching_walk.png")


if __name__ == "__main__":
    main()
