"""Relations of real variables that are no straight lines, made linear where the beliefs are."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from factorgraph.backends import Array
from factorgraph.backends.small_matrices import apply, dot
from factorgraph.factors.base import Factor, Parameters, for_each_factor
from factorgraph.factors.linear_numbers import NumberForm
from factorgraph.factors.linear_vectors import VectorForm
from factorgraph.factors.tangents import METHODS, MOST_NUMBERS, Density, Straight, incoming_density, straightened
from factorgraph.factors.vector_arrays import Noise, covariance_of
from factorgraph.semiring import Semiring
from factorgraph.variables import Gaussian, VariableType, is_normal
from factorgraph.variables.gaussian_vector import GaussianVector, check_covariance

_CLOSE = 1e-10  # of the points at which a relation is made linear, in deviations


class Nonlinear(Factor):
    """
    A relation of normal variables by any function: ``f(x_0, x_1) = noise``, and so on for more variables. The noise is normal.

    The relation is replaced by the nearest linear one, ``a_0 x_0 + ... = b + noise``, at the present beliefs about the
    variables. Its messages are those of `LinearGaussian`. Because the linear relation depends on the incoming messages, a graph
    with such factors needs iterations even if it is a forest. At a fixed point of ``"linearise"``, the means are the jointly
    most probable values of all variables, or a saddle point. This also holds on graphs with cycles, as for belief propagation
    with linear relations.

    Parameters
    ----------
    function : callable
        A vectorised function ``function(x_0, ..., x_k, *data)`` of arrays of one shape, or numbers. A vector comes as an array
        with the components first, so that ``x[0]`` is an array of numbers. The function returns one array, or m arrays for a
        relation of m rows.
    noise_variance : float or (F,) array; for m rows a covariance (m, m) or (F, m, m)
        At least 0; 0 makes the relation exact. With ``explicit=True``, a float stands for that number times the unit matrix.
    data : sequence of numbers or (F,) arrays, default ()
        Further arguments of the function for each factor, such as what was measured, or from where.
    method : {"linearise", "sigma-points", "quadrature"}, default "linearise"
        "linearise" takes the tangent at the means. The others take the linear relation and the noise that have the same moments
        as the function under the beliefs: "sigma-points" uses the points of the unscented transform, and "quadrature" uses 7
        Gauss-Hermite points for each of at most four numbers.
    explicit : bool, default False
        Whether the relation is ``x_0 = f(x_1, ..., x_k) + noise``. The function then receives only the other variables, and
        points are placed only in these.
    derivative : callable, optional
        A function ``derivative(x_0, ..., x_k, *data)`` that returns a sequence of arrays, one for each variable. For a number,
        the array has the shape of the function's value; for a vector, it is (d, ...), or (m, d, ...) for m rows. Default:
        central differences.
    iterations : int, default 20
        Largest number of times that the linear relation is found anew at the beliefs that it leads to. With 1, it is found only
        at the incoming messages, as in the extended and the unscented Kalman filter.
    start : float, default 0
        Mean to assume for a variable about which nothing is known yet.
    widest : float, default 1e3
        Standard deviation to assume for such a variable, by which points are placed.

    Raises
    ------
    ValueError
        In a run: the function or a derivative is not finite, or the mode is "max".

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

    A place in the plane, from its distances to two beacons:

    >>> import numpy as np
    >>> graph = fg.FactorGraph()
    >>> place = graph.add_variables("place", fg.Gaussian(2))
    >>> graph.set_prior(place, fg.Gaussian(2).from_moments([1.0, 1.0], np.eye(2)))
    >>> def distance(p, left, seen):
    ...     return np.hypot(p[0] - left, p[1]) - seen
    >>> seen = fg.Nonlinear(distance, 1e-6, data=[[-3.0, 3.0], [5.0, 5.0]])
    >>> _ = graph.add_factors("seen", seen, place.reshape(1)[[0, 0]])
    >>> fg.run(graph).mean(place).round(3).tolist()
    [0.0, 4.0]
    """

    approximates = True

    def __init__(
        self,
        function: Callable[..., Any],
        noise_variance: Any,
        data: Sequence[Any] = (),
        *,
        method: str = "linearise",
        explicit: bool = False,
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
        self.function, self.derivative, self.method, self.explicit = function, derivative, method, bool(explicit)
        self.iterations, self.start, self.widest = int(iterations), float(start), float(widest)
        self.noise_variance = np.asarray(noise_variance, dtype=np.float64)
        self.data = [np.asarray(values, dtype=np.float64) for values in data]
        if not (np.isfinite(self.noise_variance).all() and (self.noise_variance.ndim > 1 or (self.noise_variance >= 0).all())):
            raise ValueError("noise_variance must be finite, and at least 0")

    def __repr__(self) -> str:
        return f"Nonlinear({getattr(self.function, '__name__', 'function')}, {len(self.data)} data, method={self.method!r})"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        for port, kind in enumerate(types):
            if not is_normal(kind):
                raise TypeError(f"Nonlinear takes real variables, but port {port} has {kind!r}")
        if self.explicit and len(types) < 2:
            raise ValueError(
                "an explicit relation needs one variable that the function returns, and at least one that it receives"
            )
        for number, array in enumerate(self.data):
            if array.shape not in ((), (count,)):
                raise ValueError(f"data {number} has shape {array.shape}; expected a number or ({count},), one for each factor")
        sizes = [math.prod(kind.value_shape) for kind in types]
        noise = self.noise_variance
        self._rows = sizes[0] if self.explicit else noise.shape[-1] if noise.ndim > 1 else 1
        if self._rows == 1 and noise.shape not in ((), (count,), (1, 1), (count, 1, 1)):
            raise ValueError(f"noise_variance has shape {noise.shape}; expected a number or ({count},), one for each factor")
        self._noise = covariance_of(noise, self._rows, count)
        if problem := check_covariance(self._noise, "noise_variance"):
            raise ValueError(problem)
        self._kinds, ends = list(types), np.cumsum([0, *sizes]).tolist()
        self._parts = [slice(start, stop) for start, stop in pairwise(ends)]
        given = ends[-1] - (sizes[0] if self.explicit else 0)
        if self.method == "quadrature" and given > MOST_NUMBERS:
            raise ValueError(f"quadrature takes at most {MOST_NUMBERS} variables, not {given}; use sigma-points")
        if self._rows == 1 and all(isinstance(kind, Gaussian) for kind in types):
            self._form: NumberForm | VectorForm = NumberForm([np.ones(())] * len(types), np.ones(()), np.zeros(()))
        else:
            ones = [np.ones((self._rows, size)) for size in sizes]
            self._form = VectorForm(ones, self._noise, np.zeros(()), types, count)

    def merge_key(self) -> Hashable:
        settings = self.method, self.explicit, self.iterations, self.start, self.widest, self._form.key()
        return self.function, self.derivative, len(self.data), *settings

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        data = {f"data{number}": np.atleast_1d(values) for number, values in enumerate(self.data)}
        return {"variance": np.moveaxis(self._noise, 0, -1), **data}

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return bool((np.einsum("iif->if", parameters["variance"]) == 0).any())

    def log_potential(self, *values: np.ndarray) -> np.ndarray:
        """Log-density of the noise that the values imply. The arrays of vectors are ``(d, ..., F)``."""
        found = self.function(*(values[1:] if self.explicit else values), *self.data)
        residual = np.asarray(values[0] - np.asarray(found) if self.explicit else found, dtype=np.float64)
        residual = residual if self._gives_vectors else residual[None]
        noise = Noise(self._noise)
        weight = noise.weight()
        weight = weight.reshape(*weight.shape[:2], *(1,) * (residual.ndim - 2), weight.shape[-1])
        return np.asarray(noise.normaliser() - 0.5 * dot(residual, apply(weight, residual)))

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        return self._form.messages(incoming, self._laid(incoming, parameters, semiring), ports, semiring)

    def relation(self, incoming: Sequence[Array], parameters: Parameters, ports: tuple[int, int], semiring: Semiring) -> Array:
        """The linear relation at what comes in at all ports."""
        return self._form.relation(incoming, self._laid(incoming, parameters, semiring), ports, semiring)

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        return self._form.log_partition(incoming, self._laid(incoming, parameters, semiring), semiring)

    def marginals(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Joint mean (first row) and covariance of all numbers, ``(1 + D, D, F)``, as the linear relation has them."""
        return self._form.marginals(incoming, self._laid(incoming, parameters, semiring), semiring)

    def _laid(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> dict[str, Array]:
        """Parameters of the linear relations in place of these."""
        if semiring.mode == "max":
            raise ValueError("Nonlinear has messages only in sum mode")
        backend = semiring.backend
        host = [backend.to_host(array).astype(np.float64) for array in incoming]
        shape = host[0].shape[len(self._kinds[0].param_shape) :]
        data = [for_each_factor(backend.to_host(parameters[f"data{i}"]), shape) for i in range(len(self.data))]
        noise = backend.to_host(parameters["variance"]).astype(np.float64)
        noise = np.moveaxis(noise.reshape(*noise.shape[:3], *(1,) * (len(shape) - 1)), (0, 1), (-2, -1))
        density = incoming_density(self._kinds, host, self.start, self.widest)
        belief, before = density, density.mean
        for number in range(self.iterations):
            a, b, more = self._relation_at(belief, data)
            if number + 1 == self.iterations:
                break
            new = density.given(a, b, noise + more)
            # Half way where it swings, as Gauss and Newton's steps may.
            swings = (new.mean - belief.mean) * (belief.mean - before) < 0
            before = belief.mean
            belief = Density(np.where(swings, 0.5 * (new.mean + before), new.mean), new.covariance).apart(self._parts)
            if (np.abs(belief.mean - before) <= _CLOSE * (new.deviations() + np.finfo(float).tiny)).all():
                break
        found = {"coefficients": (a, 2), "offset": (b, 1), "variance": (noise + more, 2)}
        last = {name: np.moveaxis(array, range(-axes, 0), range(axes)) for name, (array, axes) in found.items()}
        if isinstance(self._form, NumberForm):
            last = {"coefficients": last["coefficients"][0], "offset": last["offset"][0], "variance": last["variance"][0, 0]}
        return {name: backend.asarray(array) for name, array in last.items()}

    def _relation_at(self, belief: Density, data: list[np.ndarray]) -> Straight:
        """``a x = b`` with noise, near to the relation where the variables are believed to be."""
        first = 1 if self.explicit else 0
        given = slice(self._parts[first].start, self._parts[-1].stop)
        parts = [slice(part.start - given.start, part.stop - given.start) for part in self._parts[first:]]

        def seen(x: np.ndarray) -> list[np.ndarray]:
            return [
                x[..., part.start] if isinstance(kind, Gaussian) else np.moveaxis(x[..., part], -1, 0)
                for part, kind in zip(parts, self._kinds[first:], strict=True)
            ]

        def value(x: np.ndarray) -> np.ndarray:
            with np.errstate(all="ignore"):
                found = self.function(*seen(x), *data)
            return _finite(self._in_rows(found, (), x, "function"), x, "function", belief.mean.ndim - 1)

        def slopes(x: np.ndarray) -> np.ndarray:
            assert self.derivative is not None
            with np.errstate(all="ignore"):
                each = list(self.derivative(*seen(x), *data))
            if len(each) != len(parts):
                raise ValueError(f"its derivative returns {len(each)} arrays for {len(parts)} variables")
            columns = []
            for row, part, kind in zip(each, parts, self._kinds[first:], strict=True):
                numbers = () if isinstance(kind, Gaussian) else (part.stop - part.start,)
                column = self._in_rows(row, numbers, x, "derivative")
                columns.append(column if numbers else column[..., None])
            return _finite(np.concatenate(columns, axis=-1), x, "derivative", belief.mean.ndim - 1)

        a, offset, noise = straightened(belief.part(given), value, None if self.derivative is None else slopes, self.method)
        if not self.explicit:
            return Straight(a, -offset, noise)
        unit = np.broadcast_to(np.eye(self._rows), (*a.shape[:-2], self._rows, self._rows))
        return Straight(np.concatenate([unit, -a], axis=-1), offset, noise)

    def _in_rows(self, found: Any, numbers: tuple[int, ...], x: np.ndarray, what: str) -> np.ndarray:
        """What a function returned, ``(m, *numbers, *items)``, without m for one row, as ``(*items, m, *numbers)``."""
        items = x.shape[:-1]
        rows = (self._rows, *numbers)
        if isinstance(found, (list, tuple)):
            found = np.stack(np.broadcast_arrays(*(np.asarray(part, dtype=np.float64) for part in found)))
        array = np.asarray(found, dtype=np.float64)
        one = self._rows == 1 and not self._gives_vectors
        lead = numbers if one else rows
        if array.shape == lead and (what == "derivative" or x[..., 0].size == 1):  # the same for all
            array = array.reshape(*lead, *(1,) * len(items))
        if array.ndim != len(lead) + len(items) or array.shape[: len(lead)] != lead:
            raise ValueError(
                f"its {what} returns an array of shape {array.shape}, not {(*lead, *items)}: it is called once for all "
                "factors, so it must compute with whole arrays"
            )
        whole = array if array.shape == (*lead, *items) else np.broadcast_to(array, (*lead, *items))
        whole, axes = whole[None] if one else whole, len(rows)
        return whole.transpose(*range(axes, whole.ndim), *range(axes))

    @property
    def _gives_vectors(self) -> bool:
        """Whether the function returns arrays with an axis of rows."""
        return self._rows > 1 or (self.explicit and isinstance(self._kinds[0], GaussianVector))


def _finite(values: np.ndarray, x: np.ndarray, what: str, axes: int) -> np.ndarray:
    """The values, or an error that names the point and the factor; so many axes, the factors first, are those of items."""
    if np.isfinite(values).all():
        return values
    wrong = ~np.isfinite(values.reshape(*x.shape[:-1], -1)).all(axis=-1)
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = ", ".join(f"{value:.6g}" for value in x[place])
    raise ValueError(f"its {what} is not finite at ({where}), of factor {place[-axes]}")
