"""Channels against quadrature, finite differences and high-precision forms, over a wide grid, in both precisions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from scipy.integrate import quad

import factorgraph as fg
from nets.channels.argmax import argmax_backward, argmax_exact_backward, argmax_forward
from nets.channels.sign import sign_backward, sign_forward
from nets.channels.tails import inverse_mills


def log_z(field: float, u: np.ndarray) -> np.ndarray:
    """log of sum_x e^{Bx} Phi(x u) / (2 cosh B): the neuron's log-partition, stable by log-sum-exp."""
    up = special.log_expit(2 * field) + special.log_ndtr(u)
    down = special.log_expit(-2 * field) + special.log_ndtr(-u)
    return np.logaddexp(up, down)


@pytest.fixture(params=["float64", "float32", "strict", "compiled"])
def ops(request: pytest.FixtureRequest) -> fg.Backend:
    if request.param == "strict":
        return fg.get_backend("array-api-strict", "float64")
    if request.param == "compiled":
        return fg.get_backend("compiled", "float64")
    return fg.get_backend("numpy", request.param)


def tolerance(ops: fg.Backend, float32: float) -> float:
    return 1e-9 if ops.dtype_name == "float64" else float32


OMEGA = np.array([0.0, 1e-6, 1e-3, 0.05, 0.2, 0.34, 0.36, 1.0, 3.0, 8.0, 20.0, 37.0])
OMEGA = np.concatenate([-OMEGA[:0:-1], OMEGA])
FIELDS = (0.0, 1e-4, -0.3, 2.0, -9.0, 15.0, 100.0)


@pytest.mark.parametrize("variance", [1e-8, 0.3, 1.0, 400.0])
def test_message_up_is_half_the_log_odds_of_the_signs(ops: fg.Backend, variance: float) -> None:
    omega = OMEGA * np.sqrt(variance)
    rows = ops.asarray(omega[None]), ops.asarray(np.full((1, omega.size), variance))
    message = ops.to_host(sign_forward(*rows, ops).message)[0]
    expected = 0.5 * (special.log_ndtr(OMEGA) - special.log_ndtr(-OMEGA))
    # Relative, also near zero where the direct difference of logarithms cancels.
    np.testing.assert_allclose(message, expected, rtol=tolerance(ops, 4e-6), atol=1e-15)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("variance", [0.3, 1.0, 50.0])
def test_gradient_and_curvature_are_derivatives_of_the_log_partition(ops: fg.Backend, field: float, variance: float) -> None:
    omega = OMEGA * np.sqrt(variance)
    shape = (1, omega.size)
    with np.errstate(over="ignore"):
        tail = sign_forward(ops.asarray(omega.reshape(shape)), ops.asarray(np.full(shape, variance)), ops)
        g, gamma = (ops.to_host(a)[0] for a in sign_backward(*tail, ops.asarray(np.full(shape, field)), ops))
    # g = s (e^B - e^-B) phi / (sqrt V sum_x e^{Bx} Phi(x u)), in logarithms.
    sign = np.sign(field)
    log_g = special.log_expit(2 * abs(field)) + np.log(-np.expm1(-2 * abs(field))) if field else -np.inf
    log_density = -0.5 * OMEGA**2 - 0.5 * np.log(2 * np.pi)
    expected = sign * np.exp(log_g + log_density - log_z(field, OMEGA)) / np.sqrt(variance)
    np.testing.assert_allclose(g, expected, rtol=tolerance(ops, 3e-4), atol=1e-30)
    np.testing.assert_allclose(gamma, expected * (omega / variance + expected), rtol=tolerance(ops, 3e-4), atol=3e-6 / variance)


def test_gradient_equals_a_finite_difference() -> None:
    ops = fg.get_backend("numpy", "float64")
    u, step = np.linspace(-6, 6, 25), 1e-5
    for field in FIELDS[1:]:
        difference = (log_z(field, u + step) - log_z(field, u - step)) / (2 * step)
        tail = sign_forward(u[None], np.ones((1, u.size)), ops)
        np.testing.assert_allclose(sign_backward(*tail, np.full((1, u.size), field), ops)[0][0], difference, atol=1e-8)


def test_labels_are_infinite_fields(ops: fg.Backend) -> None:
    omega = ops.asarray(OMEGA[None])
    tail = sign_forward(omega, ops.asarray(np.ones((1, OMEGA.size))), ops)
    for sign in (1.0, -1.0):
        with np.errstate(over="ignore"):
            g, gamma = sign_backward(*tail, ops.asarray(np.full((1, OMEGA.size), sign * np.inf)), ops)
        x = sign * OMEGA
        expected = sign * np.exp(-0.5 * x**2 - 0.5 * np.log(2 * np.pi) - special.log_ndtr(x))
        np.testing.assert_allclose(ops.to_host(g)[0], expected, rtol=tolerance(ops, 3e-6), atol=1e-30)
        assert np.isfinite(ops.to_host(gamma)).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nothing_is_nan_however_extreme(dtype: str) -> None:
    ops = fg.get_backend("numpy", dtype)
    values = np.array([-1e6, -1e3, -1.0, 0.0, 1e-30, 1.0, 1e3, 1e6], dtype=dtype)
    fields = np.array([-np.inf, -1e4, -20.0, 0.0, 20.0, 1e4, np.inf], dtype=dtype)
    omega, field = (a.copy() for a in np.meshgrid(values, fields))
    with np.errstate(all="ignore"):
        for variance in (1e-8, 1.0, 1e6):
            tail = sign_forward(omega, np.full_like(omega, variance), ops)
            for array in (*tail, *sign_backward(*tail, field, ops)):
                assert not np.isnan(array).any()


def test_inverse_mills_ratio(ops: fg.Backend) -> None:
    x = np.linspace(-30, 30, 121)
    expected = np.exp(-0.5 * x**2 - 0.5 * np.log(2 * np.pi) - special.log_ndtr(x))
    found = ops.to_host(inverse_mills(ops.asarray(x), ops)[0])
    np.testing.assert_allclose(found, expected, rtol=tolerance(ops, 5e-6), atol=1e-30)


def test_class_probabilities_equal_the_integral(rng: np.random.Generator) -> None:
    omega, variance = rng.normal(size=(5, 3)), rng.uniform(0.3, 3.0, size=(5, 3))
    found = np.exp(argmax_forward(omega, variance, fg.get_backend("numpy", "float64"))[0])
    deviation = np.sqrt(variance)
    for pattern in range(3):
        for k in range(5):

            def integrand(z: float, k: int = k, pattern: int = pattern) -> float:
                others = [j for j in range(5) if j != k]
                below = special.ndtr((z - omega[others, pattern]) / deviation[others, pattern])
                x = (z - omega[k, pattern]) / deviation[k, pattern]
                return float(np.prod(below) * np.exp(-0.5 * x * x) / (np.sqrt(2 * np.pi) * deviation[k, pattern]))

            exact, _ = quad(integrand, -30, 30, limit=200)
            assert found[k, pattern] == pytest.approx(exact, abs=1e-4)
    np.testing.assert_allclose(found.sum(axis=0), 1.0)


def test_class_probabilities_of_certain_outputs_are_one_and_ties_are_shared(ops: fg.Backend) -> None:
    omega = ops.asarray(np.array([[3.0, 2.0], [1.0, 2.0], [-5.0, 0.0]]))
    variance = ops.asarray(np.full((3, 2), 1e-8))
    found = np.exp(ops.to_host(argmax_forward(omega, variance, ops)[0]))
    np.testing.assert_allclose(found, [[1.0, 0.5], [0.0, 0.5], [0.0, 0.0]], atol=1e-6)


def test_argmax_gradient_is_the_derivative_of_the_pairwise_bound(rng: np.random.Generator) -> None:
    ops = fg.get_backend("numpy", "float64")
    omega, variance = rng.normal(size=(4, 6)), rng.uniform(0.5, 2.0, size=(4, 6))
    labels = rng.integers(4, size=6)
    one_hot = (np.arange(4)[:, None] == labels) * 1.0

    def phi(omega: np.ndarray) -> np.ndarray:
        total = np.zeros(6)
        for a, c in enumerate(labels):
            for k in set(range(4)) - {c}:
                total[a] += special.log_ndtr((omega[c, a] - omega[k, a]) / np.sqrt(variance[k, a] + variance[c, a]))
        return total

    (g,) = argmax_backward(omega, variance, one_hot, ops)
    for k in range(4):
        step = np.zeros_like(omega)
        step[k] = 1e-6
        np.testing.assert_allclose(g[k], (phi(omega + step) - phi(omega - step)) / 2e-6, atol=1e-8)


def test_exact_argmax_gradient_is_the_derivative_of_the_class_probability(ops: fg.Backend, rng: np.random.Generator) -> None:
    """Also where labels are far from winning, in both precisions; the probability itself is checked against integrals."""
    omega, variance = 2.0 * rng.normal(size=(4, 8)), rng.uniform(0.5, 2.0, size=(4, 8))
    one_hot = (np.arange(4)[:, None] == rng.integers(4, size=8)) * 1.0
    arrays = [ops.asarray(a) for a in (omega, variance, one_hot)]
    g = ops.to_host(ops.elementwise(argmax_exact_backward, *arrays)[0])
    host, step = fg.get_backend("numpy", "float64"), 1e-5

    def log_probability(omega: np.ndarray) -> np.ndarray:
        # Before the classes' probabilities are made to add up to one, which moves them by the quadrature's error.
        points, weights = np.polynomial.hermite_e.hermegauss(24)
        z = (one_hot * omega).sum(axis=0) + points[:, None] * np.sqrt((one_hot * variance).sum(axis=0))
        below = special.log_ndtr((z[:, None] - omega) / np.sqrt(variance)) * (1 - one_hot)
        return special.logsumexp(below.sum(axis=1), axis=0, b=(weights / weights.sum())[:, None])

    for k in range(4):
        moved = np.zeros_like(omega)
        moved[k] = step
        difference = (log_probability(omega + moved) - log_probability(omega - moved)) / (2 * step)
        np.testing.assert_allclose(g[k], difference, rtol=tolerance(ops, 2e-4) + 1e-6, atol=1e-6)
    exact = np.exp((one_hot * argmax_forward(omega, variance, host)[0]).sum(axis=0))
    np.testing.assert_allclose(np.exp(log_probability(omega)), exact, rtol=2e-2)
    far = ops.elementwise(argmax_exact_backward, ops.asarray(1e3 * omega), ops.asarray(variance), ops.asarray(one_hot))[0]
    assert np.isfinite(ops.to_host(far)).all()
