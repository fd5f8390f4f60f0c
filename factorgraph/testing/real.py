"""Checks of real-valued node types against numerical integration."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from scipy import optimize
from scipy.special import logsumexp

from factorgraph.backends import Backend
from factorgraph.factors.bound import BoundFactor, to_device
from factorgraph.semiring import MODES, Semiring
from factorgraph.testing.discrete import available_backends
from factorgraph.variables import Gaussian
from factorgraph.variables.gaussian_vector import GaussianVector

_POINTS = 81
_REACH = 9.0  # standard deviations to each side


def check_real_factor(bound: BoundFactor, random_state: int) -> None:
    """`check_factor` for real variables."""
    if not bound.factor.gives("log_potential"):
        raise TypeError(f"{type(bound.factor).__name__} has no log_potential to integrate")
    if len(bound.types) > 3 or bound.plural:
        raise ValueError("at most three ports, of which none is plural, can be integrated")
    rng = np.random.default_rng(random_state)
    for mode, batch, label in itertools.product(MODES, (None, 2), ("random", "certain")):
        shape = (bound.count,) if batch is None else (bound.count, batch)
        params = [np.stack([rng.normal(size=shape), np.exp(0.5 * rng.normal(size=shape))]) for _ in bound.types]
        if label == "certain":
            if len(params) == 1:
                continue
            params[0][1] = np.inf
        expected = _Integrals(bound, params, mode)
        for dtype in ("float64", "float32"):
            for backend in available_backends(dtype):
                with np.errstate(all="ignore"):
                    _compare_factor(bound, params, expected, Semiring(backend, mode), label)


class _Integrals:
    """What integration (or maximisation) of a factor's potential times incoming densities gives, factor by factor."""

    def __init__(self, bound: BoundFactor, params: list[np.ndarray], mode: str) -> None:
        self.bound, self.params, self.mode = bound, params, mode
        self.shape = params[0].shape[1:]
        ports = len(params)
        self.log_partition = np.zeros(self.shape)
        self.messages = [np.zeros((3, *self.shape)) for _ in params]  # at three values of the variable
        self.values = np.array([-0.7, 0.1, 0.9])
        self.mean, self.covariance = np.zeros((ports, *self.shape)), np.zeros((ports, ports, *self.shape))
        for place in np.ndindex(self.shape):
            self.log_partition[place] = self._reduce(place, {})
            for port in range(ports):
                for number, value in enumerate(self.values):
                    self.messages[port][(number, *place)] = self._reduce(place, {port: value})
            if mode == "sum":
                self._moments(place)

    def _log_joint(self, place: tuple[int, ...], values: list[Any], asked: dict[int, float]) -> np.ndarray:
        total = np.asarray(self.bound.factor.log_potential(*(np.asarray(v)[..., None] for v in values)))
        result = total[..., min(place[0], total.shape[-1] - 1)]
        for port, params in enumerate(self.params):
            h, precision = params[0][place], params[1][place]
            if port not in asked and np.isfinite(precision):
                result = result + (h - 0.5 * precision * values[port]) * values[port]
        return result

    def _axes(self, place: tuple[int, ...], asked: dict[int, float]) -> tuple[list[np.ndarray], float]:
        """Values of each variable to add up over, and the log of the volume of a cell."""
        axes, volume = [], 0.0
        for port, params in enumerate(self.params):
            h, precision = params[0][place], params[1][place]
            if port in asked:
                axes.append(np.array([asked[port]]))
            elif np.isinf(precision):
                axes.append(np.array([h]))
            else:
                spread = _REACH / np.sqrt(precision)
                axes.append(np.linspace(h / precision - spread, h / precision + spread, _POINTS))
                volume += np.log(axes[-1][1] - axes[-1][0])
        return axes, volume

    def _reduce(self, place: tuple[int, ...], asked: dict[int, float]) -> float:
        axes, volume = self._axes(place, asked)
        grid = np.meshgrid(*axes, indexing="ij")
        joint = self._log_joint(place, list(grid), asked)
        if self.mode == "sum":
            return float(logsumexp(joint) + volume)
        free = [port for port, axis in enumerate(axes) if axis.size > 1]
        if not free:
            return float(joint.max())
        best = np.unravel_index(np.argmax(joint), joint.shape)

        def loss(x: np.ndarray) -> float:
            values: list[Any] = [axis[0] for axis in axes]
            for port, value in zip(free, x, strict=True):
                values[port] = value
            return -float(self._log_joint(place, values, asked))

        start = [axes[port][best[port]] for port in free]
        return -float(optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-9}).fun)

    def _moments(self, place: tuple[int, ...]) -> None:
        axes, _ = self._axes(place, {})
        grid = np.meshgrid(*axes, indexing="ij")
        joint = self._log_joint(place, list(grid), {})
        weights = np.exp(joint - logsumexp(joint))
        for i, x in enumerate(grid):
            self.mean[(i, *place)] = (weights * x).sum()
        for i, j in itertools.product(range(len(grid)), repeat=2):
            deviations = [grid[k] - self.mean[(k, *place)] for k in (i, j)]
            self.covariance[(i, j, *place)] = (weights * deviations[0] * deviations[1]).sum()


def _compare_factor(bound: BoundFactor, params: list[np.ndarray], expected: _Integrals, semiring: Semiring, label: str) -> None:
    backend = semiring.backend
    batched = params[0].ndim == 3
    incoming = [backend.asarray(p) for p in params]
    host = {name: array[..., None] if batched else array for name, array in bound.parameters().items()}
    parameters = to_device(host, backend)
    tolerance = 1e-6 if backend.dtype_name == "float64" else 1e-3
    case = f"{bound.factor!r}, mode {semiring.mode!r}, {backend!r}, {label} input, {'batch' if batched else 'no batch'}"

    def compare(what: str, found: np.ndarray, wanted: np.ndarray) -> None:
        if found.shape != wanted.shape:
            raise AssertionError(f"{case}: {what} has shape {found.shape}, not {wanted.shape}")
        same = np.abs(found - wanted) <= tolerance * (1.0 + np.abs(wanted))
        if not same.all():
            place = tuple(int(i) for i in np.argwhere(~same)[0])
            raise AssertionError(f"{case}: {what} at {place} is {found[place]:.9g}; integration gives {wanted[place]:.9g}")

    ports = range(len(params))

    def compare_message(what: str, message: Any, port: int) -> None:
        h, precision = backend.to_host(message).astype(np.float64)
        values = expected.values.reshape(-1, *(1,) * h.ndim)
        found = (h - 0.5 * precision * values) * values
        compare(what, found - found[0], expected.messages[port] - expected.messages[port][0])

    for port, message in zip(ports, bound.messages(incoming, parameters, ports, semiring), strict=True):
        compare_message(f"message to port {port}", message, port)
    relations = bound.types[0].relations(backend)
    if bound.related() > 1 and relations is not None:
        for port, other in itertools.permutations(ports, 2):
            relation = bound.factor.relation(incoming, parameters, (port, other), semiring)
            turned = relations.turned(bound.factor.relation(incoming, parameters, (other, port), semiring))
            for seen in (relation, turned):
                message = relations.through(seen, incoming[other])
                # Where a factor has no such form, what it says by its messages is taken.
                known = ~semiring.xp.isnan(message)
                message = semiring.xp.where(known, message, bound.messages(incoming, parameters, [port], semiring)[0])
                compare_message(f"message to port {port} by its relation", message, port)
    if bound.factor.gives("log_partition"):
        found = backend.to_host(bound.log_partition(incoming, parameters, semiring))
        compare("log_partition", found.astype(np.float64), expected.log_partition)
    if semiring.mode == "sum" and bound.factor.gives("marginals"):
        joint = backend.to_host(bound.marginals(incoming, parameters, semiring)).astype(np.float64)
        compare("joint mean", joint[0], expected.mean)
        compare("joint covariance", joint[1:], expected.covariance)


def check_real_variable(kind: Gaussian | GaussianVector, random_state: int) -> None:
    """`check_variable` for normal beliefs."""
    rng = np.random.default_rng(random_state)
    d, number = math.prod(kind.value_shape), 50
    root = rng.normal(size=(2, number, d, d))
    covariances = root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(d)
    means, values = rng.normal(size=(2, number, d)), rng.normal(size=(number, d))
    precisions = np.linalg.inv(covariances)
    fields = (precisions @ means[..., None])[..., 0]
    shape = (*kind.param_shape, number)
    natural = [
        np.moveaxis(np.concatenate([h[:, None], j], axis=1), 0, -1).reshape(shape)
        for h, j in zip(fields, precisions, strict=True)
    ]
    given = kind.from_moments(
        means.reshape(2, number, *kind.value_shape), covariances if kind.value_shape else covariances[..., 0, 0]
    )
    if not np.allclose(np.moveaxis(given.reshape(2, number, *kind.param_shape), 1, -1), natural):
        raise AssertionError(f"{kind!r}: from_moments is wrong")
    for dtype in ("float64", "float32"):
        for backend in available_backends(dtype):
            with np.errstate(all="ignore"):
                _compare_variable(kind, backend, natural, (fields, precisions), values)


def _compare_variable(
    kind: Gaussian | GaussianVector,
    backend: Backend,
    natural: list[np.ndarray],
    parts: tuple[np.ndarray, np.ndarray],
    values: np.ndarray,
) -> None:
    tolerance = 1e-9 if backend.dtype_name == "float64" else 1e-3

    def compare(what: str, found: Any, wanted: np.ndarray) -> None:
        if not np.allclose(backend.to_host(found), wanted, rtol=tolerance, atol=tolerance):
            raise AssertionError(f"{kind!r}, {backend!r}: {what} is wrong")

    def moments(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        whole = np.moveaxis(np.concatenate([mean[:, None], covariance], axis=1), 0, -1)
        return whole.reshape(*kind.param_shape, -1)

    first, second = (backend.asarray(params) for params in natural)
    seen = values.T if kind.value_shape else values[:, 0]
    certain = backend.asarray(kind.observe(seen))
    split = [kind.split(params, backend) for params in (first, second, certain)]
    both = split[0][0] + split[1][0], split[0][1] + split[1][1]
    h, precision = parts[0].sum(axis=0), parts[1].sum(axis=0)
    covariance = np.linalg.inv(precision)
    mean = (covariance @ h[..., None])[..., 0]
    belief = kind.join(*both, backend)
    compare("marginals of a product", kind.marginals(belief, backend), moments(mean, covariance))
    compare("from_mean", kind.from_mean(kind.mean(belief, backend), backend), backend.to_host(belief))
    compare("cavity", kind.join(both[0] - split[1][0], both[1] - split[1][1], backend), natural[0])
    fixed = both[0] + split[2][0], both[1] + split[2][1]
    known = kind.marginals(kind.join(*fixed, backend), backend)
    compare("marginals beside evidence", known, moments(values, 0 * covariance))
    freed = kind.join(fixed[0] - split[2][0], fixed[1] - split[2][1], backend)
    compare("marginals after taking evidence out", kind.marginals(freed, backend), moments(mean, covariance))
    for mode in MODES:
        volume = -0.5 * np.linalg.slogdet(precision / (2 * np.pi))[1] if mode == "sum" else 0.0
        semiring, expected = Semiring(backend, mode), 0.5 * np.einsum("ni,ni->n", h, mean) + volume
        compare(f"log_partition in mode {mode!r}", kind.log_partition(belief, semiring), expected)
    density = np.einsum("ni,ni->n", values, h) - 0.5 * np.einsum("ni,nij,nj->n", values, precision, values)
    compare("log_density", kind.log_density(belief, seen, backend), density)
    compare("mode", kind.mode(belief, backend), mean.T if kind.value_shape else mean[:, 0])
    if not kind.value_shape:
        return
    # The first component is known: the others are as they are given that.
    partly = np.where(np.arange(values.shape[1])[:, None] > 0, np.nan, seen)
    more = kind.split(backend.asarray(kind.observe(partly)), backend)
    gain = covariance[:, :, 0] / covariance[:, :1, 0]
    given = mean + gain * (values[:, :1] - mean[:, :1])
    left = covariance - gain[:, :, None] * covariance[:, :1, :]
    found = kind.marginals(kind.join(both[0] + more[0], both[1] + more[1], backend), backend)
    compare("marginals where a component is known", found, moments(given, left))
