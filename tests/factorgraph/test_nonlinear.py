"""Nonlinear relations: tangents, sigma points and quadrature, against textbook recursions and the most probable values."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import optimize

import factorgraph as fg

METHODS = ["linearise", "sigma-points", "quadrature"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", ["numpy", "array-api-strict"])
def test_a_straight_line_is_itself(method: str, backend: str) -> None:
    graphs = []
    for nonlinear in (False, True):
        graph = fg.FactorGraph()
        x, y = graph.add_variables("x", fg.Gaussian(), 5), graph.add_variables("y", fg.Gaussian(), 5)
        graph.set_prior(x, fg.Gaussian.from_moments(np.arange(5.0), 1.0 + np.arange(5.0)))
        graph.observe(y[2], 7.0)
        data = np.linspace(-1, 1, 5)
        if nonlinear:
            line = fg.Nonlinear(lambda a, b, shift: 2.0 * a - b - shift, 0.3, [data], method=method)
        else:
            line = fg.LinearGaussian([2.0, -1.0], 0.3, data)
        graph.add_factors("line", line, x, y)
        result = fg.run(graph, backend=backend)
        graphs.append([result.marginals(x), result.marginals(y), [result.log_partition], result.factor_marginals("line")])
    for straight, laid in zip(*graphs, strict=True):
        np.testing.assert_allclose(laid, straight, atol=1e-6)


@pytest.mark.parametrize("method", ["linearise", "sigma-points"])
def test_one_step_forward_is_the_filters(method: str) -> None:
    """A scalar growth model: prediction and correction, as the extended and the unscented Kalman filter have them."""

    def step(x: Any) -> Any:
        return x + 0.5 * np.sin(2.0 * x)

    def seen(x: Any) -> Any:
        return x + 0.2 * x**2

    mean, variance, drive, noise = 0.7, 0.3, 0.05, 0.4
    measured = 1.9
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 2)
    graph.set_prior(x[0], fg.Gaussian.from_moments(mean, variance))
    settings = {"method": method, "iterations": 1}
    graph.add_factors("step", fg.Nonlinear(lambda new, old: new - step(old), drive, **settings), x[1], x[0])
    graph.add_factors("seen", fg.Nonlinear(lambda new, y: seen(new) - y, noise, [measured], **settings), x[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forward = fg.Inference(graph, fg.Sweep([("step", 0), ("seen", 0)], partial=True)).run(1)

    def moments(function: Any, m: float, v: float) -> tuple[float, float, float]:
        """Mean and variance of a function, and its covariance with x."""
        if method == "linearise":
            slope = (function(m + 1e-6) - function(m - 1e-6)) / 2e-6
            return function(m), slope**2 * v, slope * v
        reach = math.sqrt(3.0 * v)
        points, weights = np.array([m, m + reach, m - reach]), np.array([2 / 3, 1 / 6, 1 / 6])
        values = function(points)
        centre = weights @ values
        return centre, weights @ (values - centre) ** 2, weights @ ((values - centre) * (points - m))

    predicted, spread, _ = moments(step, mean, variance)
    spread += drive
    expected, innovation, cross = moments(seen, predicted, spread)
    gain = cross / (innovation + noise)
    answer = predicted + gain * (measured - expected), spread - gain * cross
    if method == "sigma-points":  # new and old are two variables: points in two dimensions have other weights than in one
        assert forward.marginals(x[1]) == pytest.approx(answer, abs=5e-3)
    else:
        assert forward.marginals(x[1]) == pytest.approx(answer, abs=1e-6)


def test_means_are_the_most_probable_values_of_a_chain() -> None:
    rng = np.random.default_rng(0)
    steps, drive, noise = 25, 0.02, 0.1
    truth = [1.0]
    for _ in range(steps - 1):
        truth.append(truth[-1] + 0.3 * math.sin(truth[-1]) + math.sqrt(drive) * rng.normal())
    measured = np.exp(0.5 * np.array(truth)) + math.sqrt(noise) * rng.normal(size=steps)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), steps)
    graph.set_prior(x[0], fg.Gaussian.from_moments(1.0, 1.0))
    graph.add_factors("step", fg.Nonlinear(lambda new, old: new - old - 0.3 * np.sin(old), drive), x[1:], x[:-1])
    graph.add_factors("seen", fg.Nonlinear(lambda v, y: np.exp(0.5 * v) - y, noise, [measured]), x)
    result = fg.run(graph)
    assert result.status == "converged"

    def residuals(v: np.ndarray) -> np.ndarray:
        walk = (v[1:] - v[:-1] - 0.3 * np.sin(v[:-1])) / math.sqrt(drive)
        return np.concatenate([[v[0] - 1.0], walk, (np.exp(0.5 * v) - measured) / math.sqrt(noise)])

    best = optimize.least_squares(residuals, np.array(truth), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    np.testing.assert_allclose(result.mean(x), best.x, atol=1e-5)
    np.testing.assert_allclose(result.marginals(x)[:, 1], np.diag(np.linalg.inv(best.jac.T @ best.jac)), rtol=1e-3)


@pytest.mark.parametrize("derivative", [False, True])
def test_a_place_is_found_by_its_distances(derivative: bool) -> None:
    rng = np.random.default_rng(1)
    beacons = rng.uniform(-5, 5, size=(6, 2))
    place = np.array([1.3, -0.4])
    ranges = np.hypot(*(beacons - place).T) + 0.1 * rng.normal(size=6)

    def slopes(a: Any, b: Any, u: Any, v: Any, r: Any) -> list[Any]:
        return [(a - u) / np.hypot(a - u, b - v), (b - v) / np.hypot(a - u, b - v)]

    graph = fg.FactorGraph()
    p = graph.add_variables("p", fg.Gaussian(), 2)
    graph.set_prior(p, fg.Gaussian.from_moments(0.0, 25.0))
    distance = fg.Nonlinear(
        lambda a, b, u, v, r: np.hypot(a - u, b - v) - r, 0.01, [*beacons.T, ranges], derivative=slopes if derivative else None
    )
    graph.add_factors("ranges", distance, p[np.zeros(6, dtype=int)], p[np.ones(6, dtype=int)])
    result = fg.run(graph, damping=0.3)
    assert result.status == "converged"
    best = optimize.least_squares(
        lambda v: np.concatenate([v / 5.0, (np.hypot(*(beacons - v).T) - ranges) / 0.1]),
        place,
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
    )
    np.testing.assert_allclose(result.mean(p), best.x, atol=1e-6)


def test_quadrature_has_the_moments_of_a_square() -> None:
    """Of ``y = x^2`` with x of mean m and variance v: mean m^2 + v, variance 2 v^2 + 4 m^2 v."""
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Gaussian()), graph.add_variables("y", fg.Gaussian())
    graph.set_prior(x, fg.Gaussian.from_moments(0.8, 0.5))
    graph.add_factors("square", fg.Nonlinear(lambda new, old: new - old**2, 0.1, method="quadrature"), y, x)
    result = fg.run(graph)
    assert result.marginals(y) == pytest.approx([0.64 + 0.5, 0.1 + 2 * 0.25 + 4 * 0.64 * 0.5], abs=1e-5)


def test_evidence_and_batches() -> None:
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Gaussian()), graph.add_variables("y", fg.Gaussian())
    graph.set_prior(x, fg.Gaussian.from_moments(1.0, 0.04))
    graph.add_factors("square", fg.Nonlinear(lambda new, old: new - old**2, 0.1), y, x)
    inference = fg.Inference(graph, batch=2)
    inference.observe(y, [1.2, 0.6])
    result = inference.run(tolerance=1e-10)
    for value, found in zip([1.2, 0.6], result.mean(x), strict=True):
        best = optimize.minimize_scalar(
            lambda v, seen=value: (seen - v**2) ** 2 / 0.2 + (v - 1.0) ** 2 / 0.08, bounds=(0, 2), options={"xatol": 1e-10}
        )
        assert found == pytest.approx(best.x, abs=1e-6)


def test_what_cannot_be_used_is_refused() -> None:
    graph = fg.FactorGraph()
    x, s = graph.add_variables("x", fg.Gaussian(), 6), graph.add_variables("s", fg.Spin(), 6)
    graph.set_prior(x, [0.0, 1.0])
    for given, told in (
        ({"method": "unscented"}, "method must be one of"),
        ({"iterations": 0}, "iterations must be a whole number"),
        ({"widest": -1.0}, "widest above 0"),
        ({"noise_variance": -1.0}, "noise_variance must be finite, and at least 0"),
    ):
        settings: dict[str, Any] = {"noise_variance": 1.0, **given}
        with pytest.raises(ValueError, match=told):
            fg.Nonlinear(np.sin, **settings)
    with pytest.raises(TypeError, match="must be functions"):
        fg.Nonlinear(3.0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="factors 'f': Nonlinear takes real variables, but port 0 has Spin"):
        graph.add_factors("f", fg.Nonlinear(np.sin, 1.0), s)
    with pytest.raises(ValueError, match="noise_variance has shape \\(2,\\)"):
        graph.add_factors("f", fg.Nonlinear(np.sin, [1.0, 1.0]), x)
    with pytest.raises(ValueError, match="quadrature takes at most 4 variables"):
        graph.add_factors("f", fg.Nonlinear(lambda *v: sum(v), 1.0, method="quadrature"), *x[:5])
    graph.add_factors("f", fg.Nonlinear(lambda v: np.log(v), 1.0), x)
    with pytest.raises(ValueError, match="its function is not finite at"):
        fg.run(graph)
    other = fg.FactorGraph()
    y = other.add_variables("y", fg.Gaussian())
    other.set_prior(y, [0.0, 1.0])
    other.add_factors("f", fg.Nonlinear(np.sin, 1.0, derivative=lambda v: [np.full_like(v, np.nan)]), y)
    with pytest.raises(ValueError, match="its derivative is not finite at \\(0\\), of factor 0"):
        fg.run(other)
    with pytest.raises(ValueError, match="sum mode alone"):
        fg.run(other, mode="max")
    with pytest.raises(TypeError, match="factors 'f' are Nonlinear"):
        fg.exact(other)
