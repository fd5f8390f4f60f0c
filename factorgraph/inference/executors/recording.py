"""
Procedures that are run again and again: what they launch is recorded once and replayed.

A replay runs the same kernels on the same memory. So the state must lie, when the procedure ends, where it lay when it
began: what the procedure made anew is copied there, as its last launches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from factorgraph.backends import Array, KernelBackend
from factorgraph.inference.layout.program import BlockCall, Stage
from factorgraph.inference.state.plate_state import PlateState
from factorgraph.inference.state.state import State

_MOST_ATTEMPTS = 8  # to record a procedure that leaves the state otherwise than it finds it
_PLAIN = (bool, int, float, str, type(None))
_COUNTERS = ("version", "mean_version")


T = TypeVar("T")


class Recording:
    """
    What one procedure launches, recorded where backend and factors allow it.

    Parameters
    ----------
    program : what the procedure may run of it
    """

    def __init__(self, program: Sequence[Stage]) -> None:
        self._program = program
        self._attempts = 0
        self._begun: tuple[object, ...] | None = None  # the state at the last run, which has loaded the kernels
        self._recorded: _Recorded | None = None
        self._left: tuple[int, ...] | None = None  # the state's mark after the last run

    def run(self, state: State, procedure: Callable[[], T]) -> T:
        """Run the procedure, the same at each call, or replay it; what it returned."""
        backend = state.backend
        if (
            state.is_recorded
            or state.sharing is not None
            or self._attempts >= _MOST_ATTEMPTS
            or not (isinstance(backend, KernelBackend) and backend.can_record)
        ):
            return procedure()
        if self._recorded is not None and self._left != state.mark():
            _forget_what_is_not_carried(self._program, state)
            self._recorded = self._recorded if self._recorded.fits(state) else None
        if self._recorded is None and can_be_recorded(self._program, state):
            _forget_what_is_not_carried(self._program, state)
            begun, self._begun = self._begun, _kind_of(state)
            if begun == self._begun:
                self._recorded = self._record(state, procedure, backend)
        if self._recorded is not None:
            returned = self._recorded.replay(state)
        else:
            with state.recorded():
                returned = procedure()
        self._left = state.mark()
        return returned

    def _record(self, state: State, procedure: Callable[[], object], backend: KernelBackend) -> _Recorded | None:
        restore, iteration = _keep(state), state.iteration
        before, kind = dict(_arrays(state)), _kind_of(state)

        def whole() -> object:
            returned = procedure()
            _forget_what_is_not_carried(self._program, state)
            if _kind_of(state) != kind or not _put_back(state, before, backend):
                raise _Unsteady
            return returned

        try:
            with state.recorded():
                launch, returned = backend.capture(whole)
        except BaseException as error:
            restore()
            state.iteration = iteration
            if not isinstance(error, _Unsteady):
                raise
            self._attempts += 1
            return None
        iterations, state.iteration = state.iteration - iteration, iteration
        return _Recorded(launch, returned, iterations, before, kind, _keep(state))


class _Recorded(NamedTuple):
    """A recording, the state that it begins with, and a callable that makes the state the one that it ends with."""

    launch: Callable[[], object]
    returned: Any
    iterations: int
    before: dict[Any, _Place]
    kind: tuple[object, ...]
    end: Callable[[], None]

    def fits(self, state: State) -> bool:
        """Whether a state is what the recording begins with, its numbers apart."""
        same = _kind_of(state) == self.kind
        return same and all(place.array is self.before[path].array for path, place in _arrays(state))

    def replay(self, state: State) -> Any:
        self.launch()
        self.end()  # among others what was worked out meanwhile, and is no longer right
        state.iteration += self.iterations
        return self.returned


class _Unsteady(Exception):
    """The procedure leaves the state otherwise than it finds it."""


def can_be_recorded(program: Sequence[Stage], state: State) -> bool:
    """Whether all calls of a program are of block factors that say so. Edgewise calls are recorded by `fused`."""
    calls = (call for stage in program for call in stage.calls)
    return all(isinstance(call, BlockCall) and _carried(call, state) is not None for call in calls)


def _carried(call: BlockCall, state: State) -> Sequence[str] | None:
    return state.block_factors[call.factors].carried([state.pools[pool].evidence.all_observed for pool in call.pools])


def _forget_what_is_not_carried(program: Sequence[Stage], state: State) -> None:
    """Forget what block factors and plates keep for speed alone, so that no recording relies on it."""
    for stage in program:
        for call in stage.calls:
            if isinstance(call, BlockCall):
                memory, carried = state.memories[call.factors], _carried(call, state) or ()
                for name in set(memory).difference(carried):
                    del memory[name]
    for pool in state.pools:
        if isinstance(pool, PlateState):
            pool.forget_expectations()


class _Place(NamedTuple):
    """Where an array of the state is held: ``holder[name]`` is the array, or a tuple with it."""

    holder: dict[Any, Any]
    name: Any
    held: Any
    array: Array


def _arrays(state: State) -> Iterator[tuple[tuple[Any, ...], _Place]]:
    """Every array of the state, with a path that names it."""
    kind = state.backend.xp.ndarray
    for number, pool in enumerate(state.pools):
        holders: list[dict[Any, Any]] = [*(vars(part) for part in pool.parts()), pool.totals]
        for holder in holders:
            for name, value in holder.items():
                if isinstance(value, kind):
                    yield (number, name), _Place(holder, name, value, value)
    for block, memory in state.memories.items():
        for name, value in memory.items():
            for position, array in enumerate(value if isinstance(value, tuple) else (value,)):
                yield (block, name, position), _Place(memory, name, value, array)


def _kind_of(state: State) -> tuple[object, ...]:
    """All that decides what a procedure does, but for numbers: which arrays there are, and settings that are no arrays."""
    found: list[object] = [(path, place.array.shape, place.array.dtype) for path, place in _arrays(state)]
    for pool in state.pools:
        for part in pool.parts():
            plain = {name: value for name, value in vars(part).items() if isinstance(value, _PLAIN)}
            found.append({name: value for name, value in plain.items() if name not in _COUNTERS})
        some = pool.evidence.any_observed and not pool.evidence.all_observed
        found.append((pool.evidence.all_observed, some and pool.evidence.observed.tobytes()))
        found.append(isinstance(pool, PlateState) and pool.mean_is_current)
    return tuple(found)


def _put_back(state: State, before: dict[Any, _Place], backend: KernelBackend) -> bool:
    """Copy each array to where it lay; whether each lay in a place of its own."""
    moved = []
    for path, place in _arrays(state):
        old, new = before[path], place.array
        if backend.address(new) != backend.address(old.array) or new.strides != old.array.strides:
            moved.append((place, old))
    if len({backend.address(old.array) for _, old in moved}) < len(moved):
        return False
    taken = {backend.address(old.array) for old in before.values()}
    # What lies where another array goes is copied aside first.
    sources = [place.array.copy() if backend.address(place.array) in taken else place.array for place, _ in moved]
    backend.copy_all([(old.array, source) for (_, old), source in zip(moved, sources, strict=True)])
    for place, old in moved:
        place.holder[place.name] = old.held
    return True


def _keep(state: State) -> Callable[[], None]:
    """A callable that gives the state the arrays and settings back that it has now."""
    held: list[dict[Any, Any]] = [vars(part) for pool in state.pools for part in pool.parts()]
    held += [pool.totals for pool in state.pools]
    kept = [(held, dict(held)) for held in (*held, *state.memories.values())]

    def restore() -> None:
        for held, values in kept:
            held.clear()
            held.update(values)

    return restore
