"""
Procedures that are run again and again: what they launch is recorded once and replayed.

A replay runs the same kernels on the same memory. So the state must lie, when the procedure ends, where it lay when it
began: what the procedure made anew is copied there, as its last launches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from factorgraph.backends import Array, KernelBackend
from factorgraph.inference.plate_state import PlateState
from factorgraph.inference.program import BlockCall, Stage
from factorgraph.inference.state import State

_WARM_UPS = 2  # runs that load kernels and bring the state to where it stays
_COUNTERS = ("version", "mean_version")


class Recording:
    """
    What one procedure launches, recorded where backend and factors allow it.

    Parameters
    ----------
    program : what the procedure may run of it
    """

    def __init__(self, program: Sequence[Stage]) -> None:
        self._program, self._steady = program, True
        self._forget()

    def _forget(self) -> None:
        self._replay: Callable[[], Any] | None = None
        self._returned: Any = None
        self._left: Any = None  # how the last run left the state
        self._runs = self._iterations = 0

    def run(self, state: State, procedure: Callable[[], Any]) -> Any:
        """Run the procedure, the same at each call, or replay it; what it returned."""
        backend = state.backend
        if state.is_recorded or not self._steady or not (isinstance(backend, KernelBackend) and backend.can_record):
            return procedure()
        if self._left != state.mark():
            self._forget()
        if self._replay is None and self._runs >= _WARM_UPS and can_be_recorded(self._program, state):
            self._record(state, procedure, backend)
        if self._replay is None:
            self._runs += 1
            with state.recorded():
                self._returned = procedure()
        else:
            self._replay()
            state.iteration += self._iterations
        self._left = state.mark()
        return self._returned

    def _record(self, state: State, procedure: Callable[[], Any], backend: KernelBackend) -> None:
        restore, iteration = _keep(state), state.iteration
        _forget_what_is_not_carried(self._program, state)
        before, settings = dict(_arrays(state)), _settings(state)

        def whole() -> Any:
            returned = procedure()
            _forget_what_is_not_carried(self._program, state)
            if _settings(state) != settings or not _put_back(state, before, backend):
                raise _Unsteady
            return returned

        try:
            with state.recorded():
                self._replay, self._returned = backend.capture(whole)
        except BaseException as error:
            restore()
            if not isinstance(error, _Unsteady):
                raise
            self._steady = False
        self._iterations, state.iteration = state.iteration - iteration, iteration


class _Unsteady(Exception):
    """The procedure leaves the state otherwise than it finds it."""


def can_be_recorded(program: Sequence[Stage], state: State) -> bool:
    """Whether all calls of a program are of block factors that say so. Edgewise calls are recorded by `fused`."""
    calls = (call for stage in program for call in stage.calls)
    return all(isinstance(call, BlockCall) and _carried(call, state) is not None for call in calls)


def _carried(call: BlockCall, state: State) -> Sequence[str] | None:
    return state.block_factors[call.factors].carried([state.pools[pool].all_observed for pool in call.pools])


def _forget_what_is_not_carried(program: Sequence[Stage], state: State) -> None:
    """Forget what block factors and plates keep for speed alone, so that no recording relies on it."""
    for stage in program:
        for call in stage.calls:
            if isinstance(call, BlockCall):
                memory, carried = state.memories[call.factors], _carried(call, state) or ()
                for name in [name for name in memory if name not in carried]:
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
        for holder in (vars(pool), pool.totals):
            for name, value in holder.items():
                if isinstance(value, kind):
                    yield (number, name), _Place(holder, name, value, value)
    for block, memory in state.memories.items():
        for name, value in memory.items():
            for position, array in enumerate(value if isinstance(value, tuple) else (value,)):
                yield (block, name, position), _Place(memory, name, value, array)


def _settings(state: State) -> list[Any]:
    """What is no array, of all pools, but for counters."""
    found: list[Any] = []
    for pool in state.pools:
        values = {name: value for name, value in vars(pool).items() if isinstance(value, (bool, int, float, str, type(None)))}
        found.append({name: value for name, value in values.items() if name not in _COUNTERS})
        found.append(None if pool.all_observed else pool.observed.tobytes())
        found.append(isinstance(pool, PlateState) and pool.mean_is_current)
    return found


def _put_back(state: State, before: dict[Any, _Place], backend: KernelBackend) -> bool:
    """Copy each array to where it lay; whether there are the same arrays as before, each in its own place."""
    after = dict(_arrays(state))
    if after.keys() != before.keys():
        return False
    moved = []
    for path, place in after.items():
        old, new = before[path], place.array
        if new.shape != old.array.shape or new.dtype != old.array.dtype:
            return False
        if backend.address(new) != backend.address(old.array) or new.strides != old.array.strides:
            moved.append((place, old))
    if len({backend.address(old.array) for _, old in moved}) < len(moved):
        return False
    taken = {backend.address(old.array) for old in before.values()}
    # What lies where another array goes is copied aside first.
    sources = [place.array.copy() if backend.address(place.array) in taken else place.array for place, _ in moved]
    for (place, old), source in zip(moved, sources, strict=True):
        old.array[...] = source
        place.holder[place.name] = old.held
    return True


def _keep(state: State) -> Callable[[], None]:
    """A callable that gives the state the arrays and settings back that it has now."""
    held: list[dict[Any, Any]] = [*(vars(pool) for pool in state.pools), *(pool.totals for pool in state.pools)]
    kept = [(held, dict(held)) for held in (*held, *state.memories.values())]

    def restore() -> None:
        for held, values in kept:
            held.clear()
            held.update(values)

    return restore
