"""Variables that must be equal."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import DeviceMessages, Factor, Parameters
from factorgraph.factors.bound import check_same_states
from factorgraph.semiring import Semiring
from factorgraph.variables import DiscreteType, VariableType

_MAX_DEVICE_NUMBERS = 512  # of a factor, beyond which it no longer fits what a thread may keep


class Equality(Factor):
    """
    All variables are equal. There may be any number of ports, all of one type.

    A message is the sum of all other incoming messages, and costs O(1) per edge.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Spin(), shape=(3,))
    >>> _ = graph.add_factors("same", fg.Equality(), *x)
    >>> graph.set_prior(x, [0.5, 0.25, 0.0])
    >>> fg.run(graph).belief(x).tolist()
    [0.75, 0.75, 0.75]
    """

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        if len(types) < 2:
            raise ValueError("Equality takes at least two ports")
        check_same_states(self, types)
        self._kind = types[0]

    def merge_key(self) -> Hashable:
        return ()

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return False

    def passes_certainty(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return True

    def log_potential(self, *states: np.ndarray) -> np.ndarray:
        equal: np.ndarray = np.ones((1,) * states[0].ndim, dtype=np.bool_)
        for other in states[1:]:
            equal = equal & (other == states[0])
        return np.where(equal, 0.0, -np.inf)

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        backend = semiring.backend
        parts = [self._kind.split(params, backend) for params in incoming]
        before, after = _running(parts), _running(parts[::-1])[::-1]
        outgoing = []
        for port in ports:
            if port == 0:
                others = after[1]
            elif port == len(parts) - 1:
                others = before[port - 1]
            else:
                others = _sum(before[port - 1], after[port + 1])
            outgoing.append(self._kind.join(*others, backend))
        return outgoing

    def device_messages(self, types: Sequence[VariableType], widths: Sequence[int], mode: str) -> DeviceMessages:
        size, ports = math.prod(types[0].param_shape), len(types)
        if size * ports > _MAX_DEVICE_NUMBERS:
            return None
        # Where all is finite; certainty makes the variables hard.
        body = f"""
        for (int s = 0; s < {size}; ++s) {{
            T before = 0;
            for (int p = 0; p < {ports}; ++p) {{ out[p * {size} + s] = before; before += in[p * {size} + s]; }}
            T after = 0;
            for (int p = {ports} - 1; p >= 0; --p) {{ out[p * {size} + s] += after; after += in[p * {size} + s]; }}
        }}
        """
        return body, ""

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        kind, backend = self._kind, semiring.backend
        if isinstance(kind, DiscreteType):
            weights = kind.log_weights(incoming[0], backend)
            for params in incoming[1:]:
                weights = weights + kind.log_weights(params, backend)
            return semiring.sum(weights, axis=0)
        finite, infinite = _running([kind.split(params, backend) for params in incoming])[-1]
        return kind.log_partition(finite, semiring, infinite)


def _sum(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
    return left[0] + right[0], left[1] + right[1]


def _running(parts: Sequence[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
    found = [parts[0]]
    for part in parts[1:]:
        found.append(_sum(found[-1], part))
    return found
