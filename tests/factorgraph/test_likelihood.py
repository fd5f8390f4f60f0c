"""Likelihoods of real variables by moments, against integrals over dense grids, and against what is known of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, special, stats

import factorgraph as fg


def poisson(x: Any, count: Any) -> Any:
    return count * x - np.exp(x) - special.gammaln(count + 1.0)


def student(x: Any, seen: Any) -> Any:
    return stats.t.logpdf(seen - x, df=3.0, scale=0.5)


def probit(x: Any, sign: Any) -> Any:
    return special.log_ndtr(sign * x)


LIKELIHOODS = {
    "counts": (poisson, [4.0]),
    "many counts": (poisson, [4000.0]),
    "an outlier": (student, [9.0]),
    "two peaks": (
        lambda x, seen: np.logaddexp(stats.norm.logpdf(x - seen, scale=0.1), stats.norm.logpdf(x + seen, scale=0.1)),
        [2.0],
    ),
    "a sharp peak far away": (lambda x, seen: -0.5 * ((x - seen) / 1e-4) ** 2, [3.0]),
    "positive alone": (lambda x: np.where(x > 0, -x, -np.inf), []),
    "a threshold": (probit, [1.0]),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_one_likelihood_is_exact(name: str) -> None:
    function, data = LIKELIHOODS[name]
    mean, variance = 0.4, 2.0
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian())
    prior = fg.Gaussian.from_moments(mean, variance)
    graph.set_prior(x, prior)
    graph.add_factors("seen", fg.Likelihood(function, data), x)
    result = fg.run(graph)
    assert result.status == "converged"

    def density(value: float) -> float:
        with np.errstate(all="ignore"):
            return math.exp(float(function(np.float64(value), *data)) - shift + prior[0] * value - 0.5 * prior[1] * value**2)

    grid = np.linspace(mean - 14, mean + 14, 400_001)
    with np.errstate(all="ignore"):
        logs = function(grid, *data) + prior[0] * grid - 0.5 * prior[1] * grid**2
    shift = 0.0
    peaks = grid[[int(np.argmax(logs))]].tolist() + ([0.0] if name == "positive alone" else [-2.0, 2.0])
    shift = float(logs.max())
    spread = 2e-3 if name == "a sharp peak far away" else 14.0
    low, high = (peaks[0] - spread, peaks[0] + spread) if spread < 1 else (mean - 14, mean + 14)
    moments = [
        integrate.quad(
            lambda v, k=k: v**k * density(v), low, high, points=[p for p in peaks if low < p < high], limit=500, epsabs=1e-13
        )[0]
        for k in range(3)
    ]
    expected = moments[1] / moments[0], moments[2] / moments[0] - (moments[1] / moments[0]) ** 2
    tolerance = 1e-3 if name == "positive alone" else 1e-6  # where the density jumps, trapezoids err by their step
    assert result.marginals(x)[0] == pytest.approx(expected[0], rel=tolerance, abs=tolerance)
    assert result.marginals(x)[1] == pytest.approx(expected[1], rel=10 * tolerance)
    if name != "a sharp peak far away":
        assert result.log_partition == pytest.approx(
            math.log(moments[0]) + shift, abs=2e-2 if name == "positive alone" else 1e-6
        )


def test_several_are_expectation_propagation() -> None:
    """Against the true moments of a posterior of thresholds, which EP gives to a few thousandths."""
    rng = np.random.default_rng(0)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 1)
    graph.set_prior(x, fg.Gaussian.from_moments(0.0, 4.0))
    bounds, signs = rng.normal(size=25), np.where(rng.normal(size=25) > -0.3, 1.0, -1.0)
    above = fg.Likelihood(lambda v, bound, sign: special.log_ndtr(sign * (v - bound)), [bounds, signs])
    graph.add_factors("seen", above, x[np.zeros(25, dtype=int)])
    result = fg.run(graph)
    grid = np.linspace(-12, 12, 20_001)
    logs = -(grid**2) / 8 + special.log_ndtr(signs[:, None] * (grid - bounds[:, None])).sum(axis=0)
    weights = np.exp(logs - logs.max())
    mean = np.sum(weights * grid) / weights.sum()
    variance = np.sum(weights * (grid - mean) ** 2) / weights.sum()
    assert result.marginals(x)[0] == pytest.approx([mean, variance], abs=2e-3)
    assert result.log_partition == pytest.approx(logs.max() + math.log(weights.sum() * (grid[1] - grid[0])), abs=0.02)
    assert result.status == "converged"


@pytest.mark.parametrize("backend", ["numpy", "array-api-strict"])
def test_links_to_discrete_variables_are_exact_integrals(backend: str) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 3)
    graph.set_prior(x, fg.Gaussian.from_moments([0.5, -1.0, 0.0], [1.0, 4.0, 0.25]))
    s, c = graph.add_variables("s", fg.Spin(), 3), graph.add_variables("c", fg.Categorical(3), 3)
    graph.set_prior(s, [0.0, 0.3, -2.0])
    graph.set_prior(c, np.log([[0.2, 0.3, 0.5]] * 3))
    graph.add_factors("link", fg.Likelihood(lambda v, sign, level: special.log_ndtr(sign * (v - level))), x, s, c)
    graph.observe(s[2], -1)
    result = fg.run(graph, backend=backend)
    grid = np.linspace(-40, 40, 160_001)
    step = grid[1] - grid[0]
    for number, (mean, variance, field) in enumerate(zip([0.5, -1.0, 0.0], [1.0, 4.0, 0.25], [0.0, 0.3, -2.0], strict=True)):
        normal = stats.norm.pdf(grid, mean, variance**0.5)
        joint = np.zeros((2, 3, grid.size))
        for i, sign in enumerate((-1, 1)):
            for level in range(3):
                link = np.exp(special.log_ndtr(sign * (grid - level)))
                joint[i, level] = normal * link * math.exp(field * sign) * [0.2, 0.3, 0.5][level]
        if number == 2:
            joint[1] = 0.0
        total = joint.sum()
        np.testing.assert_allclose(result.marginals(s[number]), joint.sum(axis=(1, 2)) / total, atol=1e-7)
        np.testing.assert_allclose(result.marginals(c[number]), joint.sum(axis=(0, 2)) / total, atol=1e-7)
        belief = joint.sum(axis=(0, 1)) / total
        expected = float(np.sum(belief * grid))
        assert result.marginals(x[number])[0] == pytest.approx(expected, abs=1e-6)
        assert result.marginals(x[number])[1] == pytest.approx(float(np.sum(belief * (grid - expected) ** 2)), abs=1e-6)
        assert step < 1e-3


def test_a_random_walk_of_rates_is_smoothed() -> None:
    """Counts of a rate that walks: against a dense grid, forward and backward."""
    rng = np.random.default_rng(1)
    walk = np.cumsum(0.3 * rng.normal(size=40)) + 1.0
    counts = rng.poisson(np.exp(walk)).astype(float)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 40)
    graph.set_prior(x[0], fg.Gaussian.from_moments(0.0, 4.0))
    graph.add_factors("walk", fg.LinearGaussian([1.0, -1.0], 0.09), x[1:], x[:-1])
    graph.add_factors("seen", fg.Likelihood(poisson, [counts]), x)
    result = fg.run(graph)
    assert result.converged
    assert result.status == "converged"
    grid = np.linspace(-5.0, 7.0, 801)
    likelihood = np.exp(poisson(grid, counts[:, None]))
    step = np.exp(-0.5 * (grid[:, None] - grid) ** 2 / 0.09)
    forward, backward = [stats.norm.pdf(grid, 0.0, 2.0) * likelihood[0]], [np.ones_like(grid)]
    for row in likelihood[1:]:
        message = (step @ forward[-1]) * row
        forward.append(message / message.sum())
    for row in likelihood[:0:-1]:
        message = step @ (backward[-1] * row)
        backward.append(message / message.sum())
    beliefs = np.array(forward) * np.array(backward[::-1])
    beliefs /= beliefs.sum(axis=1, keepdims=True)
    means = beliefs @ grid
    found = result.marginals(x)
    np.testing.assert_allclose(found[:, 0], means, atol=0.02)
    np.testing.assert_allclose(found[:, 1], np.sum(beliefs * (grid - means[:, None]) ** 2, axis=1), rtol=0.03)


def test_evidence_and_batches() -> None:
    graph = fg.FactorGraph()
    x, s = graph.add_variables("x", fg.Gaussian(), 2), graph.add_variables("s", fg.Spin(), 2)
    graph.set_prior(x, fg.Gaussian.from_moments(0.0, 1.0))
    graph.add_factors("link", fg.Likelihood(probit), x, s)
    inference = fg.Inference(graph, batch=2)
    inference.observe(x[0], [0.7, -0.2])
    inference.observe(s[1], 1)
    result = inference.run()
    expected = special.ndtr([0.7, -0.2])
    np.testing.assert_allclose(result.marginals(s[0])[:, 1], expected, atol=1e-12)
    np.testing.assert_allclose(result.mean(x[0]), [0.7, -0.2])
    np.testing.assert_allclose(result.mean(x[1]), [1.0 / math.sqrt(math.pi)] * 2, atol=1e-7)


def test_what_cannot_be_used_is_refused() -> None:
    graph = fg.FactorGraph()
    x, s = graph.add_variables("x", fg.Gaussian(), 3), graph.add_variables("s", fg.Spin(), 3)
    graph.set_prior(x, [0.0, 1.0])
    with pytest.raises(TypeError, match="must be a function"):
        fg.Likelihood(3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="widest must be a finite number above 0"):
        fg.Likelihood(probit, widest=0.0)
    with pytest.raises(TypeError, match="factors 'f': the first port of Likelihood takes a Gaussian variable, not Spin"):
        graph.add_factors("f", fg.Likelihood(probit), s, x)
    with pytest.raises(TypeError, match="port 1 of Likelihood takes a discrete variable"):
        graph.add_factors("f", fg.Likelihood(probit), x, x[[1, 2, 0]])
    with pytest.raises(ValueError, match="data 0 has shape \\(2,\\)"):
        graph.add_factors("f", fg.Likelihood(poisson, [[1.0, 2.0]]), x)
    graph.add_factors("f", fg.Likelihood(lambda v: np.log(v)), x)
    with pytest.raises(ValueError, match=r"the log-likelihood of factor . is NaN at x = -"):
        fg.run(graph)
    for function, told in (
        (lambda v: -np.inf * np.ones_like(v), "zero for all possible values of x"),
        (lambda v: np.inf * np.ones_like(v), r"\+inf"),
    ):
        other = fg.FactorGraph()
        y = other.add_variables("y", fg.Gaussian())
        other.add_factors("f", fg.Likelihood(function), y)
        with pytest.raises(ValueError, match=told):
            fg.run(other)
    good = fg.FactorGraph()
    y = good.add_variables("y", fg.Gaussian())
    good.add_factors("f", fg.Likelihood(poisson, [3.0]), y)
    with pytest.raises(ValueError, match="only in sum mode"):
        fg.run(good, mode="max")
    with pytest.raises(TypeError, match="factors 'f' are Likelihood"):
        fg.exact(good)
    flat = fg.run(good)  # without a prior, what stands for none
    assert flat.mean(y) == pytest.approx(special.digamma(3.0), abs=1e-3)
    assert flat.marginals(y)[1] == pytest.approx(special.polygamma(1, 3.0), abs=1e-3)


def textbook_expectation_propagation(features: np.ndarray, signs: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the weights of a probit regression, site after site (Rasmussen and Williams 2006, section 3.6)."""
    precision, field = np.zeros(len(features)), np.zeros(len(features))
    for _ in range(200):
        for i, row in enumerate(features):
            spread = np.linalg.inv(np.eye(row.size) / variance + features.T @ (precision[:, None] * features))
            v, mean = row @ spread @ row, row @ spread @ (features.T @ field)
            cavity = 1 / (1 / v - precision[i])
            centre = cavity * (mean / v - field[i])
            z = signs[i] * centre / np.sqrt(1 + cavity)
            ratio = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) / special.ndtr(z)
            new = cavity - cavity**2 * ratio * (z + ratio) / (1 + cavity)
            moved = centre + signs[i] * cavity * ratio / np.sqrt(1 + cavity)
            precision[i], field[i] = 1 / new - 1 / cavity, moved / new - centre / cavity
    spread = np.linalg.inv(np.eye(features.shape[1]) / variance + features.T @ (precision[:, None] * features))
    return spread @ (features.T @ field), spread


@pytest.mark.parametrize("seed", range(3))
def test_probit_regression_is_expectation_propagation(seed: int) -> None:
    """Two weights as one vector, 30 rows: equal to the textbook's updates, and near to the posterior on a grid."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(30, 2))
    signs = np.where(features @ [1.0, -0.7] + rng.normal(size=30) > 0, 1.0, -1.0)
    graph = fg.FactorGraph()
    weights, scores = graph.add_variables("weights", fg.Gaussian(2)), graph.add_variables("scores", fg.Gaussian(), 30)
    graph.set_prior(weights, fg.Gaussian(2).from_moments([0.0, 0.0], 4.0 * np.eye(2)))
    graph.add_factors("products", fg.LinearGaussian([1, -features[:, None, :]], 0.0), scores, weights)
    graph.add_factors("labels", fg.Likelihood(probit, data=[signs]), scores)
    result = fg.run(graph, tolerance=1e-9)
    assert result.status == "converged"
    expected = textbook_expectation_propagation(features, signs, 4.0)
    np.testing.assert_allclose(result.mean(weights), expected[0], atol=1e-8)
    np.testing.assert_allclose(result.marginals(weights)[1:], expected[1], atol=1e-8)

    axis = np.linspace(-6, 6, 401)
    w = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    logs = -(w**2).sum(axis=1) / 8 + special.log_ndtr(signs * (w @ features.T)).sum(axis=1)
    share = np.exp(logs - special.logsumexp(logs))
    mean = share @ w
    covariance = (w - mean).T @ ((w - mean) * share[:, None])
    deviation = np.sqrt(np.diag(covariance))
    assert (np.abs(result.mean(weights) - mean) < 0.01 * deviation).all()
    # The posterior is wider than the normal density with matching sites, by 2 to 8 % here.
    assert (np.abs(result.marginals(weights)[1:] - covariance) < 0.1 * np.outer(deviation, deviation)).all()
    evidence = special.logsumexp(logs) + 2 * np.log(axis[1] - axis[0])
    assert result.log_partition == pytest.approx(evidence, abs=0.05)
