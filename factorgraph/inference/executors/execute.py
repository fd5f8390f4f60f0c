"""One pass over a compiled program by array operations; where a backend has kernels for all of it, by those (`fused`)."""

from __future__ import annotations

from collections.abc import Sequence

from factorgraph.backends import Array
from factorgraph.factors import Quadratic
from factorgraph.inference.executors import changes
from factorgraph.inference.executors.fused import FusedProgram, bound_to, can_fuse
from factorgraph.inference.layout.program import BlockCall, EdgeCall, Stage, take_parameters
from factorgraph.inference.state.plate_state import PlateState
from factorgraph.inference.state.ports import incoming, ports_of
from factorgraph.inference.state.state import State
from factorgraph.semiring import Semiring


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
            pool.terms.reinforce()
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
    for pool in state.pools:
        pool.settle_prior()
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
        outgoing = potentials.bound.messages(incoming(call, state), parameters, call.ports, semiring)
    except ValueError as error:
        raise ValueError(f"factors {call.factors!r}: {error}") from error
    rows = []
    for (number, _), count, message in zip(call.writes, call.counts, outgoing, strict=True):
        shape = state.pools[number].pool.type.param_shape
        # A plural port's slots are one row of edges.
        flat = (*shape, count, *state.pools[number].batch)
        rows.append(semiring.xp.reshape(message, flat) if message.ndim > len(flat) else message)
    return rows


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
