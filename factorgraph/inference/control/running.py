"""The loop over iterations: convergence, automatic damping, and the sets of a batch, which stop one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.inference.state.state import State

Iterate = Callable[[State, bool], "np.ndarray | None"]

_SHRINK = 0.1  # share by which the smallest residual should shrink within the patience
_PATIENCE = 2  # checks, undamped; damped messages go slower, and are given more
_MOST_DAMPING = 0.9
_GROWTH, _GROWING_CHECKS, _LARGE_CHANGE = 2.0, 6, 1e6  # so much larger at so many checks after each other, and as large at last


@dataclass
class AutoDamping:
    """
    Damping that starts at 0 and grows wherever the residual stops shrinking.

    Attributes
    ----------
    strength : (B,) the damping of each set of a batch; one without a batch
    """

    strength: np.ndarray
    best: np.ndarray = field(init=False)
    stalled: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.best = np.full(self.strength.shape, np.inf)
        self.stalled = np.zeros(self.strength.shape, dtype=np.int64)

    def watch(self, residual: np.ndarray) -> bool:
        """Take note of the residuals at a check; whether some damping has changed."""
        shrinks = residual < (1.0 - _SHRINK) * self.best
        self.best = np.where(shrinks, residual, self.best)
        self.stalled = np.where(shrinks, 0, self.stalled + 1)
        grows = (self.stalled >= _PATIENCE / (1.0 - self.strength)) & (self.strength < _MOST_DAMPING)
        self.strength = np.where(grows, np.minimum(1.0 - 0.7 * (1.0 - self.strength), _MOST_DAMPING), self.strength)
        self.best = np.where(grows, residual, self.best)
        self.stalled = np.where(grows, 0, self.stalled)
        return bool(grows.any())

    def apply(self, state: State) -> None:
        """Let the state's messages be damped so."""
        for pool in state.pools:
            pool.set_damping(float(self.strength[0]) if state.batch is None else self.strength)

    def select(self, sets: np.ndarray) -> None:
        """Go on with some sets alone."""
        self.strength, self.best, self.stalled = self.strength[sets], self.best[sets], self.stalled[sets]


class Growth:
    """
    Notices messages that grow without end, as those between real variables do where no fixed point attracts them.

    Parameters
    ----------
    number : of sets
    """

    def __init__(self, number: int) -> None:
        self._last, self._lowest = np.full(number, np.inf), np.full(number, np.inf)
        self._grown, self._high = np.zeros(number, dtype=np.int64), np.zeros(number, dtype=np.int64)

    def watch(self, residual: np.ndarray) -> np.ndarray:
        """Take note of the residuals at a check; which sets have diverged."""
        self._grown = np.where(residual > _GROWTH * self._last, self._grown + 1, 0)
        # Where it swings, it stays far above what it was.
        self._lowest = np.minimum(self._lowest, residual)
        self._high = np.where(residual > _LARGE_CHANGE * np.maximum(1.0, self._lowest), self._high + 1, 0)
        self._last = residual
        return (np.maximum(self._grown, self._high) >= _GROWING_CHECKS) & (residual > _LARGE_CHANGE)

    def select(self, sets: np.ndarray) -> None:
        """Go on with some sets alone."""
        self._last, self._lowest = self._last[sets], self._lowest[sets]
        self._grown, self._high = self._grown[sets], self._high[sets]


@dataclass(frozen=True)
class Limits:
    """When to stop: see `Inference.run`."""

    iterations: int
    tolerance: float
    check_every: int
    exact: bool
    progress: bool
    satisfied: Callable[[State], np.ndarray] | None = None


@dataclass
class Outcome:
    """How a run ended: for each set its status and iterations; the largest residual at each check."""

    status: list[str]
    iterations: np.ndarray
    ran_out: bool

    def mark(self, sets: np.ndarray, ended: Mapping[str, np.ndarray]) -> None:
        """Note the status with which some of the sets have ended; of several the last one holds."""
        for status, which in ended.items():
            for number in sets[which]:
                self.status[number] = status

    def warning(self, batch: int | None, iterations: int, residual: float, tolerance: float) -> str | None:
        """What to tell a user whose run has diverged or run out of iterations, if it has."""
        if "diverged" in self.status:
            which = "" if batch is None else f" for {self.status.count('diverged')} of {batch} sets"
            return (
                f"belief propagation diverged{which}: messages grow without end (the largest change is {residual:.2g} after "
                f"{iterations} iterations), and the beliefs mean nothing. The model may be improper, or not walk-summable; try "
                "damping, or fg.exact, which solves linear relations by sparse algebra."
            )
        if not self.ran_out or tolerance <= 0:
            return None
        which = "" if batch is None else f" for {self.status.count('stopped')} of {batch} sets"
        return (
            f"belief propagation did not converge{which} in {iterations} iterations: the largest change of a message "
            f"is {residual:.2g}, the tolerance {tolerance:.2g}. Try damping='auto', Residual(), or more "
            "iterations; result.largest_changes() shows where."
        )


def run_until(
    state: State,
    iterate: Iterate,
    limits: Limits,
    auto: AutoDamping | None,
    callback: Callable[[int], tuple[bool, bool]] | None,
) -> Outcome:
    """
    Iterate until every set has converged, or the iterations run out, or the callback says so.

    Converged sets of a batch are put aside, so that they stay as they are and cost nothing more. A callback tells whether
    to stop, and whether it has changed what the messages follow from, so that they have not converged.
    """
    number = 1 if state.batch is None else state.batch
    outcome = Outcome(["stopped"] * number, np.zeros(number, dtype=np.int64), False)
    active, work = np.arange(number), state
    growth = Growth(number) if any(pool.pool.type.can_diverge for pool in state.pools) else None
    if auto is not None:
        auto.apply(work)
    for iteration in _counted(1 if limits.exact else limits.iterations, limits.progress):
        check = not limits.exact and (iteration % limits.check_every == 0 or iteration == limits.iterations)
        residual = iterate(work, check)
        outcome.iterations[active] = iteration
        stop, changed = (False, False) if callback is None else callback(iteration)
        if limits.exact:
            outcome.status = ["exact"] * number
            break
        if residual is not None:
            state.residuals.append(float(residual.max()))
            state.residual_iterations.append(iteration)
            converged = (residual <= limits.tolerance) & (limits.tolerance > 0) & (not changed)
            diverged = np.zeros_like(converged) if growth is None else growth.watch(residual) & ~converged
            solved = np.zeros_like(converged) if limits.satisfied is None else limits.satisfied(work)
            outcome.mark(active, {"converged": converged, "diverged": diverged, "satisfied": solved})
            done = converged | diverged | solved
            if done.all():
                break
            if auto is not None and auto.watch(residual):
                auto.apply(work)
            if done.any():
                if work is state:
                    work = state.select(np.flatnonzero(~done))
                else:
                    state.take_back(active[done], work.select(np.flatnonzero(done)))
                    work = work.select(np.flatnonzero(~done))
                active = active[~done]
                if growth is not None:
                    growth.select(~done)
                if auto is not None:
                    auto.select(~done)
                    auto.apply(work)
        if stop:
            break
    else:
        outcome.ran_out = True
    if work is not state:
        state.take_back(active, work)
    state.iteration = int(outcome.iterations.max())
    return outcome


def largest(residuals: list[Array], backend: Backend, number: int) -> np.ndarray:
    """The largest of all residuals for each set, on the host: the one place of a run where it waits for the device."""
    if not residuals:
        return np.zeros(number)
    xp = backend.xp
    return backend.to_host(xp.max(xp.stack([xp.asarray(residual) for residual in residuals]), axis=0)).reshape(-1)


def _counted(limit: int, progress: bool) -> Iterable[int]:
    if not progress:
        return range(1, limit + 1)
    from tqdm.auto import tqdm  # here, since it takes longer to import than a small graph to solve

    return tqdm(range(1, limit + 1), desc="belief propagation", disable=None)
