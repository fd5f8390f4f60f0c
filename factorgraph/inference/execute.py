"""One pass over a compiled program. The only loop in which messages are updated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from factorgraph.backends import Array
from factorgraph.factors import Quadratic
from factorgraph.inference import changes
from factorgraph.inference.fused import FusedProgram, bound_to, can_fuse
from factorgraph.inference.plate_state import PlateState
from factorgraph.inference.program import BlockCall, EdgeCall, Read, Stage, take_parameters
from factorgraph.inference.state import State
from factorgraph.inference.views import View
from factorgraph.semiring import Semiring


class PlatePort:
    """What a block factor sees of the plate at one of its ports: see `factorgraph.factors.Port`."""

    def __init__(self, state: PlateState, key: tuple[str, int], view: View | None) -> None:
        self._state = state
        self._key = key
        self._view = view

    @property
    def observed(self) -> bool:
        return self._state.all_observed

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
        if state.mask is not None:  # evidence on some variables is certain, whatever the others say
            shape = state.pool.blocks[0].shape
            mask, certain = state.backend.xp.reshape(state.mask, shape), state.in_shape(state.certain)
            found = state.backend.xp.where(mask, certain, found)
        return self._seen(found, state.pool.axis)

    def _incoming(self) -> Array:
        state = self._state
        cavity, of_others = state.base, state.of_others(self._key)
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


def run_once(program: Sequence[Stage], state: State, semiring: Semiring, undamped: bool, check: bool) -> list[Array]:
    """
    Run all stages once.

    Parameters
    ----------
    program, state, semiring
    undamped : whether controls are left out
    check : whether to measure how far messages went

    Returns
    -------
    list of device arrays: the largest change at each write, ``()`` or ``(B,)``; empty without ``check``
    """
    if state.sharing is None and can_fuse(program, state, semiring.mode, undamped):
        state.iteration += 1
        return _fused(program, state, semiring.mode, undamped, check).run(state)
    residuals: list[Array] = []
    if not undamped:
        for pool in state.pools:
            pool.reinforce()
    for stage in program:
        outgoing = [
            block_totals(call, state) if isinstance(call, BlockCall) else edge_messages(call, state, semiring)
            for call in stage.calls
        ]
        for call, messages in zip(stage.calls, outgoing, strict=True):
            if isinstance(call, BlockCall):
                for port, total in zip(call.ports, messages, strict=True):
                    plate, key = state.plate(call.pools[port]), (call.factors, port)
                    old = receive(total, call.pools[port], key, state)
                    if check:
                        residuals.append(state.backend.largest_magnitude(plate.totals[key] - old))
                continue
            for (number, edges), message in zip(call.writes, messages, strict=True):
                pool = state.pools[number]
                change = pool.write(edges, message, undamped)
                if check:
                    residuals.append(changes.largest(pool, change, edges))
                    changes.keep(pool, change, edges)
        for refresh in stage.refreshes:
            pool = state.pools[refresh.pool]
            if isinstance(pool, PlateState):
                pool.update_belief(refresh.alone)
            else:
                pool.refresh(refresh)
    if state.sharing is not None:
        state.sharing.exchange(state.pools)
    state.iteration += 1
    return residuals


def _fused(program: Sequence[Stage], state: State, mode: str, undamped: bool, check: bool) -> FusedProgram:
    """The program bound to the state's arrays: the one of the last iteration, if nothing was replaced since."""
    found = state.fused.get(check)
    if found is not None:
        key = bound_to(state, undamped)
        if len(key) == len(found.key) and all(
            a is b or (type(a) is float and a == b) for a, b in zip(key, found.key, strict=True)
        ):
            return found
    state.fused[check] = FusedProgram(program, state, mode, undamped, check)
    return state.fused[check]


def edge_messages(call: EdgeCall, state: State, semiring: Semiring) -> list[Array]:
    """Outgoing messages of an edgewise call, each in one row of edges."""
    potentials = state.potentials[call.factors]
    parameters = take_parameters(potentials.parameters, call.index, state.backend, state.batch is not None)
    try:
        outgoing = potentials.kernel.messages(incoming(call, state), parameters, call.ports, semiring)
    except ValueError as error:
        raise ValueError(f"factors {call.factors!r}: {error}") from error
    rows = []
    for (number, _), count, message in zip(call.writes, call.counts, outgoing, strict=True):
        shape = state.pools[number].pool.type.param_shape
        # A plural port's slots are one row of edges.
        flat = (*shape, count, *state.pools[number].batch)
        rows.append(semiring.xp.reshape(message, flat) if message.ndim > len(flat) else message)
    return rows


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


def block_totals(call: BlockCall, state: State) -> list[Array | Quadratic]:
    """Sums of a block factor's messages into the asked plates, of this rank."""
    factor, ports = state.block_factors[call.factors], ports_of(call.factors, call.pools, state)
    totals = list(factor.update(ports, state.memories[call.factors], call.ports, state.backend))
    for number, port in enumerate(call.ports):
        view, total, axis = state.views[call.factors][port], totals[number], state.plate(call.pools[port]).pool.axis
        if view is not None and isinstance(total, Quadratic):
            totals[number] = Quadratic(*(view.add_up(array, 0, state.backend) for array in total))
        elif view is not None:
            totals[number] = view.add_up(total, axis, state.backend)
    return totals


def receive(total: Array | Quadratic, pool: int, key: tuple[str, int], state: State) -> Array | float:
    """Take in a sum of messages, and those of other ranks, into a plate; the sum that it replaces."""
    plate, sharing = state.plate(pool), state.sharing
    everywhere = None if sharing is None else sharing.total(pool, total, state.backend)
    return plate.receive(key, natural(total, plate), None if everywhere is None else natural(everywhere, plate))


def natural(total: Array | Quadratic, plate: PlateState) -> Array:
    """A sum of messages in natural parameters."""
    if not isinstance(total, Quadratic):
        return total
    curvature = plate.backend.xp.clip(total.curvature, 0.0, None)
    return plate.pool.type.from_quadratic(total.field, curvature, plate.backend)


def ports_of(factors: str, pools: Sequence[int], state: State) -> list[PlatePort]:
    """What a block factor sees of the plates at its ports."""
    views = state.views[factors]
    return [PlatePort(state.plate(pool), (factors, port), views[port]) for port, pool in enumerate(pools)]
