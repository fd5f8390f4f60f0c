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

import numpy as np

from factorgraph.backends import Array, Index, KernelBackend, Launch
from factorgraph.backends.kernels import unroll
from factorgraph.backends.kernels.sequence import declarations, parameter_name
from factorgraph.factors.bound import BoundFactor
from factorgraph.inference.layout.program import BlockCall, EdgeCall, Read, Refresh, Stage
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.state import State

_MANY_EDGES = 64  # of a variable, from which they are added up in shares
_MOST_STATES = 32  # that a loop is written out for
_MANY_THREADS = 1 << 14  # from which a kernel is compiled for the sizes and the missing arrays of its call
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
        return self._backend.launcher(_beliefs(), name, count, arguments)

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
            known = self._known(_beliefs(), "refresh", positions * sets, arguments, {"states", "sets", "degree"})
            source = specialised(_beliefs(), known)
            launches.append(self._backend.launcher(source, "refresh", positions * sets, arguments))
        return launches

    def _known(
        self, source: str, kernel: str, count: int, arguments: Sequence[Any], sizes: set[str]
    ) -> tuple[tuple[str, Any], ...]:
        """What a kernel is compiled for: one set; in large calls also small sizes, and arrays that are not there."""
        known = []
        for declaration, value in zip(declarations(source, kernel)[1:], arguments, strict=True):
            name = parameter_name(declaration)
            is_small = value is None or (name in sizes and value <= _MOST_STATES) or (type(value) is float and value == 1.0)
            if (name == "sets" and value == 1) or (is_small and count >= _MANY_THREADS):
                known.append((name, value))
        return tuple(known)

    def _call(self, call: EdgeCall) -> Launch:
        potentials = self._state.potentials[call.factors]
        bound = potentials.bound
        body = bound.device_messages(self._mode)
        assert body is not None
        used = [name for name in potentials.parameters if re.search(rf"\b{name}\b", body)]
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
        source = edge_source(bound, body, call.ports, tuple(used))
        # A thread with many numbers has no registers left for what it would know.
        size = factors * self._sets if number_of_parameters(bound) <= _MOST_STATES // 2 else 1
        known = self._known(source, "edge_update", size, arguments, {"sets"})
        return self._backend.launcher(specialised(source, known), "edge_update", factors * self._sets, arguments)

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
        if any(state.potentials[call.factors].bound.device_messages(mode) is None for call in stage.calls):
            return False
    return True


def bound_to(state: State, undamped: bool) -> list[Any]:
    """The arrays and settings that a fused program is bound to, to be compared one by one by identity."""
    key: list[Any] = [undamped]
    for pool in state.pools:
        key += [pool.terms.prior, pool.terms.reinforced, pool.total, pool.messages, pool.evidence.mask, pool.evidence.certain]
        key += [pool.step, pool.may_grow, pool.hard]
    return key + [potentials for potentials in state.potentials.values()]


def number_of_parameters(bound: BoundFactor) -> int:
    """Natural parameters of all messages to one factor."""
    return sum(width * math.prod(kind.param_shape) for width, kind in zip(bound.widths, bound.types, strict=True))


@cache
def specialised(source: str, known: tuple[tuple[str, Any], ...]) -> str:
    """A text whose kernels know some of their arguments beforehand: within each thread's body these hide the parameters."""
    values = ((name, "nullptr" if value is None else repr(value)) for name, value in known)
    hidden = " ".join(f"constexpr decltype({name}) {name} = {value}; (void){name};" for name, value in values)
    return source.replace("/* known */", hidden)


@cache
def _beliefs() -> str:
    return Path(__file__).with_name("beliefs.cu").read_text(encoding="utf-8")


def edge_source(bound: BoundFactor, body: str, ports: Sequence[int], parameters: Sequence[str]) -> str:
    """
    The kernel of a call: for each factor and set, cavities in, messages out.

    Parameters
    ----------
    bound : the factor type and its ports
    body : from `Factor.device_messages`
    ports : those whose messages are written
    parameters : names that the body uses
    """
    states = [math.prod(kind.param_shape) for kind in bound.types]
    starts = np.cumsum([0, *(w * q for w, q in zip(bound.widths, states, strict=True))]).tolist()
    takes, gathers, writes = ["int count", "int factors", "int sets", "const int *which"], [], []
    for port, (width, size, kind) in enumerate(zip(bound.widths, states, bound.types, strict=True)):
        written = port in ports
        takes += [f"const T *total{port}", f"int total_step{port}", f"{'' if written else 'const '}T *message{port}"]
        takes += [f"int message_step{port}", f"const int *places{port}", f"int first_place{port}"]
        takes += [f"const int *edges{port}", f"int first_edge{port}"]
        edge = f"const long long e = (long long)(edges{port} ? edges{port}[i] : first_edge{port} + i) * sets + b;"
        slot = f"{unroll(width)}\nfor (int j = 0; j < {width}; ++j) {{\nconst int i = j * factors + f;\n{edge}"
        place = f"const long long v = (long long)(places{port} ? places{port}[i] : first_place{port} + i) * sets + b;"
        gathers += [
            f"{slot}\n{place}\n{unroll(size, _MOST_STATES)}\nfor (int s = 0; s < {size}; ++s) {{\n"
            f"const int k = {starts[port]} + j * {size} + s;\nwas[k] = message{port}[(long long)s * message_step{port} + e];\n"
            f"in[k] = total{port}[(long long)s * total_step{port} + v] - was[k];\n}}\n}}"
        ]
        if written:
            takes += [f"T step{port}", f"const T *steps{port}", f"int by_edge{port}", f"int by_set{port}"]
            takes += [f"int hold{port}", f"T *change{port}"]
            writes += [
                f"{slot}\nT *value = out + {starts[port]} + j * {size};\n{{ {kind.device_normalize()} }}\n"
                f"const T step = steps{port} ? steps{port}[by_edge{port} * (e / sets) + by_set{port} * b] : step{port};\n"
                f"T farthest = 0;\n{unroll(size, _MOST_STATES)}\nfor (int s = 0; s < {size}; ++s) {{\n"
                f"if (hold{port}) hold(value[s], value[s]);\n"
                f"const T old = was[{starts[port]} + j * {size} + s], gone = value[s] - old, size = fabs(gone);\n"
                f"message{port}[(long long)s * message_step{port} + e] = step == 1 ? value[s] : old + step * gone;\n"
                f"farthest = size == size ? larger(farthest, size) : INF;\n}}\n"
                f"if (change{port}) change{port}[e] = larger(change{port}[e], farthest);\n}}"
            ]
    entries = ", ".join(["const T *in", "T *out", *(f"const Entries {name}" for name in parameters)])
    for name in parameters:
        takes += [f"const T *{name}_at", f"int {name}_step", f"int {name}_by_factor"]
    given = ", ".join(["in", "out", *(f"Entries{{{name}_at + g * {name}_by_factor, {name}_step}}" for name in parameters)])
    number = number_of_parameters(bound)
    return (
        f"{bound.factor.device_source}DEVICE void messages({entries}) {{\n{body}\n}}\n\n"
        f"KERNEL edge_update({', '.join(takes)}) {{\nEACH_THREAD(t, count) {{\n/* known */\n"
        f"const int b = t % sets, f = t / sets, g = which ? which[f] : f;\n(void)g;\n"
        f"T in[{number}], out[{number}], was[{number}];\n"
        + "\n".join(gathers)
        + f"\nmessages({given});\n"
        + "\n".join(writes)
        + "\n}\n}\n"
    )


def _writes(call: EdgeCall | BlockCall) -> list[tuple[int, Index]]:
    return call.writes if isinstance(call, EdgeCall) else []


def _part(index: Index, part: slice) -> list[Any]:
    """A part of an index as kernels take it: a pointer that may be null, and the first of consecutive numbers."""
    return [None, index.start + part.start] if isinstance(index, slice) else [index[part], 0]
