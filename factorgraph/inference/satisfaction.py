"""Whether the most probable values of the variables fulfil all hard factors."""

from __future__ import annotations

import numpy as np

from factorgraph.backends import Array
from factorgraph.inference.execute import by_port
from factorgraph.inference.program import EdgeCall, Read, edge_call
from factorgraph.inference.state import State
from factorgraph.schedules import Step
from factorgraph.semiring import Semiring


class Satisfaction:
    """
    Looks at the most probable value of each variable by itself, and asks every hard factor whether it allows them together.

    Parameters
    ----------
    state : State
    semiring : Semiring
    stop : {"satisfied"}

    Raises
    ------
    ValueError
        ``stop`` is another word, or no factor of the graph rules anything out.
    """

    def __init__(self, state: State, semiring: Semiring, stop: str) -> None:
        if stop != "satisfied":
            raise ValueError(f'stop must be None or "satisfied", not {stop!r}')
        self._semiring = semiring
        self._calls: list[EdgeCall] = []
        for group in state.layout.groups.values():
            potentials = None if group.kernel is None else state.potentials[group.name]
            if potentials is not None and potentials.kernel.passes_certainty(potentials.kernel.parameters()):
                step = Step(group.name, tuple(range(len(group.segments))))
                self._calls.append(edge_call(step, state.layout, state.backend))
        if not self._calls:
            raise ValueError('stop="satisfied": no factor rules a configuration out, so that there is nothing to satisfy')

    def reached(self, state: State) -> np.ndarray:
        """Which sets are solved, ``(B,)``; one without a batch."""
        backend, solved = state.backend, np.ones(state.batch or 1, dtype=np.bool_)
        with np.errstate(all="ignore"):
            certain = {
                pool: state.pools[pool].pool.type.certain_mode(state.pools[pool].belief, backend)
                for pool in {read.pool for call in self._calls for read in call.reads}
            }
            for call in self._calls:
                potentials = state.potentials[call.factors]
                values = by_port(call, state, lambda read: _taken(certain[read.pool], read, state))
                local = backend.to_host(potentials.kernel.log_partition(values, potentials.parameters, self._semiring))
                solved &= ~np.isneginf(local).any(axis=0)
        return solved


def _taken(certain: Array, read: Read, state: State) -> Array:
    """What is said of variables, edge by edge."""
    return state.backend.take(certain, read.places, state.pools[read.pool].pool.axis)
