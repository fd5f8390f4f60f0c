"""The public interface: `JunctionTree`, and how large it would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from factorgraph.backends import HOST
from factorgraph.blocks import Factors, Variables, check_prior, check_values, numbers_of
from factorgraph.factors import Factor
from factorgraph.graph import FactorGraph
from factorgraph.inference import ContradictionError
from factorgraph.inference.layout.memory import memory_needed
from factorgraph.inference.state.put import by_set, chosen_sets
from factorgraph.junction.answers import ExactResult
from factorgraph.junction.batch import ExactBatch
from factorgraph.junction.clique_tree import CliqueTree
from factorgraph.junction.elimination import Elimination, find_elimination
from factorgraph.junction.tables import Given, TableModel, TooLargeError, split, tables_of
from factorgraph.semiring import MODES
from factorgraph.variables import DiscreteType

MAX_CLIQUE = 1 << 27
_WIDE = float(1 << 16)  # joint states of a factor beyond which a forest is answered by messages, without tables


@dataclass(frozen=True)
class ExactSize:
    """
    The work and memory that exact answers would need.

    A forest with factors of more than 65,536 joint states is answered by belief propagation, without tables. In this case, the
    width is 1, a clique is the states of one variable, and the entries are those of the messages.

    Attributes
    ----------
    width : int
        Number of variables of the largest clique, minus one (an upper bound of the treewidth, after evidence and zeros).
    largest_clique : float
        Number of joint states of the largest clique.
    total_entries : float
        Number of joint states of all cliques. The time is proportional to it, with some nanoseconds for each.
    memory : float
        Most bytes that marginals need, for messages between cliques, tables, and the work on one clique.
    """

    width: int
    largest_clique: float
    total_entries: float
    memory: float


def exact_size(graph: FactorGraph) -> ExactSize:
    """Find out how large the tables for exact answers would be, without making them."""
    check_discrete(graph)
    if is_wide_forest(graph):
        return forest_size(graph)
    model = TableModel(graph)
    allowed = model.allowed(_evidence_of(graph))
    if allowed is None:
        return ExactSize(0, 1.0, 1.0, 0.0)
    given = model.given(allowed)
    elimination, free = _eliminate(given)
    return _size(CliqueTree(given, elimination, free, "sum"), elimination)


class JunctionTree:
    """
    A junction tree that is built once and then asked many times, with other evidence, priors and potentials.

    The order of elimination, and the order of the products in each clique, are found once. Each run calculates only what has
    changed since the previous run: messages that no change can reach are kept. Later runs do not change earlier results. A tree
    must be used by one thread at a time.

    Parameters
    ----------
    graph : FactorGraph
        A graph of discrete variables. The tree starts with its prior and evidence. Later changes of the graph have no effect.
    mode : {"sum", "max"}, default "sum"
        "sum" gives marginals, and "max" the most probable joint state.
    batch : int, optional
        Number of sets of evidence for each run. They are calculated one after another.
    max_clique : int, default 2^27
        As in `exact`.

    Raises
    ------
    TooLargeError, TypeError
        As in `exact`.

    Notes
    -----
    The order is found for the evidence that is set when the tree is built. More evidence, and other values, are fast. Two
    changes make the next run find a new order: to remove evidence of a variable that was observed then, and to set a prior for
    a variable that had none.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Spin(), shape=(3,))
    >>> _ = graph.add_factors("loop", fg.Ising(0.5), x, x[[1, 2, 0]])
    >>> tree = fg.JunctionTree(graph)
    >>> for value in (-1, 1):
    ...     tree.observe(x[0], value)
    ...     print(tree.run().marginals(x[1]).round(4).tolist())
    [0.8075, 0.1925]
    [0.1925, 0.8075]
    """

    def __init__(
        self, graph: FactorGraph, *, mode: str = "sum", batch: int | None = None, max_clique: int = MAX_CLIQUE
    ) -> None:
        _check(graph, mode)
        if batch is not None and (isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1):
            raise ValueError(f"batch must be a whole number of at least 1, not {batch!r}")
        self.graph, self.mode, self.batch = graph, mode, batch
        self._max_clique, self._size = max_clique, graph.size_of_structure
        self._first = graph.first_nodes()
        self._models = [TableModel(graph)] * (batch or 1)
        self._evidence = [_evidence_of(graph)] * (batch or 1)
        self._tree: CliqueTree | None = None
        self._free: frozenset[int] = frozenset()
        self._compile()

    def __repr__(self) -> str:
        sets = "" if self.batch is None else f", {self.batch} sets"
        return f"<JunctionTree: mode {self.mode!r}{sets}>\n{self.graph!r}"

    # Evidence, priors, potentials.

    def observe(self, variables: Variables, values: Any, *, sets: Any = None) -> None:
        """Fix variables to values, as `Inference.observe`."""
        nodes, chosen = self._nodes(variables), chosen_sets(self.batch, sets)
        each = by_set(numbers_of(variables, values), variables.shape, chosen, variables, check_values, "observed values")
        kind = variables.type
        assert isinstance(kind, DiscreteType)
        states = np.asarray(kind.position(each.reshape(len(each), -1)))
        for number, row in zip([0] if chosen is None else chosen.tolist(), states.tolist(), strict=True):
            self._evidence[number] = self._evidence[number] | dict(zip(nodes, row, strict=True))

    def unobserve(self, variables: Variables, *, sets: Any = None) -> None:
        """Remove evidence, as `Inference.unobserve`."""
        nodes, chosen = set(self._nodes(variables)), chosen_sets(self.batch, sets)
        for number in [0] if chosen is None else chosen.tolist():
            self._evidence[number] = {v: state for v, state in self._evidence[number].items() if v not in nodes}

    def set_prior(self, variables: Variables, params: Any, *, sets: Any = None) -> None:
        """Set the prior of variables in natural parameters, as `Inference.set_prior`."""
        nodes, kind, chosen = self._nodes(variables), variables.type, chosen_sets(self.batch, sets)
        assert isinstance(kind, DiscreteType)
        each = by_set(params, (*variables.shape, *kind.param_shape), chosen, variables, check_prior, "prior")
        front = np.moveaxis(each.reshape(len(each), -1, *kind.param_shape), (0, 1), (-1, -2))
        weights = np.moveaxis(kind.log_weights(front, HOST), (-1, -2), (0, 1))
        self._change(lambda model: model.with_priors(dict.fromkeys(nodes)))  # so tables have the same numbers in all sets
        for number, rows in zip([0] if chosen is None else chosen.tolist(), weights, strict=True):
            self._models[number] = self._models[number].with_priors(dict(zip(nodes, rows, strict=True)))

    def set_potentials(self, factors: str | Factors, factor: Factor) -> None:
        """Replace a block's potentials, as `Inference.set_potentials`."""
        self._check_size()
        block = self.graph.factors(factors)
        if block.is_block or type(factor) is not type(block.factor):
            raise TypeError(f"factors {block.name!r} need a new {type(block.factor).__name__}, not {factor!r}")
        try:
            whole = tables_of(block, factor)
        except (ValueError, TypeError) as error:
            raise type(error)(f"factors {block.name!r}: {error}") from error
        tables = split(whole, block.count)
        numbers = [self._models[0].place[block.name, number] for number in range(block.count)]
        self._change(lambda model: model.with_tables(dict(zip(numbers, tables, strict=True))))

    def _change(self, change: Callable[[TableModel], TableModel]) -> None:
        """Change the model of every set. If sets share a model, it is changed once."""
        changed = {id(model): change(model) for model in dict.fromkeys(self._models)}
        self._models = [changed[id(model)] for model in self._models]

    def _nodes(self, variables: Variables) -> list[int]:
        self._check_size()
        self.graph.block_of(variables)
        nodes: list[int] = (self._first[variables.name] + variables.index.reshape(-1)).tolist()
        return nodes

    def _check_size(self) -> None:
        if self._size != self.graph.size_of_structure:
            raise RuntimeError("the graph has grown since the tree was made: make a new JunctionTree")

    # Answers.

    def run(self) -> ExactResult | ExactBatch:
        """
        Find exact answers for the present evidence, priors and potentials.

        Returns
        -------
        ExactResult, or ExactBatch if the tree has a batch

        Raises
        ------
        ContradictionError
            The evidence contradicts the model; in a batch, the evidence of all sets.
        TooLargeError
            A new order had to be found, and it would need too much memory.
        """
        self._check_size()
        sets = [(model, model.allowed(evidence)) for model, evidence in zip(self._models, self._evidence, strict=True)]
        if not all(allowed is None or self._serves(model, allowed) for model, allowed in sets):
            self._compile()
        tree, free = self._tree, self._free  # a batch is read later, when the tree may be another
        if self.batch is not None:
            return ExactBatch(self.graph, partial(_results, self.graph, sets, tree, free, self.mode), self.mode)
        result = next(_results(self.graph, sets, tree, free, self.mode))
        if result.contradictions:
            raise ContradictionError(result)
        self._tree = result.tree
        return result

    def _serves(self, model: TableModel, allowed: list[np.ndarray]) -> bool:
        """Whether the tree has all variables with a choice, and all tables."""
        known = self._tree is not None and len(model.scopes) == len(self._tree.given.scopes)
        return known and all(states.size == 1 or v in self._free for v, states in enumerate(allowed))

    def _compile(self) -> None:
        """
        Find an order for all variables that any of the sets leaves open or that were open before, because evidence may change
        back.
        """
        found = [model.allowed(evidence) for model, evidence in zip(self._models, self._evidence, strict=True)]
        possible = [allowed for allowed in found if allowed is not None]
        if not possible:
            self._tree, self._free = None, frozenset()
            return
        for model in dict.fromkeys(self._models) if self._free else ():
            possible.append([model.states[v] if v in self._free else states for v, states in enumerate(possible[0])])
        allowed = [states[0] if len(set(map(id, states))) == 1 else _union(states) for states in zip(*possible, strict=True)]
        given = self._models[0].given(allowed)
        elimination, free = _eliminate(given)
        tree = CliqueTree(given, elimination, free, self.mode)
        refuse_too_large(_size(tree, elimination), 16.0 * tree.message_entries, self._max_clique)
        self._tree, self._free = tree, frozenset(free)


def _results(
    graph: FactorGraph,
    sets: Sequence[tuple[TableModel, list[np.ndarray] | None]],
    tree: CliqueTree | None,
    free: frozenset[int],
    mode: str,
) -> Iterator[ExactResult]:
    """One set after another, each from what stays of the one before."""
    for model, allowed in sets:
        if allowed is None:
            yield ExactResult(graph, model.place, None, mode)
            continue
        assert tree is not None
        tree = tree.with_given(model.given(allowed, free))
        yield ExactResult(graph, model.place, tree, mode)


def _union(states: Sequence[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(states))


def _check(graph: FactorGraph, mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, not {mode!r}")
    check_discrete(graph)


def check_discrete(graph: FactorGraph) -> None:
    for block in graph.variable_blocks.values():
        if not isinstance(block.type, DiscreteType):
            raise TypeError(
                f"exact answers need variables with states, but {block.name!r} are {block.type!r}; run the graph instead"
            )


def _evidence_of(graph: FactorGraph) -> dict[int, int]:
    """Position of the state of each observed variable of a graph, by node number."""
    found: dict[int, int] = {}
    for name, first in graph.first_nodes().items():
        block = graph.variable_blocks.get(name)
        if block is not None and block.observed is not None and block.values is not None:
            assert isinstance(block.type, DiscreteType)
            seen = np.flatnonzero(block.observed)
            states = np.asarray(block.type.position(block.values[seen]))
            found |= dict(zip((first + seen).tolist(), states.tolist(), strict=True))
    return found


def is_wide_forest(graph: FactorGraph) -> bool:
    """Whether belief propagation is exact, and tables of the factors would be large."""
    return graph.is_forest and any(
        np.prod([float(len(kind.states)) for kind in block.bound.spread_types()]) > _WIDE
        for block in graph.factor_blocks.values()
        if not block.is_block
    )


def forest_size(graph: FactorGraph) -> ExactSize:
    states = {
        block.name: len(block.type.states) for block in graph.variable_blocks.values() if isinstance(block.type, DiscreteType)
    }
    entries = sum(port.size * states[port.name] for block in graph.factor_blocks.values() for port in block.ports)
    return ExactSize(1, float(max(states.values())), float(entries), float(memory_needed(graph, HOST, None)))


def refuse_too_large(size: ExactSize, messages: float, max_clique: int) -> None:
    if size.largest_clique > max_clique or messages > 64.0 * max_clique:
        raise TooLargeError(
            f"exact answers would need a clique of {size.largest_clique:.3g} joint states ({size.width + 1} variables; at most "
            f"{max_clique:.3g} are allowed) and {size.memory / 2**30:.3g} GiB of memory; run belief propagation instead, or "
            "raise max_clique"
        )


def _eliminate(given: Given) -> tuple[Elimination, list[int]]:
    free = [v for v, size in enumerate(given.sizes) if size > 1]
    number = {v: i for i, v in enumerate(free)}
    scopes = {tuple(sorted(number[v] for v in scope)) for scope in given.scopes if len(scope) > 1}
    return find_elimination([given.sizes[v] for v in free], sorted(scopes)), free


def _size(tree: CliqueTree, elimination: Elimination) -> ExactSize:
    width = max((len(around) for around in elimination.neighbours), default=0)
    return ExactSize(width, 2.0**elimination.log_largest, 2.0**elimination.log_total, tree.memory)
