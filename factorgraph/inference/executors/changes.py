"""How far messages went: what convergence and priorities go by."""

from __future__ import annotations

from factorgraph.backends import Array, Index
from factorgraph.inference.state.pool_state import PoolState


def sizes(pool: PoolState, change: Array, edges: Index) -> Array:
    """Of each message, ``(n, *batch)``, from changes of its natural parameters ``(*param_shape, n, *batch)``."""
    kind, backend, axis = pool.pool.type, pool.backend, pool.pool.axis
    if not kind.has_scale:
        size = backend.xp.abs(change)
        for _ in range(axis):
            size = backend.xp.max(size, axis=0)
        return size
    places = backend.take(pool.edge_places[0], edges, 0)
    belief = backend.take(pool.total, places, axis)
    if pool.infinite is not None:
        belief = kind.join(belief, backend.take(pool.infinite, places, axis + 1), backend)
    return kind.change_size(change, belief, backend)


def largest(pool: PoolState, change: Array, edges: Index) -> Array:
    """The largest, as a 0-d device array, or ``(B,)``; a NaN counts as infinite."""
    found = sizes(pool, change, edges) if pool.pool.type.has_scale else change
    return pool.backend.largest_magnitude(found, bool(pool.batch))


def keep(pool: PoolState, change: Array, edges: Index) -> None:
    """Remember how far messages went, for reports."""
    if pool.change is None:
        pool.change = pool.backend.zeros((pool.pool.num_edges + 1, *pool.batch))
    pool.backend.put(pool.change, edges, sizes(pool, change, edges), 0)
