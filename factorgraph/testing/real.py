"""Checks of real-valued node types against numerical integration."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy import optimize
from scipy.special import logsumexp

from factorgraph.backends import Backend
from factorgraph.factors.kernel import FactorKernel, to_device
from factorgraph.semiring import MODES, Semiring
from factorgraph.testing.discrete import available_backends
from factorgraph.variables import Gaussian

_POINTS = 81
_REACH = 9.0  # standard deviations to each side


def check_real_factor(kernel: FactorKernel, random_state: int) -> None:
    """`check_factor` for real variables."""
    if not kernel.factor.gives("log_potential"):
        raise TypeError(f"{type(kernel.factor).__name__} has no log_potential to integrate")
    if len(kernel.types) > 3 or kernel.plural:
        raise ValueError("at most three ports, none of them plural, can be integrated")
    rng = np.random.default_rng(random_state)
    for mode, batch, label in itertools.product(MODES, (None, 2), ("random", "certain")):
        shape = (kernel.count,) if batch is None else (kernel.count, batch)
        params = [np.stack([rng.normal(size=shape), np.exp(0.5 * rng.normal(size=shape))]) for _ in kernel.types]
        if label == "certain":
            if len(params) == 1:
                continue
            params[0][1] = np.inf
        expected = _Integrals(kernel, params, mode)
        for dtype in ("float64", "float32"):
            for backend in available_backends(dtype):
                with np.errstate(all="ignore"):
                    _compare_factor(kernel, params, expected, Semiring(backend, mode), label)


class _Integrals:
    """What integration (or maximisation) of a factor's potential times incoming densities gives, factor by factor."""

    def __init__(self, kernel: FactorKernel, params: list[np.ndarray], mode: str) -> None:
        self.kernel, self.params, self.mode = kernel, params, mode
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
        total = np.asarray(self.kernel.factor.log_potential(*(np.asarray(v)[..., None] for v in values)))
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


def _compare_factor(
    kernel: FactorKernel, params: list[np.ndarray], expected: _Integrals, semiring: Semiring, label: str
) -> None:
    backend = semiring.backend
    batched = params[0].ndim == 3
    incoming = [backend.asarray(p) for p in params]
    host = {name: array[..., None] if batched else array for name, array in kernel.parameters().items()}
    parameters = to_device(host, backend)
    tolerance = 1e-6 if backend.dtype_name == "float64" else 1e-3
    case = f"{kernel.factor!r}, mode {semiring.mode!r}, {backend!r}, {label} input, {'batch' if batched else 'no batch'}"

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

    for port, message in zip(ports, kernel.messages(incoming, parameters, ports, semiring), strict=True):
        compare_message(f"message to port {port}", message, port)
    relations = kernel.types[0].relations(backend)
    if kernel.related() > 1 and relations is not None:
        for port, other in itertools.permutations(ports, 2):
            relation = kernel.factor.relation(incoming, parameters, (port, other), semiring)
            turned = relations.turned(kernel.factor.relation(incoming, parameters, (other, port), semiring))
            for seen in (relation, turned):
                message = relations.through(seen, incoming[other])
                # Where a factor has no such form, what it says by its messages is taken.
                known = ~semiring.xp.isnan(message)
                message = semiring.xp.where(known, message, kernel.messages(incoming, parameters, [port], semiring)[0])
                compare_message(f"message to port {port} by its relation", message, port)
    if kernel.factor.gives("log_partition"):
        found = backend.to_host(kernel.log_partition(incoming, parameters, semiring))
        compare("log_partition", found.astype(np.float64), expected.log_partition)
    if semiring.mode == "sum" and kernel.factor.gives("marginals"):
        joint = backend.to_host(kernel.marginals(incoming, parameters, semiring)).astype(np.float64)
        compare("joint mean", joint[0], expected.mean)
        compare("joint covariance", joint[1:], expected.covariance)


def check_real_variable(kind: Gaussian, random_state: int) -> None:
    """`check_variable` for normal beliefs."""
    rng = np.random.default_rng(random_state)
    number = 50
    means, variances = rng.normal(size=(2, number)), np.exp(rng.normal(size=(2, number)))
    natural = np.moveaxis(kind.from_moments(means, variances), -1, 0)
    values = rng.normal(size=number)
    for dtype in ("float64", "float32"):
        for backend in available_backends(dtype):
            with np.errstate(all="ignore"):
                _compare_variable(kind, backend, natural, means, variances, values)


def _compare_variable(
    kind: Gaussian, backend: Backend, natural: np.ndarray, means: np.ndarray, variances: np.ndarray, values: np.ndarray
) -> None:
    tolerance = 1e-10 if backend.dtype_name == "float64" else 1e-4

    def compare(what: str, found: Any, wanted: np.ndarray) -> None:
        if not np.allclose(backend.to_host(found), wanted, rtol=tolerance, atol=tolerance):
            raise AssertionError(f"{kind!r}, {backend!r}: {what} is wrong")

    first, second = (backend.asarray(natural[:, i]) for i in (0, 1))
    certain = backend.asarray(kind.observe(values))
    parts = [kind.split(params, backend) for params in (first, second, certain)]
    both = parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]
    precision = (1 / variances).sum(axis=0)
    mean = (means / variances).sum(axis=0) / precision
    belief = kind.join(*both, backend)
    compare("marginals of a product", kind.marginals(belief, backend), np.stack([mean, 1 / precision]))
    compare("cavity", kind.join(both[0] - parts[1][0], both[1] - parts[1][1], backend), natural[:, 0])
    fixed = both[0] + parts[2][0], both[1] + parts[2][1]
    compare("marginals beside evidence", kind.marginals(kind.join(*fixed, backend), backend), np.stack([values, 0 * values]))
    freed = kind.join(fixed[0] - parts[2][0], fixed[1] - parts[2][1], backend)
    compare("marginals after taking evidence out", kind.marginals(freed, backend), np.stack([mean, 1 / precision]))
    h, j = natural.sum(axis=1)
    for mode in MODES:
        volume = 0.5 * np.log(2 * np.pi / j) if mode == "sum" else 0.0
        semiring = Semiring(backend, mode)
        compare(f"log_partition in mode {mode!r}", kind.log_partition(belief, semiring), h * h / (2 * j) + volume)
    compare("log_density", kind.log_density(belief, values, backend), (h - 0.5 * j * values) * values)
    compare("mode", kind.mode(belief, backend), mean)
