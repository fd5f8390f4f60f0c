"""Tables: factors with a log-potential for every joint state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from factorgraph.factors.base import Factor
from factorgraph.variables import DiscreteType, VariableType


class Table(Factor):
    """
    Log-potentials of all joint states.

    Parameters
    ----------
    log_potentials : array or callable
        ``(q_0, ..., q_k)``, shared by all factors of the block, or ``(F, q_0, ..., q_k)`` with one table for each factor. Each
        axis runs over the states of a port in their order (-1, +1 for spins). -inf rules a joint state out. Finite
        log-potentials are at most 1e6 in size. A callable is a vectorised function of the states, as in `Factor.log_potential`.

    Examples
    --------
    >>> import numpy as np, factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Categorical(3), shape=(4,))
    >>> _ = graph.add_factors("smooth", fg.Table(lambda a, b: -abs(a - b)), x[:-1], x[1:])
    >>> graph.set_prior(x[0], np.log([0.7, 0.2, 0.1]))
    >>> fg.run(graph).marginals(x).shape
    (4, 3)
    """

    def __init__(self, log_potentials: Any) -> None:
        self._function: Callable[..., Any] | None = log_potentials if callable(log_potentials) else None
        self._array = None if self._function else np.array(log_potentials, dtype=np.float64)
        self._shared = True

    def __repr__(self) -> str:
        if self._array is None:
            return f"Table({getattr(self._function, '__name__', 'a function')})"
        return f"Table(array of shape {self._array.shape})"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        for port, kind in enumerate(types):
            if not isinstance(kind, DiscreteType):
                raise TypeError(f"Table takes variables with states, but port {port} has {kind!r}")
        if self._array is None:
            return
        sizes = tuple(len(kind.states) for kind in types if isinstance(kind, DiscreteType))
        if self._array.shape not in (sizes, (count, *sizes)):
            raise ValueError(
                f"log_potentials has shape {self._array.shape}; expected {sizes} shared by all factors, "
                f"or {(count, *sizes)} with one table for each of the {count} factors"
            )
        self._shared = self._array.ndim == len(sizes)

    def gradient(self, marginals: np.ndarray) -> np.ndarray:
        return marginals.sum(axis=0) if self._shared else marginals

    def log_potential(self, *states: np.ndarray) -> np.ndarray:
        if self._array is None:
            assert self._function is not None
            return np.asarray(self._function(*states))
        if self._array.ndim == len(states):
            return self._array[..., None]
        return self._array.transpose(*range(1, self._array.ndim), 0)
