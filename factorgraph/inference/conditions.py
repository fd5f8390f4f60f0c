"""What is changed between the runs of an inference: evidence, priors, potentials, messages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.backends import Backend
from factorgraph.blocks import Factors, Variables, numbers_of
from factorgraph.factors import Factor
from factorgraph.graph import FactorGraph
from factorgraph.inference.answers.certainty import most_certain
from factorgraph.inference.layout.layout import Layout
from factorgraph.inference.state.adoption import adopt
from factorgraph.inference.state.observations import Observations, Rows
from factorgraph.inference.state.plate_state import PlateState
from factorgraph.inference.state.put import Sets, put_evidence, put_prior, take_evidence_back
from factorgraph.inference.state.state import State


class Conditions:
    """The part of `Inference` that changes its state between runs."""

    graph: FactorGraph
    backend: Backend
    batch: int | None
    layout: Layout
    _state: State
    _compiled: Any  # size of the graph's structure when it was compiled

    @property
    def state(self) -> State:
        """Everything that changes. You can look at it, copy it, save it, or set it to continue from another state."""
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

    def observe(self, variables: Variables, values: ArrayLike | Rows, *, sets: Sets | None = None) -> None:
        """
        Fix variables to values, like `FactorGraph.observe`, but only for this inference. Messages are kept.

        Parameters
        ----------
        variables : Variables
        values : array that broadcasts to ``variables.shape``; in a batch also ``(B, *variables.shape)``; or rows of
            `observations`
        sets : int, slice or integer array, optional
            Sets of a batch to which the evidence belongs. B is then their number. Default: all.
        """
        self.graph.block_of(variables)
        numbers = values if isinstance(values, Rows) else numbers_of(variables, values)
        put_evidence(self._own_state().pool(variables), variables, numbers, sets)

    def observations(self, variables: Variables, values: ArrayLike) -> Observations:
        """
        Bring the evidence of many patterns to the device: of more than the variables at a block factor hold at once.

        ``observe(variables, observations[rows])`` then gathers a mini-batch on the device, without a copy through the host.

        Parameters
        ----------
        variables : Variables
            A whole block whose last axis counts patterns, ``(*shape, M)``.
        values : (n, *shape) array
            One row for each pattern.

        Raises
        ------
        ValueError, TypeError
            The shape is wrong, or the variables cannot have such a value.
        """
        self.graph.block_of(variables)
        if not (variables.is_whole and isinstance(self._state.pool(variables), PlateState)):
            raise ValueError(f"observations are for a whole plate of block factors, not {variables!r}")
        return Observations(variables, values, self.backend)

    def unobserve(self, variables: Variables, *, sets: Sets | None = None) -> None:
        """Remove the evidence of some variables. Messages are kept."""
        self.graph.block_of(variables)
        take_evidence_back(self._own_state().pool(variables), variables, sets)

    def set_prior(self, variables: Variables, params: ArrayLike, *, sets: Sets | None = None) -> None:
        """Set the prior of variables in natural parameters, like `FactorGraph.set_prior`, but only for this inference."""
        self.graph.block_of(variables)
        put_prior(self._own_state().pool(variables), variables, params, sets)

    def adopt(self, other: Conditions) -> None:
        """
        Take over messages, priors and evidence from another inference, for example from that of a graph that has grown since.

        This concerns all blocks that both have. ``run(keep_messages=True)`` then continues from there. Evidence that was given
        to these blocks here is replaced.

        Raises
        ------
        ValueError
            The batches differ, or a block that both have differs in type, shape or variables. Nothing is changed then.
        """
        adopt(self.graph, self._own_state(), other.graph, other.state)

    def decimate(self, *variables: Variables, share: float = 0.05) -> list[Variables]:
        """
        Observe those free variables that are most certain, each at its most probable value.

        Marginals become an assignment in this way: run, decimate, and run again with ``keep_messages=True``, until no variable
        is free. `unobserve` removes a choice.

        Parameters
        ----------
        *variables : Variables
            Variables among which to choose. Default: all.
        share : float in (0, 1], default 0.05
            Fraction of the free variables to fix. At least one is fixed.

        Returns
        -------
        list of Variables
            The variables that were fixed, by block. The list is empty if no variable was free.
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
        Replace the potentials of a block of factors.

        Parameters
        ----------
        factors : str or Factors
        factor : Factor
            A factor of the same type, for example ``Table(new_log_potentials)``.
        """
        self._own_state().put_potentials(self.graph.factors(factors), factor)

    def posterior_as_prior(self, variables: Variables, strength: float = 1.0) -> None:
        """
        Let the belief of a whole block, raised to a power, be its new prior: prior = strength * belief.

        The messages that made the belief are forgotten. The belief stays as it is until the next message arrives, and damping
        starts from it. What `focus` added is taken out of it.
        """
        if not variables.is_whole:
            raise ValueError(f"posterior_as_prior takes a whole block, not a part of {variables.name!r}")
        self._own_state().forget_candidates()
        pool = self._state.pool(variables)
        pool.take_posterior(strength, None if len(pool.pool.blocks) == 1 else pool.pool.positions(variables))

    def focus(self, variables: Variables, replicas: int, strength: float) -> None:
        """
        Draw variables to where several copies of the problem, called replicas, would agree.

        All replicas are coupled to one centre: each variable that agrees with it multiplies the probability by
        ``exp(2 strength)``. One set of messages stands for all replicas. The centre hears from ``replicas - 1`` of them what it
        hears from this one, and its answer is added to the prior (Baldassi et al., PNAS 113 (2016) E7655). In problems with
        many solutions, this finds wide clusters of them. Call it before each iteration, with a strength that grows slowly.
        `posterior_as_prior` and `reset` end it.

        Parameters
        ----------
        variables : Variables
            Of a type with finitely many values.
        replicas : int, at least 1
            Total number of copies. 1 has no effect.
        strength : float, at least 0
            Strength of the coupling to the centre.
        """
        if not (isinstance(replicas, (int, np.integer)) and replicas >= 1 and strength >= 0):
            raise ValueError(f"focus takes at least 1 replica and a strength of at least 0, not {replicas!r} and {strength!r}")
        self.graph.block_of(variables)
        self._own_state().forget_candidates()
        pool = self._state.pool(variables)
        alone = variables.is_whole and len(pool.pool.blocks) == 1
        pool.focus(None if alone else pool.pool.positions(variables), replicas, strength)

    def reset(self, *variables: Variables) -> None:
        """Forget the messages to these variables, and what their block factors remember. Without variables, forget all."""
        state = self._own_state()
        for pool in [state.pool(block) for block in variables] or state.pools:
            pool.reset()
        names = {block.name for block in variables} or set(self.graph.variable_blocks)
        for name, memory in state.memories.items():
            if any(port.name in names for port in self.graph.factors(name).ports):
                memory.clear()
