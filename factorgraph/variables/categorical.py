"""Variables of q states whose natural parameters are log-weights: categorical ones, and those whose values are numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.semiring import Semiring
from factorgraph.variables.base import DiscreteType


class LogWeights(DiscreteType):
    """
    What types share whose natural parameters are log-weights.

    There is one log-weight for each state. They are known up to a constant, and -inf rules a state out.
    """

    @property
    def param_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (len(self.states),)

    def log_weights(self, params: Array, backend: Backend) -> Array:
        return params

    def from_log_weights(self, log_weights: Array, backend: Backend) -> Array:
        return log_weights

    def log_partition(self, params: Array, semiring: Semiring, infinite: Array | None = None) -> Array:
        return semiring.sum(params if infinite is None else self.join(params, infinite, semiring.backend), axis=0)

    def mean(self, params: Array, backend: Backend) -> Array:
        """Probabilities of the states."""
        return self.marginals(params, backend)

    def from_mean(self, mean: Array, backend: Backend) -> Array:
        return backend.xp.log(mean)

    def normalize(self, params: Array, backend: Backend) -> Array:
        return backend.subtract_largest(params)

    def device_normalize(self) -> str:
        last = len(self.states) - 1
        return f"""
        T largest = value[{last}];
        for (int s = 0; s < {last}; ++s) largest = larger(largest, value[s]);
        if (is_finite(largest)) for (int s = 0; s <= {last}; ++s) value[s] -= largest;
        """

    def check_prior(self, params: np.ndarray) -> str | None:
        return "+inf is not a log-weight" if np.isposinf(params).any() else super().check_prior(params)

    # Only -inf occurs, so one count is enough.

    def split(self, params: Array, backend: Backend) -> tuple[Array, Array]:
        xp = backend.xp
        finite = xp.isfinite(params)
        return (
            xp.where(finite, params, xp.zeros_like(params)),
            xp.astype(xp.expand_dims(~finite, axis=0), backend.dtype),
        )

    def join(self, finite: Array, infinite: Array, backend: Backend) -> Array:
        return backend.xp.where(infinite[0, ...] > 0.5, backend.xp.full_like(finite, -backend.xp.inf), finite)


@dataclass(frozen=True)
class Categorical(LogWeights):
    """
    A variable of q unordered states, 0 to q - 1, which may have names.

    The natural parameters are log-weights, one for each state and known up to a constant. -inf rules a state out.

    Parameters
    ----------
    num_states : int, or sequence of hashable labels
        The number of states, at least 1; or their names, all different. Variables with names are observed by name, and
        `Result.mode` returns names. If no name is a number, the numbers 0 to q - 1 are accepted too. In axes, tables and
        `Factor.log_potential`, states are always numbers. Types that differ only in names are equal, so that their variables
        can be connected by a factor that compares them.

    Attributes
    ----------
    num_states : int
    labels : tuple or None
        The names.

    Raises
    ------
    ValueError
        There is no state, or a name occurs twice.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> rain = graph.add_variables("rain", fg.Categorical(["none", "light", "heavy"]))
    >>> wet = graph.add_variables("wet", fg.Categorical(["dry", "wet"]))
    >>> _ = graph.add_factors("p", fg.Table([[0.0, -3.0], [-1.0, 0.0], [-4.0, 0.0]]), rain, wet)
    >>> graph.observe(wet, "dry")
    >>> fg.run(graph).mode(rain).item()
    'none'
    """

    num_states: int
    labels: tuple[Hashable, ...] | None = field(default=None, init=False, compare=False)

    def __init__(self, num_states: int | Iterable[Hashable]) -> None:
        if isinstance(num_states, (int, np.integer)):
            if num_states < 1:
                raise ValueError(f"Categorical needs a whole number of states, at least 1, not {num_states!r}")
            object.__setattr__(self, "num_states", int(num_states))
            object.__setattr__(self, "labels", None)
            return
        if isinstance(num_states, str) or not isinstance(num_states, Iterable):
            raise ValueError(
                f"Categorical needs a whole number of states, at least 1, or a list of their names, not {num_states!r}"
            )
        labels = tuple(label.item() if isinstance(label, np.generic) else label for label in num_states)
        try:
            different = len(set(labels))
        except TypeError:
            raise ValueError(f"names of states must be hashable, such as strings and numbers, not {labels[:5]!r}") from None
        if not labels or different < len(labels):
            raise ValueError(
                f"Categorical needs at least one name of a state, and all names must differ, not {list(labels[:9])!r}"
            )
        object.__setattr__(self, "num_states", len(labels))
        object.__setattr__(self, "labels", labels)

    def __repr__(self) -> str:
        if self.labels is None:
            return f"Categorical(num_states={self.num_states})"
        return f"Categorical({list(self.labels)!r})"

    @property
    def states(self) -> np.ndarray:  # type: ignore[override]
        return np.arange(self.num_states)

    def from_labels(self, values: Any) -> np.ndarray:
        if self.labels is None:
            return np.asarray(values)
        place = {label: number for number, label in enumerate(self.labels)}
        if isinstance(values, Hashable) and values in place:
            return np.asarray(place[values])
        given = np.asarray(values)
        numbers_are_names = any(isinstance(label, (int, float)) for label in self.labels)
        if given.dtype.kind in "biuf" and not numbers_are_names:
            return given
        found = [place.get(value, -1) for value in given.ravel().tolist()]
        if -1 in found:
            wrong = given.ravel().tolist()[found.index(-1)]
            known = ", ".join(map(repr, self.labels[:9])) + (", ..." if self.num_states > 9 else "")
            raise ValueError(f"{wrong!r} is not a state; the states are {known}")
        return np.array(found, dtype=np.int64).reshape(given.shape)

    def to_labels(self, values: np.ndarray) -> np.ndarray:
        if self.labels is None:
            return values
        kinds = {type(label) for label in self.labels}
        names: np.ndarray = np.empty(self.num_states, dtype=object)
        names[:] = self.labels
        if len(kinds) == 1 and kinds <= {str, int, float, bool}:
            names = np.array(self.labels)
        return np.asarray(names[np.asarray(values, dtype=np.intp)])


@dataclass(frozen=True)
class Levels(LogWeights):
    """
    A variable whose values are finitely many numbers, such as the weights -1, 0 and 1.

    The natural parameters are log-weights, as for `Categorical`. The mean is a number.

    Parameters
    ----------
    values : sequence of float
        At least one number, all different, in the order of table axes and of marginals.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Levels([-1, 0, 1]), shape=(2,))
    >>> _ = graph.add_factors("near", fg.Table([[0, -1, -4], [-1, 0, -1], [-4, -1, 0]]), x[:1], x[1:])
    >>> graph.observe(x[0], 1)
    >>> fg.run(graph).mean(x[1]).round(4).item()
    0.7082
    """

    values: Sequence[float]

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64).reshape(-1)
        if values.size < 1 or not np.isfinite(values).all() or np.unique(values).size < values.size:
            raise ValueError(f"Levels needs at least one finite number, and they must be all different, not {self.values!r}")
        object.__setattr__(self, "values", tuple(values.tolist()))

    @property
    def states(self) -> np.ndarray:  # type: ignore[override]
        return np.array(self.values)

    def expectation(self, mean: Array, backend: Backend) -> Array:
        return self._sum(mean, self.states, backend)

    def variance(self, mean: Array, backend: Backend) -> Array:
        # Around the middle, which loses fewer digits than around 0.
        apart = self.states - self.states.mean()
        first = self._sum(mean, apart, backend)
        return backend.xp.clip(self._sum(mean, apart**2, backend) - first * first, 0.0, None)

    @staticmethod
    def _sum(probabilities: Array, values: np.ndarray, backend: Backend) -> Array:
        total: Any = 0.0
        for state, value in enumerate(values.tolist()):
            total = total + value * probabilities[state, ...]
        return total

    def from_quadratic(self, field: Array, curvature: Array | None, backend: Backend) -> Array:
        assert curvature is not None
        return backend.xp.stack([value * field - (0.5 * value * value) * curvature for value in self.values])
