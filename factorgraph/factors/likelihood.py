"""Any likelihood of a real variable, by the moments of its belief: expectation propagation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import Factor, Parameters, for_each_factor
from factorgraph.factors.quadrature import moments_of
from factorgraph.semiring import Semiring
from factorgraph.variables import DiscreteType, Gaussian, VariableType

_RULED_OUT = -600.0


class Likelihood(Factor):
    """
    Any likelihood of a real variable: counts, thresholds, outliers, or links to discrete variables.

    The first port takes a `Gaussian` variable x, and further ports take discrete variables. The belief about x is the product
    of all other messages and the likelihood. The message to x is the normal density with which the belief keeps the mean and
    variance of this product (expectation propagation). Messages to discrete variables are integrals over x. All of them are
    found by numerical integration, so that you only write the function. A message depends on the other messages, so that a
    graph with such factors needs iterations even if it is a forest.

    Parameters
    ----------
    log_likelihood : callable
        A vectorised function ``log_likelihood(x, *states, *data)`` of an array of values of x, a value of each discrete
        variable, and arrays of data that broadcast. It returns the log of the likelihood up to a constant, and -inf where the
        likelihood is zero.
    data : sequence of numbers or (F,) arrays, default ()
        The data of each factor.
    widest : float, default 1e3
        Largest standard deviation of the incoming messages about x. It replaces a larger one, and one of messages that say
        nothing about x, because integrals need a finite width.

    Raises
    ------
    ValueError
        In a run: the function returns NaN or +inf, or it is -inf everywhere, or the mode is "max".

    Examples
    --------
    Events are counted in four hours; their rate is ``exp(x)``:

    >>> import numpy as np
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Gaussian(), 1)
    >>> graph.set_prior(x, fg.Gaussian.from_moments(0.0, 4.0))
    >>> poisson = fg.Likelihood(lambda x, count: count * x - np.exp(x), data=[[3, 5, 2, 4]])
    >>> _ = graph.add_factors("seen", poisson, x[np.zeros(4, dtype=int)])
    >>> fg.run(graph).marginals(x).round(2).tolist()          # mean and variance
    [[1.2, 0.07]]
    """

    approximates = True

    def __init__(self, log_likelihood: Callable[..., Any], data: Sequence[Any] = (), widest: float = 1e3) -> None:
        if not callable(log_likelihood):
            raise TypeError(f"log_likelihood must be a function, not {log_likelihood!r}")
        if not 0.0 < widest < np.inf:
            raise ValueError(f"widest must be a finite number above 0, not {widest!r}")
        self.log_likelihood, self.widest = log_likelihood, float(widest)
        self.data = [np.asarray(values, dtype=np.float64) for values in data]

    def __repr__(self) -> str:
        return f"Likelihood({getattr(self.log_likelihood, '__name__', 'function')}, {len(self.data)} data)"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        if not types or not isinstance(types[0], Gaussian):
            raise TypeError(f"the first port of Likelihood takes a Gaussian variable, not {types[0]!r}")
        for port, kind in enumerate(types[1:], start=1):
            if not isinstance(kind, DiscreteType):
                raise TypeError(f"port {port} of Likelihood takes a discrete variable, not {kind!r}")
        for number, values in enumerate(self.data):
            if values.shape not in ((), (count,)):
                raise ValueError(
                    f"data {number} has shape {values.shape}; expected a number or ({count},), one for each factor"
                )
        self._kinds = [kind for kind in types[1:] if isinstance(kind, DiscreteType)]

    def merge_key(self) -> Hashable:
        return self.log_likelihood, len(self.data), self.widest

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        return {f"data{number}": np.atleast_1d(values) for number, values in enumerate(self.data)}

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return bool(self._kinds)  # a state may be ruled out

    def log_potential(self, *values: np.ndarray) -> np.ndarray:
        """The function itself."""
        return np.asarray(self.log_likelihood(*values, *self.data), dtype=np.float64)

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        backend = semiring.backend
        mass, mean, variance, cavity = self._integrals(incoming, parameters, semiring)
        outgoing: list[Array] = []
        for port in ports:
            if port:
                axes = tuple(axis for axis in range(len(self._kinds)) if axis != port - 1)
                weights = _log_sum(mass[0], axes)  # of this port's states, without what came from it
                outgoing.append(self._kinds[port - 1].from_log_weights(backend.asarray(weights - mass[port]), backend))
                continue
            certain = np.isinf(cavity[1])
            with np.errstate(divide="ignore", invalid="ignore"):
                found = np.stack([mean / variance - cavity[0], 1.0 / variance - cavity[1]])
            outgoing.append(backend.asarray(np.where(certain, 0.0, found)))
        return outgoing

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        mass = self._integrals(incoming, parameters, semiring)[0]
        return semiring.backend.asarray(_log_sum(mass[0], tuple(range(len(self._kinds)))))

    def marginals(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Mean and variance of x, ``(2, 1, F)``."""
        _, mean, variance, _ = self._integrals(incoming, parameters, semiring)
        return semiring.backend.asarray(np.stack([mean, variance])[:, None])

    def _integrals(
        self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring
    ) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
        """
        Log-masses of all joint states of the discrete variables ``(q_1, ..., q_k, F)``, with all incoming messages, and each
        port's log-weights; mean and variance of x; the natural parameters of x's cavity that stood for it.
        """
        if semiring.mode == "max":
            raise ValueError("Likelihood has messages only in sum mode")
        backend = semiring.backend
        host = [backend.to_host(array).astype(np.float64) for array in incoming]
        shape = host[0].shape[1:]  # factors, and sets of a batch
        cavity = host[0].reshape(2, -1).copy()
        cavity[1] = np.maximum(cavity[1], self.widest**-2)
        data = [for_each_factor(backend.to_host(parameters[f"data{i}"]), shape).reshape(-1) for i in range(len(self.data))]
        weights = [
            _finite(backend.to_host(kind.log_weights(params, backend)).astype(np.float64).reshape(len(kind.states), -1))
            for kind, params in zip(self._kinds, incoming[1:], strict=True)
        ]
        joint, given = [], []
        for places in product(*(range(len(kind.states)) for kind in self._kinds)):
            states = [kind.states[place] for kind, place in zip(self._kinds, places, strict=True)]
            joint.append(sum((w[place] for w, place in zip(weights, places, strict=True)), np.zeros(cavity.shape[1])))
            given.append(states)

        def log_weights(x: np.ndarray) -> np.ndarray:
            """Of all joint states at values of x, (states, points, factors)."""
            with np.errstate(all="ignore"):
                rows = [self.log_likelihood(x, *states, *(values[None] for values in data)) for states in given]
            return np.stack([np.broadcast_to(np.asarray(row, dtype=np.float64), x.shape) for row in rows])

        mass, mean, variance = moments_of(cavity, log_weights, np.stack(joint))
        sizes = [len(kind.states) for kind in self._kinds]
        return (
            [mass.reshape(*sizes, *shape), *(w.reshape(-1, *shape) for w in weights)],
            mean.reshape(shape),
            variance.reshape(shape),
            cavity.reshape(2, *shape),
        )


def _finite(weights: np.ndarray) -> np.ndarray:
    """Log-weights of states, those that are ruled out so small that they count for nothing, and can be taken out again."""
    known = np.where(np.isposinf(weights), 0.0, weights)
    return np.maximum(known, known.max(axis=0) + _RULED_OUT)


def _log_sum(mass: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Log of the sum of exponentials over some axes."""
    if not axes:
        return mass
    top = np.max(mass, axis=axes, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.squeeze(top, axis=axes) + np.log(np.sum(np.exp(mass - top), axis=axes))
