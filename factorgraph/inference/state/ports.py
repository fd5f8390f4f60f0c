"""What factors hear: edgewise ones cavities, block factors their plates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from factorgraph.backends import Array
from factorgraph.inference.layout.program import EdgeCall, Read
from factorgraph.inference.layout.views import View
from factorgraph.inference.state.plate_state import PlateState
from factorgraph.inference.state.state import State


def incoming(call: EdgeCall, state: State) -> list[Array]:
    """Cavities at all ports of an edgewise call."""
    return by_port(call, state, lambda read: state.pools[read.pool].cavities(read))


def by_port(call: EdgeCall, state: State, of_edges: Callable[[Read], Array]) -> list[Array]:
    """What all ports of an edgewise call read, from what each of its reads gives for its edges."""
    found: dict[int, Array] = {}
    for read in call.reads:
        whole, axis = of_edges(read), state.pools[read.pool].pool.axis
        for port, part, shape in read.parts:
            piece = whole if len(read.parts) == 1 else state.backend.take(whole, part, axis)
            if len(shape) > 1:
                piece = state.backend.xp.reshape(piece, (*piece.shape[:axis], *shape, *piece.shape[axis + 1 :]))
            found[port] = piece
    return [found[port] for port in range(len(found))]


def ports_of(factors: str, pools: Sequence[int], state: State) -> list[PlatePort]:
    """What a block factor sees of the plates at its ports."""
    views = state.views[factors]
    return [PlatePort(state.plate(pool), (factors, port), views[port]) for port, pool in enumerate(pools)]


class PlatePort:
    """What a block factor sees of the plate at one of its ports: see `factorgraph.factors.Port`."""

    def __init__(self, state: PlateState, key: tuple[str, int], view: View | None) -> None:
        self._state = state
        self._key = key
        self._view = view

    @property
    def observed(self) -> bool:
        return self._state.evidence.all_observed

    @property
    def version(self) -> int:
        return self._state.version

    def _seen(self, array: Array, axis: int) -> Array:
        """An array in the plate's shape, behind so many axes of parameters, as the view has it."""
        return array if self._view is None else self._view.gather(array, axis, self._state.backend)

    def cavity_mean(self, messages: Array, old: Array | None, rows: slice, axis: int) -> Array:
        state, first = self._state, self._state.pool.axis
        belief = state.backend.take(self._seen(state.in_shape(state.belief), first), rows, first)
        means = state.cavity_means(belief, messages, old, axis)
        if self._view is None or not self._view.outside:
            return means
        inside = state.backend.take(self._view.inside(state.backend), rows, 0)  # what was sent outside is of nothing
        return means * state.backend.xp.expand_dims(inside, axis=axis)

    @property
    def mean(self) -> Array:
        found = self._state.expectations()
        return self._seen(found, found.ndim - len(self._state.pool.blocks[0].shape))

    @property
    def variance(self) -> Array | None:
        if self.observed:
            return None
        return self._seen(self._state.variances(), 0)

    @property
    def incoming(self) -> Array:
        state, found = self._state, self._incoming()
        evidence = state.evidence
        if evidence.mask is not None:  # evidence on some variables is certain, whatever the others say
            shape = state.pool.blocks[0].shape
            mask, certain = state.backend.xp.reshape(evidence.mask, shape), state.in_shape(evidence.certain)
            found = state.backend.xp.where(mask, certain, found)
        return self._seen(found, state.pool.axis)

    def _incoming(self) -> Array:
        state = self._state
        cavity, of_others = state.settle_base(), state.of_others(self._key)
        if state.pool.num_edges:
            finite, infinite = state.unclamped()
            cavity = finite if infinite is None else state.pool.type.join(finite, infinite, state.backend)
            if self._key in state.totals:
                cavity = cavity - state.totals[self._key]
        else:
            for key, total in state.totals.items():
                if key != self._key:
                    cavity = cavity + total
        return state.in_shape(cavity if of_others is None else cavity + of_others)
