"""What an iteration runs: the program of a plan, or for deep forests its contraction."""

from __future__ import annotations

from functools import cached_property, partial

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.graph import FactorGraph
from factorgraph.inference.executors.contracting import Contracting
from factorgraph.inference.executors.contracting_relations import RelationContracting
from factorgraph.inference.executors.contracting_tables import TableContracting, Underflow
from factorgraph.inference.executors.decode import decode
from factorgraph.inference.executors.execute import run_once
from factorgraph.inference.executors.recording import Recording
from factorgraph.inference.layout.contraction import Contraction
from factorgraph.inference.layout.layout import Layout
from factorgraph.inference.layout.program import Stage, compile_plan
from factorgraph.inference.state.state import State
from factorgraph.schedules import Plan, Step
from factorgraph.semiring import Semiring

_MANY_STAGES = 64  # from which a forest is contracted,
_ENTRIES_OF_A_STAGE = 8_000  # if its tables have fewer entries than so many for each stage, which take as long in NumPy,
_ENTRIES_OF_A_VARIABLE = 30  # where a variable counts as so many


class Passes:
    """
    A plan compiled onto a layout when it is first needed.

    Parameters
    ----------
    plan, layout, backend
    sets : of evidence, at once
    mode : {"sum", "max"}
    """

    def __init__(self, plan: Plan, layout: Layout, backend: Backend, sets: int, mode: str) -> None:
        self._plan, self._layout, self._backend, self._sets, self._mode = plan, layout, backend, sets, mode
        self._recordings: dict[bool, Recording] = {}

    @cached_property
    def program(self) -> list[Stage]:
        """The plan's stages."""
        return compile_plan(self._plan, self._layout, self._backend)

    @cached_property
    def contraction(self) -> Contraction | None:
        """The rounds of a forest, where they take less time than the stages, and its factors are tables or relations."""
        reinforced = any(np.any(pool.reinforcement) for pool in self._layout.pools)
        if not self._plan.forest or reinforced or self._plan.num_stages < _MANY_STAGES:
            return None
        found = Contraction.of(self._layout)
        if found is None or (not found.relations and (found.sites or found.tangents)):
            return None
        # A matrix product costs little beside reading its tables; the largest sums of max mode are looked for one by one.
        table = found.states**3 / 2 if self._mode == "max" else found.states**2
        entries = self._sets * (found.variables * (table + _ENTRIES_OF_A_VARIABLE) + found.more)
        return found if entries <= _ENTRIES_OF_A_STAGE * self._plan.num_stages else None

    @cached_property
    def _sites(self) -> list[Stage]:
        """All approximate messages at once."""
        assert self.contraction is not None
        groups = [self._layout.groups[name] for name in self.contraction.sites]
        steps = [Step(block.name, block.open_ports) for group in groups for block in group.blocks]
        return compile_plan(Plan([tuple(steps)]), self._layout, self._backend)

    def _by_rounds(self, state: State) -> bool:
        """
        Whether the next iteration goes by rounds.

        Approximate relations are chosen where the variables are believed to be: at first step by step, as filters do, since all
        at once nothing would be known there. Rounds know no damping.
        """
        if self.contraction is None or state.sharing is not None:
            return False
        undamped = all(isinstance(pool.step, float) and pool.step == 1.0 for pool in state.pools)
        return not self.contraction.tangents or (state.iteration > 0 and undamped)

    def run(self, state: State, semiring: Semiring, check: bool) -> list[Array]:
        """One iteration; the largest changes, where they are asked for."""
        exact = self._plan.exact
        if not (exact and check) and self._by_rounds(state):
            assert self.contraction is not None
            residuals = contract(self.contraction, state, semiring, check)
            if residuals is not None:
                return residuals + (run_once(self._sites, state, semiring, False, check) if self.contraction.sites else [])
        if check not in self._recordings:
            self._recordings[check] = Recording(self.program)
        return self._recordings[check].run(state, partial(run_once, self.program, state, semiring, exact, check))

    def decode(self, graph: FactorGraph, state: State, semiring: Semiring) -> list[np.ndarray]:
        """Values of one best joint state of each pool's variables, after a run of max-product."""
        found = None
        if all(pool.pool.type.relations(state.backend) is not None for pool in state.pools):
            found = modes(state)
        elif self._plan.exact and self.contraction is not None:
            found = best_states(self.contraction, state, semiring)
        return decode(graph, state, semiring) if found is None else found

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_recordings": {}}


def contract(contraction: Contraction, state: State, semiring: Semiring, check: bool) -> list[Array] | None:
    """
    Write the messages of all edges; the largest changes, where they are asked for.

    None, and nothing written, where there are no such messages or they have no such form.
    """
    if not contraction.relations:
        try:
            return _through(TableContracting(contraction, state, semiring, may_be_numbers=True), check)
        except Underflow:
            return _through(TableContracting(contraction, state, semiring), check)
    try:
        return _through(RelationContracting(contraction, state, semiring), check)
    except ValueError:  # what no message can say on the way may not be asked for by depth; else it is told there by name
        return None


def _through(work: Contracting, check: bool) -> list[Array] | None:
    """All rounds and back; the largest changes, or None where there are no messages."""
    work.check = check
    work.forward()
    work.backward()
    return work.residuals if work.write() else None


def modes(state: State) -> list[np.ndarray]:
    """The best values of related variables, which are those of the beliefs: no two are equally good."""
    backend = state.backend
    with np.errstate(all="ignore"):
        for pool in state.pools:
            pool.bring_up_to_date()
        return [np.asarray(backend.to_host(pool.pool.type.mode(pool.own_belief, backend))) for pool in state.pools]


def best_states(contraction: Contraction, state: State, semiring: Semiring) -> list[np.ndarray]:
    """The values of one best joint state, of each pool's variables, ``(V,)`` or ``(V, B)``; the semiring is max-product."""
    work = TableContracting(contraction, state, semiring)
    work.forward()
    return work.decode()
