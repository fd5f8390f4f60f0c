"""Exact answers in one call, for all kinds of variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from factorgraph.blocks import Factors, Variables
from factorgraph.graph import FactorGraph
from factorgraph.inference import ContradictionError
from factorgraph.junction.answers import ExactResult, ForestResult
from factorgraph.junction.junction_tree import (
    MAX_CLIQUE,
    JunctionTree,
    check_discrete,
    forest_size,
    is_wide_forest,
    refuse_too_large,
)
from factorgraph.junction.mixture import MixtureResult
from factorgraph.linear import LinearResult
from factorgraph.semiring import MODES
from factorgraph.variables import is_normal


class SeparateResult:
    """
    Exact answers for a graph with discrete and normal variables that are not connected with each other. `exact` returns them.

    Attributes
    ----------
    status : str
        ``"exact"``.
    log_partition : float
        Sum over the discrete and the normal part.
    contradictions : list
        Always empty, because `exact` raises an error for a contradiction.
    """

    status = "exact"
    converged = True

    def __init__(self, graph: FactorGraph, results: list[Any]) -> None:
        self._graph, self._results = graph, results
        self.log_partition = float(sum(result.log_partition for result in results))
        self.contradictions: list[Any] = []

    def __repr__(self) -> str:
        return f"<SeparateResult: log-partition {self.log_partition:.6g}>"

    def _repr_html_(self) -> str:
        from factorgraph.drawing.notebook import result_html

        return result_html(self, self._graph)

    def _of(self, variables: Variables) -> Any:
        return self._results[is_normal(self._graph.block_of(variables).type)]

    def marginals(self, variables: Variables) -> np.ndarray:
        """As `ExactResult.marginals` and `LinearResult.marginals`."""
        return self._of(variables).marginals(variables)

    def mean(self, variables: Variables) -> np.ndarray:
        """Expected values."""
        return self._of(variables).mean(variables)

    def mode(self, variables: Variables) -> np.ndarray:
        """Most probable values."""
        return self._of(variables).mode(variables)

    def table(self, variables: Variables) -> Any:
        """Marginals in a table with names: see `Result.table`."""
        return self._of(variables).table(variables)

    def factor_marginals(self, factors: str | Factors) -> np.ndarray:
        """As `ExactResult.factor_marginals` and `LinearResult.factor_marginals`."""
        block = self._graph.factors(factors)
        return self._of(block.ports[0]).factor_marginals(block)

    def sample(self, n: int = 1, seed: Any = None) -> dict[str, np.ndarray]:
        """Draw joint values of all variables: see `Result.sample`."""
        rng = np.random.default_rng(seed)
        return {name: rows for result in self._results for name, rows in result.sample(n, rng).items()}


def exact(
    graph: FactorGraph, *, mode: str = "sum", max_clique: int = MAX_CLIQUE
) -> ExactResult | LinearResult | SeparateResult | MixtureResult:
    """
    Find exact answers: by a junction tree for discrete variables, and by sparse linear algebra for normal ones.

    For discrete variables, evidence and states that zeros rule out are removed first. Then variables are eliminated in the best
    order that is found. This works if the remaining graph has a small treewidth. It also works for every forest, however many
    variables its factors have, because belief propagation is exact there. To ask again with other evidence, make a
    `JunctionTree`.

    Normal variables with linear relations are one linear system on any graph: see `factorgraph.linear`. If a graph has discrete
    and normal variables, and no factor has both, the two parts are answered separately. If some factors have both, as `Switch`
    has, there is a linear system for each joint state of the variables that switch, at most 4,096 of them.

    Parameters
    ----------
    graph : FactorGraph
        The graph with its prior and evidence.
    mode : {"sum", "max"}, default "sum"
        "sum" gives marginals, and "max" the most probable joint state.
    max_clique : int, default 2^27
        Largest number of joint states of a clique. The messages together may have eight times as many entries (8 GiB).

    Returns
    -------
    ExactResult or LinearResult; for a graph with discrete and normal variables, SeparateResult or MixtureResult. All are read
    alike.

    Raises
    ------
    TooLargeError
        The answers would need more. The message says how much, and no memory was allocated.
    ContradictionError
        The evidence contradicts the model.
    ImproperModelError
        Some normal variables are not determined by anything.
    TypeError
        A variable or factor can neither be enumerated nor is it normal and linear; or a factor of discrete and normal variables
        is not a linear relation for each state of a discrete variable.

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
    normal = {name for name, block in graph.variable_blocks.items() if is_normal(block.type)}
    if not normal:
        return _exact_discrete(graph, mode, max_clique)
    if len(normal) == len(graph.variable_blocks):
        return _checked(LinearResult(graph, mode))
    if any(len({port.name in normal for port in block.ports}) > 1 for block in graph.factor_blocks.values()):
        mixture = MixtureResult(graph, mode, lambda part, how: _exact_discrete(part, how, max_clique))
        return _checked(mixture)
    parts = [_part(graph, set(graph.variable_blocks) - normal), _part(graph, normal)]
    return SeparateResult(graph, [_exact_discrete(parts[0], mode, max_clique), _checked(LinearResult(parts[1], mode))])


def _exact_discrete(graph: FactorGraph, mode: str, max_clique: int) -> ExactResult:
    check_discrete(graph)
    if is_wide_forest(graph):
        size = forest_size(graph)
        refuse_too_large(size.largest_clique, size.memory, max_clique, lambda: size)
        return ForestResult(graph, mode)
    result = JunctionTree(graph, mode=mode, max_clique=max_clique).run()
    assert isinstance(result, ExactResult)
    return result


def _checked(result: Any) -> Any:
    """The result, or a ContradictionError."""
    if result.contradictions:
        raise ContradictionError(result)
    return result


def _part(graph: FactorGraph, names: set[str]) -> FactorGraph:
    """The blocks of some variables, and of the factors that have no others, as a graph."""
    part = FactorGraph()
    part.variable_blocks = {name: block for name, block in graph.variable_blocks.items() if name in names}
    part.factor_blocks = {
        name: block for name, block in graph.factor_blocks.items() if all(port.name in names for port in block.ports)
    }
    return part
