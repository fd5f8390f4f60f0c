"""Whether the most probable values of the variables fulfil all hard factors."""

from __future__ import annotations

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors import Factor
from factorgraph.inference.layout.layout import Group
from factorgraph.inference.layout.program import EdgeCall, Read, edge_call
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.ports import by_port
from factorgraph.inference.state.potentials import Potentials
from factorgraph.inference.state.state import State
from factorgraph.schedules import Step
from factorgraph.semiring import Semiring

_FEW_BLOCKS = 16  # up to which blocks that run together are asked one by one


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
        self._lookups: list[tuple[Factor, list[tuple[int, np.ndarray]]]] = []
        self._calls: list[EdgeCall] = []
        for group in state.layout.groups.values():
            potentials = None if group.is_block else state.potentials[group.name]
            if potentials is None or not potentials.bound.passes_certainty(potentials.bound.parameters()):
                continue
            by_values = potentials.bound.factor.pointwise and len(potentials.members) <= _FEW_BLOCKS
            if (
                by_values and state.backend.serves_threads
            ):  # values are on the host, and looking one up takes less than a message
                self._lookups += _lookups(group, potentials, state)
            else:
                step = Step(group.name, tuple(range(len(group.segments))))
                self._calls.append(edge_call(step, state.layout, state.backend))
        some = bool(self._calls or self._lookups)
        if not (some if state.sharing is None else state.sharing.any(some)):
            raise ValueError('stop="satisfied": no factor rules a configuration out, so that there is nothing to satisfy')

    def reached(self, state: State) -> np.ndarray:
        """Which sets are solved, ``(B,)``; one without a batch."""
        backend, solved = state.backend, np.ones(state.batch or 1, dtype=np.bool_)
        with np.errstate(all="ignore"):
            values = [] if not self._lookups else [_values(pool) for pool in state.pools]
            for factor, axes in self._lookups:
                # The factors are the last axis, after the sets.
                weights = factor.log_potential(*(np.moveaxis(values[pool][places], 0, -1) for pool, places in axes))
                impossible = np.isneginf(np.atleast_1d(weights)).any(axis=-1)
                solved &= ~impossible if state.batch else not np.any(impossible)
            certain = {
                pool: state.pools[pool].pool.type.certain_mode(state.pools[pool].belief, backend)
                for pool in {read.pool for call in self._calls for read in call.reads}
            }
            for call in self._calls:
                potentials = state.potentials[call.factors]
                incoming = by_port(call, state, lambda read: _taken(certain[read.pool], read, state))
                local = backend.to_host(potentials.bound.log_partition(incoming, potentials.parameters, self._semiring))
                solved &= ~np.isneginf(local).any(axis=0)
        return solved if state.sharing is None else ~state.sharing.communicator.largest(~solved)


def _lookups(group: Group, potentials: Potentials, state: State) -> list[tuple[Factor, list[tuple[int, np.ndarray]]]]:
    """For each block of a group its factor, and for each variable of a factor the pool and places, ``(F,)``."""
    found, start = [], 0
    for bound in potentials.members:
        part = slice(start, start + bound.count)
        axes = []
        for segment in group.segments:
            places = state.layout.pools[segment.pool].edge_place[segment.edges(None)].reshape(segment.width, group.count)
            axes += [(segment.pool, row) for row in places[:, part]]
        found.append((bound.factor, axes))
        start += bound.count
    return found


def _values(pool: PoolState) -> np.ndarray:
    """The most probable values of a pool's variables, those observed as they are, ``(V,)`` or ``(V, B)``."""
    return np.asarray(pool.backend.to_host(pool.pool.type.mode(pool.belief, pool.backend)))


def _taken(certain: Array, read: Read, state: State) -> Array:
    """What is said of variables, edge by edge."""
    return state.backend.take(certain, read.places, state.pools[read.pool].pool.axis)
