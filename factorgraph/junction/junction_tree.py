"""The junction tree of a table model, and messages between its cliques."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from factorgraph.inference.sampling import draw_rows
from factorgraph.junction.elimination import Elimination
from factorgraph.junction.product import PIECE, Product, SmallProduct, Tables, product_of
from factorgraph.junction.tables import TableModel

_MERGED = 1 << 8  # entries; up to here a clique is joined to its parent, as a call costs more than entries

_LEAST = -1e300  # below all logarithms but -inf
_OBJECT = 1000.0  # bytes for a variable or a table, whatever its size


@dataclass(eq=False, slots=True)
class Clique:
    """
    A clique: the variables that it shares with its parent, and those eliminated here.

    Attributes
    ----------
    shared, own : variables, in the order of the axes of the clique's product: first those shared
    parent : number of the parent clique, or -1 at a root
    tables : numbers of the tables assigned to this clique
    up : log-message to the parent, on the shared variables
    down : log-message from the parent, on the shared variables
    """

    shared: list[int]
    own: list[int]
    parent: int = -1
    children: list[int] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)
    up: np.ndarray | None = None
    down: np.ndarray | None = None

    @property
    def axes(self) -> list[int]:
        """Variables of all axes."""
        return self.shared + self.own


class JunctionTree:
    """
    Cliques in the order of elimination, children before parents.

    Parameters
    ----------
    model : TableModel
    elimination : of the variables with more than one state, numbered as in ``free``
    free : variable of each number of the elimination
    mode : {"sum", "max"}
    """

    def __init__(self, model: TableModel, elimination: Elimination, free: list[int], mode: str) -> None:
        self.model, self.mode = model, mode
        self.cliques: list[Clique] = []
        self.clique_of: dict[int, int] = {}
        self._build(elimination, free)
        self._merge()
        self.order = self._bottom_up()
        self.root = list(range(len(self.cliques)))
        for number in reversed(self.order):
            if self.cliques[number].parent >= 0:
                self.root[number] = self.root[self.cliques[number].parent]
        self.logs: dict[int, float] = {}  # log-sum (or maximum) of each root's component

    def _build(self, elimination: Elimination, free: list[int]) -> None:
        rank = {free[v]: number for number, v in enumerate(elimination.order)}
        waiting: dict[int, list[int]] = {}  # cliques whose first shared variable is this one
        for v, around in zip(elimination.order, elimination.neighbours, strict=True):
            variable = free[v]
            shared = sorted((free[u] for u in around), key=rank.__getitem__)
            # A clique of which this one is a part goes on to eliminate this variable too.
            home = next((c for c in waiting.get(variable, []) if len(self.cliques[c].shared) == len(shared) + 1), -1)
            if home < 0:
                home = len(self.cliques)
                self.cliques.append(Clique(shared, [variable]))
            else:
                self.cliques[home].own.append(variable)
                self.cliques[home].shared = shared
            self.clique_of[variable] = home
            for child in waiting.pop(variable, []):
                if child != home:
                    self.cliques[child].parent = home
                    self.cliques[home].children.append(child)
            if shared:
                waiting.setdefault(shared[0], []).append(home)
        for number, scope in enumerate(self.model.scopes):
            if scope:
                first = min(scope, key=rank.__getitem__)
                self.cliques[self.clique_of[first]].tables.append(number)

    def _merge(self) -> None:
        """Join small cliques to their parents, as long as what they make is small."""
        sizes, order = self.model.sizes, self._bottom_up()
        entries = [math.prod([sizes[v] for v in clique.axes]) for clique in self.cliques]
        place = list(range(len(self.cliques)))  # the clique that each has become a part of
        for number in order:
            clique = self.cliques[number]
            own = math.prod([sizes[v] for v in clique.own])
            if clique.parent >= 0 and entries[clique.parent] * own <= _MERGED:
                entries[clique.parent] *= own
                self.cliques[clique.parent].own += clique.own
                self.cliques[clique.parent].tables += clique.tables
                place[number] = clique.parent
        for number in reversed(order):  # a clique may be joined to one that is joined to another
            place[number] = place[place[number]]
        left = [number for number in range(len(self.cliques)) if place[number] == number]
        renumbered = {number: new for new, number in enumerate(left)}
        self.clique_of = {v: renumbered[place[number]] for v, number in self.clique_of.items()}
        self.cliques = [self.cliques[number] for number in left]
        for clique in self.cliques:
            clique.children = []
        for new, clique in enumerate(self.cliques):
            if clique.parent >= 0:
                clique.parent = renumbered[place[clique.parent]]
                self.cliques[clique.parent].children.append(new)

    def _bottom_up(self) -> list[int]:
        """Cliques, each before its parent."""
        found = [number for number, clique in enumerate(self.cliques) if clique.parent < 0]
        for number in found:
            found.extend(self.cliques[number].children)
        return found[::-1]

    @property
    def message_entries(self) -> int:
        """Entries of all messages to parents."""
        sizes = self.model.sizes
        return sum(math.prod([sizes[v] for v in clique.shared]) for clique in self.cliques if clique.shared)

    @property
    def memory(self) -> float:
        """
        Bytes that marginals take at most: messages both ways, tables, the work on one clique, and Python's own for each object.

        Beliefs of factors, which are as large as their tables, come on top.
        """
        sizes, tables = self.model.sizes, self.model.tables
        work = 0
        for clique in self.cliques:
            entries = math.prod([sizes[v] for v in clique.axes])
            children = [math.prod([sizes[v] for v in self.cliques[child].shared]) for child in clique.children]
            inputs = sum(children) + sum(tables[t].size for t in clique.tables)
            inputs += math.prod([sizes[v] for v in clique.shared])
            arrays = len(clique.tables) + 2 * len(children) + len(clique.own) + 6  # of the size of a piece, indices included
            work = max(work, inputs + sum(children) + min(entries, PIECE) * arrays)
        own = {id(table if table.base is None else table.base): table.size for table in tables}
        numbers = 2 * self.message_entries + work + sum(own.values()) + sum(sizes)
        return 8.0 * numbers + _OBJECT * (len(tables) + len(sizes))

    def collect(self) -> float:
        """Messages from the leaves to the roots; the log-sum (or maximum) of all."""
        total = self.model.constant
        for number in self.order:
            clique = self.cliques[number]
            up = self._product(clique, with_parent=False).reduce_last(len(clique.shared), self.mode)
            if clique.parent < 0:
                self.logs[number] = float(up[0])
                total += self.logs[number]
            else:
                clique.up = up.reshape([self.model.sizes[v] for v in clique.shared])
        return total

    def distribute(self) -> dict[int, np.ndarray]:
        """Messages from the roots to the leaves; the marginals of all variables, scaled to add up to one."""
        marginals: dict[int, np.ndarray] = {}
        for number in reversed(self.order):
            clique = self.cliques[number]
            children = [self.cliques[c] for c in clique.children]
            targets = [[v] for v in clique.own] + [child.shared for child in children]
            found = self.project(number, targets)
            for v, values in zip(clique.own, found, strict=False):
                marginals[v] = values / values.sum()
            for child, values in zip(children, found[len(clique.own) :], strict=True):
                assert child.up is not None
                # In place: these are the arrays that memory goes to.
                np.log(values, out=values)
                values += self._log_of(number)
                values -= child.up
                values[np.isneginf(child.up)] = -np.inf
                child.down = values
        return marginals

    def project(self, number: int, targets: list[list[int]]) -> list[np.ndarray]:
        """Probabilities of the states of some sets of a clique's variables, each axis in the order given."""
        clique = self.cliques[number]
        product = self._product(clique, with_parent=True)
        position = {v: axis for axis, v in enumerate(clique.axes)}
        sorted_axes = [sorted(position[v] for v in target) for target in targets]
        found = product.project(sorted_axes, self._log_of(number), self.mode)
        return [
            values.transpose([axes.index(position[v]) for v in target])
            for values, axes, target in zip(found, sorted_axes, targets, strict=True)
        ]

    def decode(self) -> dict[int, int]:
        """One best joint state, after `collect` in max mode: the position of each variable among the states left."""
        chosen: dict[int, int] = {}
        for number in reversed(self.order):
            clique = self.cliques[number]
            tables: Tables = []
            position = {v: axis for axis, v in enumerate(clique.own)}
            for variables, table in self._clique_tables(clique, with_parent=False):
                part = table[tuple(chosen.get(v, slice(None)) if v not in position else slice(None) for v in variables)]
                tables.append(_aligned([v for v in variables if v in position], part, position))
            sizes = [self.model.sizes[v] for v in clique.own]
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
            sizes, tables = [self.model.sizes[v] for v in clique.own], self._clique_tables(clique, with_parent=False)
            position = {v: axis for axis, v in enumerate(clique.own)}
            given = np.stack([drawn[v] for v in clique.shared]) if clique.shared else np.zeros((1, n), dtype=np.int64)
            shared = [self.model.sizes[v] for v in clique.shared] or [1]
            if math.prod(shared) * math.prod(sizes) <= PIECE:  # the whole clique at once
                rows = self._product(clique, with_parent=False).piece(0).reshape(math.prod(shared), -1)
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
        return self.logs[self.root[number]]

    def _product(self, clique: Clique, with_parent: bool) -> Product | SmallProduct:
        position = {v: axis for axis, v in enumerate(clique.axes)}
        tables = [_aligned(variables, table, position) for variables, table in self._clique_tables(clique, with_parent)]
        return product_of([self.model.sizes[v] for v in clique.axes], tables)

    def _clique_tables(self, clique: Clique, with_parent: bool) -> list[tuple[list[int], np.ndarray]]:
        found = [(list(self.model.scopes[t]), self.model.tables[t]) for t in clique.tables]
        for child in clique.children:
            message = self.cliques[child].up
            assert message is not None
            found.append((self.cliques[child].shared, message))
        if with_parent and clique.down is not None:
            found.append((clique.shared, clique.down))
        return found


def _aligned(variables: list[int], table: np.ndarray, position: dict[int, int]) -> tuple[tuple[int, ...], np.ndarray]:
    """A table's axes in a clique, rising, and the table transposed to them."""
    axes = [position[v] for v in variables]
    order = sorted(range(len(axes)), key=axes.__getitem__)
    return tuple(axes[i] for i in order), table.transpose(order)
