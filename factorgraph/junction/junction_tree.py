"""The public interface: `JunctionTree`, and how large it would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from factorgraph.backends import HOST
from factorgraph.blocks import Factors, Variables, check_prior, numbers_of, positions_of
from factorgraph.factors import Factor
from factorgraph.graph import FactorGraph
from factorgraph.inference import ContradictionError
from factorgraph.inference.layout.memory import memory_needed
from factorgraph.inference.state.put import by_set, chosen_sets
from factorgraph.junction.answers import ExactResult
from factorgraph.junction.batch import ExactBatch
from factorgraph.junction.clique_tree import CliqueTree
from factorgraph.junction.elimination import Elimination, find_elimination
from factorgraph.junction.evidence_sets import CompiledTree, EvidenceSet
from factorgraph.junction.flat_tree import FlatTree
from factorgraph.junction.numbering import Numbering
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
    elimination, free = _eliminate(given, MAX_CLIQUE)
    return _size(CliqueTree(given, elimination, free, "sum"), elimination)


class JunctionTree:
    """
    A junction tree that is built once and then asked many times, with other evidence, priors and potentials.

    The order of elimination, and the order of the products in each clique, are found once. If cliques are small, all cliques
    of one depth are calculated together, for many sets of evidence at once. In larger trees, each run calculates only what has
    changed since the previous run: messages that no change can reach are kept. Later runs do not change earlier results. A tree
    must be used by one thread at a time.

    Parameters
    ----------
    graph : FactorGraph
        A graph of discrete variables. The tree starts with its prior and evidence. Later changes of the graph have no effect.
    mode : {"sum", "max"}, default "sum"
        "sum" gives marginals, and "max" the most probable joint state.
    batch : int, optional
        Number of sets of evidence for each run. On small trees, they are calculated together, which is much faster than one
        run after another.
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
        self._models = [TableModel(graph)] * (batch or 1)
        self._numbering = Numbering.of(graph, self._models[0].place)
        self._evidence = [_evidence_of(graph)] * (batch or 1)
        self._compiled: CompiledTree | None = None
        self._compile(self._sets())

    def __repr__(self) -> str:
        sets = "" if self.batch is None else f", {self.batch} sets"
        return f"<JunctionTree: mode {self.mode!r}{sets}>\n{self.graph!r}"

    # Evidence, priors, potentials.

    def observe(self, variables: Variables, values: Any, *, sets: Any = None) -> None:
        """Fix variables to values, as `Inference.observe`."""
        nodes, chosen = self._nodes(variables), chosen_sets(self.batch, sets)
        given = numbers_of(variables, values)
        states = by_set(given, variables.shape, chosen, variables, positions_of, "observed values").reshape(-1, len(nodes))
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
        return self._numbering.nodes(variables)

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
        sets = self._sets()
        if self._compiled is None or not all(self._compiled.serves(one) for one in sets):
            self._compile(sets)
        compiled = self._compiled  # a batch is read later, when the tree may be another
        results = self._contradictions if compiled is None else partial(compiled.answer, self.graph, sets)
        if self.batch is not None:
            return ExactBatch(self.graph, self._numbering, results, self.mode)
        result = next(results())
        if result.contradictions:
            raise ContradictionError(result)
        assert self._compiled is not None
        self._compiled = self._compiled.after(sets[0], result)
        return result

    def _contradictions(self) -> Iterator[ExactResult]:
        """The answers where no set is possible."""
        return (ExactResult(self.graph, self._numbering, self.mode, None) for _ in self._models)

    def _sets(self) -> list[EvidenceSet]:
        return [EvidenceSet(model, evidence) for model, evidence in zip(self._models, self._evidence, strict=True)]

    def _compile(self, sets: Sequence[EvidenceSet]) -> None:
        """
        Find an order for all variables that any of the sets leaves open or that were open before, because evidence may change
        back.
        """
        possible = [one.allowed for one in sets if one.allowed is not None]
        if not possible:
            self._compiled = None
            return
        models = list(dict.fromkeys(self._models))
        if self._compiled is not None:
            possible += [_opened(possible[0], model, self._compiled.free) for model in models]
        given = models[0].given(_union(possible))
        elimination, variables = _eliminate(given, self._max_clique)
        tree, free = CliqueTree(given, elimination, variables, self.mode), frozenset(variables)
        largest, messages = 2.0**elimination.log_largest, 16.0 * tree.message_entries
        refuse_too_large(largest, messages, self._max_clique, lambda: _size(tree, elimination))
        states = _union([_opened(given.allowed, model, free) for model in models])
        pays = FlatTree.pays(tree.cliques, [one.size for one in states])
        flat = FlatTree(tree.cliques, states, self._numbering.states, self.mode) if pays else None
        self._compiled = CompiledTree(tree, free, flat, self._numbering)


def _opened(allowed: list[np.ndarray], model: TableModel, free: frozenset[int]) -> list[np.ndarray]:
    """States of all variables, some of which have all that they have without evidence."""
    return [model.states[v] if v in free else states for v, states in enumerate(allowed)]


def _union(each: Sequence[list[np.ndarray]]) -> list[np.ndarray]:
    """For each variable, the states that any of some lists has."""
    return [
        states[0] if all(one is states[0] for one in states) else np.unique(np.concatenate(states))
        for states in zip(*each, strict=True)
    ]


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


def refuse_too_large(largest: float, messages: float, max_clique: int, size: Callable[[], ExactSize]) -> None:
    """
    Refuse what needs too much.

    Parameters
    ----------
    largest : entries of the largest clique
    messages : bytes of all messages
    max_clique : entries that a clique may have
    size : finds what the error tells
    """
    if largest <= max_clique and messages <= 64.0 * max_clique:
        return
    needed = size()
    raise TooLargeError(
        f"exact answers would need a clique of {needed.largest_clique:.3g} joint states ({needed.width + 1} variables; at most "
        f"{max_clique:.3g} are allowed) and {needed.memory / 2**30:.3g} GiB of memory; run belief propagation instead, or "
        "raise max_clique"
    )


def _eliminate(given: Given, most: float) -> tuple[Elimination, list[int]]:
    free = [v for v, size in enumerate(given.sizes) if size > 1]
    number = {v: i for i, v in enumerate(free)}
    scopes = {tuple(sorted(number[v] for v in scope)) for scope in given.scopes if len(scope) > 1}
    return find_elimination([given.sizes[v] for v in free], sorted(scopes), most), free


def _size(tree: CliqueTree, elimination: Elimination) -> ExactSize:
    width = max((len(around) for around in elimination.neighbours), default=0)
    sizes = tree.given.sizes
    arrays = FlatTree.memory(tree.cliques, sizes, tree.mode) if FlatTree.pays(tree.cliques, sizes) else 0.0
    return ExactSize(width, 2.0**elimination.log_largest, 2.0**elimination.log_total, max(tree.memory, arrays))
