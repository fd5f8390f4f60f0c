"""The public face: `exact`, its result, and how large it would be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from factorgraph.backends import get_backend
from factorgraph.blocks import Factors, Variables
from factorgraph.graph import FactorGraph
from factorgraph.inference import ContradictionError, Inference
from factorgraph.inference.marginal_table import marginal_table
from factorgraph.inference.memory import memory_needed
from factorgraph.inference.sampling import by_block, check_number
from factorgraph.junction.elimination import Elimination, find_elimination
from factorgraph.junction.junction_tree import JunctionTree
from factorgraph.junction.tables import TableModel, TooLargeError, table_model
from factorgraph.semiring import MODES
from factorgraph.variables import DiscreteType

MAX_CLIQUE = 1 << 27
_WIDE = float(1 << 16)  # joint states of a factor beyond which a forest is answered by messages, without tables
_HOST = get_backend("numpy", "float64")


@dataclass(frozen=True)
class ExactSize:
    """
    What exact answers would take.

    A forest with factors of more than 65,536 joint states is answered by belief propagation, without tables: there the width
    is 1, a clique the states of one variable, and the entries are those of the messages.

    Attributes
    ----------
    width : int
        Variables of the largest clique, less one (an upper bound of the treewidth, after evidence and zeros).
    largest_clique : float
        Joint states of the largest clique.
    total_entries : float
        Joint states of all cliques: time goes with it, some 10 ns each.
    memory : float
        Bytes that marginals take at most: messages between cliques, tables, and the work on one clique.
    """

    width: int
    largest_clique: float
    total_entries: float
    memory: float


def exact_size(graph: FactorGraph) -> ExactSize:
    """How large the tables for exact answers would be; nothing of that size is made."""
    _check_discrete(graph)
    if _is_wide_forest(graph):
        return _forest_size(graph)
    model = table_model(graph)
    if not model.possible:
        return ExactSize(0, 1.0, 1.0, 0.0)
    elimination, free = _eliminate(model)
    return _size(JunctionTree(model, elimination, free, "sum"), elimination)


def exact(graph: FactorGraph, *, mode: str = "sum", max_clique: int = MAX_CLIQUE) -> ExactResult:
    """
    Exact answers for a graph of discrete variables, by a junction tree.

    Evidence and the states that zeros rule out are taken out first; then variables are eliminated in the best order found.
    Works where the graph, without them, has a small treewidth; and on every forest, however many variables its factors have, as
    belief propagation is exact there.

    Parameters
    ----------
    graph : FactorGraph
        Its prior and evidence count.
    mode : {"sum", "max"}, default "sum"
        Marginals, or the most probable joint state.
    max_clique : int, default 2^27
        Largest number of joint states of a clique, and an eighth of the entries of all messages together (8 GiB).

    Returns
    -------
    ExactResult

    Raises
    ------
    TooLargeError
        It would take more; the message says how much. No memory was taken.
    ContradictionError
        The evidence contradicts the model.
    TypeError
        A variable or factor cannot be enumerated.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Spin(), shape=(3,))
    >>> _ = graph.add_factors("loop", fg.Ising(0.5), x, x[[1, 2, 0]])
    >>> graph.observe(x[0], 1)
    >>> fg.exact(graph).marginals(x[1]).round(4).tolist()
    [0.1925, 0.8075]
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, not {mode!r}")
    _check_discrete(graph)
    if _is_wide_forest(graph):
        size = _forest_size(graph)
        _refuse_too_large(size, size.memory, max_clique)
        return _ForestResult(graph, mode)
    model = table_model(graph)
    if not model.possible:
        raise ContradictionError(ExactResult(graph, model, None, mode))
    elimination, free = _eliminate(model)
    tree = JunctionTree(model, elimination, free, mode)
    _refuse_too_large(_size(tree, elimination), 16.0 * tree.message_entries, max_clique)
    result = ExactResult(graph, model, tree, mode)
    if result.log_partition == -np.inf:
        raise ContradictionError(result)
    return result


def _check_discrete(graph: FactorGraph) -> None:
    for block in graph.variable_blocks.values():
        if not isinstance(block.type, DiscreteType):
            raise TypeError(
                f"exact answers need variables with states, but {block.name!r} are {block.type!r}; run the graph instead"
            )


def _is_wide_forest(graph: FactorGraph) -> bool:
    """Whether belief propagation is exact, and tables of the factors would be large."""
    return graph.is_forest and any(
        np.prod([float(len(kind.states)) for kind in block.kernel.spread_types()]) > _WIDE
        for block in graph.factor_blocks.values()
        if block.kernel is not None
    )


def _forest_size(graph: FactorGraph) -> ExactSize:
    states = {
        block.name: len(block.type.states) for block in graph.variable_blocks.values() if isinstance(block.type, DiscreteType)
    }
    entries = sum(port.size * states[port.name] for block in graph.factor_blocks.values() for port in block.ports)
    return ExactSize(1, float(max(states.values())), float(entries), float(memory_needed(graph, _HOST, None)))


def _refuse_too_large(size: ExactSize, messages: float, max_clique: int) -> None:
    if size.largest_clique > max_clique or messages > 64.0 * max_clique:
        raise TooLargeError(
            f"exact answers would need a clique of {size.largest_clique:.3g} joint states ({size.width + 1} variables; at most "
            f"{max_clique:.3g} are allowed) and {size.memory / 2**30:.3g} GiB of memory; run belief propagation instead, or "
            "raise max_clique"
        )


def _eliminate(model: TableModel) -> tuple[Elimination, list[int]]:
    free = [v for v, size in enumerate(model.sizes) if size > 1]
    number = {v: i for i, v in enumerate(free)}
    scopes = {tuple(sorted(number[v] for v in scope)) for scope in model.scopes if len(scope) > 1}
    return find_elimination([model.sizes[v] for v in free], sorted(scopes)), free


def _size(tree: JunctionTree, elimination: Elimination) -> ExactSize:
    width = max((len(around) for around in elimination.neighbours), default=0)
    return ExactSize(width, 2.0**elimination.log_largest, 2.0**elimination.log_total, tree.memory)


class ExactResult:
    """
    Exact answers, read like a `Result`. Made by `exact`.

    Attributes
    ----------
    status : str
        ``"exact"``.
    log_partition : float
        Log of the sum over all states, evidence included; in max mode the log-weight of the best one.
    contradictions : list
        Not empty where the evidence contradicts the model.
    """

    status = "exact"
    converged = True

    def __init__(self, graph: FactorGraph, model: TableModel, tree: JunctionTree | None, mode: str) -> None:
        self._graph, self._model, self._tree, self.run_mode = graph, model, tree, mode
        self._first = graph.first_nodes()
        self.log_partition = -np.inf if tree is None else self._collect(tree)
        self.contradictions = [] if self.log_partition > -np.inf else [("the evidence as a whole", ())]

    def __repr__(self) -> str:
        return f"<ExactResult: log-partition {self.log_partition:.6g}, mode {self.run_mode!r}>"

    @staticmethod
    def _collect(tree: JunctionTree) -> float:
        with np.errstate(all="ignore"):
            return tree.collect()

    @cached_property
    def _marginals(self) -> dict[int, np.ndarray]:
        assert self._tree is not None
        with np.errstate(all="ignore"):
            return self._tree.distribute()

    @cached_property
    def _decoded(self) -> dict[int, int]:
        assert self._tree is not None
        return self._tree.decode()

    def marginals(self, variables: Variables) -> np.ndarray:
        """Probabilities of the states, ``(*variables.shape, q)``; in max mode max-marginals, scaled to add up to one."""
        kind = self._kind(variables)
        result = np.zeros((variables.size, len(kind.states)))
        for row, v in zip(result, self._nodes(variables), strict=True):
            allowed = self._model.allowed[v]
            row[allowed] = self._marginals[v] if allowed.size > 1 else 1.0
        return result.reshape(*variables.shape, -1)

    def mean(self, variables: Variables) -> np.ndarray:
        """Expected values, ``(*variables.shape,)``; of categorical variables, which have none, the probabilities."""
        kind = self._kind(variables)
        with np.errstate(divide="ignore"):
            weights = np.log(np.moveaxis(self.marginals(variables), -1, 0))
            mean = kind.expectation(kind.mean(kind.from_log_weights(weights, _HOST), _HOST), _HOST)
        return np.asarray(mean if mean.shape == variables.shape else np.moveaxis(mean, 0, -1))

    def mode(self, variables: Variables) -> np.ndarray:
        """Most probable states, ``(*variables.shape,)``: one joint state in max mode, each by itself in sum mode."""
        kind = self._kind(variables)
        if self.run_mode == "sum":
            return kind.to_labels(np.asarray(kind.states[np.argmax(self.marginals(variables), axis=-1)]))
        found = [self._model.allowed[v][self._decoded[v] if self._model.sizes[v] > 1 else 0] for v in self._nodes(variables)]
        return kind.to_labels(np.asarray(kind.states[np.asarray(found, dtype=np.intp)]).reshape(variables.shape))

    def table(self, variables: Variables) -> Any:
        """
        Marginals of variables with the names of variables and states, for people to read.

        Returns
        -------
        pandas.DataFrame, or a text in columns where pandas is not installed
            A row for each variable and a column for each state, named where the type has names; of normal variables the mean
            and the variance.

        Raises
        ------
        ValueError
            The result is of a batch.
        """
        return marginal_table(variables, self.marginals(variables))

    def factor_marginals(self, factors: str | Factors) -> np.ndarray:
        """Joint probabilities of each factor's variables, ``(F, q_0, ..., q_k)``; as marginals in max mode."""
        self._check()
        assert self._tree is not None
        _ = self._marginals  # messages from the roots
        block = self._graph.factors(factors)
        assert block.kernel is not None
        shape = [len(kind.states) for kind in block.kernel.spread_types()]
        nodes = np.concatenate([p.index.reshape(block.count, -1) + self._first[p.name] for p in block.ports], axis=1)
        result = np.zeros((block.count, *shape))
        by_clique: dict[int, list[int]] = {}
        for number in range(block.count):
            scope = self._model.scopes[self._model.place[block.name, number]]
            home = -1
            if scope:
                homes = {self._tree.clique_of[v] for v in scope}
                home = next(c for c in homes if set(scope) <= set(self._tree.cliques[c].axes))
            by_clique.setdefault(home, []).append(number)
        with np.errstate(all="ignore"):
            for home, numbers in by_clique.items():
                scopes = [list(self._model.scopes[self._model.place[block.name, number]]) for number in numbers]
                joint = self._tree.project(home, scopes) if home >= 0 else [np.ones(()) for _ in numbers]
                for number, values in zip(numbers, joint, strict=True):
                    allowed = [self._model.allowed[v] for v in nodes[number]]
                    result[number][np.ix_(*allowed)] = (values / values.sum()).reshape([a.size for a in allowed])
        return result

    def gradient(self, factors: str | Factors) -> np.ndarray:
        """Derivative of `log_partition` by a block's potentials; as `Result.gradient`."""
        block = self._graph.factors(factors)
        assert block.kernel is not None
        return block.kernel.factor.gradient(self.factor_marginals(block))

    def sample(self, n: int = 1, seed: Any = None) -> dict[str, np.ndarray]:
        """
        Draw joint states of all variables, as `Result.sample`.

        Raises
        ------
        ValueError
            The result is of mode "max".
        """
        self._check()
        check_number(n)
        if self.run_mode != "sum":
            raise ValueError(f"states are drawn in sum mode, not in mode {self.run_mode!r}")
        assert self._tree is not None
        with np.errstate(all="ignore"):
            drawn = self._tree.sample(n, np.random.default_rng(seed))
        found = np.zeros((n, self._graph.num_variables), dtype=np.int32)
        for v, allowed in enumerate(self._model.allowed):
            found[:, v] = allowed[drawn[v]] if allowed.size > 1 else allowed[0]
        return by_block(self._graph, found)

    def _nodes(self, variables: Variables) -> list[int]:
        nodes: list[int] = (self._first[variables.name] + variables.index.reshape(-1)).tolist()
        return nodes

    def _check(self) -> None:
        if self.contradictions:
            raise ContradictionError(self)

    def _kind(self, variables: Variables) -> DiscreteType:
        self._check()
        kind = self._graph.block_of(variables).type
        assert isinstance(kind, DiscreteType)
        return kind


class _ForestResult(ExactResult):
    """The answers of belief propagation on a forest, which are exact."""

    def __init__(self, graph: FactorGraph, mode: str) -> None:
        self._graph, self.run_mode = graph, mode
        self._result = Inference(graph, mode=mode, dtype="float64", backend="numpy").run()
        self.contradictions = self._result.contradictions
        self.log_partition = self._result.log_partition

    def marginals(self, variables: Variables) -> np.ndarray:
        return self._result.marginals(variables)

    def mean(self, variables: Variables) -> np.ndarray:
        return self._result.mean(variables)

    def mode(self, variables: Variables) -> np.ndarray:
        return self._result.mode(variables)

    def factor_marginals(self, factors: str | Factors) -> np.ndarray:
        return self._result.factor_marginals(factors)

    def sample(self, n: int = 1, seed: Any = None) -> dict[str, np.ndarray]:
        return self._result.sample(n, seed)

    def gradient(self, factors: str | Factors) -> np.ndarray:
        return self._result.gradient(factors)
