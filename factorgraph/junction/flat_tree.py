"""
Beliefs of a small junction tree: cliques of one depth are worked on together, for many sets of evidence at once.

Going through 40 cliques one by one costs 40 times some ten calls. Going through their eight depths costs eight times as many,
and a hundred columns of evidence cost little more than one. Messages are numbers, with 1 as the largest of each; a child is
told the belief of its parent divided by what it said itself. Where the numbers of a clique could leave double precision, the
answers are marked, and somebody else has to find them in logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from factorgraph.inference.answers.sampling import draw_rows
from factorgraph.junction.cliques import Clique
from factorgraph.junction.flat_layout import FlatLayout, Level, Projection, count_pairs
from factorgraph.junction.tables import TableModel
from factorgraph.junction.weights import WIDEST

_MOST_PAIRS = 20000  # entries times inputs of a clique on average, up to which calls cost more than entries
_MOST = 1 << 22  # of these in a tree
_BYTES = {"sum": 30.0, "max": 40.0}  # for each of these, with the answers for one set
_CHUNK = 1 << 18  # entries of all sets that are worked on together
_LEAST_SETS = 8  # that are worked on together, however large the tree
_KEPT = 32  # models, the products of whose tables are kept


@dataclass(frozen=True, eq=False)
class Potentials:
    """
    The products of the tables of each clique, for one model.

    Attributes
    ----------
    values : (N,) products, divided by the largest of each clique
    spread : (cliques,) log of the largest of each clique over its smallest but zero
    shift : sum over the cliques of the log of the largest, and what has no variables
    """

    values: np.ndarray
    spread: np.ndarray
    shift: float


class FlatAnswers:
    """
    Answers for B sets of evidence, from the messages to the roots; those from the roots are passed when they are needed first.

    Parameters
    ----------
    tree : FlatTree
    entries : (N, B) array, the product of all that each clique knows but what its parent says
    messages : what the cliques said to their parents
    spread : (cliques, B) array, log of the ratio of the largest and the smallest number that may meet in each clique
    log_partition : (B,) array, -inf where the evidence contradicts the model

    Attributes
    ----------
    wide : (B,) array, true for sets that double precision does not hold; the other answers for them mean nothing
    """

    def __init__(
        self, tree: FlatTree, entries: np.ndarray, messages: np.ndarray, spread: np.ndarray, log_partition: np.ndarray
    ) -> None:
        self._tree, self._entries, self._messages, self._spread = tree, entries, messages, spread
        self.log_partition, self.wide = log_partition, _are_wide(spread)

    @cached_property
    def beliefs(self) -> np.ndarray:
        """The product of all that each clique knows, but for a factor, ``(N, B)``."""
        # Copies, so that whoever is interrupted here finds everything as it was.
        entries, spread = self._entries.copy(), self._spread.copy()
        self._tree.send_down(entries, self._messages.copy(), spread)
        self._entries, self.wide = entries, _are_wide(spread)
        return entries

    @cached_property
    def marginals(self) -> np.ndarray:
        """Marginals of the states of all variables of the tree, ``(states, B)``."""
        return self._tree.marginals(self.beliefs)

    @cached_property
    def decoded(self) -> dict[int, np.ndarray]:
        """One best joint state of each set: positions of each variable of the tree, ``(B,)``."""
        return self._tree.decode(self.beliefs)


def _are_wide(spread: np.ndarray) -> np.ndarray:
    return np.asarray((spread > WIDEST).any(axis=0))


class FlatTree:
    """
    A tree whose cliques are one array.

    Parameters
    ----------
    cliques : list of Clique
    states : for each node number of a variable, the states that any evidence may leave; one for those that no clique has
    begins : where the states of each variable begin among those of all variables, and the number of all
    mode : {"sum", "max"}
    """

    def __init__(self, cliques: Sequence[Clique], states: list[np.ndarray], begins: np.ndarray, mode: str) -> None:
        self._cliques, self.states, self.mode, self._begins = cliques, states, mode, begins
        self._sizes = sizes = [one.size for one in states]
        self._layout = FlatLayout(cliques, sizes, mode)
        self._home = {v: number for number in self._layout.order for v in cliques[number].own}
        self._clique_of = {table: number for number, clique in enumerate(cliques) for table in clique.tables}
        self._fixed = [v for v in range(len(states)) if v not in self._home]
        self._ends = np.cumsum([0, *(sizes[v] for v in self._home)])
        self._numbers = np.concatenate([begins[v] + states[v] for v in self._home])
        self._marginals = self._layout.projection([(number, [v]) for v, number in self._home.items()])
        self._asked: tuple[list[int], Projection] | None = None  # what `joint` was asked for last time
        self._last: tuple[list[Potentials], list[Mapping[int, int]], FlatAnswers] | None = None
        # Models that nobody has any more are forgotten.
        self._fits: WeakKeyDictionary[TableModel, bool] = WeakKeyDictionary()
        self._potentials: WeakKeyDictionary[TableModel, dict[tuple[int, ...], Potentials]] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_fits": None, "_potentials": None, "_asked": None, "_last": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _fits=WeakKeyDictionary(), _potentials=WeakKeyDictionary())

    @staticmethod
    def pays(cliques: Sequence[Clique], sizes: Sequence[int]) -> bool:
        """Whether the cliques are so small that going through them one by one would mostly be calls."""
        return 0 < count_pairs(cliques, sizes) <= min(_MOST_PAIRS * len(cliques), _MOST)

    @staticmethod
    def memory(cliques: Sequence[Clique], sizes: Sequence[int], mode: str) -> float:
        """Bytes that the arrays take at most, with the answers for one set."""
        return _BYTES[mode] * count_pairs(cliques, sizes)

    @property
    def sets_at_once(self) -> int:
        """How many sets should be worked on together."""
        return max(_LEAST_SETS, _CHUNK // self._layout.num_entries)

    # What is asked: potentials and evidence.

    def fits(self, model: TableModel) -> bool:
        """Whether the tree has all states that a model allows, and all variables that it fixes at the same ones."""
        if model not in self._fits:
            self._fits[model] = all(
                now is mine or bool(np.isin(now, mine).all())
                for v, (now, mine) in enumerate(zip(model.states, self.states, strict=True))
                if v in self._home or now.size == 1
            )
        return self._fits[model]

    def _masks(self, sets: Sequence[Mapping[int, int]]) -> dict[int, np.ndarray]:
        """
        Which states of each observed variable of the tree are allowed.

        Parameters
        ----------
        sets : position of the state of each variable that a set observes

        Returns
        -------
        dict of ``(q, B)`` arrays of zeros and ones
        """
        masks: dict[int, np.ndarray] = {}
        for column, evidence in enumerate(sets):
            for v, state in evidence.items():
                if v in self._home:
                    if v not in masks:
                        masks[v] = np.ones((self._sizes[v], len(sets)))
                    masks[v][:, column] = self.states[v] == state
        return masks

    def potentials(self, model: TableModel, allowed: list[np.ndarray]) -> Potentials:
        """
        The product of the tables of each clique.

        Parameters
        ----------
        model : TableModel
        allowed : the states of each variable; those of the tree's variables are `states`
        """
        others = tuple(int(allowed[v][0]) for v in sorted(model.open - self._home.keys()))
        if len(self._potentials) >= _KEPT and model not in self._potentials:
            self._potentials.clear()
        known = self._potentials.setdefault(model, {})
        if others not in known:
            known.clear()
            known[others] = self._multiplied(model, allowed)
        return known[others]

    def scope(self, model: TableModel, table: int) -> tuple[int, ...]:
        """The variables of a table that the tree has."""
        return tuple(v for v in model.scopes[table] if v in self._home)

    def _multiplied(self, model: TableModel, allowed: list[np.ndarray]) -> Potentials:
        layout = self._layout
        logs, shift = np.zeros(layout.num_entries), 0.0
        scopes = [self.scope(model, table) for table in range(len(model.scopes))]
        for number, clique in enumerate(self._cliques):
            shape, start, axes = layout.shapes[number], layout.start[number], clique.axes
            product = logs[start : start + math.prod(shape)].reshape(shape)
            for table in clique.tables:
                scope = scopes[table]
                turn = [scope.index(v) for v in axes if v in scope]
                spread = [size if v in scope else 1 for v, size in zip(axes, shape, strict=True)]
                product += model.logs(table, allowed, scope).transpose(turn).reshape(spread)
        for table, scope in enumerate(scopes):
            if not scope:
                shift += float(model.logs(table, allowed, scope))
        first, widths = layout.ends[:-1], np.diff(layout.ends)
        largest = np.maximum.reduceat(logs, first)
        largest[largest == -np.inf] = 0.0
        logs -= np.repeat(largest, widths)
        least = np.minimum.reduceat(np.where(logs > -np.inf, logs, 0.0), first)
        with np.errstate(under="ignore"):
            values = np.exp(logs)
        return Potentials(values, -least, shift + float(largest.sum()))

    # Messages.

    def run(self, potentials: Sequence[Potentials], evidence: Sequence[Mapping[int, int]]) -> FlatAnswers:
        """
        Find answers for B sets; those of the last time, if nothing has changed.

        Parameters
        ----------
        potentials : of each set
        evidence : position of the state of each variable that a set observes
        """
        if self._last is not None:
            before, same, answers = self._last
            if len(before) == len(potentials) and all(map(is_, before, potentials)) and same == list(evidence):
                return answers
        answers = self._run(potentials, self._masks(evidence))
        self._last = list(potentials), list(evidence), answers
        return answers

    def _run(self, potentials: Sequence[Potentials], evidence: Mapping[int, np.ndarray]) -> FlatAnswers:
        entries = np.stack([one.values for one in potentials], axis=1)
        spread = np.stack([one.spread for one in potentials], axis=1)
        total = np.array([one.shift for one in potentials])
        for v, mask in evidence.items():
            index, start = self._layout.index(self._home[v], [v]), self._layout.start[self._home[v]]
            entries[start : start + index.size] *= mask.take(index, axis=0)
        messages = np.empty((self._layout.num_messages, len(potentials)))
        with np.errstate(all="ignore"):
            for level in reversed(self._layout.levels):
                total += _send_up(level, entries, messages, spread)
        total[np.isnan(total)] = -np.inf
        return FlatAnswers(self, entries, messages, spread, total)

    def send_down(self, entries: np.ndarray, messages: np.ndarray, spread: np.ndarray) -> None:
        """Beliefs in place of the products of the cliques, and messages from the roots in place of those to them."""
        levels = self._layout.levels
        with np.errstate(all="ignore"):
            for level, below in zip(levels, [*levels[1:], None], strict=True):
                _send_down(level, below, entries, messages, spread)

    def marginals(self, beliefs: np.ndarray) -> np.ndarray:
        """As `FlatAnswers.marginals`."""
        with np.errstate(all="ignore"):
            found = self._marginals(beliefs)
            sums = np.add.reduceat(found, self._ends[:-1], axis=0)
            return found / sums.repeat(np.diff(self._ends), axis=0)

    # Answers.

    def states_of(self, marginals: np.ndarray, allowed: Sequence[np.ndarray]) -> np.ndarray:
        """Marginals of all variables one after another, those of the tree and those with one state, for one set."""
        found = np.zeros(self._begins[-1])
        found[self._numbers] = marginals
        found[[self._begins[v] + allowed[v][0] for v in self._fixed]] = 1.0
        return found

    def joint(
        self, beliefs: np.ndarray, tables: Sequence[int], scopes: Sequence[Sequence[int]]
    ) -> np.ndarray | list[np.ndarray]:
        """
        Joint weights of the variables of some tables, but for a factor, for one set; one array where all have the same shape.

        Parameters
        ----------
        beliefs : (N, 1) array
        tables : numbers of tables that have variables of the tree
        scopes : these variables
        """
        if not tables:
            return []
        if self._asked is None or self._asked[0] != tables:
            wanted = [(self._clique_of[table], scope) for table, scope in zip(tables, scopes, strict=True)]
            self._asked = list(tables), self._layout.projection(wanted)
        found = self._asked[1](beliefs)[:, 0]
        shapes = [tuple(self._sizes[v] for v in scope) for scope in scopes]
        if len(set(shapes)) == 1:
            return found.reshape(len(tables), *shapes[0])
        parts = np.split(found, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def decode(self, beliefs: np.ndarray) -> dict[int, np.ndarray]:
        """As `FlatAnswers.decoded`: from the roots on, the best own states of a clique beside those that its parent has."""
        chosen: dict[int, np.ndarray] = {}
        sets = np.arange(beliefs.shape[1])
        for number, rows, own in self._from_roots(chosen, sets.size):
            best = beliefs[rows[:, None] + np.arange(math.prod(own)), sets[:, None]].argmax(axis=1)
            chosen |= zip(self._cliques[number].own, np.unravel_index(best, own), strict=True)
        return chosen

    def sample(self, beliefs: np.ndarray, n: int, rng: np.random.Generator) -> dict[int, np.ndarray]:
        """Joint states of one set, ``(n,)`` positions of each variable, from beliefs ``(N,)``."""
        drawn: dict[int, np.ndarray] = {}
        for number, rows, own in self._from_roots(drawn, n):
            width, start = math.prod(own), self._layout.start[number]
            whole = beliefs[start : start + math.prod(self._layout.shapes[number])].reshape(-1, width)
            cumulated, cases = np.cumsum(whole, axis=1), (rows - start) // width
            step = max(1, _CHUNK // width)
            found = [draw_rows(cumulated[cases[first : first + step]], rng) for first in range(0, n, step)]
            drawn |= zip(self._cliques[number].own, np.unravel_index(np.concatenate(found), own), strict=True)
        return drawn

    def _from_roots(self, chosen: Mapping[int, np.ndarray], count: int) -> Iterator[tuple[int, np.ndarray, tuple[int, ...]]]:
        """
        The cliques from the roots on.

        Parameters
        ----------
        chosen : positions of the variables of all cliques before, ``(count,)`` of each

        Yields
        ------
        number of the clique; the first of its entries that have the states chosen for what it shares, ``(count,)``; numbers of
        states of the variables that are left, the entries of which follow this one
        """
        for number in self._layout.order:
            shared, shape = self._cliques[number].shared, self._layout.shapes[number]
            place = np.zeros(count, dtype=np.int64)
            for v, size in zip(shared, shape, strict=False):
                place = place * size + chosen[v]
            own = shape[len(shared) :]
            yield number, self._layout.start[number] + place * math.prod(own), own


def _send_up(level: Level, entries: np.ndarray, messages: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Messages of a level's cliques to their parents, with 1 as the largest; the sum of the logs of what these were."""
    mine = entries[level.entries]
    for heard in level.heard:
        mine[: heard.size] *= messages.take(heard, axis=0)
    found = level.to_parents(mine)
    scale, width = _scaled(level, found)
    messages[level.messages] = found
    if level.parents[0] >= 0:
        np.add.at(spread, level.parents, width)
    return np.asarray(np.log(scale).sum(axis=0))


def _send_down(level: Level, below: Level | None, entries: np.ndarray, messages: np.ndarray, spread: np.ndarray) -> None:
    """The beliefs of a level's cliques in place of their products, and messages to children in place of theirs."""
    mine = entries[level.entries]
    if level.parents[0] >= 0:
        mine *= messages[level.messages].take(level.place, axis=0)
    if below is None or level.to_children is None:
        return
    said = messages[below.messages]
    belief = level.to_children(mine)
    found = np.divide(belief, said, out=np.zeros_like(belief), where=said > 0.0)
    _, width = _scaled(below, found)
    messages[below.messages] = found
    spread[below.cliques] += width


def _scaled(level: Level, messages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide the messages of each clique by the largest; this, and the log of 1 over the smallest but zero."""
    scale = np.maximum.reduceat(messages, level.first, axis=0)
    messages /= scale.take(level.owner, axis=0)
    least = np.minimum.reduceat(np.where(messages > 0.0, messages, 1.0), level.first, axis=0)
    return scale, -np.log(least)
