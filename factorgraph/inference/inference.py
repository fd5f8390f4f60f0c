"""Inference: a graph and a schedule compiled onto a backend, run as often as wanted."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from factorgraph.backends import Backend, get_backend
from factorgraph.blocks import Factors, Variables, numbers_of
from factorgraph.factors import Factor
from factorgraph.graph import FactorGraph
from factorgraph.inference.adoption import adopt
from factorgraph.inference.bethe import ruled_out
from factorgraph.inference.controls import PerBlock, check_mode_and_batch, damping_of, reinforcement_of
from factorgraph.inference.decode import most_certain
from factorgraph.inference.evidence import put_evidence, put_graph_evidence, put_prior, take_evidence_back
from factorgraph.inference.layout import compile_layout
from factorgraph.inference.memory import naming_the_memory_needed
from factorgraph.inference.observations import Observations, Rows
from factorgraph.inference.passes import Passes
from factorgraph.inference.plate_state import PlateState
from factorgraph.inference.priority import Priorities
from factorgraph.inference.recording import Recording
from factorgraph.inference.result import ContradictionError, ConvergenceWarning, Result
from factorgraph.inference.running import AutoDamping, Limits, largest, run_until
from factorgraph.inference.satisfaction import Satisfaction
from factorgraph.inference.state import State
from factorgraph.schedules import Flooding, Schedule, Tree
from factorgraph.semiring import Semiring


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
    damping : float in [0, 1), Damping, "auto", or mapping, default 0
        A mapping goes from variables (blocks, their names, or parts) to strengths, one for all or one for each variable.
        "auto" starts undamped and damps more wherever the residual stops shrinking. Has no effect in an exact schedule,
        which needs none.
    reinforcement : float or mapping as for damping, default 0
        r in: prior at iteration t + 1 = prior + r * belief at t. Drives beliefs to certainty; iterative schedules only.
    batch : int, optional
        Run this many sets of evidence and priors at once. Each starts with the graph's own, stops by itself, and gives what
        it would give alone; what results return then has an axis of the sets before all others.

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
        damping: PerBlock | str = 0.0,
        reinforcement: float | Mapping[Any, Any] = 0.0,
        batch: int | None = None,
    ) -> None:
        check_mode_and_batch(graph, mode, batch)
        if schedule is not None and not isinstance(schedule, Schedule):
            raise TypeError(f"schedule must be a Schedule such as Flooding(), not {schedule!r}")
        strengths = reinforcement_of(reinforcement, graph)
        reinforced = any(np.any(strength) for strength in strengths.values())
        if schedule is None:
            schedule = Tree() if graph.is_forest and not reinforced else Flooding()
        self.graph, self.schedule = graph, schedule
        self.backend = get_backend(backend, dtype)
        self.mode, self.batch = mode, batch
        self.auto_damping = isinstance(damping, str)
        self.semiring = Semiring(self.backend, mode)
        with naming_the_memory_needed(graph, self.backend, batch):
            self._compile(reinforced, damping, strengths)

    def _compile(self, reinforced: bool, damping: PerBlock | str, strengths: Any) -> None:
        graph = self.graph
        plan, self._compiled = self.schedule.plan(graph), graph.size_of_structure
        self.exact = plan.exact
        if self.exact and reinforced:
            raise ValueError("reinforcement needs an iterative schedule such as Flooding(), not an exact one")
        self.layout = compile_layout(graph, damping_of(damping, graph), strengths)
        self._state = State.of(graph, self.layout, self.backend, self.batch)
        put_graph_evidence(self._state)
        self._priorities = None if plan.share is None else Priorities(self._state, plan.share)
        self._passes = Passes(plan, self.layout, self.backend, self.batch or 1, self.mode)

    def __repr__(self) -> str:
        return f"<Inference: {self.schedule!r}, mode {self.mode!r}, {self.backend!r}>\n{self.graph!r}"

    @property
    def state(self) -> State:
        """All that changes: look at it, `State.copy` it, `State.save` it, or set it to go on from another."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        if state.layout is not self.layout:
            raise ValueError("the state belongs to another Inference")
        self._state = state

    def _own_state(self) -> State:
        """The state to change."""
        if self._compiled != self.graph.size_of_structure:
            raise RuntimeError("the graph has grown since it was compiled: make a new Inference of it")
        self._state.leave_results_alone()
        self._state.changes += 1
        return self._state

    # Evidence, priors, potentials.

    def observe(self, variables: Variables, values: Any, *, sets: Any = None) -> None:
        """
        Fix variables to values; as `FactorGraph.observe`, for this inference alone. Messages are kept.

        Parameters
        ----------
        variables : Variables
        values : array that broadcasts to ``variables.shape``; in a batch also ``(B, *variables.shape)``; or rows of
            `observations`
        sets : int, slice or integer array, optional
            Which sets of a batch; default all. B is then their number.
        """
        self.graph.block_of(variables)
        numbers = values if isinstance(values, Rows) else numbers_of(variables, values)
        put_evidence(self._own_state().pool(variables), variables, numbers, sets)

    def observations(self, variables: Variables, values: Any) -> Observations:
        """
        Bring evidence for a plate of block factors to the device, more patterns than the plate holds at once.

        ``observe(variables, observations[rows])`` then gathers a batch there, without a copy through the host.

        Parameters
        ----------
        variables : Variables
            A whole block whose last axis counts patterns, ``(*shape, M)``.
        values : (n, *shape) array
            One row for each pattern.

        Raises
        ------
        ValueError, TypeError
            The shape is another, or a value cannot be taken.
        """
        self.graph.block_of(variables)
        if not (variables.is_whole and isinstance(self._state.pool(variables), PlateState)):
            raise ValueError(f"observations are for a whole plate of block factors, not {variables!r}")
        return Observations(variables, values, self.backend)

    def unobserve(self, variables: Variables, *, sets: Any = None) -> None:
        """Take evidence back. Messages are kept."""
        self.graph.block_of(variables)
        take_evidence_back(self._own_state().pool(variables), variables, sets)

    def set_prior(self, variables: Variables, params: Any, *, sets: Any = None) -> None:
        """Set the prior of variables in natural parameters; as `FactorGraph.set_prior`, for this inference alone."""
        self.graph.block_of(variables)
        put_prior(self._own_state().pool(variables), variables, params, sets)

    def adopt(self, other: Inference) -> None:
        """
        Take over messages, priors and evidence of all blocks that another inference has too, as for a graph that has grown.

        ``run(keep_messages=True)`` then goes on from there. What was observed here before, in blocks that both have, is lost.

        Raises
        ------
        ValueError
            The batches differ, or a block that both have differs in type, shape or variables; nothing is changed then.
        """
        adopt(self.graph, self._own_state(), other.graph, other.state)

    def decimate(self, *variables: Variables, share: float = 0.05) -> list[Variables]:
        """
        Observe the free variables that are most certain, each at its most probable value.

        Run, decimate and run again with ``keep_messages=True`` until nothing is free: so marginals become an assignment.
        `unobserve` takes a choice back.

        Parameters
        ----------
        *variables : Variables
            Among which to choose; default all.
        share : float in (0, 1], default 0.05
            Share of the free ones to fix, at least one.

        Returns
        -------
        list of Variables
            What was fixed, by block; empty where nothing was free.
        """
        if self.batch is not None:
            raise ValueError("decimate takes one set of evidence, not a batch")
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share must be above 0 and at most 1, not {share!r}")
        whole = [Variables(block, block.whole) for block in self.graph.variable_blocks.values()]
        for block in variables:
            self.graph.block_of(block)
        fixed = most_certain(self._state, list(variables) or whole, share)
        for part, values in fixed:
            self.observe(part, values)
        return [part for part, _ in fixed]

    def set_potentials(self, factors: str | Factors, factor: Factor) -> None:
        """
        Replace a block's potentials.

        Parameters
        ----------
        factors : str or Factors
        factor : Factor
            Of the same type as the block's own, e.g. ``Table(new_log_potentials)``.
        """
        self._own_state().put_potentials(self.graph.factors(factors), factor)

    def posterior_as_prior(self, variables: Variables, strength: float = 1.0) -> None:
        """
        Take a whole block's belief as its prior, raised to a power: prior = strength * belief.

        The messages that made the belief are forgotten; the belief itself stays as it is until the next message
        arrives, and damping starts from it. Only what `focus` added leaves it.
        """
        if not variables.is_whole:
            raise ValueError(f"posterior_as_prior takes a whole block, not a part of {variables.name!r}")
        self._own_state().forget_candidates()
        pool = self._state.pool(variables)
        pool.take_posterior(strength, None if len(pool.pool.blocks) == 1 else pool.pool.positions(variables))

    def focus(self, variables: Variables, replicas: int, strength: float) -> None:
        """
        Let variables feel what further replicas of them would make of the problem, for the iterations to come.

        Replicas are drawn to one centre, by ``exp(2 strength)`` for every variable that agrees with it. One set of messages
        stands for all: the centre hears from ``replicas - 1`` of them what it hears from this one, and its answer joins the
        prior (Baldassi et al., PNAS 113 (2016) E7655). Where solutions abound it finds wide clusters of them. Call it before
        each iteration, with a strength that grows slowly; `posterior_as_prior` and `reset` end it.

        Parameters
        ----------
        variables : Variables, of a type with finitely many values
        replicas : int, at least 1, which is none beside this
        strength : float, at least 0
        """
        if not (isinstance(replicas, (int, np.integer)) and replicas >= 1 and strength >= 0):
            raise ValueError(f"focus takes at least 1 replica and a strength of at least 0, not {replicas!r} and {strength!r}")
        self.graph.block_of(variables)
        self._own_state().forget_candidates()
        pool = self._state.pool(variables)
        alone = variables.is_whole and len(pool.pool.blocks) == 1
        pool.focus(None if alone else pool.pool.positions(variables), replicas, strength)

    def reset(self, *variables: Variables) -> None:
        """Forget the messages into these variables' pools, and what their block factors remember; of all if none are given."""
        state = self._own_state()
        for pool in [state.pool(block) for block in variables] or state.pools:
            pool.reset()
        names = {block.name for block in variables} or set(self.graph.variable_blocks)
        for name, memory in state.memories.items():
            if any(port.name in names for port in self.graph.factors(name).ports):
                memory.clear()

    # Running.

    def step(self) -> None:
        """One iteration, without checks; messages and beliefs are in `state`."""
        state = self._own_state()
        with naming_the_memory_needed(self.graph, self.backend, self.batch):
            state.prepare()
            self._iterate(state, check=False)

    def recording(self) -> Callable[[Callable[[], Any]], Any]:
        """
        A runner of one procedure that is repeated very often, such as a step of training.

        A GPU gets it as one CUDA graph, after two runs, where all factors are block factors that can be recorded; elsewhere it
        is called as it is. It calls methods of this inference, and takes rows of `observations` by an index on the device.

        Returns
        -------
        callable
            ``runner(procedure)`` runs it, and returns what it returned. It must do the same at each call, with the same
            settings; where these change, take a new runner.
        """
        recording = Recording(self._passes.program)

        def run(procedure: Callable[[], Any]) -> Any:
            self._state.leave_results_alone()
            return recording.run(self._state, procedure)

        return run

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
        stop: str | None = None,
    ) -> Result:
        """
        Iterate until no message changes by more than the tolerance, or until a solution is found.

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
        stop : {None, "satisfied"}
            ``"satisfied"``: stop as soon as the most probable values of all variables, each by itself, fulfil every hard
            factor, and in a batch each set by itself; the status is then ``"satisfied"``, and `Result.mode` gives these
            values. Looked at in every check: ``check_every=1`` stops at once. So codes are decoded, and clauses satisfied.

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
            The iterations ran out, or messages grew without end.
        """
        if max_iterations < 1 or check_every < 1:
            raise ValueError(f"max_iterations and check_every must be at least 1, not {max_iterations} and {check_every}")
        if tolerance is None:
            tolerance = 1e-6 if self.backend.dtype_name == "float64" else 1e-4
        if callback is not None and self.batch is not None:
            raise ValueError("callback: the sets of a batch stop one by one; run them without, or one at a time")
        solved = None if stop is None else Satisfaction(self._state, self.semiring, stop).reached
        state = self._own_state()
        if self.exact or not keep_messages:
            self.reset()
        state.restart_count()
        state.forget_candidates()
        state.prepare()
        limits = Limits(max_iterations, tolerance, check_every, self.exact, progress, solved)
        auto = AutoDamping(np.zeros(self.batch or 1)) if self.auto_damping and not self.exact else None
        told = None if callback is None else partial(self._call_back, callback)
        with naming_the_memory_needed(self.graph, self.backend, self.batch):
            outcome = run_until(state, partial(self._iterate, tolerance=tolerance), limits, auto, told)
        contradictions = ruled_out(state, self.semiring)
        result = Result(self, state, outcome, contradictions)
        state.onlooker = weakref.ref(result)
        if any(contradictions) and raise_on_contradiction:
            raise ContradictionError(result)
        message = outcome.warning(self.batch, state.iteration, state.residuals[-1] if state.residuals else 0.0, tolerance)
        if message is not None and not any(contradictions):
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        return result

    def best_states(self, state: State) -> list[np.ndarray]:
        """Values of each pool's variables in one best joint state: what `Result.mode` reads in max mode."""
        return self._passes.decode(self.graph, state, self.semiring)

    def _call_back(self, callback: Callable[[int, Inference], Any], iteration: int) -> tuple[bool, bool]:
        """Whether the callback wants to stop, and whether it has changed evidence or priors."""
        stop = bool(callback(iteration, self))
        changed = any(pool.stale for pool in self._state.pools)
        if changed:
            self._state.prepare()
        return stop, changed

    def _iterate(self, state: State, check: bool, tolerance: float = 0.0) -> np.ndarray | None:
        with np.errstate(all="ignore"):
            if self._priorities is not None:
                residuals, check = self._priorities.run_once(state, self.semiring, tolerance), True
            else:
                residuals = self._passes.run(state, self.semiring, check)
        return largest(residuals, self.backend, state.batch or 1) if check else None
