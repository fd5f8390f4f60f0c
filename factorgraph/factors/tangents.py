"""Functions replaced by straight ones where normal densities are: by tangents, sigma points or quadrature.

In this file, the axes of items come first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from factorgraph.backends import HOST
from factorgraph.variables import Gaussian, VariableType
from factorgraph.variables.gaussian_vector import GaussianVector

METHODS = ("linearise", "sigma-points", "quadrature")
MOST_NUMBERS = 4  # of quadrature
_NODES = 7  # of quadrature along each of them
_ROUNDING = 1e-12  # a share of a function's variance
_STEP = 6e-6  # of central differences, relative


class Density(NamedTuple):
    """Normal densities of all numbers at a factor's ports: mean (*items, D), covariance (*items, D, D)."""

    mean: np.ndarray
    covariance: np.ndarray

    def part(self, numbers: slice) -> Density:
        """Of some of the numbers alone."""
        return Density(self.mean[..., numbers], self.covariance[..., numbers, numbers])

    def apart(self, parts: Sequence[slice]) -> Density:
        """The same without covariances between the parts: where a relation is exact, they would leave nothing across it."""
        covariance = np.zeros_like(self.covariance)
        for part in parts:
            covariance[..., part, part] = self.covariance[..., part, part]
        return Density(self.mean, covariance)

    def given(self, a: np.ndarray, b: np.ndarray, noise: np.ndarray) -> Density:
        """The same, given that ``a x = b`` but for noise: (*items, m, D), (*items, m), (*items, m, m)."""
        gain = self.covariance @ np.swapaxes(a, -1, -2)
        whole = noise + a @ gain
        scale = np.sqrt(np.einsum("...ii->...i", whole))
        scale = np.where(scale > 0, 1.0 / np.where(scale > 0, scale, 1.0), 0.0)
        whole = scale[..., :, None] * whole * scale[..., None, :]
        inverse = whole if whole.shape[-1] == 1 else np.linalg.pinv(whole, rcond=1e-12, hermitian=True)
        gain = gain @ (scale[..., :, None] * inverse * scale[..., None, :])
        mean = self.mean + (gain @ (b - (a @ self.mean[..., None])[..., 0])[..., None])[..., 0]
        covariance = self.covariance - gain @ a @ self.covariance
        return Density(mean, 0.5 * (covariance + np.swapaxes(covariance, -1, -2)))

    def deviations(self) -> np.ndarray:
        """Standard deviations of the numbers, (*items, D)."""
        return np.sqrt(np.maximum(np.einsum("...ii->...i", self.covariance), 0.0))


class Straight(NamedTuple):
    """``f(x) = slopes x + offset`` with noise: (*items, m, D), (*items, m), (*items, m, m)."""

    slopes: np.ndarray
    offset: np.ndarray
    noise: np.ndarray


def incoming_density(kinds: Sequence[VariableType], natural: Sequence[np.ndarray], start: float, widest: float) -> Density:
    """
    What comes in at all ports, ``(*param_shape, *items)`` each, as densities.

    In directions of which nothing is known the mean is ``start`` and the standard deviation ``widest``.
    """
    means, blocks = [], []
    for kind, params in zip(kinds, natural, strict=True):
        if isinstance(kind, Gaussian):
            h, precision = params
            certain, flat = np.isinf(precision), ~(precision > widest**-2)
            safe = np.where(certain | flat, 1.0, precision)
            means.append(np.where(certain, h, np.where(flat, start, h / safe))[..., None])
            blocks.append(np.where(certain, 0.0, np.where(flat, widest**2, 1.0 / safe))[..., None, None])
            continue
        assert isinstance(kind, GaussianVector)
        h, precision, known, value = (
            np.moveaxis(part, range(axes), range(-axes, 0))
            for part, axes in zip(kind.free_part(params, HOST), (1, 2, 1, 1), strict=True)
        )
        sizes, vectors = np.linalg.eigh(precision)
        flat = ~(sizes > widest**-2)
        safe = np.where(flat, widest**-2, sizes)
        across = np.swapaxes(vectors, -1, -2)
        along = np.where(flat, (across @ np.full_like(h, start)[..., None])[..., 0], (across @ h[..., None])[..., 0] / safe)
        means.append(np.where(known > 0.5, value, (vectors @ along[..., None])[..., 0]))
        free = 1.0 - known
        blocks.append(((vectors / safe[..., None, :]) @ across) * free[..., :, None] * free[..., None, :])
    size = sum(mean.shape[-1] for mean in means)
    covariance = np.zeros((*means[0].shape[:-1], size, size))
    begin = 0
    for block in blocks:
        end = begin + block.shape[-1]
        covariance[..., begin:end, begin:end] = block
        begin = end
    return Density(np.concatenate(means, axis=-1), covariance)


def straightened(
    density: Density,
    value: Callable[[np.ndarray], np.ndarray],
    slopes: Callable[[np.ndarray], np.ndarray] | None,
    method: str,
) -> Straight:
    """
    A function ``(*items, D)`` to ``(*items, m)`` replaced by what is nearest to it under a density.

    Parameters
    ----------
    value : the function; it may be called with an axis of points before those of the items
    slopes : its derivatives (*items, m, D); None takes central differences
    method : one of `METHODS`: the tangents at the mean, or what has the moments of the function
    """
    mean = density.mean
    if method == "linearise":
        a, centre = _slopes(density, value, slopes), value(mean)
        return Straight(a, centre - (a @ mean[..., None])[..., 0], np.zeros((*centre.shape, centre.shape[-1])))
    size = mean.shape[-1]
    nodes, weights = _sigma_points(size) if method == "sigma-points" else _grid(size)
    root = _root(density.covariance)
    values = value(mean + np.einsum("...ij,pj->p...i", root, nodes))
    centre = np.einsum("p,p...i->...i", weights, values)
    apart = values - centre
    along = np.einsum("p,p...i,pj->...ij", weights, apart, nodes)
    # Slopes along what is not certain; along the rest the tangent's.
    deviation = np.einsum("...ii->...i", root)
    known = deviation == 0
    unit = root + np.where(known, 1.0, 0.0)[..., None] * np.eye(size)
    try:
        a = np.swapaxes(np.linalg.solve(np.swapaxes(unit, -1, -2), np.swapaxes(along, -1, -2)), -1, -2)
    except np.linalg.LinAlgError:  # some sum of the numbers is certain
        a = along @ np.linalg.pinv(unit)
    if known.any():
        a = np.where(known[..., None, :], _slopes(density, value, slopes), a)
    spread = np.einsum("p,p...i,p...j->...ij", weights, apart, apart)
    rest = spread - along @ np.swapaxes(along, -1, -2)
    return Straight(a, centre - (a @ mean[..., None])[..., 0], _without_rounding(rest, spread))


def _slopes(
    density: Density, value: Callable[[np.ndarray], np.ndarray], slopes: Callable[[np.ndarray], np.ndarray] | None
) -> np.ndarray:
    """Derivatives at the mean, (*items, m, D)."""
    x = density.mean
    if slopes is not None:
        return slopes(x)
    size = np.maximum(np.abs(x), density.deviations())
    step = _STEP * np.where(size > 0, size, 1.0)
    columns = []
    for number in range(x.shape[-1]):
        up, down = x.copy(), x.copy()
        up[..., number], down[..., number] = x[..., number] + step[..., number], x[..., number] - step[..., number]
        columns.append((value(up) - value(down)) / (up - down)[..., number, None])
    return np.stack(columns, axis=-1)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Triangular roots of covariances, rows of 0 for what is certain; symmetric ones where there is no triangular one."""
    deviation = np.sqrt(np.maximum(np.einsum("...ii->...i", covariance), 0.0))
    known = deviation == 0
    scale = np.where(known, 1.0, deviation)
    unit = np.eye(covariance.shape[-1])
    scaled = covariance / scale[..., :, None] / scale[..., None, :] + known[..., None] * unit
    try:
        root = np.linalg.cholesky(scaled)
    except np.linalg.LinAlgError:
        sizes, vectors = np.linalg.eigh(scaled)
        root = vectors * np.sqrt(np.maximum(sizes, 0.0))[..., None, :] @ np.swapaxes(vectors, -1, -2)
    return root * np.where(known, 0.0, scale)[..., :, None]


def _without_rounding(rest: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """What is left of covariances, without the directions in which that is rounding."""
    deviation = np.sqrt(np.maximum(np.einsum("...ii->...i", whole), 0.0))
    scale = np.where(deviation > 0, deviation, 1.0)
    across = scale[..., :, None] * scale[..., None, :]
    sizes, vectors = np.linalg.eigh(0.5 * (rest + np.swapaxes(rest, -1, -2)) / across)
    sizes = np.where(sizes > _ROUNDING, sizes, 0.0)
    return across * ((vectors * sizes[..., None, :]) @ np.swapaxes(vectors, -1, -2))


def _sigma_points(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of the unscented transform that have the moments of standard normal variables, ``(2 size + 1, size)``."""
    spare = max(0.5, 3.0 - size)
    reach = np.sqrt(size + spare) * np.eye(size)
    weights = np.full(2 * size + 1, 0.5 / (size + spare))
    weights[0] = spare / (size + spare)
    return np.concatenate([np.zeros((1, size)), reach, -reach]), weights


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss and Hermite's points in so many dimensions."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    return np.array(list(product(nodes, repeat=size))), np.prod(list(product(weights, repeat=size)), axis=1)
