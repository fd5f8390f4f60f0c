"""Updates chosen as the run goes: the factors whose incoming messages have changed most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from factorgraph.backends import Array
from factorgraph.graph import FactorGraph
from factorgraph.inference.execute import edge_messages
from factorgraph.inference.pool_state import PoolState
from factorgraph.inference.program import EdgeCall, edge_call
from factorgraph.inference.state import State
from factorgraph.schedules import Step
from factorgraph.semiring import Semiring

_PENDING = -1e30  # of a factor that was never updated
_MOST = 10.0  # that one change adds to a drift, so that later small ones still count


class Priorities:
    """
    A graph's factors in order of urgency.

    How far each message has gone, added up over its updates, is kept as its drift. What a factor hears through an edge has
    drifted by all drifts into the variable less its own: a cavity like any other. A factor is the more urgent the more this
    has grown since its last update.

    Parameters
    ----------
    graph : FactorGraph of edgewise factors
    state : any state of the layout
    share : share of all factors to update at once
    """

    def __init__(self, graph: FactorGraph, state: State, share: float) -> None:
        self.graph, self.layout = graph, state.layout
        self.number = max(1, round(share * graph.num_factors))
        self.rounds = max(1, round(graph.num_factors / self.number))
        self._names = list(graph.factor_blocks)
        self._starts = np.cumsum([0, *(block.count for block in graph.factor_blocks.values())])
        self._whole = [self._call(name, None, state) for name in self._names]
        owners: list[list[np.ndarray]] = [[np.zeros(0, dtype=np.int64)] for _ in state.pools]
        for start, name in zip(self._starts, self._names, strict=False):
            for segment in self.layout.segments[name]:
                owners[segment.pool].append(np.resize(np.arange(segment.count), segment.width * segment.count) + start)
        self._owner = np.concatenate([np.concatenate(rows) for rows in owners])
        self._places = [state.backend.index_array(pool.pool.edge_place) for pool in state.pools]

    def run_once(self, state: State, semiring: Semiring, check: bool) -> list[Array]:
        """As many updates as there are factors; with ``check``, how far each message then is from its next update."""
        for pool in state.pools:
            pool.reinforce()
            pool.refresh()
            if pool.drift is None:
                shape = (pool.pool.num_edges + 1, *pool.batch)
                pool.drift = state.backend.zeros(shape)
                pool.seen = state.backend.zeros(shape) + _PENDING
        for _ in range(self.rounds):
            self._round(state, semiring)
        state.iteration += 1
        return self._distances(state, semiring) if check else []

    def _round(self, state: State, semiring: Semiring) -> None:
        backend, xp = state.backend, state.backend.xp
        heard = [self._heard(pool, places) for pool, places in zip(state.pools, self._places, strict=True)]
        waiting = [
            row - backend.take(pool.seen, slice(0, pool.pool.num_edges), 0)
            for row, pool in zip(heard, state.pools, strict=True)
        ]
        if state.batch is not None:
            waiting = [xp.max(row, axis=-1) for row in waiting if row.shape[0]]
        urgency = xp.concat(waiting, axis=0)
        edges = backend.largest_entries(urgency, min(self.number, urgency.shape[0]))
        factors = np.unique(self._owner[edges])
        calls = [
            self._call(self._names[block], own - self._starts[block], state)
            for block, own in enumerate(np.split(factors, np.searchsorted(factors, self._starts[1:-1])))
            if own.size
        ]
        outgoing = [edge_messages(call, state, semiring) for call in calls]
        for call, messages in zip(calls, outgoing, strict=True):
            for read in call.reads:
                backend.put(state.pools[read.pool].seen, read.edges, backend.take(heard[read.pool], read.edges, 0), 0)
            for (number, where), message in zip(call.writes, messages, strict=True):
                pool = state.pools[number]
                size = pool.sizes(pool.write(where, message, undamped=False))
                size = xp.where(size < _MOST, size, xp.full_like(size, _MOST))
                drift = backend.take(pool.drift, where, 0)
                backend.put(pool.drift, where, drift + size, 0)
                if not (isinstance(pool.step, float) and pool.step == 1.0):
                    # The message is not yet where it should be: what damping kept of the change is still to come.
                    step = backend.take(pool.step, where, 0) if pool.step_by_edge else pool.step
                    backend.put(pool.seen, where, backend.take(pool.seen, where, 0) - (1.0 - step) * size, 0)
        for number in sorted({number for call in calls for number, _ in call.writes}):
            state.pools[number].refresh()

    def _heard(self, pool: PoolState, places: Array) -> Array:
        """How far what is heard through each edge has drifted."""
        backend = pool.backend
        sums = [backend.sum_slots(pool.drift, slots, 0) for _, slots in pool.slots]
        total = sums[0] if len(sums) == 1 else backend.xp.concat(sums, axis=0)
        return backend.gather_subtract(total, places, pool.drift, slice(0, pool.pool.num_edges), 0)

    def _distances(self, state: State, semiring: Semiring) -> list[Array]:
        found: list[Array] = []
        saved = [state.backend.xp.asarray(pool.messages, copy=True) for pool in state.pools]
        outgoing = [edge_messages(call, state, semiring) for call in self._whole]
        for call, messages in zip(self._whole, outgoing, strict=True):
            for (number, edges), message in zip(call.writes, messages, strict=True):
                change = state.pools[number].write(edges, message, undamped=True)
                found.append(state.backend.largest_magnitude(change, state.batch is not None))
                state.pools[number].keep_change(edges, change)
        for pool, messages in zip(state.pools, saved, strict=True):
            pool.messages = messages
        return found

    def _call(self, name: str, index: np.ndarray | None, state: State) -> EdgeCall:
        ports: Sequence[int] = range(len(self.graph.factor_blocks[name].ports))
        return edge_call(Step(name, tuple(ports), index), self.graph, self.layout, state.backend)
