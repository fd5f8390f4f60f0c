"""Checks of factors with real variables, numbers or vectors, and states beside them: against integrals over a grid."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from scipy.special import logsumexp

from factorgraph.backends import HOST
from factorgraph.factors.bound import BoundFactor, to_device
from factorgraph.semiring import Semiring
from factorgraph.testing.discrete import available_backends
from factorgraph.variables import DiscreteType, Gaussian, VariableType, is_normal
from factorgraph.variables.gaussian_vector import GaussianVector

_POINTS = 61
_REACH = 7.0  # standard deviations to each side
_MOST_NUMBERS = 3


def check_tilted_factor(bound: BoundFactor, random_state: int) -> None:
    """
    `check_factor` for factors with real variables.

    The local density is the factor times what comes in. Compared are its log-integral, the messages to variables with states,
    and of real variables the mean and the covariance: those of the incoming density times the message. So it serves factors
    whose messages are exact as well as those which match moments.
    """
    if not bound.factor.gives("log_potential"):
        raise TypeError(f"{type(bound.factor).__name__} has no log_potential to integrate")
    sizes = [_numbers_of(kind) for kind in bound.types]
    if sum(sizes) > _MOST_NUMBERS or bound.plural:
        raise ValueError(f"at most {_MOST_NUMBERS} numbers, at ports none of which is plural, can be integrated")
    rng = np.random.default_rng(random_state)
    for batch, label in itertools.product((None, 2), ("random", "certain")):
        shape = (bound.count,) if batch is None else (bound.count, batch)
        params = [_incoming(kind, shape, rng) for kind in bound.types]
        if label == "certain":
            if len(params) == 1 and not sizes[0] > 1:
                continue
            params[-1] = _with_certainty(bound.types[-1], params[-1], rng)
        expected = _Tilted(bound, params, shape)
        for dtype in ("float64", "float32"):
            for backend in available_backends(dtype):
                with np.errstate(all="ignore"):
                    _compare(bound, params, expected, Semiring(backend, "sum"), label)


def _numbers_of(kind: VariableType) -> int:
    return math.prod(kind.value_shape) if is_normal(kind) else 0


def _incoming(kind: VariableType, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random proper densities."""
    if isinstance(kind, Gaussian):
        return np.stack([rng.normal(size=shape), np.exp(0.3 * rng.normal(size=shape))])
    if isinstance(kind, GaussianVector):
        d = kind.dimension
        root = rng.normal(size=(*shape, d, d))
        precision = np.moveaxis(0.2 * root @ np.swapaxes(root, -1, -2) + np.eye(d), (-2, -1), (0, 1))
        return np.concatenate([rng.normal(size=(1, d, *shape)), precision])
    if isinstance(kind, DiscreteType):
        return np.asarray(kind.from_log_weights(rng.normal(size=(len(kind.states), *shape)), HOST))
    raise TypeError(f"{kind!r} can be neither enumerated nor integrated")


def _with_certainty(kind: VariableType, params: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same with a variable known; of a vector its first component."""
    shape = params.shape[len(kind.param_shape) :]
    if isinstance(kind, DiscreteType):
        return np.asarray(kind.observe(rng.choice(kind.states, size=shape)))
    values = np.full((*kind.value_shape, *shape), np.nan)
    values[0 if kind.value_shape else ...] = rng.normal(size=shape)
    if not kind.value_shape:
        return kind.observe(values)
    finite, infinite = kind.split(params, HOST)
    return np.asarray(kind.join(finite, infinite + kind.split(kind.observe(values), HOST)[1], HOST))


class _Tilted:
    """Log-integral, log-weights of states, and means and covariances, factor by factor."""

    def __init__(self, bound: BoundFactor, params: list[np.ndarray], shape: tuple[int, ...]) -> None:
        self.bound, self.params = bound, params
        self.log_partition = np.zeros(shape)
        self.weights = {
            port: np.zeros((len(kind.states), *shape))
            for port, kind in enumerate(bound.types)
            if isinstance(kind, DiscreteType)
        }
        self.moments = {
            port: np.zeros((1 + _numbers_of(kind), _numbers_of(kind), *shape))
            for port, kind in enumerate(bound.types)
            if port not in self.weights
        }
        for place in np.ndindex(shape):
            self._at(place)

    def _at(self, place: Any) -> None:
        """All of one factor."""
        kinds, axes, volume = self.bound.types, [], 0.0
        for port, kind in enumerate(kinds):
            if isinstance(kind, DiscreteType):
                axes.append(np.asarray(kind.states))
                continue
            own = self.params[port][(..., *place)]
            for mean, deviation in _spread(kind, own):
                if deviation == 0:
                    axes.append(np.array([mean]))
                    continue
                axes.append(np.linspace(mean - _REACH * deviation, mean + _REACH * deviation, _POINTS))
                volume += np.log(axes[-1][1] - axes[-1][0])
        grid = list(np.meshgrid(*axes, indexing="ij"))
        values: list[np.ndarray] = []
        axis_of: list[list[int]] = []
        for kind in kinds:
            first = sum(map(len, axis_of))
            axis_of.append(list(range(first, first + max(1, _numbers_of(kind)))))
            whole = np.stack([grid[axis] for axis in axis_of[-1]])
            values.append(whole if isinstance(kind, GaussianVector) else whole[0])
        found = np.asarray(self.bound.factor.log_potential(*(value[..., None] for value in values)))
        potential = found[..., min(place[0], found.shape[-1] - 1)]
        said = [self._incoming_density(kind, self.params[port][(..., *place)], values[port]) for port, kind in enumerate(kinds)]
        joint = potential + sum(said)
        if np.isneginf(joint).all():
            raise ValueError(
                f"{self.bound.factor!r} cannot be integrated: no point of the grid is possible, as for relations without noise"
            )
        self.log_partition[place] = logsumexp(joint) + volume
        for port, weights in self.weights.items():
            others = tuple(axis for axis in range(joint.ndim) if axis not in axis_of[port])
            rest = potential + sum((each for other, each in enumerate(said) if other != port), np.zeros(joint.shape))
            weights[(slice(None), *place)] = logsumexp(rest, axis=others) + volume
        probability = np.exp(joint - logsumexp(joint))
        for port, moments in self.moments.items():
            x = np.stack([grid[axis] for axis in axis_of[port]])
            mean = (probability * x).reshape(len(x), -1).sum(axis=1)
            apart = (x - mean.reshape(-1, *(1,) * joint.ndim)).reshape(len(x), -1)
            moments[(0, slice(None), *place)] = mean
            moments[(slice(1, None), slice(None), *place)] = (apart * probability.reshape(-1)) @ apart.T

    @staticmethod
    def _incoming_density(kind: VariableType, params: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Log of what comes in at some values, 0 of what is certain."""
        if isinstance(kind, DiscreteType):
            weights = np.asarray(kind.log_weights(params[..., None], HOST))[:, 0]
            return np.asarray(weights[kind.position(values)])
        shaped = params.reshape(1 + _numbers_of(kind), _numbers_of(kind))
        x = values.reshape(_numbers_of(kind), *values.shape[-(values.ndim - len(kind.value_shape)) :])
        free = ~np.isinf(np.diag(shaped[1:]))
        rest = x[free]
        density = np.tensordot(shaped[0, free], rest, 1)
        return np.asarray(density - 0.5 * np.einsum("i...,ij,j...->...", rest, shaped[1:][np.ix_(free, free)], rest))


def _spread(kind: VariableType, params: np.ndarray) -> list[tuple[float, float]]:
    """Mean and standard deviation of each number of an incoming density, the latter 0 where it is certain."""
    moments = np.asarray(kind.mean(params[..., None], HOST)).reshape(-1, max(1, _numbers_of(kind)))
    return list(zip(moments[0].tolist(), np.sqrt(np.diag(moments[1:])).tolist(), strict=True))


def _compare(bound: BoundFactor, params: list[np.ndarray], expected: _Tilted, semiring: Semiring, label: str) -> None:
    backend, shape = semiring.backend, expected.log_partition.shape
    batched = len(shape) == 2
    incoming = [backend.asarray(p) for p in params]
    host = {name: array[..., None] if batched else array for name, array in bound.parameters().items()}
    parameters = to_device(host, backend)
    tolerance = 1e-6 if backend.dtype_name == "float64" else 2e-3
    case = f"{bound.factor!r}, {backend!r}, {label} input, {'batch' if batched else 'no batch'}"

    def compare(what: str, found: Any, wanted: np.ndarray) -> None:
        host = backend.to_host(found).astype(np.float64)
        if host.shape != wanted.shape:
            raise AssertionError(f"{case}: {what} has shape {host.shape}, not {wanted.shape}")
        wrong = ~((np.abs(host - wanted) <= tolerance * (1.0 + np.abs(wanted))) | (host == wanted))
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise AssertionError(f"{case}: {what} at {place} is {host[place]:.9g}; integration gives {wanted[place]:.9g}")

    if bound.factor.gives("log_partition"):
        compare("log_partition", bound.log_partition(incoming, parameters, semiring), expected.log_partition)
    ports = range(len(params))
    for port, message in zip(ports, bound.messages(incoming, parameters, ports, semiring), strict=True):
        kind: Any = bound.types[port]
        if port in expected.weights:
            weights, wanted = kind.log_weights(message, backend), expected.weights[port]
            probability = semiring.xp.exp(weights - semiring.xp.expand_dims(backend.log_sum_exp(weights, axis=0), axis=0))
            compare(f"message to port {port}", probability, np.exp(wanted - logsumexp(wanted, axis=0)))
            continue
        (finite, infinite), (more, also) = kind.split(incoming[port], backend), kind.split(message, backend)
        found = kind.mean(kind.join(finite + more, infinite + also, backend), backend)
        wanted = expected.moments[port]
        compare(f"belief at port {port}", found, wanted if kind.value_shape else wanted[:, 0])
