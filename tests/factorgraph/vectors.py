"""Graphs of vectors with normal beliefs, and what dense linear algebra says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import linalg

import factorgraph as fg


class Dense:
    """
    The joint density of all components of a graph of normal variables and `LinearGaussian`, solved in one piece.

    The relations are kept beside the variables, with a multiplier for each row, so that noise may be singular.
    """

    def __init__(self, graph: fg.FactorGraph) -> None:
        self.start: dict[str, tuple[int, int]] = {}
        size = 0
        for name, block in graph.variable_blocks.items():
            width = block.type.value_shape[0] if block.type.value_shape else 1
            self.start[name] = size, width
            size += block.size * width
        h, j = np.zeros(size), np.zeros((size, size))
        seen = np.full(size, np.nan)
        for name, block in graph.variable_blocks.items():
            first, width = self.start[name]
            for i in range(block.size):
                part = slice(first + i * width, first + (i + 1) * width)
                if block.prior is not None:
                    prior = block.prior[i].reshape(1 + width, width)
                    h[part] += prior[0]
                    j[part, part] += prior[1:]
                if block.observed is not None and block.observed[i]:
                    seen[part] = block.values[i]
        rows, noise, offsets = [], [], []
        for block in graph.factor_blocks.values():
            for f in range(block.count):
                a, q, b = _of_factor(block, f)
                row = np.zeros((len(b), size))
                for port, part in zip(block.ports, a, strict=True):
                    first, width = self.start[port.name]
                    begin = first + int(port.index[f]) * width
                    row[:, begin : begin + width] += part
                rows.append(row)
                noise.append(q)
                offsets.append(b)
        matrix = np.concatenate([*rows, np.zeros((0, size))])
        covariance = np.zeros((len(matrix), len(matrix)))
        place = 0
        for q in noise:
            covariance[place : place + len(q), place : place + len(q)] = q
            place += len(q)
        offset = np.concatenate([*offsets, np.zeros(0)])
        free = np.isnan(seen)
        known = np.where(free, 0.0, seen)
        offset = offset - matrix @ known
        constant = h @ known - 0.5 * known @ j @ known
        h = (h - j @ known)[free]
        n, m = int(free.sum()), len(matrix)
        self.bordered = np.block([[j[np.ix_(free, free)], matrix[:, free].T], [matrix[:, free], -covariance]])
        right = np.concatenate([h, offset])
        # By reflections: elimination with pivots grows without bound along chains.
        q, triangle = np.linalg.qr(self.bordered)
        inverse = linalg.solve_triangular(triangle, q.T)
        found = inverse @ right
        self.mean = known
        self.mean[free] = found[:n]
        self.covariance = np.zeros((size, size))
        self.covariance[np.ix_(free, free)] = inverse[:n, :n]
        self.log_partition = (
            constant + 0.5 * right @ found + 0.5 * ((n - m) * np.log(2 * np.pi) - np.log(np.abs(np.diag(triangle))).sum())
        )

    def moments(self, variables: fg.Variables) -> np.ndarray:
        """As `Result.marginals`."""
        first, width = self.start[variables.name]
        rows = []
        for i in variables.index.reshape(-1):
            part = slice(first + i * width, first + (i + 1) * width)
            moments = np.concatenate([self.mean[None, part], self.covariance[part, part]])
            rows.append(moments.reshape(-1) if not variables.type.value_shape else moments)
        return np.stack(rows).reshape(*variables.shape, *rows[0].shape)


def _of_factor(block: Any, f: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Coefficients, covariance and offset of one factor, read off what the user gave."""
    factor = block.factor
    widths = [port.type.value_shape[0] if port.type.value_shape else 1 for port in block.ports]
    rows = next((a.shape[-2] for a in factor.coefficients if a.ndim >= 2), None)
    if rows is None:
        short = any(a.ndim == 1 and w > 1 for a, w in zip(factor.coefficients, widths, strict=True))
        rows = 1 if short else max(widths)
    each = []
    for a, width in zip(factor.coefficients, widths, strict=True):
        one = a[f] if a.ndim == 3 or (a.ndim == 1 and rows == width == 1 and block.count > 1) else a
        each.append(one * np.eye(rows) if one.ndim == 0 else one.reshape(rows, width))
    noise = factor.noise_variance
    noise = noise[f] if noise.ndim == 3 or (noise.ndim == 1 and rows == 1) else noise
    noise = np.reshape(noise, (1, 1)) if rows == 1 else noise * np.eye(rows) if np.ndim(noise) == 0 else noise
    offset = factor.offset
    if offset.ndim == 2 or (offset.ndim == 1 and rows == 1 and block.count > 1):
        offset = offset[f]
    return each, noise, np.broadcast_to(offset, (rows,)).astype(float)


def covariances(rng: np.random.Generator, number: int, d: int, rank: int | None = None) -> np.ndarray:
    """Random covariances ``(number, d, d)``."""
    root = rng.normal(size=(number, d, d if rank is None else rank))
    return root @ np.swapaxes(root, 1, 2) + (0.1 * np.eye(d) if rank is None else 0.0)


def random_tree(seed: int, d: int, n: int, rank: int | None = None, cycle: bool = False) -> fg.FactorGraph:
    """States in a random tree; of each some components of a vector are measured, and a number that may be seen."""
    rng = np.random.default_rng(seed)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(d), n)
    parent = np.array([rng.integers(0, i) for i in range(1, n)])
    matrices = rng.normal(size=(n - 1, d, d))
    noise = covariances(rng, n - 1, d, rank)
    graph.add_factors("step", fg.LinearGaussian([1, -matrices], noise, rng.normal(size=(n - 1, d))), x[1:], x[parent])
    graph.set_prior(x[0], fg.Gaussian(d).from_moments(rng.normal(size=d), covariances(rng, 1, d)[0]))
    m = max(1, d // 2)
    y = graph.add_variables("y", fg.Gaussian(m), n)
    measure = fg.LinearGaussian([np.eye(m), -rng.normal(size=(n, m, d))], covariances(rng, 1, m)[0])
    graph.add_factors("measured", measure, y, x)
    values = rng.normal(size=(n, m))
    values[rng.random((n, m)) < 0.4] = np.nan
    graph.observe(y, values)
    s = graph.add_variables("s", fg.Gaussian(), n)
    graph.add_factors("number", fg.LinearGaussian([1, -rng.normal(size=(n, 1, d))], 0.3), s, x)
    graph.observe(s[::2], rng.normal(size=len(range(0, n, 2))))
    if cycle:
        weak = fg.LinearGaussian([1, -0.2 * rng.normal(size=(d, d))], covariances(rng, 1, d)[0])
        graph.add_factors("cycle", weak, x[[3, 5]], x[[7, 9]])
    return graph


def assert_as_dense(graph: fg.FactorGraph, result: Any, tolerance: float = 1e-9) -> None:
    """All moments and the log-partition."""
    dense = Dense(graph)
    for name in graph.variable_blocks:
        expected = dense.moments(graph.variables(name))
        assert result.marginals(graph.variables(name)) == pytest.approx(expected, rel=tolerance, abs=tolerance), name
    assert result.log_partition == pytest.approx(dense.log_partition, rel=tolerance, abs=tolerance)


def chain(n: int, transition: np.ndarray, noise: np.ndarray, prior: bool = True, scale: Any = 1.0) -> fg.FactorGraph:
    """A chain whose states are measured in their first component, in units of one's own."""
    units = np.diag(np.broadcast_to(scale, (len(transition),)).astype(float))
    inverse = np.linalg.inv(units)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(len(transition)), n)
    if prior:
        start = units @ np.eye(len(transition)) @ units
        graph.set_prior(x[0], fg.Gaussian(len(transition)).from_moments(np.zeros(len(transition)), start))
    graph.add_factors("step", fg.LinearGaussian([1, -units @ transition @ inverse], units @ noise @ units), x[1:], x[:-1])
    seen = np.sin(np.arange(n) / 7.0)
    graph.add_factors("seen", fg.LinearGaussian([inverse[:1]], 0.1, seen), x)
    return graph


MOTION = np.array([[1.0, 1.0], [0.0, 0.9]])


ALONG = np.array([[0.25, 0.5], [0.5, 1.0]])  # noise of an acceleration: of rank 1
