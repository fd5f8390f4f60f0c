"""Channels with real outputs, and soft labels, against numerical quadrature over a wide grid, in both precisions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import special

import factorgraph as fg
from nets.channels.argmax import argmax_backward, argmax_curvature, class_derivatives
from nets.channels.real import FUNCTIONS, RealOutput

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(200)
_GRID = list(
    product(
        (-40.0, -12.0, -5.0, -1.0, -0.1, 0.0, 0.3, 2.0, 7.0, 30.0),  # omega / sqrt V
        (0.5, 4.0),
        (-20.0, -3.0, -0.2, 0.0, 0.5, 4.0, 30.0),
        (0.0, 0.3, 5.0, 100.0),
    )
)


@pytest.fixture(params=["float64", "float32", "strict"])
def ops(request: pytest.FixtureRequest) -> fg.Backend:
    if request.param == "strict":
        return fg.get_backend("array-api-strict", "float64")
    return fg.get_backend("numpy", request.param)


def by_quadrature(activation: str, omega: float, variance: float, field: float, precision: float) -> list[float]:
    """Moments of output and pre-activation z, z having weight N(z; omega, V) exp(B f - A f^2 / 2), by integrating over z."""
    pieces = []
    sides = ((-1.0, 0.0, 0.0), (1.0, field, precision)) if activation == "relu" else ((0.0, field, precision),)
    for side, linear, square in sides:
        scale = 1 + square * variance
        center, width = (omega + linear * variance) / scale, np.sqrt(variance / scale)
        low, high = center - 12 * width, center + 12 * width
        if side:  # a half-line; far from its end what counts is a narrow strip beside 0
            inside = side * center / width
            reach = 12 * width if inside > -3 else 40 * width / -inside
            end = max(0.0, side * center) + reach
            low, high = (max(0.0, low), end) if side > 0 else (-end, min(0.0, high))
        z = 0.5 * (high + low) + 0.5 * (high - low) * _NODES
        log_weight = -0.5 * (z - omega) ** 2 / variance + linear * z - 0.5 * square * z * z
        pieces.append((log_weight + np.log(_NODE_WEIGHTS * 0.5 * (high - low)), z, 0.0 if side < 0 else z))
    largest = max(piece[0].max() for piece in pieces)
    weights = [np.exp(piece[0] - largest) for piece in pieces]
    total = sum(w.sum() for w in weights)

    def moments(which: int) -> tuple[float, float]:
        mean = sum((w * p[which]).sum() for w, p in zip(weights, pieces, strict=True)) / total
        return mean, sum((w * (p[which] - mean) ** 2).sum() for w, p in zip(weights, pieces, strict=True)) / total

    (mean, spread), (z_mean, z_spread) = moments(2), moments(1)
    return [mean, spread, (z_mean - omega) / variance, (1 - z_spread / variance) / variance]


@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_moments_and_derivatives_are_those_of_the_integral(ops: fg.Backend, activation: str) -> None:
    grid = np.array([(u * np.sqrt(v), v, b, a) for u, v, b, a in _GRID])
    if ops.dtype_name == "float32":
        grid = grid.astype(np.float32).astype(np.float64)  # the integrals of what is handed over
    expected = RealOutput(*np.array([by_quadrature(activation, *row) for row in grid]).T)
    found = FUNCTIONS[activation](*(ops.asarray(column[None]) for column in grid.T), ops)
    single = ops.dtype_name == "float32"
    variance = grid[:, 1]
    units = {"mean": 0.0, "variance": 0.0, "g": 1 / np.sqrt(variance), "gamma": 1 / variance}
    for name, unit in units.items():
        value, truth = ops.to_host(getattr(found, name))[0], getattr(expected, name)
        assert np.isfinite(value).all()
        # Outputs relative to their size down to 1e-9 of a deviation, derivatives to 1 / sqrt V and 1 / V.
        scale = np.abs(truth) + (unit if name in ("g", "gamma") else 1e-9 * variance)
        error = np.abs(value - truth) / scale
        assert error.max() < (5e-5 if single else 1e-7), (name, error.max(), grid[np.argmax(error)])


def test_what_is_observed_is_a_limit(ops: fg.Backend) -> None:
    """A precision that grows makes the output what is observed, and its derivatives those of a hard constraint."""
    omega, variance = (ops.asarray(np.array([row])) for row in ([-2.0, 0.5, 1.0, 3.0], [1.0, 2.0, 0.5, 4.0]))
    values = np.array([[0.7, 0.0, 2.0, 0.0]])
    for channel in FUNCTIONS.values():
        certain = channel(omega, variance, ops.asarray(values), ops.asarray(np.full((1, 4), np.inf)), ops)
        np.testing.assert_array_equal(ops.to_host(certain.mean), ops.to_host(ops.asarray(values)))
        assert not ops.to_host(certain.variance).any()
        if ops.dtype_name == "float32":
            continue
        near = channel(omega, variance, ops.asarray(1e9 * values), ops.asarray(np.full((1, 4), 1e9)), ops)
        positive = values[0] > 0  # at 0 a ReLU's output is either side's
        for name in ("g", "gamma"):
            np.testing.assert_allclose(
                ops.to_host(getattr(near, name))[0][positive], ops.to_host(getattr(certain, name))[0][positive], rtol=1e-4
            )


def test_a_relu_observed_at_zero_is_off(ops: fg.Backend) -> None:
    """The pre-activation is negative: g is that of the half-line."""
    u, variance = np.array([[-2.0, 0.5, 1.5]]), np.array([[1.0, 2.0, 4.0]])
    arrays = (u * np.sqrt(variance), variance, np.zeros((1, 3)), np.full((1, 3), np.inf))
    g = ops.to_host(FUNCTIONS["relu"](*(ops.asarray(array) for array in arrays), ops).g)
    ratio = np.exp(-special.log_ndtr(-u) - u * u / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(g, -ratio / np.sqrt(variance), rtol=1e-5 if ops.dtype_name == "float32" else 1e-9)


def log_label_probability(omega: np.ndarray, variance: np.ndarray, soft: np.ndarray) -> float:
    """log sum_c s_c P(c wins), by the trapezoidal rule on a fine grid."""
    total = 0.0
    z = np.linspace(-9, 9, 4001)
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    for c, weight in enumerate(soft):
        value = omega[c] + z * np.sqrt(variance[c])
        below = [special.ndtr((value - omega[k]) / np.sqrt(variance[k])) for k in range(len(soft)) if k != c]
        total += weight * (density * np.prod(below, axis=0)).sum()
    return float(np.log(total))


def differences(function: object, omega: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """First derivatives and minus second ones, by central differences."""
    first, second = np.zeros_like(omega), np.zeros_like(omega)
    for k in range(len(omega)):
        shift = step * (np.arange(len(omega)) == k)
        up, here, down = (function(omega + s * shift) for s in (1, 0, -1))  # type: ignore[operator]
        first[k], second[k] = (up - down) / (2 * step), -(up - 2 * here + down) / step**2
    return first, second


def test_soft_labels_have_the_derivatives_of_their_probability(ops: fg.Backend) -> None:
    rng = np.random.default_rng(0)
    for soft in (
        np.array([0.7, 0.1, 0.1, 0.1]),
        np.array([0.1, 0.5, 0.3, 0.1]),
        np.array([0.0, 0.0, 1.0, 0.0]),
        np.full(4, 0.25),
    ):
        omega, variance = 2 * rng.normal(size=4), rng.uniform(0.5, 3.0, size=4)
        first, second = differences(lambda w: log_label_probability(w, variance, soft), omega, 1e-3)  # noqa: B023
        with np.errstate(divide="ignore"):
            rows = [ops.asarray(array[:, None]) for array in (omega, variance, np.log(soft))]
        g, gamma = (ops.to_host(array)[:, 0] for array in class_derivatives(*rows, True, ops))
        np.testing.assert_allclose(g, first, atol=1e-4)
        np.testing.assert_allclose(gamma, second, atol=1e-3)
        alone, nothing = class_derivatives(*rows, False, ops)
        np.testing.assert_array_equal(ops.to_host(alone)[:, 0], g)
        assert nothing is None


def test_curvature_of_the_pairwise_form_is_the_derivative_of_its_gradient() -> None:
    ops = fg.get_backend("numpy", "float64")
    rng = np.random.default_rng(1)
    omega, variance, label = (
        3 * rng.normal(size=(5, 7)),
        rng.uniform(0.3, 2, size=(5, 7)),
        np.eye(5)[:, rng.integers(5, size=7)],
    )
    found, step = argmax_curvature(omega, variance, label, ops), 1e-5
    for k in range(5):
        shift = step * (np.arange(5) == k)[:, None]
        up, down = (argmax_backward(omega + s * shift, variance, label, ops)[0][k] for s in (1, -1))
        np.testing.assert_allclose(found[k], -(up - down) / (2 * step), atol=1e-8)
