"""What is changed between the runs of an inference: evidence, priors, potentials, messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from factorgraph.backends import Backend
from factorgraph.blocks import Factors, Variables, numbers_of
from factorgraph.factors import Factor
from factorgraph.graph import FactorGraph
from factorgraph.inference.answers.certainty import most_certain
from factorgraph.inference.layout.layout import Layout
from factorgraph.inference.state.adoption import adopt
from factorgraph.inference.state.observations import Observations, Rows
from factorgraph.inference.state.plate_state import PlateState
from factorgraph.inference.state.put import put_evidence, put_prior, take_evidence_back
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

    def adopt(self, other: Conditions) -> None:
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
