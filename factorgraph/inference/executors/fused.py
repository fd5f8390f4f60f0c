"""A program as launches of kernels on a state's arrays: one for each call, one for each group of beliefs.

A call's kernel gathers the cavities of a factor, works out its messages, normalises and damps them and writes them in place,
so that each message is read once and written once. Nothing is allocated and nothing is read back, so that the launches
can be recorded and replayed. Arrays that the launches were bound to may be filled anew, but where one is replaced, or a
setting changes, the program is bound again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from factorgraph.backends import Array, Index, KernelBackend, Launch
from factorgraph.backends.kernels import LARGEST_GROUP
from factorgraph.backends.kernels.sequence import declarations, parameter_name
from factorgraph.inference.executors.edge_source import MOST_STATES, edge_source, number_of_parameters
from factorgraph.inference.layout.program import BlockCall, EdgeCall, Read, Refresh, Stage
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.state import State

_MANY_EDGES = 64  # of a variable, from which they are added up in shares
_MANY_THREADS = 1 << 14  # from which a kernel is compiled for the sizes of its call
_GIVEN = "given"  # an array that is there
_FEW_THREADS = 1 << 13  # with fewer, a long sum leaves most of the device idle


class FusedProgram:
    """
    The launches of one iteration.

    Parameters
    ----------
    program, state, mode
    undamped : whether controls are left out
    check : whether to note how far messages went
    """

    def __init__(self, program: Sequence[Stage], state: State, mode: str, undamped: bool, check: bool) -> None:
        assert isinstance(state.backend, KernelBackend)
        self.key = bound_to(state, undamped)
        self._backend, self._state, self._mode = state.backend, state, mode
        self._undamped, self._check = undamped, check
        self._sets = state.batch or 1
        self.written = sorted({pool for stage in program for call in stage.calls for pool, _ in _writes(call)})
        self.refreshed = sorted({refresh.pool for stage in program for refresh in stage.refreshes})
        launches = [launch for number in self.written if check for launch in self._clear(state.pools[number])]
        if not undamped:
            launches += [launch for pool in state.pools for launch in self._reinforce(pool)]
        for stage in program:
            launches += [self._call(call) for call in stage.calls if isinstance(call, EdgeCall)]
            launches += [launch for refresh in stage.refreshes for launch in self._refresh(refresh)]
        self._run = state.backend.record(launches)
        del self._state  # which keeps this program: its arrays should go with it, and not wait to be collected

    def run(self, state: State) -> list[Array]:
        """Run one iteration; the largest change in each pool, ``()`` or ``(B,)``, where it was to be noted."""
        self._run()
        for number in self.refreshed:
            state.pools[number].version += 1
            state.pools[number].stale = False
        if not self._check:
            return []
        axis = None if state.batch is None else 0
        changes = [state.pools[number].change for number in self.written]
        return [self._backend.xp.max(change, axis=axis) for change in changes]

    def _launch(self, name: str, count: int, *arguments: Any) -> Launch:
        return self._backend.launcher(specialised(_beliefs(), (), False), name, count, arguments)

    def _clear(self, pool: PoolState) -> list[Launch]:
        if pool.change is None:
            pool.change = self._backend.zeros((pool.pool.num_edges + 1, *pool.batch))
        return [self._launch("clear", math.prod(pool.change.shape), pool.change)]

    def _reinforce(self, pool: PoolState) -> list[Launch]:
        terms, strength = pool.terms, pool.terms.strength
        if not terms.reinforces:
            return []
        if terms.reinforced is None:
            terms.reinforced = self._backend.zeros(terms.prior.shape)
        by_variable = not isinstance(strength, float)
        given = (0.0, strength) if by_variable else (float(strength), None)
        count = math.prod(terms.prior.shape)
        return [self._launch("reinforce", count, terms.prior, pool.total, terms.reinforced, *given, pool.pool.size, self._sets)]

    def _refresh(self, refresh: Refresh) -> list[Launch]:
        pool = self._state.pools[refresh.pool]
        states, sets = math.prod(pool.pool.type.param_shape), self._sets
        base = pool.terms.prior if pool.terms.reinforced is None else pool.terms.reinforced
        steps = (pool.pool.size * sets, pool.messages, (pool.pool.num_edges + 1) * sets)
        launches = []
        for places, slots in refresh.groups or pool.slots:
            degree, positions = slots.shape
            summed: tuple[Any, ...] = (base, pool.total, *steps, slots, 0, degree)
            if degree > _MANY_EDGES and positions * sets < _FEW_THREADS:
                share = math.ceil(math.sqrt(degree))
                shares = math.ceil(degree / share)
                partial = self._backend.zeros((shares, states, positions, sets))
                arguments = (*steps[1:], slots, degree, share, positions, states, sets, partial)
                launches.append(self._launch("partial_sums", math.prod(partial.shape), *arguments))
                summed = (base, pool.total, steps[0], partial, positions * sets, None, states * positions * sets, shares)
            where = (None, places.start) if isinstance(places, slice) else (places, 0)
            arguments = (*summed, *where, positions, states, sets, pool.evidence.mask, pool.evidence.certain)
            known = self._known(_beliefs(), "refresh", positions * sets, arguments, ("states", "degree"))
            source = specialised(_beliefs(), known, self._sets % LARGEST_GROUP == 0)
            launches.append(self._backend.launcher(source, "refresh", positions * sets, arguments))
        return launches

    def _known(
        self, source: str, kernel: str, count: int, arguments: Sequence[Any], sizes: Sequence[str] = ()
    ) -> tuple[tuple[str, Any], ...]:
        """What a kernel is compiled for: one set, which arrays it has, and flags; in large calls also small sizes."""
        known: list[tuple[str, Any]] = []
        for declaration, value in zip(declarations(source, kernel)[1:], arguments, strict=True):
            name = parameter_name(declaration)
            is_flag = name.endswith("_by_factor") or name.startswith("hold") or (type(value) is float and value == 1.0)
            if name == "sets" and value == 1:
                known.append((name, value))
            elif name.startswith("change"):
                continue  # the same kernel with and without
            elif name in sizes and value <= MOST_STATES and count >= _MANY_THREADS:
                known.append((name, value))
            elif (value is None or is_flag) and count >= self._backend.specialises_from:
                known.append((name, value))
            elif "*" in declaration and count >= self._backend.specialises_from:
                known.append((name, _GIVEN))
        return tuple(known)

    def _call(self, call: EdgeCall) -> Launch:
        potentials = self._state.potentials[call.factors]
        bound = potentials.bound
        bodies = bound.device_messages(self._mode)
        assert bodies
        used = [name for name in potentials.parameters if any(re.search(rf"\b{name}\b", body) for body in bodies)]
        reads = {port: (read, part) for read in call.reads for port, part, _ in read.parts}
        factors = call.counts[0] // bound.widths[call.ports[0]]
        arguments: list[Any] = [factors, self._sets, call.index]
        for port in range(len(bound.types)):
            arguments += self._port(*reads[port], written=port in call.ports)
        for name in used:
            array = potentials.parameters[name]
            lead = array.shape[:-1] if self._state.batch is None else array.shape[:-2]
            length = array.shape[len(lead)]
            arguments += [array, length, int(length > 1)]
        source = edge_source(bound, bodies, call.ports, tuple(used))
        size = factors * self._sets if number_of_parameters(bound) <= self._backend.specialises_up_to else 1
        known = self._known(source, "edge_update", size, arguments)
        return self._backend.launcher(
            specialised(source, known, self._sets % LARGEST_GROUP == 0), "edge_update", factors * self._sets, arguments
        )

    def _port(self, read: Read, part: slice, written: bool) -> list[Any]:
        pool = self._state.pools[read.pool]
        sets = self._sets
        arguments: list[Any] = [pool.total, pool.pool.size * sets, pool.messages, (pool.pool.num_edges + 1) * sets]
        for index in (read.places, read.edges):
            arguments += _part(index, part)
        if written:
            step = 1.0 if self._undamped else pool.step
            by_edge = pool.step_by_edge and not self._undamped
            if isinstance(step, float):
                arguments += [step, None, 0, 0]
            else:
                arguments += [0.0, step, int(by_edge), int(not by_edge)]
            arguments += [int(pool.may_grow), pool.change if self._check else None]
        return arguments


def can_fuse(program: Sequence[Stage], state: State, mode: str, undamped: bool) -> bool:
    """Whether a program can run as kernels on a state as it is."""
    if not isinstance(state.backend, KernelBackend):
        return False
    for pool in state.pools:
        damped = not undamped and not (isinstance(pool.step, float) and pool.step == 1.0)
        if pool.hard or pool.terms.centre is not None or (damped and pool.pool.damping.parameters != "natural"):
            return False
        if pool.pool.type.device_normalize() is None:
            return False
    for stage in program:
        if not stage.independent or not all(isinstance(call, EdgeCall) for call in stage.calls):
            return False
        if not all(state.potentials[call.factors].bound.device_messages(mode) for call in stage.calls):
            return False
    return True


def bound_to(state: State, undamped: bool) -> list[Any]:
    """The arrays and settings that a fused program is bound to, to be compared one by one by identity."""
    key: list[Any] = [undamped]
    for pool in state.pools:
        key += [pool.terms.prior, pool.terms.reinforced, pool.total, pool.messages, pool.evidence.mask, pool.evidence.certain]
        key += [pool.step, pool.may_grow, pool.hard]
    return key + [potentials for potentials in state.potentials.values()]


@cache
def specialised(source: str, known: tuple[tuple[str, Any], ...], filled: bool) -> str:
    """
    A text whose kernels know some of their arguments beforehand: within each group's body these hide the parameters.

    ``filled`` : whether sets of evidence fill whole groups
    """
    hidden = " ".join(
        f"GIVEN({name})"
        if value is _GIVEN
        else f"constexpr decltype({name}) {name} = {'nullptr' if value is None else repr(value)}; (void){name};"
        for name, value in known
    )
    return source.replace("/* known */", f"constexpr bool filled = {str(filled).lower()}; (void)filled; {hidden}")


@cache
def _beliefs() -> str:
    return Path(__file__).with_name("beliefs.cu").read_text(encoding="utf-8")


def _writes(call: EdgeCall | BlockCall) -> list[tuple[int, Index]]:
    return call.writes if isinstance(call, EdgeCall) else []


def _part(index: Index, part: slice) -> list[Any]:
    """A part of an index as kernels take it: a pointer that may be null, and the first of consecutive numbers."""
    return [None, index.start + part.start] if isinstance(index, slice) else [index[part], 0]
