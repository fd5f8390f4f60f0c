"""Sets of evidence, and how they are answered: all together on a flat tree, else one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from factorgraph.graph import FactorGraph
from factorgraph.junction.answers import ExactResult
from factorgraph.junction.clique_tree import CliqueTree
from factorgraph.junction.flat_tree import FlatTree
from factorgraph.junction.found import Found, FoundByArrays, FoundByCliques
from factorgraph.junction.numbering import Numbering
from factorgraph.junction.tables import TableModel


@dataclass(frozen=True, eq=False)
class EvidenceSet:
    """
    A model with evidence.

    Attributes
    ----------
    model : TableModel
    evidence : position of the state of each observed variable
    """

    model: TableModel
    evidence: Mapping[int, int]

    @cached_property
    def allowed(self) -> list[np.ndarray] | None:
        """The states that evidence and zeros leave of each variable; None if there are none."""
        return self.model.allowed(self.evidence)


@dataclass(frozen=True, eq=False)
class CompiledTree:
    """
    A tree for all variables that any evidence may leave open.

    Attributes
    ----------
    tree : CliqueTree
        The cliques, with the messages of the last set that went through them one by one.
    free : variables of the tree
    flat : the same cliques as arrays, where they are small
    numbering : Numbering
    """

    tree: CliqueTree
    free: frozenset[int]
    flat: FlatTree | None
    numbering: Numbering

    def serves(self, one: EvidenceSet) -> bool:
        """Whether the tree has all variables with a choice, and all tables."""
        if len(one.model.scopes) != len(self.tree.given.scopes):
            return False
        if (one.model.open - self.free) <= one.evidence.keys() or one.allowed is None:
            return True
        return all(states.size == 1 or v in self.free for v, states in enumerate(one.allowed))

    def after(self, one: EvidenceSet, result: ExactResult) -> CompiledTree:
        """
        The tree for the next set: with the messages of this one where it went through the cliques one by one.

        Arrays that could not hold its numbers are not tried again.
        """
        if not isinstance(result.found, FoundByCliques):
            return self
        was_wide = self.flat is not None and self.flat.fits(one.model)
        return replace(self, tree=result.found.tree, flat=None if was_wide else self.flat)

    def answer(self, graph: FactorGraph, sets: Sequence[EvidenceSet]) -> Iterator[ExactResult]:
        """The answers for sets that the tree serves, one after another."""
        flat = self.flat
        if flat is None or not all(flat.fits(one.model) for one in sets):
            yield from self._one_by_one(graph, sets)
            return
        for first in range(0, len(sets), flat.sets_at_once):
            yield from self._together(graph, sets[first : first + flat.sets_at_once], flat)

    def _one_by_one(self, graph: FactorGraph, sets: Sequence[EvidenceSet]) -> Iterator[ExactResult]:
        """Each set from what stays of the one before."""
        tree = self.tree
        for one in sets:
            found = self._through_cliques(tree, one)
            tree = tree if found is None else found.tree
            yield ExactResult(graph, self.numbering, tree.mode, found)

    def _through_cliques(self, tree: CliqueTree, one: EvidenceSet) -> FoundByCliques | None:
        """The answers for a set; None if it is impossible."""
        if one.allowed is None:
            return None
        return FoundByCliques(tree.with_given(one.model.given(one.allowed, self.free)), self.numbering.states)

    def _together(self, graph: FactorGraph, sets: Sequence[EvidenceSet], flat: FlatTree) -> Iterator[ExactResult]:
        """Sets as the columns of one array; those that it cannot hold go one by one."""
        states = [self._states(one, flat) for one in sets]
        potentials = [flat.potentials(one.model, left or flat.states) for one, left in zip(sets, states, strict=True)]
        answers = flat.run(potentials, [one.evidence for one in sets])
        for column, (one, left) in enumerate(zip(sets, states, strict=True)):
            found: Found | None = None
            if left is not None:
                otherwise = partial(self._through_cliques, self.tree, one)
                wide = answers.wide[column]
                found = otherwise() if wide else FoundByArrays(flat, answers, column, one.model, left, otherwise)
            yield ExactResult(graph, self.numbering, flat.mode, found)

    def _states(self, one: EvidenceSet, flat: FlatTree) -> list[np.ndarray] | None:
        """The states that a flat tree's potentials are of; None if the set contradicts what is the same for all."""
        others = one.model.open - self.free
        if not others:
            same = all(flat.states[v][0] == state for v, state in one.evidence.items() if v not in self.free)
            return flat.states if same and one.model.possible else None
        allowed = one.allowed
        return None if allowed is None else [flat.states[v] if v in self.free else one for v, one in enumerate(allowed)]
