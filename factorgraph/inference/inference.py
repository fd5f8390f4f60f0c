"""Inference: a graph and a schedule compiled onto a backend, run as often as wanted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np

from factorgraph.backends import Backend, get_backend
from factorgraph.communication import get_communicator
from factorgraph.graph import FactorGraph
from factorgraph.inference.answers.bethe import improper, ruled_out
from factorgraph.inference.answers.result import ContradictionError, ConvergenceWarning, ImproperWarning, Result
from factorgraph.inference.conditions import Conditions
from factorgraph.inference.control.running import AutoDamping, Limits, largest, run_until
from factorgraph.inference.control.satisfaction import Satisfaction
from factorgraph.inference.executors.passes import Passes
from factorgraph.inference.executors.priority import Priorities
from factorgraph.inference.executors.recording import Recording
from factorgraph.inference.layout.controls import PerBlock, check_mode_and_batch, damping_of, reinforcement_of
from factorgraph.inference.layout.layout import compile_layout
from factorgraph.inference.layout.memory import naming_the_memory_needed
from factorgraph.inference.state.put import put_graph_evidence
from factorgraph.inference.state.sharing import Shared, Sharing
from factorgraph.inference.state.state import State
from factorgraph.schedules import Flooding, Schedule, Tree
from factorgraph.semiring import Semiring

T = TypeVar("T")


class Inference(Conditions):
    """
    Belief propagation on a graph, which is compiled once and run many times.

    Settings and the compiled plan never change. Evidence, priors, potentials, messages and beliefs change, and are in `state`.
    They start from the priors and the evidence of the graph.

    Parameters
    ----------
    graph : FactorGraph
    schedule : Schedule, optional
        Default: `Tree` on a forest, `Flooding` elsewhere.
    backend : {"numpy", "cupy", "auto", "array-api-strict"} or Backend, default "numpy"
    dtype : {"float64", "float32"}, default "float64"
    mode : {"sum", "max"}, default "sum"
        "sum" gives marginals, and "max" the most probable joint state (MAP).
    damping : float in [0, 1), Damping, "auto", or mapping, default 0
        Fraction of the old message that is kept. A mapping gives strengths to variables (blocks, their names, or parts of
        blocks): one for all of them, or one for each variable. "auto" starts without damping and damps more wherever the
        residual stops shrinking. An exact schedule needs no damping and ignores it.
    reinforcement : float or mapping as for damping, default 0
        Fraction of each belief that is added to its prior in the next iteration: the prior at iteration t + 1 is the prior
        plus reinforcement times the belief at t. It drives beliefs to certainty. Only iterative schedules take it.
    batch : int, optional
        Run this many independent sets of evidence and priors at once. Each set starts with those of the graph and stops by
        itself. Results get a leading axis of this length.
    communicator : {None, "mpi", "auto"}, a communicator of mpi4py, or Communicator
        The ranks that run together, each with the graph of its own factors: see ``docs/how_to/machines.md``.
    shared : list of Variables, or mapping from Variables to whole numbers of their shape
        Variables that factors of several ranks touch, each with a number that all ranks use for it. Blocks in a list have the
        same variables on all ranks.

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
        communicator: Any = None,
        shared: Shared | None = None,
    ) -> None:
        check_mode_and_batch(graph, mode, batch)
        if schedule is not None and not isinstance(schedule, Schedule):
            raise TypeError(f"schedule must be a Schedule such as Flooding(), not {schedule!r}")
        strengths = reinforcement_of(reinforcement, graph)
        reinforced = any(np.any(strength) for strength in strengths.values())
        if schedule is None:
            forest = graph.is_forest and not reinforced and shared is None
            schedule = Tree() if forest else Flooding()
        self.graph, self.schedule = graph, schedule
        self.backend = get_backend(backend, dtype)
        self.mode, self.batch = mode, batch
        self.auto_damping = isinstance(damping, str)
        self.semiring = Semiring(self.backend, mode)
        self.communicator = get_communicator(communicator)
        with naming_the_memory_needed(graph, self.backend, batch):
            self._compile(reinforced, damping, strengths, shared)

    def _compile(self, reinforced: bool, damping: PerBlock | str, strengths: Any, shared: Shared | None) -> None:
        graph = self.graph
        plan, self._compiled = self.schedule.plan(graph), graph.size_of_structure
        self.exact = plan.exact
        if self.exact and reinforced:
            raise ValueError("reinforcement needs an iterative schedule such as Flooding(), not an exact one")
        self.layout = compile_layout(graph, damping_of(damping, graph), strengths)
        sharing = None
        if self.communicator.size > 1:
            sharing = Sharing(self.communicator, shared, graph, self.layout, plan, self.backend)
        self._state = State.of(graph, self.layout, self.backend, self.batch, sharing)
        put_graph_evidence(self._state)
        self._priorities = None if plan.share is None else Priorities(self._state, plan.share)
        self._passes = Passes(plan, self.layout, self.backend, self.batch or 1, self.mode)

    def __repr__(self) -> str:
        return f"<Inference: {self.schedule!r}, mode {self.mode!r}, {self.backend!r}>\n{self.graph!r}"

    # Running.

    def step(self) -> None:
        """Run one iteration without checks. Messages and beliefs are in `state`."""
        state = self._own_state()
        with naming_the_memory_needed(self.graph, self.backend, self.batch):
            state.prepare()
            self._iterate(state, check=False)

    def recording(self) -> Callable[[Callable[[], T]], T]:
        """
        Make a runner for one procedure that is repeated very often, such as a step of training.

        On a GPU, the procedure becomes one CUDA graph after two runs, if all factors are block factors that can be recorded.
        Elsewhere it is simply called. The procedure calls methods of this inference, and takes rows of `observations` by an
        index on the device.

        Returns
        -------
        callable
            ``runner(procedure)`` runs the procedure and returns its result. The procedure must do the same at each call, with
            the same settings. Make a new runner when settings change.
        """
        recording = Recording(self._passes.program)

        def run(procedure: Callable[[], T]) -> T:
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
        callback: Callable[[int, Inference], object] | None = None,
        progress: bool = False,
        raise_on_contradiction: bool = True,
        stop: str | None = None,
    ) -> Result:
        """
        Iterate until no message changes by more than the tolerance, or until a solution is found.

        Parameters
        ----------
        max_iterations : int, default 1000
            Most iterations. An exact schedule needs one.
        tolerance : float, optional
            The run has converged when no natural parameter of a message changes by more than this, before damping. For real
            variables, the change of a mean is measured in standard deviations of the belief, and that of a precision as a
            fraction of it. Default 1e-6 in float64, 1e-4 in float32. 0 runs all iterations and gives no warning.
        keep_messages : bool, default False
            Continue from the messages of the previous run instead of fresh ones.
        check_every : int, default 5
            Iterations between convergence checks.
        callback : callable, optional
            Called as ``callback(iteration, inference)`` after each iteration. If it returns a true value, the run stops.
        progress : bool, default False
            Show a progress bar.
        raise_on_contradiction : bool, default True
            Whether evidence that contradicts the model raises an error. Otherwise the result says so.
        stop : {None, "satisfied"}
            With ``"satisfied"``, stop as soon as the most probable values of all variables fulfil every hard factor. In a
            batch, each set stops by itself. The status is then ``"satisfied"``, and `Result.mode` gives these values. This is
            tested in every check, so that ``check_every=1`` stops at once. It is how codes are decoded and clauses satisfied.

        Returns
        -------
        Result

        Raises
        ------
        ContradictionError
            The evidence contradicts the model: some variable has no possible state. The ``result`` of the error has the rest.

        Warns
        -----
        ConvergenceWarning
            The run has not converged within ``max_iterations``, or messages grew without end.
        ImproperWarning
            The belief about some real variable has no mean.
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
        if state.sharing is not None:
            state.sharing.check_evidence(state.pools, self.layout)
        limits = Limits(max_iterations, tolerance, check_every, self.exact, progress, solved)
        auto = AutoDamping(np.zeros(self.batch or 1)) if self.auto_damping and not self.exact else None
        told = None if callback is None else partial(self._call_back, callback)
        with naming_the_memory_needed(self.graph, self.backend, self.batch):
            outcome = run_until(state, partial(self._iterate, tolerance=tolerance), limits, auto, told)
        contradictions = ruled_out(state, self.semiring)
        result = Result(self.graph, state, self.semiring, self.best_states, outcome.status, outcome.iterations, contradictions)
        if any(contradictions) and raise_on_contradiction:
            raise ContradictionError(result)
        message = outcome.warning(self.batch, state.iteration, state.residuals[-1] if state.residuals else 0.0, tolerance)
        if message is not None and not any(contradictions):
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        elif message is None and not any(contradictions) and (loose := improper(state)) is not None:
            warnings.warn(loose, ImproperWarning, stacklevel=2)
        return result

    def best_states(self, state: State) -> list[np.ndarray]:
        """Values of each pool's variables in one best joint state: what `Result.mode` reads in max mode."""
        return self._passes.decode(self.graph, state, self.semiring)

    def _call_back(self, callback: Callable[[int, Inference], object], iteration: int) -> tuple[bool, bool]:
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
        found = largest(residuals, self.backend, state.batch or 1) if check else None
        return found if state.sharing is None else state.sharing.largest(found)
