"""Tables with few possible configurations."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import Factor, Parameters
from factorgraph.semiring import Semiring, find_too_large
from factorgraph.variables import DiscreteType, VariableType


class SparseTable(Factor):
    """
    Log-potentials of some joint states. All other joint states are ruled out.

    The cost of a message is linear in the number of configurations, however many joint states there are.

    Parameters
    ----------
    configurations : (C, k) array of values
        The possible joint states, one in each row, with a value for the variable at each port (-1 and +1 for spins).
    log_potentials : (C,) or (F, C) array, default 0
        Log-potentials of the configurations, shared by all factors or with one row for each. Finite ones are at most 1e6 in
        size.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Categorical(100), shape=(3,))
    >>> _ = graph.add_factors("word", fg.SparseTable([[2, 0, 19], [2, 0, 17], [1, 0, 19]]), *x)
    >>> fg.run(graph).marginals(x[0])[[1, 2]].round(4).tolist()
    [0.3333, 0.6667]
    """

    def __init__(self, configurations: Any, log_potentials: Any = 0.0) -> None:
        self.configurations = np.array(configurations)
        self.log_potentials = np.array(log_potentials, dtype=np.float64)

    def __repr__(self) -> str:
        return f"SparseTable({len(self.configurations)} configurations)"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        number = len(self.configurations) if self.configurations.ndim == 2 else 0
        if number == 0 or self.configurations.shape != (number, len(types)):
            raise ValueError(
                f"configurations has shape {self.configurations.shape}; expected (C, {len(types)}): a row for each possible "
                "joint state, with a value for each port"
            )
        if self.log_potentials.shape not in ((), (number,), (count, number)):
            raise ValueError(f"log_potentials has shape {self.log_potentials.shape}; expected ({number},) or {(count, number)}")
        positions = []
        for port, kind in enumerate(types):
            if not isinstance(kind, DiscreteType):
                raise TypeError(f"SparseTable takes variables with states, but port {port} has {kind!r}")
            try:
                positions.append(kind.position(kind.from_labels(self.configurations[:, port])))
            except ValueError as error:
                raise ValueError(f"configurations, port {port}: {error}") from None
        self._positions = np.stack(positions)
        unique = np.unique(self._positions, axis=1).shape[1]
        if unique < number:
            raise ValueError(f"configurations has {number - unique} rows that occur more than once")
        self._kinds = [kind for kind in types if isinstance(kind, DiscreteType)]

    def merge_key(self) -> Hashable:
        return (self._positions.shape, self._positions.tobytes())

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        number = self._positions.shape[1]
        weights = np.broadcast_to(self.log_potentials, (*self.log_potentials.shape[:-1], number))
        weights = weights[:, None] if weights.ndim == 1 else weights.T
        if np.isnan(weights).any() or np.isposinf(weights).any():
            raise ValueError("log_potentials contains NaN or +inf")
        too_large = find_too_large(weights)
        if too_large is not None:
            raise ValueError(f"log_potentials: {too_large}")
        if np.isneginf(weights.max(axis=0)).any():
            raise ValueError("log_potentials of a factor are all -inf, so that no state is possible")
        arrays = {"weights": weights}
        for port, kind in enumerate(self._kinds):
            states = len(kind.states)
            # The configurations with each state at this port; places that are left over name a row of -inf.
            degrees = np.bincount(self._positions[port], minlength=states)
            order = np.argsort(self._positions[port], kind="stable")
            starts = np.cumsum([0, *degrees[:-1]])
            rank = np.arange(degrees.max())[:, None]
            slots = np.full((degrees.max(), states), number)
            slots[rank < degrees] = order[(starts + rank)[rank < degrees]]
            arrays[f"slots{port}"] = slots[..., None]
            arrays[f"states{port}"] = self._positions[port][:, None]
        return arrays

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return True

    def log_potential(self, *states: np.ndarray) -> np.ndarray:
        count = 1 if self.log_potentials.ndim < 2 else self.log_potentials.shape[0]
        table = np.full((*(len(kind.states) for kind in self._kinds), count), -np.inf)
        table[tuple(self._positions)] = np.broadcast_to(self.log_potentials, (count, self._positions.shape[1])).T
        return table

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        backend, xp = semiring.backend, semiring.xp
        rows = self._rows(incoming, parameters, semiring)
        before, after = [parameters["weights"] + xp.zeros_like(rows[0])], [xp.zeros_like(rows[0])]
        for left, right in zip(rows[:-1], rows[:0:-1], strict=True):
            before.append(before[-1] + left)
            after.append(after[-1] + right)
        outgoing = []
        for port in ports:
            others = before[port] + after[len(rows) - 1 - port]
            nothing = xp.full_like(others[:1, ...], -xp.inf)
            slots = parameters[f"slots{port}"]
            slots = xp.reshape(slots, slots.shape[:2])
            spread = backend.gather_slots(xp.concat([others, nothing], axis=0), slots, 0)
            outgoing.append(self._kinds[port].from_log_weights(semiring.sum(spread, axis=0), backend))
        return outgoing

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        total = parameters["weights"]
        for row in self._rows(incoming, parameters, semiring):
            total = total + row
        return semiring.sum(total, axis=0)

    def _rows(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> list[Array]:
        """Incoming log-weight of each configuration, port by port, each ``(C, F)``."""
        found = []
        for port, params in enumerate(incoming):
            states = semiring.xp.reshape(parameters[f"states{port}"], (-1,))
            found.append(semiring.backend.take(self._kinds[port].log_weights(params, semiring.backend), states, 0))
        return found
