"""The tree of cliques of a table model, and messages between them."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from factorgraph.inference.answers.sampling import draw_rows
from factorgraph.junction.cliques import Clique, bottom_up, cliques_of, list_inputs
from factorgraph.junction.elimination import Elimination
from factorgraph.junction.plan import Plan
from factorgraph.junction.product import PIECE, Product, SmallProduct, Tables, product_of
from factorgraph.junction.tables import Given
from factorgraph.junction.weights import WIDEST, Weights

_SMALL = 1 << 12  # entries; up to here memory is told without a plan
_LEAST = -1e300  # below all logarithms but -inf
_OBJECT = 2000.0  # bytes for a variable or a table, whatever its size


class CliqueTree:
    """
    Cliques in the order of elimination, children before parents.

    Parameters
    ----------
    given : what evidence leaves of a model
    elimination : of the variables with more than one state, numbered as in ``free``
    free : variable of each number of the elimination
    mode : {"sum", "max"}

    Attributes
    ----------
    up, down : messages of each clique to its parent, and from it, on the variables that they share
    """

    def __init__(self, given: Given, elimination: Elimination, free: list[int], mode: str) -> None:
        self.given, self.mode, self._most_states = given, mode, given.sizes
        self.cliques = cliques_of(given, elimination, free)
        self.order = bottom_up(self.cliques)
        self.root = list(range(len(self.cliques)))
        for number in reversed(self.order):
            if self.cliques[number].parent >= 0:
                self.root[number] = self.root[self.cliques[number].parent]
        self.home = {table: number for number, clique in enumerate(self.cliques) for table in clique.tables}
        count = len(self.cliques)
        self.up: list[Weights | None] = [None] * count
        self._up_from: list[list[Weights]] = [[]] * count
        self.down: list[Weights | None] = [None] * count
        self._marginals: list[list[np.ndarray]] = [[]] * count
        self._around: list[list[Weights | None]] = [[]] * count
        self._by_logs = [False] * count  # whether the children were told in logarithms last time
        self._ones: dict[int, Weights] = {}
        self._plans: dict[tuple[Any, ...], Plan] = {}  # cliques of one form share one

    def with_given(self, given: Given) -> CliqueTree:
        """The same tree for other evidence; what it does not change is not worked out again."""
        other = copy.copy(self)
        other.given = given
        other.up, other._up_from, other.down = list(self.up), list(self._up_from), list(self.down)
        other._marginals, other._around, other._by_logs = list(self._marginals), list(self._around), list(self._by_logs)
        return other

    @property
    def message_entries(self) -> int:
        """Entries of all messages to parents."""
        sizes = self.given.sizes
        return sum(math.prod([sizes[v] for v in clique.shared]) for clique in self.cliques if clique.shared)

    @property
    def memory(self) -> float:
        """
        Bytes that marginals take at most: messages both ways, tables, the work on one clique, and Python's own for each object.

        Beliefs of factors, which are as large as their tables, come on top.
        """
        self._list_inputs()
        sizes, tables = self.given.sizes, self.given.tables
        may_be_logs = not self._in_numbers(tables)
        work = 0.0
        for clique in self.cliques:
            entries = math.prod([sizes[v] for v in clique.axes])
            children = [math.prod([sizes[v] for v in self.cliques[child].shared]) for child in clique.children]
            inputs = sum(children) + sum(math.prod(tables[t].shape) for t in clique.tables)
            inputs += math.prod([sizes[v] for v in clique.shared])
            mine = 2.0 * inputs + sum(children)
            if self.mode == "sum":
                mine += 3 * entries * len(clique.scopes) if entries <= _SMALL else self._plan(clique).entries
            if may_be_logs:  # in pieces; as many arrays as this, indices included
                mine += min(entries, PIECE) * (len(clique.tables) + 2 * len(children) + len(clique.own) + 6)
            work = max(work, mine)
        own = {id(table): math.prod(table.shape) for table in tables}
        numbers = 2 * (self.message_entries + sum(own.values())) + work + sum(sizes)
        return 8.0 * numbers + _OBJECT * (len(tables) + len(sizes))

    def collect(self) -> float:
        """Messages from the leaves to the roots; the log-sum (or maximum) of all."""
        self._list_inputs()
        total = self.given.constant
        for number in self.order:
            clique = self.cliques[number]
            inputs = self._inputs(clique)
            if not _same(inputs, self._up_from[number]):
                self.up[number], self._up_from[number] = self._sum_out(clique, inputs), inputs
            if clique.parent < 0:
                total += self._said(number).shift
        return total

    def _list_inputs(self) -> None:
        """For the first way through the cliques; small trees may never need it."""
        if self.cliques and not self.cliques[0].scopes:
            list_inputs(self.cliques, self.given)

    def _said(self, number: int) -> Weights:
        """What a clique says to its parent, after `collect`."""
        message = self.up[number]
        assert message is not None
        return message

    def _inputs(self, clique: Clique) -> list[Weights]:
        """The tables of a clique, and what its children say."""
        found = [self.given.tables[t] for t in clique.tables]
        found += [self._said(child) for child in clique.children]
        return found + [self._ones_of(self.given.sizes[scope[0]]) for scope in clique.scopes[len(found) :]]

    def _ones_of(self, size: int) -> Weights:
        if size not in self._ones:
            self._ones[size] = Weights.of_logs(np.zeros(size))
        return self._ones[size]

    def _sum_out(self, clique: Clique, inputs: list[Weights]) -> Weights:
        if self._in_numbers(inputs):
            return Weights.of_values(self._plan(clique).sum_out(_values(inputs)), sum(one.shift for one in inputs))
        log = self._product(clique).reduce_last(len(clique.shared), self.mode)
        return Weights.of_logs(log.reshape([self.given.sizes[v] for v in clique.shared]))

    def _in_numbers(self, weights: Sequence[Weights | None]) -> bool:
        """Whether products of these stay within double precision: else logarithms are added."""
        return self.mode == "sum" and sum(one.spread for one in weights if one is not None) < WIDEST

    def distribute(self) -> dict[int, np.ndarray]:
        """Messages from the roots to the leaves; the marginals of all variables, scaled to add up to one."""
        for number in reversed(self.order):
            clique = self.cliques[number]
            inputs = self._inputs(clique)
            around, before = [*inputs, self.down[number]], self._around[number]
            if _same(around, before):
                continue
            changed = {i for i, one in enumerate(around) if not before or one is not before[i]}
            self._marginals[number] = self._send_down(number, inputs, changed)
            self._around[number] = around
        own = (zip(clique.own, found, strict=True) for clique, found in zip(self.cliques, self._marginals, strict=True))
        return dict(itertools.chain.from_iterable(own))

    def _send_down(self, number: int, inputs: list[Weights], changed: set[int]) -> list[np.ndarray]:
        """Marginals of a clique's own variables; children get a new message where more than their own message has changed."""
        clique = self.cliques[number]
        asked_anew, self._by_logs[number] = self._by_logs[number], not self._in_numbers([*inputs, self.down[number]])
        if self._by_logs[number]:
            return self._send_down_in_logs(number)
        values, first = _values(inputs), len(clique.tables)
        root_log = self._log_of(number)
        child_of = dict(enumerate(clique.children, start=first))
        # What a child is told does not depend on what it says; only by logarithms it was divided by that, which may be zero.
        asked = {i for i, child in child_of.items() if asked_anew or changed != {i} or self.down[child] is None}
        outside: dict[int, np.ndarray] = {}
        for i in set(clique.heard).intersection(child_of) - asked:
            down = self.down[child_of[i]]
            if down is not None and down.values is not None:
                outside[i] = down.values
        outside |= self._send_back(number, inputs, sorted(asked | set(clique.heard).difference(outside)))
        joint = {i: outside[i] * values[i] for i in {*asked, *clique.heard}}
        for i in asked:
            shift = root_log - self._said(child_of[i]).shift - math.log(joint[i].sum())
            self.down[child_of[i]] = Weights.of_values(outside[i], shift)
        marginals = []
        for v, i in zip(clique.own, clique.heard, strict=True):
            found = joint[i].sum(axis=tuple(axis for axis, u in enumerate(clique.scopes[i]) if u != v))
            marginals.append(found / found.sum())
        return marginals

    def _send_back(self, number: int, inputs: list[Weights], wanted: Sequence[int]) -> dict[int, np.ndarray]:
        """For each input that is wanted, what all else says to it, but for a factor."""
        down = self.down[number]
        around = np.ones(()) if down is None else down.values
        assert around is not None
        return self._plan(self.cliques[number]).send_back(_values(inputs), around, wanted)

    def _send_down_in_logs(self, number: int) -> list[np.ndarray]:
        clique = self.cliques[number]
        found = self._project(number, [[v] for v in clique.own] + [self.cliques[child].shared for child in clique.children])
        for child, values in zip(clique.children, found[len(clique.own) :], strict=True):
            said = self._said(child).log
            # In place: these are the arrays that memory goes to.
            np.log(values, out=values)
            values += self._log_of(number)
            values -= said
            values[np.isneginf(said)] = -np.inf
            self.down[child] = Weights.of_logs(values)
        return [values / values.sum() for values in found[: len(clique.own)]]

    def beliefs(self, tables: Sequence[int]) -> dict[int, np.ndarray]:
        """Joint probabilities of the variables of tables, but for a factor, after `distribute`."""
        by_clique: dict[int, list[int]] = {}
        for table in tables:
            by_clique.setdefault(self.home[table], []).append(table)
        found: dict[int, np.ndarray] = {}
        for number, mine in by_clique.items():
            clique = self.cliques[number]
            inputs = self._inputs(clique)
            if self._in_numbers([*inputs, self.down[number]]):
                places = {clique.tables.index(table): table for table in mine}
                for place, outside in self._send_back(number, inputs, list(places)).items():
                    found[places[place]] = outside * inputs[place].values
            else:
                scopes = [list(self.given.scopes[table]) for table in mine]
                found |= dict(zip(mine, self._project(number, scopes), strict=True))
        return found

    def _project(self, number: int, targets: list[list[int]]) -> list[np.ndarray]:
        """Probabilities of the states of some sets of a clique's variables, each axis in the order given."""
        clique = self.cliques[number]
        product = self._product(clique, self.down[number])
        position = {v: axis for axis, v in enumerate(clique.axes)}
        sorted_axes = [sorted(position[v] for v in target) for target in targets]
        found = product.project(sorted_axes, self._log_of(number), self.mode)
        return [
            values.transpose([axes.index(position[v]) for v in target])
            for values, axes, target in zip(found, sorted_axes, targets, strict=True)
        ]

    def _plan(self, clique: Clique) -> Plan:
        if clique.plan is None:
            position = {v: axis for axis, v in enumerate(clique.axes)}
            scopes = tuple(tuple(position[v] for v in scope) for scope in clique.scopes)
            key = tuple(self._most_states[v] for v in clique.axes), scopes, tuple(range(len(clique.shared)))
            if key not in self._plans:
                self._plans[key] = Plan(*key)
            clique.plan = self._plans[key]
        return clique.plan

    def decode(self) -> dict[int, int]:
        """One best joint state, after `collect` in max mode: the position of each variable among the states left."""
        chosen: dict[int, int] = {}
        for number in reversed(self.order):
            clique = self.cliques[number]
            tables: Tables = []
            position = {v: axis for axis, v in enumerate(clique.own)}
            for variables, table in self._clique_tables(clique):
                part = table[tuple(chosen.get(v, slice(None)) if v not in position else slice(None) for v in variables)]
                tables.append(_aligned([v for v in variables if v in position], part, position))
            sizes = [self.given.sizes[v] for v in clique.own]
            best = np.unravel_index(product_of(sizes, tables).best(), sizes)
            chosen |= {v: int(state) for v, state in zip(clique.own, best, strict=True)}
        return chosen

    def sample(self, n: int, rng: np.random.Generator) -> dict[int, np.ndarray]:
        """
        Joint states, after `collect` in sum mode: positions of each variable among the states left, ``(n,)``.

        From the roots on, those that a clique eliminates given those that it shares with its parent; draws that share the same
        states are drawn together.
        """
        drawn: dict[int, np.ndarray] = {}
        for number in reversed(self.order):
            clique = self.cliques[number]
            sizes, tables = [self.given.sizes[v] for v in clique.own], self._clique_tables(clique)
            position = {v: axis for axis, v in enumerate(clique.own)}
            given = np.stack([drawn[v] for v in clique.shared]) if clique.shared else np.zeros((1, n), dtype=np.int64)
            shared = [self.given.sizes[v] for v in clique.shared] or [1]
            if math.prod(shared) * math.prod(sizes) <= PIECE:  # the whole clique at once
                rows = self._product(clique).piece(0).reshape(math.prod(shared), -1)
                weights = np.cumsum(np.exp(rows - np.maximum(rows.max(axis=1, keepdims=True), _LEAST)), axis=1)
                chosen = draw_rows(weights[np.ravel_multi_index(tuple(given), shared)], rng)
            else:
                chosen = self._draw_by_case(clique, given, sizes, tables, position, rng)
            drawn |= dict(zip(clique.own, np.unravel_index(chosen, sizes), strict=True))
        return drawn

    @staticmethod
    def _draw_by_case(
        clique: Clique,
        given: np.ndarray,
        sizes: list[int],
        tables: list[tuple[list[int], np.ndarray]],
        position: dict[int, int],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """The same for a large clique: a product of the states left for each case of the shared ones that occurs."""
        cases, case_of = np.unique(given, axis=1, return_inverse=True)
        chosen = np.empty(given.shape[1], dtype=np.int64)
        for case, states in enumerate(cases.T):
            fixed = dict(zip(clique.shared, states.tolist(), strict=False))
            parts: Tables = []
            for variables, table in tables:
                part = table[tuple(fixed.get(v, slice(None)) for v in variables)]
                parts.append(_aligned([v for v in variables if v in position], part, position))
            rows = np.flatnonzero(case_of.reshape(-1) == case)
            chosen[rows] = product_of(sizes, parts).draw(rows.size, rng)
        return chosen

    def _log_of(self, number: int) -> float:
        return self._said(self.root[number]).shift

    def _product(self, clique: Clique, down: Weights | None = None) -> Product | SmallProduct:
        """The product of a clique's inputs, and of what its parent says where that is given."""
        position = {v: axis for axis, v in enumerate(clique.axes)}
        found = self._clique_tables(clique) + ([(clique.shared, down.log)] if down is not None else [])
        tables = [_aligned(variables, table, position) for variables, table in found]
        return product_of([self.given.sizes[v] for v in clique.axes], tables)

    def _clique_tables(self, clique: Clique) -> list[tuple[list[int], np.ndarray]]:
        return [(scope, one.log) for scope, one in zip(clique.scopes, self._inputs(clique), strict=True)]


def _same(found: Sequence[Weights | None], before: Sequence[Weights | None]) -> bool:
    return len(found) == len(before) and all(a is b for a, b in zip(found, before, strict=True))


def _values(weights: Sequence[Weights]) -> list[np.ndarray]:
    return [one.values for one in weights if one.values is not None]


def _aligned(variables: list[int], table: np.ndarray, position: dict[int, int]) -> tuple[tuple[int, ...], np.ndarray]:
    """A table's axes in a clique, rising, and the table transposed to them."""
    axes = [position[v] for v in variables]
    order = sorted(range(len(axes)), key=axes.__getitem__)
    return tuple(axes[i] for i in order), table.transpose(order)
