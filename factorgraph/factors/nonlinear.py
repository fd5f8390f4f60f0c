"""Relations of real variables that are no straight lines, made linear where the beliefs are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import Factor, Parameters, for_each_factor
from factorgraph.factors.linear_gaussian import LinearGaussian
from factorgraph.semiring import Semiring
from factorgraph.variables import Gaussian, VariableType

METHODS = ("linearise", "sigma-points", "quadrature")
_NODES = 7  # of quadrature along each variable
_MOST_VARIABLES = 4  # of quadrature
_CLOSE = 1e-10  # of the points at which a relation is made linear, in deviations
_STEP = 6e-6  # of central differences, relative


class Nonlinear(Factor):
    """
    ``f(x_0, ..., x_k) = noise``, the noise normal with mean 0, for any function f of normal variables.

    The relation is replaced by the line ``a_0 x_0 + ... = b + noise`` that is nearest to it, where the variables are believed
    to be; its messages are those of `LinearGaussian`. As that line depends on the messages that come in, a graph with such
    factors is iterated, also where it is a forest. At a fixed point of ``"linearise"`` the means are the most probable values
    of all variables together, or a saddle: as belief propagation finds them for lines, on cycles too.

    Parameters
    ----------
    function : callable
        ``function(x_0, ..., x_k, *data)``, vectorised: arrays of one shape, and numbers.
    noise_variance : float or (F,) array, above 0 or 0 for an exact relation
    data : sequence of numbers or (F,) arrays, default ()
        What the function is given besides, for each factor: what was measured, or where from.
    method : {"linearise", "sigma-points", "quadrature"}, default "linearise"
        The tangent at the means; or the line and the noise that have the moments of the function over the beliefs: by the
        points of the unscented transform, or by 7 points for each of at most four variables (Gauss and Hermite's).
    derivative : callable, optional
        ``derivative(x_0, ..., x_k, *data)`` gives a sequence of arrays, one for each variable. Default: central differences.
    iterations : int, default 20
        How often the line is laid anew at the beliefs that it makes, at most; with 1 it is laid at the messages that come in,
        as the extended and the unscented Kalman filter do.
    start : float, default 0
        Mean of a variable of which nothing is known yet.
    widest : float, default 1e3
        Its standard deviation, which points are laid by.

    Raises
    ------
    ValueError
        When it is run: the function or a derivative is not finite; or the mode is "max".

    Examples
    --------
    A number whose square was measured as 2, with noise of variance 0.01:

    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Gaussian())
    >>> graph.set_prior(x, fg.Gaussian.from_moments(1.0, 1.0))
    >>> _ = graph.add_factors("square", fg.Nonlinear(lambda x, seen: x**2 - seen, 0.01, data=[2.0]), x)
    >>> round(float(fg.run(graph).mean(x)), 3)
    1.414
    """

    approximates = True

    def __init__(
        self,
        function: Callable[..., Any],
        noise_variance: Any,
        data: Sequence[Any] = (),
        *,
        method: str = "linearise",
        derivative: Callable[..., Any] | None = None,
        iterations: int = 20,
        start: float = 0.0,
        widest: float = 1e3,
    ) -> None:
        if not callable(function) or not (derivative is None or callable(derivative)):
            raise TypeError(f"function and derivative must be functions, not {function!r} and {derivative!r}")
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, not {method!r}")
        if isinstance(iterations, bool) or not isinstance(iterations, (int, np.integer)) or iterations < 1:
            raise ValueError(f"iterations must be a whole number of at least 1, not {iterations!r}")
        if not (np.isfinite(start) and 0.0 < widest < np.inf):
            raise ValueError(f"start must be finite, and widest above 0, not {start!r} and {widest!r}")
        self.function, self.derivative, self.method = function, derivative, method
        self.iterations, self.start, self.widest = int(iterations), float(start), float(widest)
        self.noise_variance = np.asarray(noise_variance, dtype=np.float64)
        self.data = [np.asarray(values, dtype=np.float64) for values in data]
        if not (np.isfinite(self.noise_variance).all() and (self.noise_variance >= 0).all()):
            raise ValueError("noise_variance must be finite, and at least 0")

    def __repr__(self) -> str:
        return f"Nonlinear({getattr(self.function, '__name__', 'function')}, {len(self.data)} data, method={self.method!r})"

    def check(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        for port, kind in enumerate(types):
            if not isinstance(kind, Gaussian):
                raise TypeError(f"Nonlinear takes real variables, but port {port} has {kind!r}")
        if self.method == "quadrature" and len(types) > _MOST_VARIABLES:
            raise ValueError(f"quadrature takes at most {_MOST_VARIABLES} variables, not {len(types)}; take sigma-points")
        named = [("noise_variance", self.noise_variance), *((f"data {i}", array) for i, array in enumerate(self.data))]
        for name, array in named:
            if array.shape not in ((), (count,)):
                raise ValueError(f"{name} has shape {array.shape}; expected a number or ({count},), one for each factor")
        self._line = LinearGaussian([1.0] * len(types), 1.0)

    def merge_key(self) -> Hashable:
        settings = self.method, self.iterations, self.start, self.widest
        return self.function, self.derivative, len(self.data), *settings

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        data = {f"data{number}": np.atleast_1d(values) for number, values in enumerate(self.data)}
        return {"variance": np.atleast_1d(self.noise_variance), **data}

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return bool((parameters["variance"] == 0).any())

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        return self._line.messages(incoming, self._laid(incoming, parameters, semiring), ports, semiring)

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        return self._line.log_partition(incoming, self._laid(incoming, parameters, semiring), semiring)

    def marginals(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Joint mean (first row) and covariance of the variables, ``(1 + d, d, F)``, along the line."""
        return self._line.marginals(incoming, self._laid(incoming, parameters, semiring), semiring)

    def _laid(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> dict[str, Array]:
        """Parameters of the lines in place of the relations."""
        if semiring.mode == "max":
            raise ValueError("Nonlinear has messages in sum mode alone")
        backend = semiring.backend
        host = [backend.to_host(array).astype(np.float64) for array in incoming]
        shape = host[0].shape[1:]
        data = [for_each_factor(backend.to_host(parameters[f"data{i}"]), shape) for i in range(len(self.data))]
        noise = for_each_factor(backend.to_host(parameters["variance"]), shape).astype(np.float64)
        mean, variance = self._moments(host)
        before = mean
        for number in range(self.iterations):
            a, b, more = self._line_at(mean, variance, data)
            if number + 1 == self.iterations:
                break
            new, spread = self._beliefs(host, a, b, noise + more)
            # Half way where it swings, as Gauss and Newton's steps may.
            swings = (new - mean) * (mean - before) < 0
            before, mean = mean, np.where(swings, 0.5 * (new + mean), new)
            scale = np.sqrt(spread) + np.finfo(float).tiny
            variance = spread
            if (np.abs(mean - before) <= _CLOSE * scale).all():
                break
        return {
            name: backend.asarray(array) for name, array in (("coefficients", a), ("offset", b), ("variance", noise + more))
        }

    def _moments(self, natural: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances of densities ``(ports, *shape)``, the widest where nothing is known."""
        h, precision = (np.stack([params[i] for params in natural]) for i in (0, 1))
        certain, flat = np.isinf(precision), ~(precision > self.widest**-2)
        safe = np.where(certain | flat, 1.0, precision)
        mean = np.where(certain, h, np.where(flat, self.start, h / safe))
        return mean, np.where(certain, 0.0, np.where(flat, self.widest**2, 1.0 / safe))

    def _beliefs(
        self, natural: Sequence[np.ndarray], a: np.ndarray, b: np.ndarray, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances of the variables, given a line."""
        mean, variance = self._moments(natural)
        gain = variance * a
        whole = noise + (a * gain).sum(axis=0)
        safe = np.where(whole > 0, whole, 1.0)
        residual = b - (a * mean).sum(axis=0)
        return mean + gain * np.where(whole > 0, residual / safe, 0.0), np.maximum(variance - gain * gain / safe, 0.0)

    def _line_at(
        self, mean: np.ndarray, variance: np.ndarray, data: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coefficients ``(ports, *shape)``, offset and additional noise ``shape`` of the lines at some beliefs."""
        if self.method == "linearise":
            value, a = self._value(mean, data), self._slopes(mean, data)
            return a, (a * mean).sum(axis=0) - value, np.zeros_like(value)
        nodes, weights = _sigma_points(len(mean)) if self.method == "sigma-points" else _grid(len(mean))
        deviation = np.sqrt(variance)
        values = np.stack([self._value(mean + deviation * node.reshape(-1, *(1,) * (mean.ndim - 1)), data) for node in nodes])
        shaped = weights.reshape(-1, *(1,) * (values.ndim - 1))
        centre = (shaped * values).sum(axis=0)
        along = np.stack([(shaped * nodes[:, port].reshape(shaped.shape) * values).sum(axis=0) for port in range(len(mean))])
        known = deviation == 0
        a = np.where(known, 0.0, along / np.where(known, 1.0, deviation))
        if known.any():
            a = np.where(known, self._slopes(mean, data), a)
        more = (shaped * (values - centre) ** 2).sum(axis=0) - (np.where(known, 0.0, along) ** 2).sum(axis=0)
        return a, (a * mean).sum(axis=0) - centre, np.maximum(more, 0.0)

    def _slopes(self, x: np.ndarray, data: list[np.ndarray]) -> np.ndarray:
        """Derivatives by each variable."""
        if self.derivative is not None:
            with np.errstate(all="ignore"):
                found = np.stack([np.broadcast_to(row, x.shape[1:]) for row in self.derivative(*x, *data)])
            return _finite(found, x, "derivative")
        slopes = np.empty_like(x)
        for port in range(len(x)):
            step = _STEP * np.maximum(1.0, np.abs(x[port]))
            up, down = x.copy(), x.copy()
            up[port], down[port] = x[port] + step, x[port] - step
            slopes[port] = (self._value(up, data) - self._value(down, data)) / (up[port] - down[port])
        return slopes

    def _value(self, x: np.ndarray, data: list[np.ndarray]) -> np.ndarray:
        with np.errstate(all="ignore"):
            return _finite(np.broadcast_to(np.asarray(self.function(*x, *data), dtype=np.float64), x.shape[1:]), x, "function")


def _finite(values: np.ndarray, x: np.ndarray, what: str) -> np.ndarray:
    if np.isfinite(values).all():
        return values
    place = tuple(np.argwhere(~np.isfinite(values))[0][-(x.ndim - 1) :])
    where = ", ".join(f"{value:.6g}" for value in x[(slice(None), *place)])
    raise ValueError(f"its {what} is not finite at ({where}), of factor {place[0]}")


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
