"""Updates chosen as the run goes: the messages that would change most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factorgraph.backends import Array
from factorgraph.inference.executors import changes
from factorgraph.inference.executors.execute import edge_messages
from factorgraph.inference.layout.program import EdgeCall, Read
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.state import State
from factorgraph.semiring import Semiring

_MOST_SELECTIVE = 0.98


@dataclass(frozen=True, eq=False)
class _Block:
    """Where the edges of a group of factor blocks lie: by pool the first edge of each slot, and the slots of each port."""

    name: str
    count: int
    plural: tuple[int, ...]
    rows: dict[int, np.ndarray]  # by pool, ``(slots, 1)``
    ports: dict[int, list[tuple[int, int, int]]]  # by pool: port, its first slot, its width
    segments: list[tuple[int, int, int]]  # of each port: pool, first edge, width


class Priorities:
    """
    All messages' next values, kept up to date, and how far each is from it: its residual.

    A round sends every message whose residual is near the largest, and looks again at the messages that depend on those.
    Nearness is a share of the largest residual; it rises where an iteration of rounds does not bring the largest residual down.

    Parameters
    ----------
    state : any state of the layout, of edgewise factors
    share : of the largest residual, from which on a message is sent
    """

    def __init__(self, state: State, share: float) -> None:
        self.share = share
        self._selective, self._best = share, np.inf
        self._blocks = []
        owners: list[list[np.ndarray]] = [[np.zeros(0, dtype=np.int64)] for _ in state.pools]
        starts = [0]
        for group in state.layout.groups.values():
            segments = group.segments
            rows: dict[int, list[int]] = {}
            ports: dict[int, list[tuple[int, int, int]]] = {}
            for port, segment in enumerate(segments):
                row = rows.setdefault(segment.pool, [])
                ports.setdefault(segment.pool, []).append((port, len(row), segment.width))
                row += [segment.first + slot * segment.count for slot in range(segment.width)]
                owners[segment.pool].append(np.resize(np.arange(segment.count), segment.width * segment.count) + starts[-1])
            columns = {pool: np.array(row)[:, None] for pool, row in rows.items()}
            places = [(segment.pool, segment.first, segment.width) for segment in segments]
            self._blocks.append(_Block(group.name, group.count, group.bound.plural, columns, ports, places))
            starts.append(starts[-1] + group.count)
        self._starts = np.array(starts)
        self._owner = [np.concatenate(parts) for parts in owners]

    def run_once(self, state: State, semiring: Semiring, tolerance: float) -> list[Array]:
        """As many updates as there are messages, or until none is above the tolerance; the largest residuals then."""
        for pool in state.pools:
            pool.terms.reinforce()
            if pool.terms.reinforced is not None:
                pool.candidates = None
            pool.refresh()  # so that rounding does not add up
        if any(pool.candidates is None for pool in state.pools):
            self._selective, self._best = self.share, np.inf
            self._start(state, semiring)
        left = sum(pool.pool.num_edges for pool in state.pools)
        while left > 0:
            largest = max((pool.backend.largest(pool.residual) for pool in state.pools), default=0.0)
            if largest <= tolerance:
                break
            left -= self._round(state, semiring, self._selective * largest)
        largest = max((pool.backend.largest(pool.residual) for pool in state.pools), default=0.0)
        if not largest < 0.5 * self._best:
            self._selective = min(1.0 - (1.0 - self._selective) / 3.0, max(self.share, _MOST_SELECTIVE))
        self._best = min(self._best, largest)
        for pool in state.pools:
            pool.change = pool.residual
        state.iteration += 1
        if state.batch is None:
            return [semiring.xp.max(pool.residual) for pool in state.pools]
        return [semiring.xp.max(pool.residual, axis=0) for pool in state.pools]

    def _start(self, state: State, semiring: Semiring) -> None:
        for pool in state.pools:
            pool.candidates = state.backend.xp.asarray(pool.messages, copy=True)
            pool.residual = state.backend.zeros((pool.pool.num_edges + 1, *pool.batch))
        for number, block in enumerate(self._blocks):
            self._look(number, np.arange(block.count), state, semiring)

    def _round(self, state: State, semiring: Semiring, bound: float) -> int:
        """Send all messages whose residual is at least the bound; how many these were."""
        factors, sent = [], 0
        for pool, owner in zip(state.pools, self._owner, strict=True):
            edges = pool.backend.at_least(pool.residual, bound)
            if not edges.size:
                continue
            sent += edges.size
            self._send(pool, edges)
            # All factors that hear of these variables.
            places = pool.pool.edge_place[edges]
            begin = pool.pool.starts[places]
            degrees = pool.pool.starts[places + 1] - begin
            offsets = np.arange(int(degrees.sum())) - np.repeat(np.cumsum(degrees) - degrees, degrees)
            factors.append(owner[pool.pool.edge_order[np.repeat(begin, degrees) + offsets]])
        touched = _distinct(factors[0] if len(factors) == 1 else np.concatenate(factors))
        bounds = np.searchsorted(touched, self._starts)
        for number, (low, high) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
            if low < high:
                self._look(number, touched[low:high] - self._starts[number], state, semiring)
        return sent

    @staticmethod
    def _send(pool: PoolState, edges: np.ndarray) -> None:
        """Send messages and add their changes to the beliefs; their factors hear of it: `_look` then finds their residuals."""
        backend, axis, kind = pool.backend, pool.pool.axis, pool.pool.type
        device = backend.index_array(edges)
        old = backend.take(pool.messages, device, axis)
        pool.write(device, backend.take(pool.candidates, device, axis), undamped=False)
        new = backend.take(pool.messages, device, axis)
        places = backend.index_array(pool.pool.edge_place[edges])
        if pool.infinite is None:
            change = new - old
        else:
            (finite, infinite), (finite_old, infinite_old) = kind.split(new, backend), kind.split(old, backend)
            change = finite - finite_old
            backend.add_at(pool.infinite, places, pool.unless_observed(infinite - infinite_old, places), axis + 1)
        backend.add_at(pool.total, places, pool.unless_observed(change, places), axis)
        pool.version += 1

    def _look(self, number: int, index: np.ndarray, state: State, semiring: Semiring) -> None:
        """Work out the next values of all messages of some factors, and their residuals."""
        backend = state.backend
        call = self._call(number, index, state)
        for (where, edges), message in zip(call.writes, edge_messages(call, state, semiring), strict=True):
            pool = state.pools[where]
            message = pool.prepared(message)
            old = backend.take(pool.messages, edges, pool.pool.axis)
            change = backend.difference(message, old) if pool.hard else message - old
            backend.put(pool.candidates, edges, message, pool.pool.axis)
            backend.put(pool.residual, edges, changes.sizes(pool, change, edges), 0)

    def _call(self, number: int, index: np.ndarray, state: State) -> EdgeCall:
        """As `program.edge_call`, which takes time to find a compact form of indices; these are used once."""
        block, backend = self._blocks[number], state.backend
        reads = []
        for pool, rows in block.rows.items():
            edges = (rows + index).reshape(-1)
            parts: list[tuple[int, slice, tuple[int, ...]]] = [
                (
                    port,
                    slice(slot * index.size, (slot + width) * index.size),
                    (width, index.size) if port in block.plural else (index.size,),
                )
                for port, slot, width in block.ports[pool]
            ]
            places = backend.index_array(state.pools[pool].pool.edge_place[edges])
            reads.append(Read(pool, backend.index_array(edges), places, parts))
        writes, counts = [], []
        for pool, first, width in block.segments:
            edges = (first + np.arange(width)[:, None] * block.count + index).reshape(-1) if width > 1 else first + index
            writes.append((pool, backend.index_array(edges)))
            counts.append(edges.size)
        whole = index.size == block.count
        return EdgeCall(
            block.name, tuple(range(len(writes))), None if whole else backend.index_array(index), reads, writes, counts
        )


def _distinct(numbers: np.ndarray) -> np.ndarray:
    """As `numpy.unique`, which takes longer for the few numbers of most rounds."""
    ordered = np.sort(numbers)
    kept = np.empty(ordered.size, dtype=np.bool_)
    kept[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=kept[1:])
    return ordered[kept]
