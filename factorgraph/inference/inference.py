"""Inference: a graph and a schedule compiled onto a backend, run as often as wanted."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from factorgraph.backends import Backend, get_backend
from factorgraph.blocks import Factors, Variables, check_prior, check_values
from factorgraph.factors import BlockFactor, Factor
from factorgraph.factors.kernel import FactorKernel
from factorgraph.graph import FactorGraph
from factorgraph.inference.bethe import ruled_out
from factorgraph.inference.controls import PerBlock, damping_of, reinforcement_of
from factorgraph.inference.execute import run_once
from factorgraph.inference.layout import compile_layout
from factorgraph.inference.pool_state import PoolState
from factorgraph.inference.program import compile_plan
from factorgraph.inference.result import ContradictionError, ConvergenceWarning, Result
from factorgraph.inference.state import Potentials, State
from factorgraph.schedules import Flooding, Schedule, Tree
from factorgraph.semiring import MODES, Semiring


class Inference:
    """
    Belief propagation on a graph: compiled once, run many times.

    Settings and the compiled plan never change. Evidence, priors, potentials, messages and beliefs are in `state`; the
    graph's own prior and evidence are what it starts from.

    Parameters
    ----------
    graph : FactorGraph
    schedule : Schedule, optional
        Default: `Tree` on a forest, `Flooding` elsewhere.
    backend : {"numpy", "cupy", "auto", "array-api-strict"} or Backend, default "numpy"
    dtype : {"float64", "float32"}, default "float64"
    mode : {"sum", "max"}, default "sum"
        Marginals, or the most probable state (MAP).
    damping : float in [0, 1), Damping, or mapping from variable blocks to these, default 0
        Has no effect in an exact schedule, which needs none.
    reinforcement : float or mapping from variable blocks to floats, default 0
        r in: prior at iteration t + 1 = prior + r * belief at t. Drives beliefs to certainty; iterative schedules only.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Spin(), shape=(3,))
    >>> _ = graph.add_factors("bonds", fg.Ising(1.0), x[:-1], x[1:])
    >>> inference = fg.Inference(graph)
    >>> inference.observe(x[0], 1)
    >>> inference.run().mean(x).round(4).tolist()
    [1.0, 0.7616, 0.58]
    """

    def __init__(
        self,
        graph: FactorGraph,
        schedule: Schedule | None = None,
        *,
        backend: str | Backend | None = None,
        dtype: str | None = None,
        mode: str = "sum",
        damping: PerBlock = 0.0,
        reinforcement: float | Mapping[Any, float] = 0.0,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, not {mode!r}")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise TypeError(f"schedule must be a Schedule such as Flooding(), not {schedule!r}")
        for block in graph.factor_blocks.values():
            if mode == "max" and block.kernel is None:
                raise ValueError(f"mode 'max': factors {block.name!r} are a block factor, which has a sum form only")
        strengths = reinforcement_of(reinforcement, graph)
        if schedule is None:
            schedule = Tree() if graph.is_forest and not any(strengths.values()) else Flooding()
        self.graph = graph
        self.schedule = schedule
        self.backend = get_backend(backend, dtype)
        self.mode = mode
        self.semiring = Semiring(self.backend, mode)
        plan = schedule.plan(graph)
        self.exact = plan.exact
        if self.exact and any(strengths.values()):
            raise ValueError("reinforcement needs an iterative schedule such as Flooding(), not an exact one")
        self.layout = compile_layout(graph, damping_of(damping, graph), strengths)
        self._program = compile_plan(plan, graph, self.layout, self.backend)
        self._result: weakref.ref[Result] | None = None  # the result that may still look at the state
        self._state = self._fresh_state()

    def __repr__(self) -> str:
        return f"<Inference: {self.schedule!r}, mode {self.mode!r}, {self.backend!r}>\n{self.graph!r}"

    def _fresh_state(self) -> State:
        blocks = self.graph.factor_blocks.values()
        state = State(
            self.layout,
            [PoolState(pool, self.backend) for pool in self.layout.pools],
            {block.name: Potentials.of(block.kernel, self.backend) for block in blocks if block.kernel is not None},
            {block.name: block.factor for block in blocks if isinstance(block.factor, BlockFactor)},
            {block.name: {} for block in blocks if block.kernel is None},
            self.backend,
        )
        for pool in state.pools:
            for block in pool.pool.blocks:
                whole = Variables(block, block.whole)
                if block.prior is not None:
                    _put_prior(pool, whole, block.prior.reshape((*block.shape, *block.type.param_shape)))
                if block.observed is not None and block.values is not None and block.observed.any():
                    _put_evidence(pool, whole[block.observed.reshape(block.shape)], block.values[block.observed])
        return state

    @property
    def state(self) -> State:
        """All that changes: look at it, `State.copy` it, `State.save` it, or set it to go on from another."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        if state.layout is not self.layout:
            raise ValueError("the state belongs to another Inference")
        self._state, self._result = state, None

    def _own_state(self) -> State:
        """The state, copied first if a result still looks at it."""
        if self._result is not None and self._result() is not None:
            self._state = self._state.copy()
        self._result = None
        return self._state

    # Evidence, priors, potentials.

    def observe(self, variables: Variables, values: Any) -> None:
        """Fix variables to values; as `FactorGraph.observe`, for this inference alone."""
        self.graph.block_of(variables)
        checked = check_values(variables, values)
        _put_evidence(self._own_state().pool(variables), variables, checked)

    def unobserve(self, variables: Variables) -> None:
        """Take evidence back."""
        self.graph.block_of(variables)
        pool = self._own_state().pool(variables)
        pool.observed[pool.pool.positions(variables)] = False
        pool.mean = None
        pool.upload_evidence()
        pool.stale = True

    def set_prior(self, variables: Variables, params: Any) -> None:
        """Set the prior of variables in natural parameters; as `FactorGraph.set_prior`, for this inference alone."""
        self.graph.block_of(variables)
        _put_prior(self._own_state().pool(variables), variables, check_prior(variables, params))

    def set_potentials(self, factors: str | Factors, factor: Factor) -> None:
        """
        Replace a block's potentials.

        Parameters
        ----------
        factors : str or Factors
        factor : Factor
            Of the same type as the block's own, e.g. ``Table(new_log_potentials)``.
        """
        block = self.graph.factors(factors)
        if block.kernel is None or type(factor) is not type(block.factor):
            raise TypeError(f"factors {block.name!r} need a new {type(block.factor).__name__}, not {factor!r}")
        try:
            kernel = FactorKernel(factor, block.kernel.types, block.kernel.widths, block.count)
            potentials = Potentials.of(kernel, self.backend)
        except (ValueError, TypeError) as error:
            raise type(error)(f"factors {block.name!r}: {error}") from error
        self._own_state().potentials[block.name] = potentials

    def posterior_as_prior(self, variables: Variables, strength: float = 1.0) -> None:
        """
        Take a whole block's belief as its prior, raised to a power: prior = strength * belief.

        The messages that made the belief are forgotten; the belief itself stays as it is until the next message
        arrives, and damping starts from it.
        """
        if not variables.is_whole:
            raise ValueError(f"posterior_as_prior takes a whole block, not a part of {variables.name!r}")
        state = self._own_state()
        pool = state.pool(variables)
        if pool.stale:
            pool.refresh()
        pool.prior_is_finite &= not (pool.hard or pool.observed.any())
        if len(pool.pool.blocks) == 1:
            with np.errstate(over="ignore"):
                pool.prior = strength * pool.belief
            pool.totals.clear()
            pool.messages[...] = 0.0
            return
        positions = self.backend.index_array(pool.pool.positions(variables))
        axis = pool.pool.axis
        self.backend.put(pool.prior, positions, strength * self.backend.take(pool.belief, positions, axis), axis)
        edges = np.flatnonzero(np.isin(pool.pool.edge_place, pool.pool.positions(variables)))
        if edges.size:
            zeros = self.backend.zeros((*pool.pool.type.param_shape, edges.size))
            self.backend.put(pool.messages, self.backend.index_array(edges), zeros, axis)

    def reset(self, *variables: Variables) -> None:
        """Forget the messages into these variables' pools; into all variables if none are given."""
        state = self._own_state()
        pools = [state.pool(block) for block in variables] if variables else state.pools
        for pool in pools:
            pool.reset()
        if not variables:
            for memory in state.memories.values():
                memory.clear()

    # Running.

    def step(self) -> None:
        """One iteration, without checks; messages and beliefs are in `state`."""
        state = self._own_state()
        self._prepare(state)
        self._iterate(state, check=False)

    def run(
        self,
        max_iterations: int = 1000,
        tolerance: float | None = None,
        *,
        keep_messages: bool = False,
        check_every: int = 5,
        callback: Callable[[int, Inference], Any] | None = None,
        progress: bool = False,
        raise_on_contradiction: bool = True,
    ) -> Result:
        """
        Iterate until no message changes by more than the tolerance.

        Parameters
        ----------
        max_iterations : int, default 1000
            An exact schedule takes one.
        tolerance : float, optional
            Largest change of any natural parameter of a message, before damping. Default 1e-6 in float64, 1e-4 in
            float32. 0 runs all iterations and gives no warning.
        keep_messages : bool, default False
            Go on from the messages of the run before instead of fresh ones.
        check_every : int, default 5
            Iterations between convergence checks.
        callback : callable, optional
            Called as ``callback(iteration, inference)`` after each iteration; a true value stops the run.
        progress : bool, default False
            Show a progress bar.
        raise_on_contradiction : bool, default True
            Raise where the evidence contradicts the model; else the result tells.

        Returns
        -------
        Result

        Raises
        ------
        ContradictionError
            The evidence contradicts the model: no state of some variable is possible. Its ``result`` has the rest.

        Warns
        -----
        ConvergenceWarning
            The iterations ran out.
        """
        if max_iterations < 1 or check_every < 1:
            raise ValueError(f"max_iterations and check_every must be at least 1, not {max_iterations} and {check_every}")
        if tolerance is None:
            tolerance = 1e-6 if self.backend.dtype_name == "float64" else 1e-4
        state = self._own_state()
        if self.exact or not keep_messages:
            self.reset()
        state.restart_count()
        self._prepare(state)
        status, ran_out = self._iterate_until(state, max_iterations, tolerance, check_every, callback, progress)
        contradictions = ruled_out(state, self.semiring)
        result = Result(self, state, status, contradictions)
        self._result = weakref.ref(result)
        if contradictions and raise_on_contradiction:
            raise ContradictionError(result)
        if ran_out and tolerance > 0 and not contradictions:
            message = (
                f"belief propagation did not converge in {state.iteration} iterations: the largest change of a message is "
                f"{state.residuals[-1]:.2g}, the tolerance {tolerance:.2g}. Try damping=0.5, more iterations, or another "
                "schedule; result.largest_changes() shows where."
            )
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        return result

    def _iterate_until(
        self, state: State, max_iterations: int, tolerance: float, check_every: int, callback: Any, progress: bool
    ) -> tuple[str, bool]:
        """The status, and whether the iterations ran out."""
        limit = 1 if self.exact else max_iterations
        for iteration in _counted(limit, progress):
            check = not self.exact and (iteration % check_every == 0 or iteration == limit)
            residual = self._iterate(state, check)
            stop = callback is not None and callback(iteration, self)
            if self.exact:
                return "exact", False
            if residual is not None and residual <= tolerance:
                return "converged", False
            if stop:
                return "stopped", False
        return "stopped", True

    def _prepare(self, state: State) -> None:
        state.find_hard_pools()
        for pool in state.pools:
            kind = pool.pool.type
            if not kind.can_be_random and not pool.all_observed:
                raise ValueError(f"variables {pool.pool.blocks[0].name!r} are {kind!r} and must be observed before a run")
            if pool.stale and kind.can_be_random:
                pool.reinforced = None
                pool.refresh()

    def _iterate(self, state: State, check: bool) -> float | None:
        with np.errstate(all="ignore"):
            residuals = run_once(self._program, state, self.semiring, self.exact, check)
        if not check:
            return None
        # The one place of a run where the host waits for the device.
        xp = self.backend.xp
        largest = float(xp.max(xp.stack([xp.asarray(r) for r in residuals]))) if residuals else 0.0
        state.residuals.append(largest)
        state.residual_iterations.append(state.iteration)
        return largest


def run(
    graph: FactorGraph,
    schedule: Schedule | None = None,
    *,
    max_iterations: int = 1000,
    tolerance: float | None = None,
    backend: str | Backend | None = None,
    dtype: str | None = None,
    mode: str = "sum",
    damping: PerBlock = 0.0,
    reinforcement: float | Mapping[Any, float] = 0.0,
    **options: Any,
) -> Result:
    """
    Compile and run in one call: see `Inference` and `Inference.run` for the parameters.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> coin = graph.add_variables("coin", fg.Categorical(2))
    >>> graph.set_prior(coin, [0.0, 1.0])
    >>> fg.run(graph).marginals(coin).round(3).tolist()
    [0.269, 0.731]
    """
    inference = Inference(
        graph, schedule, backend=backend, dtype=dtype, mode=mode, damping=damping, reinforcement=reinforcement
    )
    return inference.run(max_iterations, tolerance, **options)


def _counted(limit: int, progress: bool) -> Iterable[int]:
    if not progress:
        return range(1, limit + 1)
    from tqdm.auto import tqdm  # here, since it takes longer to import than a small graph to solve

    return tqdm(range(1, limit + 1), desc="belief propagation", disable=None)


def _put_prior(pool: PoolState, variables: Variables, params: np.ndarray) -> None:
    kind, backend = pool.pool.type, pool.backend
    front = np.moveaxis(params.reshape((-1, *kind.param_shape)), 0, -1)
    positions = pool.pool.positions(variables)
    finite = bool(np.isfinite(front).all())
    if positions.size == pool.pool.size and pool.pool.is_plate and variables.is_whole:
        pool.prior, pool.prior_is_finite = backend.asarray(front), finite
    else:
        pool.prior_is_finite &= finite
        backend.put(pool.prior, backend.index_array(positions), backend.asarray(front), pool.pool.axis)
    pool.stale = True


def _put_evidence(pool: PoolState, variables: Variables, values: np.ndarray) -> None:
    if variables.is_whole and pool.pool.is_plate:
        pool.values, pool.observed = values.reshape(-1), np.ones(pool.pool.size, dtype=np.bool_)
    else:
        positions = pool.pool.positions(variables)
        pool.values = pool.values.astype(np.result_type(pool.values, values), copy=False)
        pool.values[positions] = values.reshape(-1)
        pool.observed[positions] = True
    pool.upload_evidence()
    pool.stale = True
