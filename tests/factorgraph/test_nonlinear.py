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
    with pytest.raises(ValueError, match="only in sum mode"):
        fg.run(other, mode="max")
    with pytest.raises(TypeError, match="factors 'f' are Nonlinear"):
        fg.exact(other)


# Vectors.

STEP = 0.3


def swing(x: Any) -> np.ndarray:
    """A pendulum's angle and speed a moment later."""
    return np.stack([x[0] + STEP * x[1], 0.98 * x[1] - STEP * np.sin(x[0])])


def horizontal(x: Any) -> Any:
    """Where its end is seen from above, and how fast, a little."""
    return np.stack([np.sin(x[0]), 0.2 * x[1] ** 2])


DRIVE, NOISE = np.array([[0.01, 0.005], [0.005, 0.02]]), np.diag([0.05, 0.1])


def pendulum(measured: np.ndarray, method: str, derivative: bool = False) -> tuple[fg.FactorGraph, fg.Variables]:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), len(measured))
    graph.set_prior(x[0], fg.Gaussian(2).from_moments([0.5, 0.0], [[0.2, 0.05], [0.05, 0.3]]))
    settings: dict[str, Any] = {"method": method, "iterations": 1, "explicit": True}
    slopes = None
    if derivative:

        def slopes(x: Any) -> list[np.ndarray]:
            one = np.ones_like(x[0])
            return [np.array([[one, STEP * one], [-STEP * np.cos(x[0]), 0.98 * one]])]

    step = fg.Nonlinear(swing, DRIVE, derivative=slopes, **settings)
    graph.add_factors("step", step, x[1:], x[:-1])
    y = graph.add_variables("y", fg.Gaussian(2), len(measured))
    graph.observe(y, measured)
    graph.add_factors("seen", fg.Nonlinear(horizontal, NOISE, **settings), y, x)
    return graph, x


def textbook_smoother(measured: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The extended, or the unscented, Kalman filter and Rauch, Tung and Striebel's way back."""

    def moments(function: Any, m: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if method == "linearise":
            h = 1e-5
            slope = np.stack([(function(m + h * e) - function(m - h * e)) / (2 * h) for e in np.eye(2)], axis=1)
            return function(m), slope @ p @ slope.T, p @ slope.T
        root = math.sqrt(3.0) * np.linalg.cholesky(p)
        points = np.concatenate([m[:, None], m[:, None] + root, m[:, None] - root], axis=1)
        weights = np.array([1 / 3, *[1 / 6] * 4])
        values = function(points)
        centre = values @ weights
        apart = values - centre[:, None]
        return centre, (weights * apart) @ apart.T, (weights * (points - m[:, None])) @ apart.T

    m, p = np.array([0.5, 0.0]), np.array([[0.2, 0.05], [0.05, 0.3]])
    filtered, predicted = [], []
    for t, y in enumerate(measured):
        if t:
            m_, p_, cross = moments(swing, m, p)
            predicted.append((m_, p_ + DRIVE, cross))
            m, p = m_, p_ + DRIVE
        expected, spread, cross = moments(horizontal, m, p)
        gain = cross @ np.linalg.inv(spread + NOISE)
        m, p = m + gain @ (y - expected), p - gain @ (spread + NOISE) @ gain.T
        filtered.append((m, p))
    means, covariances = [m], [p]
    for (m_f, p_f), (m_p, p_p, cross) in zip(filtered[-2::-1], predicted[::-1], strict=True):
        gain = cross @ np.linalg.inv(p_p)
        m, p = m_f + gain @ (m - m_p), p_f + gain @ (p - p_p) @ gain.T
        means.append(m)
        covariances.append(p)
    return np.array(means[::-1]), np.array(covariances[::-1])


@pytest.mark.parametrize(("method", "derivative"), [("linearise", False), ("linearise", True), ("sigma-points", False)])
def test_smoothers_are_the_textbooks(method: str, derivative: bool) -> None:
    """One sweep forward and one back through a pendulum's states: the extended and the unscented smoother."""
    rng = np.random.default_rng(3)
    state, measured = np.array([0.9, 0.2]), []
    for _ in range(12):
        measured.append(horizontal(state) + np.sqrt(np.diag(NOISE)) * rng.normal(size=2))
        state = swing(state) + np.linalg.cholesky(DRIVE) @ rng.normal(size=2)
    seen = np.array(measured)
    graph, x = pendulum(seen, method, derivative)
    order: list[Any] = []
    step, look = graph.factors("step"), graph.factors("seen")
    for t in range(12):
        order += [(step, 0, [t - 1])] if t else []
        order += [(look, 1, [t])]
    order += [(step, 1, [t - 1]) for t in range(11, 0, -1)]

    class InTurn(fg.Schedule):
        def plan(self, graph: fg.FactorGraph) -> Any:
            return fg.schedules.Plan(
                [(fg.schedules.Step(block.name, (port,), np.array(index)),) for block, port, index in order]
            )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fg.Inference(graph, InTurn()).run(1)
    means, covariances = textbook_smoother(seen, method)
    np.testing.assert_allclose(result.mean(x), means, atol=1e-7)
    np.testing.assert_allclose(result.marginals(x)[:, 1:], covariances, atol=1e-7)


def test_means_of_vectors_are_the_most_probable() -> None:
    """At the fixed point of the tangents, against a solver of nonlinear least squares, of which the covariances are too."""
    rng = np.random.default_rng(5)
    seen = 0.3 * rng.normal(size=(15, 2))
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), 15)
    graph.set_prior(x[0], fg.Gaussian(2).from_moments([0.5, 0.0], 0.2 * np.eye(2)))
    graph.add_factors("step", fg.Nonlinear(swing, DRIVE, explicit=True), x[1:], x[:-1])
    look = fg.Nonlinear(lambda v, a, b: horizontal(v) - np.stack([a + 0 * v[0], b + 0 * v[0]]), NOISE, data=list(seen.T))
    graph.add_factors("seen", look, x)
    result = fg.run(graph)
    assert result.status == "converged"
    roots = [np.linalg.inv(np.linalg.cholesky(q)) for q in (DRIVE, NOISE)]

    def residuals(v: np.ndarray) -> np.ndarray:
        z = v.reshape(15, 2)
        steps, looks = roots[0] @ (z[1:].T - swing(z[:-1].T)), roots[1] @ (horizontal(z.T) - seen.T)
        return np.concatenate([(z[0] - [0.5, 0.0]) / math.sqrt(0.2), steps.ravel(), looks.ravel()])

    best = optimize.least_squares(residuals, np.zeros(30), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    np.testing.assert_allclose(result.mean(x).ravel(), best.x, atol=1e-5)
    covariance = np.linalg.inv(best.jac.T @ best.jac)
    for t in range(15):
        part = slice(2 * t, 2 * t + 2)
        np.testing.assert_allclose(result.marginals(x)[t, 1:], covariance[part, part], atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("batch", [None, 2])
def test_a_linear_map_of_vectors_is_itself(method: str, explicit: bool, batch: int | None) -> None:
    a = np.array([[0.5, -1.0], [0.3, 0.8]])
    noise = np.array([[0.3, 0.1], [0.1, 0.2]])
    results = []
    for nonlinear in (False, True):
        graph = fg.FactorGraph()
        x, y = graph.add_variables("x", fg.Gaussian(2), 3), graph.add_variables("y", fg.Gaussian(2), 3)
        graph.set_prior(x, fg.Gaussian(2).from_moments([1.0, 2.0], [[1.0, 0.4], [0.4, 2.0]]))
        graph.set_prior(y, fg.Gaussian(2).from_moments([0.0, 1.0], [[2.0, -0.3], [-0.3, 1.0]]))
        graph.observe(y[1], [np.nan, 0.3])
        relation: Any = fg.LinearGaussian([1, -a], noise)
        if nonlinear and explicit:
            relation = fg.Nonlinear(lambda v: np.einsum("ij,j...->i...", a, v), noise, method=method, explicit=True)
        elif nonlinear:
            relation = fg.Nonlinear(lambda u, v: u - np.einsum("ij,j...->i...", a, v), noise, method=method)
        graph.add_factors("map", relation, y, x)
        result = fg.Inference(graph, batch=batch).run()
        results.append([result.marginals(x), result.marginals(y), result.log_partition, result.factor_marginals("map")])
    for straight, laid in zip(*results, strict=True):
        np.testing.assert_allclose(laid, straight, atol=1e-6)


def test_what_is_wrong_with_vectors_is_named() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), 3)
    graph.set_prior(x, fg.Gaussian(2).from_moments([0.0, 0.0], np.eye(2)))
    graph.add_factors("short", fg.Nonlinear(lambda v: v[0], np.eye(2)), x)
    with pytest.raises(ValueError, match=r"factors 'short': its function returns an array of shape \(3,\), not \(2, 3\)"):
        fg.run(graph)
    with pytest.raises(ValueError, match="an explicit relation needs one variable that the function returns"):
        graph.add_factors("alone", fg.Nonlinear(swing, 0.1, explicit=True), x)
    with pytest.raises(ValueError, match="factors 'noise': noise_variance must have no negative direction"):
        graph.add_factors("noise", fg.Nonlinear(swing, -np.eye(2), explicit=True), x[1:], x[:-1])
    with pytest.raises(ValueError, match=r"noise_variance has shape \(2,\)"):
        graph.add_factors("noise", fg.Nonlinear(swing, np.ones(2), explicit=True), x[1:], x[:-1])
    with pytest.raises(ValueError, match="quadrature takes at most 4 variables, not 6"):
        graph.add_factors("many", fg.Nonlinear(lambda a, b, c: a[0], 0.1, method="quadrature"), x[0], x[1], x[2])


def test_points_leave_an_exact_relation_exact() -> None:
    """The noise that the points find is rounding: marginals and log-partition are those of the linear relation."""
    rng = np.random.default_rng(5)
    for _ in range(5):
        a, mean, found = rng.normal(size=(2, 3)), rng.normal(size=3), []
        implicit = fg.Nonlinear(lambda y, x, a=a: y - np.einsum("ij,j...->i...", a, x), np.zeros((2, 2)), method="sigma-points")
        for relation in (implicit, fg.LinearGaussian([1, -a], 0.0)):
            graph = fg.FactorGraph()
            x, y = graph.add_variables("x", fg.Gaussian(3)), graph.add_variables("y", fg.Gaussian(2))
            graph.set_prior(x, fg.Gaussian(3).from_moments(mean, np.eye(3)))
            graph.add_factors("f", relation, y, x)
            result = fg.run(graph)
            found.append([result.log_partition, *result.mean(y)])
        np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_functions_of_all_factors_at_once_are_refused() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), 3)
    graph.set_prior(x, fg.Gaussian(2).from_moments([1.0, 1.0], np.eye(2)))
    graph.add_factors("norm", fg.Nonlinear(lambda v: np.linalg.norm(v) - 2, 1e-4), x)
    with pytest.raises(ValueError, match=r"returns an array of shape \(\), not \(3,\): it is called once for all factors"):
        fg.run(graph)
