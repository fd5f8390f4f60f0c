"""Couplings of categorical variables that reward equal states."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import DeviceMessages, Factor, Parameters
from factorgraph.factors.ising import check_coupling
from factorgraph.semiring import Semiring
from factorgraph.variables import Categorical, VariableType

_MAX_DEVICE_STATES = 64  # beyond, a factor no longer fits the registers of a thread


class Potts(Factor):
    """
    Pairs of categorical variables with the potential ``exp(J)`` if their states are equal, and 1 otherwise.

    A message costs O(q), not O(q^2).

    Parameters
    ----------
    coupling : float or (F,) array
        J, in units of the temperature. A positive coupling favours equal states, and -inf forces them to differ (graph
        colouring).
    """

    arity: ClassVar[int | None] = 2

    def __init__(self, coupling: Any) -> None:
        self.coupling = np.array(coupling, dtype=np.float64)

    def __repr__(self) -> str:
        return f"Potts({self.coupling if self.coupling.ndim == 0 else f'{self.coupling.shape[0]} couplings'})"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        for port, kind in enumerate(types):
            if not isinstance(kind, Categorical):
                raise TypeError(f"Potts couples categorical variables, but port {port} has {kind!r}")
        if types[0] != types[1]:
            raise TypeError(f"Potts compares states, but its ports have {types[0]!r} and {types[1]!r}")
        check_coupling(self.coupling, count)
        if np.isposinf(self.coupling).any():
            raise ValueError("coupling must be below +inf; to force equal states, use Table with -inf off the diagonal")

    def merge_key(self) -> Hashable:
        return ()

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        return {"coupling": np.atleast_1d(self.coupling)}

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return bool(np.isneginf(parameters["coupling"]).any())

    def log_potential(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:  # type: ignore[override]
        return np.where(x == y, self.coupling, 0.0)

    def gradient(self, marginals: np.ndarray) -> np.ndarray:
        equal = np.trace(marginals, axis1=1, axis2=2)
        return np.asarray(equal.sum()) if self.coupling.ndim == 0 else equal

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        return [self._message(incoming[1 - port], parameters["coupling"], semiring) for port in ports]

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        return semiring.sum(incoming[0] + self._message(incoming[1], parameters["coupling"], semiring), axis=0)

    @staticmethod
    def _message(weights: Array, coupling: Array, semiring: Semiring) -> Array:
        """Equal states with the coupling, or any other state: ``J + w(x)`` joined with the sum of all w but w(x)."""
        xp, states = semiring.xp, weights.shape[0]
        if states == 1:
            return xp.broadcast_to(xp.expand_dims(xp.zeros_like(weights[0, ...]) + coupling, axis=0), weights.shape)
        # Sums of all but one, from running sums on both sides: nothing is subtracted, so that zeros stay exact.
        below, above = [weights[0, ...]], [weights[states - 1, ...]]
        for state in range(1, states - 1):
            below.append(semiring.add(below[-1], weights[state, ...]))
            above.append(semiring.add(above[-1], weights[states - 1 - state, ...]))
        above.reverse()
        middle = [semiring.add(below[state - 1], above[state]) for state in range(1, states - 1)]
        others = xp.stack([above[0], *middle, below[-1]])
        return semiring.add(weights + coupling, others)

    def device_messages(self, types: Sequence[VariableType], widths: Sequence[int], mode: str) -> DeviceMessages:
        kind = types[0]
        assert isinstance(kind, Categorical)
        states = kind.num_states
        if not 1 < states <= _MAX_DEVICE_STATES:
            return None
        by_logarithms = _others(
            states, "{2} = larger({0}, {1});" if mode == "max" else "log_add_exp({0}, {1}, {2});", "weights[s] + coupling[0]"
        )
        careful = f"""
        for (int port = 0; port < 2; ++port) {{
            const T *weights = in + (1 - port) * {states};
            T *found = out + port * {states};
            {by_logarithms}
        }}
        """
        if mode == "max":
            return careful, ""
        # Sums of the numbers themselves, as in tables: an exponential and a logarithm for each state.
        quick = f"""
        const T ratio = quick_exp(coupling[0]);
        T least = INF, largest = 0;
        for (int port = 0; port < 2; ++port) {{
            const T *incoming = in + (1 - port) * {states};
            T *found = out + port * {states}, weights[{states}], most = incoming[0];
            for (int s = 1; s < {states}; ++s) most = larger(most, incoming[s]);
            for (int s = 0; s < {states}; ++s) weights[s] = quick_exp(incoming[s] - most);
            {_others(states, "{2} = {0} + {1};", "weights[s] * ratio")}
            for (int s = 0; s < {states}; ++s) {{
                least = smaller(least, found[s]);
                largest = larger(largest, found[s]);
                found[s] = quick_log(found[s]);
            }}
        }}
        holds = select(largest < INF, least, (T)0) > (T)(IS_SINGLE ? 2.8e-28 : 6.7e-285);
        """
        return quick, careful


def _others(states: int, add: str, own: str) -> str:
    """What each state sends: its own term, and all other weights, from running sums on both sides."""
    return f"""
            T below[{states}], above = weights[{states - 1}], others;
            below[0] = weights[0];
            for (int s = 1; s < {states}; ++s) {add.format("below[s - 1]", "weights[s]", "below[s]")}
            for (int s = {states - 1}; s >= 0; --s) {{
                others = s == {states - 1} ? below[s - 1] : above;
                if (s > 0 && s < {states - 1}) {add.format("below[s - 1]", "above", "others")}
                {add.format(own, "others", "found[s]")}
                if (s < {states - 1}) {add.format("above", "weights[s]", "above")}
            }}
    """
