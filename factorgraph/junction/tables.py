"""A discrete graph as plain tables, and what evidence leaves of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from factorgraph.backends import HOST
from factorgraph.blocks import Factors
from factorgraph.factors import Factor
from factorgraph.graph import FactorGraph
from factorgraph.junction.weights import Weights
from factorgraph.variables import DiscreteType

_MOST_ENTRIES = 1 << 26  # of all tables of one block together


class TooLargeError(ValueError):
    """Exact answers would need too much memory. The message says how much."""


@dataclass(frozen=True, eq=False)
class Given:
    """
    A model given evidence: tables over the states that are left.

    Attributes
    ----------
    allowed : for each node number of a variable, the states that evidence and zeros leave
    sizes : how many these are
    scopes : node numbers of each table's variables, but for those that had one state left when the tree was made
    cut : makes `tables`, when they are needed first
    """

    allowed: list[np.ndarray]
    sizes: list[int]
    scopes: list[tuple[int, ...]]
    cut: Callable[[], list[Weights]]

    @cached_property
    def tables(self) -> list[Weights]:
        """Weights over the states left, one axis for each variable of the scope."""
        return self.cut()

    @cached_property
    def constant(self) -> float:
        """Log-weight of all that is fixed."""
        return float(sum(table.shift for scope, table in zip(self.scopes, self.tables, strict=True) if not scope))


class TableModel:
    """
    A discrete graph's factors and priors as tables, without its evidence.

    Parameters
    ----------
    graph : FactorGraph

    Attributes
    ----------
    scopes : node numbers of each table's variables
    tables : log-potentials, one axis for each variable of the scope
    place : table number of each factor, by its block and number
    states : of each variable, those that zeros leave without evidence
    open : variables with more than one of these
    possible : whether each variable has one at least

    Raises
    ------
    TypeError
        A factor is a block factor.
    TooLargeError
        A factor has too many joint states for a table.
    """

    def __init__(self, graph: FactorGraph) -> None:
        self.scopes: list[tuple[int, ...]] = []
        self.tables: list[np.ndarray] = []
        self.place: dict[tuple[str, int], int] = {}
        self._prior_of: dict[int, int] = {}
        self._sizes: list[int] = []
        self._weights: dict[int, tuple[np.ndarray, Weights]] = {}  # by the identity of a table, which many factors may share
        self._cut: dict[int, tuple[tuple[int, ...], list[np.ndarray], Weights]] = {}  # tables of fewer states, by number
        self._seen: dict[bytes, np.ndarray] = {}
        self._whole: tuple[frozenset[int], list[Weights | None]] | None = None
        self._add_priors(graph)
        first = graph.first_nodes()
        for block in graph.factor_blocks.values():
            whole = tables_of(block)
            self.place |= {(block.name, number): len(self.tables) + number for number in range(block.count)}
            self.scopes += [tuple(row) for row in block.nodes(first).tolist()]
            self.tables += split(whole, block.count)
        self._look_for_zeros()

    def _add_priors(self, graph: FactorGraph) -> None:
        for block in graph.variable_blocks.values():
            kind = block.type
            assert isinstance(kind, DiscreteType)
            if block.prior is not None:
                weights = kind.log_weights(np.moveaxis(block.prior.copy(), 0, -1), HOST).T  # the graph's own may change
                for position in np.flatnonzero((weights != 0).any(axis=1)).tolist():
                    self._prior_of[len(self._sizes) + position] = len(self.tables)
                    self.scopes.append((len(self._sizes) + position,))
                    self.tables.append(weights[position])
            self._sizes += [len(kind.states)] * block.size

    def _look_for_zeros(self) -> None:
        self._whole = None
        zero_free: dict[int, bool] = {}
        for table in self.tables:
            if id(table) not in zero_free:
                zero_free[id(table)] = bool(table.min() > -np.inf)
        self._has_zeros = [not zero_free[id(table)] for table in self.tables]
        self._touching: list[list[int]] = [[] for _ in self._sizes]
        for number, scope in enumerate(self.scopes):
            for v in scope:
                self._touching[v].append(number)
        whole = {states: np.ones(states, dtype=np.bool_) for states in set(self._sizes)}
        self._masks = [whole[states] for states in self._sizes]
        self.possible = self._take_out_zeros(self._masks, range(len(self.tables)))
        self.states = [self._states_of(mask) for mask in self._masks]
        self.open = frozenset(v for v, states in enumerate(self.states) if states.size > 1)

    def with_tables(self, tables: Mapping[int, np.ndarray]) -> TableModel:
        """The same model with some tables replaced."""
        other = copy.copy(self)
        other.tables = list(self.tables)
        for number, table in tables.items():
            other.tables[number] = table
        used = {id(table) for table in other.tables}
        other._weights = {key: known for key, known in self._weights.items() if key in used}
        other._cut = {number: cut for number, cut in self._cut.items() if number not in tables}
        other._look_for_zeros()
        return other

    def with_priors(self, priors: Mapping[int, np.ndarray | None]) -> TableModel:
        """The same model with the log-weights of some variables replaced; None only makes a table where there was none."""
        other = copy.copy(self)
        other.scopes, other.tables, other._prior_of = list(self.scopes), list(self.tables), dict(self._prior_of)
        for v in priors:
            if v not in other._prior_of:
                other._prior_of[v] = len(other.tables)
                other.scopes.append((v,))
                other.tables.append(np.zeros(self._sizes[v]))
        return other.with_tables({other._prior_of[v]: table for v, table in priors.items() if table is not None})

    def allowed(self, evidence: Mapping[int, int]) -> list[np.ndarray] | None:
        """
        The states of each variable that evidence and zeros leave; None where nothing is possible.

        Parameters
        ----------
        evidence : position of the state of each variable that is observed
        """
        masks = list(self._masks)
        for v, state in evidence.items():
            masks[v] = np.arange(self._sizes[v]) == state
            masks[v] &= self._masks[v]
        near = dict.fromkeys(number for v in evidence for number in self._touching[v])
        if not self.possible or not all(masks[v].any() for v in evidence) or not self._take_out_zeros(masks, near):
            return None
        return [
            states if mask is before else self._states_of(mask)
            for states, mask, before in zip(self.states, masks, self._masks, strict=True)
        ]

    def given(self, allowed: list[np.ndarray], free: frozenset[int] | None = None) -> Given:
        """
        The tables over the states that are left.

        Parameters
        ----------
        allowed : as `allowed` returns it
        free : variables that scopes are to speak of, among them all with more than one state left; default just these
        """
        sizes = [states.size for states in allowed]
        free = frozenset(v for v, size in enumerate(sizes) if size > 1) if free is None else free
        scopes = [scope if free.issuperset(scope) else tuple(v for v in scope if v in free) for scope in self.scopes]
        return Given(allowed, sizes, scopes, partial(self._cut_tables, allowed, free, scopes))

    def _cut_tables(self, allowed: list[np.ndarray], free: frozenset[int], scopes: list[tuple[int, ...]]) -> list[Weights]:
        """As `Given.tables`."""
        if self._whole is None or self._whole[0] != free:
            self._whole = free, [self._without_evidence(number, scope) for number, scope in enumerate(scopes)]
        found = list(self._whole[1])
        for v, (states, before) in enumerate(zip(allowed, self.states, strict=True)):
            if states is not before:
                for number in self._touching[v]:
                    found[number] = self._table(number, allowed, scopes[number])
        return [table for table in found if table is not None]

    def _without_evidence(self, number: int, scope: tuple[int, ...]) -> Weights | None:
        """A table over the states that zeros leave; None where that leaves more of a variable than the scope knows."""
        if any(self.states[v].size > 1 for v in self.scopes[number] if v not in scope):
            return None
        return self._table(number, self.states, scope)

    def _states_of(self, mask: np.ndarray) -> np.ndarray:
        """The states that a mask leaves; one array for all variables that keep the same."""
        key = mask.tobytes()
        if key not in self._seen:
            self._seen[key] = np.flatnonzero(mask)
        return self._seen[key]

    def _table(self, number: int, allowed: list[np.ndarray], scope: tuple[int, ...]) -> Weights:
        """A table over the states left, the same object as last time if these are the same."""
        table, whole = self.tables[number], self.scopes[number]
        left = [allowed[v] for v in whole]
        if scope == whole and all(states.size == length for states, length in zip(left, table.shape, strict=True)):
            known = self._weights.get(id(table))
            if known is None or known[0] is not table:
                known = self._weights[id(table)] = table, Weights.of_logs(table)
            return known[1]
        cut = self._cut.get(number)
        if cut is None or cut[0] != scope or any(a is not b for a, b in zip(cut[1], left, strict=True)):
            cut = self._cut[number] = scope, left, Weights.of_logs(self.logs(number, allowed, scope))
        return cut[2]

    def logs(self, number: int, allowed: Sequence[np.ndarray], scope: tuple[int, ...]) -> np.ndarray:
        """A table over the states that are allowed, with an axis for each variable of a scope; all others have one left."""
        table, whole = self.tables[number], self.scopes[number]
        left = [allowed[v] for v in whole]
        logs = _part(table, left)
        return logs if scope == whole else logs.reshape([allowed[v].size for v in scope])

    def _take_out_zeros(self, masks: list[np.ndarray], numbers: Iterable[int]) -> bool:
        """
        Rule out states that no factor's possible configuration has, until none is left (generalised arc consistency).

        Begins with some tables; false where a variable has no state left.
        """
        waiting = [number for number in numbers if self._has_zeros[number]]
        queued = set(waiting)
        while waiting:
            number = waiting.pop()
            queued.discard(number)
            scope = self.scopes[number]
            left = [self._states_of(masks[v]) for v in scope]
            support = _part(self.tables[number], left) > -np.inf
            for axis, v in enumerate(scope):
                alive = np.logical_or.reduce(support, axis=tuple(a for a in range(len(scope)) if a != axis))
                if False not in alive.tolist():
                    continue
                if not alive.any():
                    return False
                masks[v] = masks[v].copy()
                masks[v][left[axis][~alive]] = False
                for other in self._touching[v]:
                    if other != number and self._has_zeros[other] and other not in queued:
                        queued.add(other)
                        waiting.append(other)
                left[axis] = left[axis][alive]
                support = support.compress(alive, axis=axis)
        return True


def _part(table: np.ndarray, left: Sequence[np.ndarray]) -> np.ndarray:
    """A table over the states that are left; the same object if these are all."""
    full = all(states.size == length for states, length in zip(left, table.shape, strict=True))
    return table if full else table[np.ix_(*left)]


def tables_of(block: Factors, factor: Factor | None = None) -> np.ndarray:
    """The log-potentials of a block's factors, or of another factor in place of its own, ``(q_0, ..., q_k, F or 1)``."""
    if block.is_block:
        raise TypeError(f"exact answers need factors with tables, but {block.name!r} are a block factor")
    bound = block.bound if factor is None else block.bound.rebound(factor)
    states = [len(kind.states) for kind in bound.spread_types()]
    entries = math.prod([float(q) for q in states]) * (block.count if len(states) > 8 else 1)
    if entries > _MOST_ENTRIES:
        raise TooLargeError(
            f"exact answers need a table for each factor; those of {block.name!r} have {len(states)} variables and would take "
            f"{entries * 8 / 2**30:.3g} GiB"
        )
    return bound.enumerated()


def split(whole: np.ndarray, count: int) -> list[np.ndarray]:
    """The tables of a block's factors, one object for all where they share it."""
    return [whole[..., 0]] * count if whole.shape[-1] == 1 else [whole[..., number] for number in range(count)]
