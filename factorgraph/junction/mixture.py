"""Exact answers for graphs that are normal given the states of a few discrete variables: mixtures over these states."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from factorgraph.blocks import Factors, VariableBlock, Variables
from factorgraph.factors.bound import BoundFactor
from factorgraph.factors.selected import SelectedFactor
from factorgraph.graph import FactorGraph
from factorgraph.inference import ContradictionError
from factorgraph.inference.answers.marginal_table import marginal_table
from factorgraph.inference.answers.sampling import check_number
from factorgraph.junction.answers import ExactResult
from factorgraph.junction.tables import TooLargeError
from factorgraph.linear import LinearResult
from factorgraph.variables import DiscreteType, is_normal

MOST_STATES = 1 << 12  # joint states of the variables that switch
_NOTHING = 1e-300  # shares of the largest weight: smaller ones are left out


class _Part(NamedTuple):
    """Answers given one joint state, and the graph of the discrete ones, in which it is observed."""

    graph: FactorGraph
    discrete: ExactResult
    normal: LinearResult

    def own(self, variables: Variables) -> Variables:
        """Discrete variables of the whole graph in this one."""
        return Variables(self.graph.variable_blocks[variables.name], variables.index)


class MixtureResult:
    """
    Exact answers for a graph whose normal variables depend on the states of some discrete variables. `exact` returns them.

    Attributes
    ----------
    status : str
        ``"exact"``.
    log_partition : float
        In max mode, the log-density of the best joint state and values.
    contradictions : list
        Always empty, because `exact` raises an error for a contradiction.
    weights : (k,) array
        Probabilities of the possible joint states.
    """

    status = "exact"
    converged = True

    def __init__(self, graph: FactorGraph, mode: str, answer: Callable[[FactorGraph, str], ExactResult]) -> None:
        self._graph, self.run_mode = graph, mode
        self._switching = [block for block in graph.factor_blocks.values() if _is_mixed(block)]
        _refuse_others(self._switching)
        found = [
            (log, part)
            for part in self._of_each_state(answer)
            if (log := part.discrete.log_partition + part.normal.log_partition) > -np.inf
        ]
        logs = np.array([log for log, _ in found])
        if mode == "max" and found:
            best = int(np.argmax(logs))
            found, logs = [found[best]], logs[best : best + 1]
        self.log_partition = float(np.logaddexp.reduce(logs)) if found else -np.inf
        self.contradictions: list[Any] = [] if found else [("the evidence as a whole", ())]
        kept = [number for number, log in enumerate(logs) if log - logs.max() > math.log(_NOTHING)] if found else []
        self._parts: list[_Part] = [found[number][1] for number in kept]
        self.weights = np.exp(logs[kept] - self.log_partition) if kept else np.zeros(0)

    def __repr__(self) -> str:
        return (
            f"<MixtureResult: {len(self.weights)} joint states, log-partition {self.log_partition:.6g}, mode {self.run_mode!r}>"
        )

    def _repr_html_(self) -> str:
        from factorgraph.drawing.notebook import result_html

        return result_html(self, self._graph)

    def _of_each_state(self, answer: Callable[[FactorGraph, str], ExactResult]) -> Iterator[_Part]:
        """Answers of both parts, the switching variables observed."""
        graph = self._graph
        ports = [block.ports[0] for block in self._switching]
        which = {
            name: np.unique(np.concatenate([p.index for p in ports if p.name == name])) for name in {p.name for p in ports}
        }
        states = {name: self._possible(graph.variable_blocks[name], places) for name, places in which.items()}
        sizes = [len(each) for rows in states.values() for each in rows]
        if math.prod(sizes) > MOST_STATES:
            raise TooLargeError(
                f"the variables that switch have {float(math.prod(sizes)):.3g} joint states, more than {MOST_STATES}: run "
                "belief propagation instead, which keeps the moments of the mixtures"
            )
        for positions in itertools.product(*(each for rows in states.values() for each in rows)):
            values: dict[str, np.ndarray] = {}
            begin = 0
            for name, places in which.items():
                values[name] = np.zeros(graph.variable_blocks[name].size, dtype=np.int64)
                values[name][places] = positions[begin : begin + len(places)]
                begin += len(places)
            try:
                part = self._discrete(which, values)
                discrete = answer(part, self.run_mode)
            except ContradictionError:  # states that the discrete part rules out
                continue
            yield _Part(part, discrete, LinearResult(self._normal(values), self.run_mode))

    @staticmethod
    def _possible(block: VariableBlock, places: np.ndarray) -> list[list[int]]:
        """Positions of the states that evidence and priors leave to some variables."""
        kind = block.type
        assert isinstance(kind, DiscreteType)
        every = list(range(len(kind.states)))
        if block.observed is None or block.values is None:
            return [every for _ in places]
        seen = [int(kind.position(block.values[place])) if block.observed[place] else None for place in places]
        return [every if position is None else [position] for position in seen]

    def _discrete(self, which: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> FactorGraph:
        """The discrete part, the switching variables observed."""
        part = FactorGraph()
        for name, block in self._graph.variable_blocks.items():
            if is_normal(block.type):
                continue
            seen, at = block.observed, block.values
            if name in which:
                kind = block.type
                assert isinstance(kind, DiscreteType)
                seen = np.zeros(block.size, dtype=np.bool_) if seen is None else seen.copy()
                at = np.zeros(block.size, dtype=kind.states.dtype) if at is None else at.astype(kind.states.dtype)
                seen[which[name]], at[which[name]] = True, kind.states[values[name][which[name]]]
            part.variable_blocks[name] = VariableBlock(name, block.type, block.shape, block.whole, block.prior, seen, at)
        for name, factors in self._graph.factor_blocks.items():
            if all(port.name in part.variable_blocks for port in factors.ports):
                ports = tuple(Variables(part.variable_blocks[port.name], port.index) for port in factors.ports)
                part.factor_blocks[name] = replace(factors, ports=ports)
        return part

    def _normal(self, values: dict[str, np.ndarray]) -> FactorGraph:
        """The normal part, with the relations that the states leave."""
        part = FactorGraph()
        part.variable_blocks = {name: block for name, block in self._graph.variable_blocks.items() if is_normal(block.type)}
        part.factor_blocks = {
            name: block
            for name, block in self._graph.factor_blocks.items()
            if all(port.name in part.variable_blocks for port in block.ports)
        }
        for block in self._switching:
            states = values[block.ports[0].name][block.ports[0].index]
            for state in np.unique(states):
                index = np.flatnonzero(states == state)
                bound = BoundFactor(
                    block.bound.factor.given(int(state)), block.bound.types[1:], block.bound.widths[1:], block.count
                )
                name = f"{block.name} in state {state}"
                ports = tuple(port[index] for port in block.ports[1:])
                part.factor_blocks[name] = Factors(name, bound.factor, ports, index.size, SelectedFactor(bound, index))
        return part

    def _is_normal(self, variables: Variables) -> bool:
        return is_normal(self._graph.block_of(variables).type)

    def marginals(self, variables: Variables) -> np.ndarray:
        """
        Probabilities of states. For normal variables, mean and variance of the mixture; for vectors, its mean and covariance.
        """
        if not self._is_normal(variables):
            return self._mixed(part.discrete.marginals(part.own(variables)) for part in self._parts)
        each = np.stack([part.normal.marginals(variables) for part in self._parts])
        return self._collapsed(each, len(variables.type.value_shape))

    def _mixed(self, parts: Iterator[np.ndarray]) -> np.ndarray:
        return np.asarray(sum(weight * part for weight, part in zip(self.weights, parts, strict=True)))

    def _collapsed(self, each: np.ndarray, vectors: int) -> np.ndarray:
        """Moments of a mixture from those of its parts, ``(k, ..., 2)``, or ``(k, ..., 1 + d, d)``."""
        means, spreads = (each[..., 0, :], each[..., 1:, :]) if vectors else (each[..., :1], each[..., 1:, None])
        mean = np.tensordot(self.weights, means, 1)
        apart = means - mean
        spread = np.tensordot(self.weights, spreads + apart[..., :, None] * apart[..., None, :], 1)
        if vectors:
            return np.concatenate([mean[..., None, :], spread], axis=-2)
        return np.concatenate([mean, spread[..., 0]], axis=-1)

    def mean(self, variables: Variables) -> np.ndarray:
        """Expected values."""
        if self._is_normal(variables):
            return self._mixed(part.normal.mean(variables) for part in self._parts)
        return self._mixed(part.discrete.mean(part.own(variables)) for part in self._parts)

    def mode(self, variables: Variables) -> np.ndarray:
        """
        Most probable values. In max mode, they are jointly most probable; otherwise, each is that of one discrete variable.

        Raises
        ------
        ValueError
            The variables are normal, and the mode is "sum": their densities are mixtures.
        """
        if self.run_mode == "max":
            part = self._parts[0]
            return part.normal.mode(variables) if self._is_normal(variables) else part.discrete.mode(part.own(variables))
        if self._is_normal(variables):
            raise ValueError(
                f"the densities of {variables.name!r} are mixtures: use fg.exact(graph, mode='max') for the best values"
            )
        kind = variables.type
        assert isinstance(kind, DiscreteType)
        return kind.to_labels(np.asarray(kind.states[np.argmax(self.marginals(variables), axis=-1)]))

    def table(self, variables: Variables) -> Any:
        """Marginals in a table with names: see `Result.table`."""
        return marginal_table(variables, self.marginals(variables))

    def factor_marginals(self, factors: str | Factors) -> np.ndarray:
        """As `ExactResult.factor_marginals` and `LinearResult.factor_marginals`, but not for factors that switch."""
        block = self._graph.factors(factors)
        if _is_mixed(block):
            raise ValueError(f"factors {block.name!r} switch between relations, so they have no joint marginals")
        if not self._is_normal(block.ports[0]):
            return self._mixed(part.discrete.factor_marginals(block.name) for part in self._parts)
        return self._collapsed(np.stack([part.normal.factor_marginals(block.name) for part in self._parts]), 1)

    def sample(self, n: int = 1, seed: Any = None) -> dict[str, np.ndarray]:
        """Draw joint values of all variables: see `Result.sample`."""
        check_number(n)
        if self.run_mode != "sum":
            raise ValueError(f"states can only be drawn in sum mode, not in mode {self.run_mode!r}")
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(n, self.weights / self.weights.sum())
        rows: dict[str, list[np.ndarray]] = {}
        for count, part in zip(counts, self._parts, strict=True):
            for result in (part.discrete, part.normal) if count else ():
                for name, values in result.sample(int(count), rng).items():
                    rows.setdefault(name, []).append(values)
        order = rng.permutation(n)
        return {name: np.concatenate(rows[name])[order] for name in self._graph.variable_blocks}


def _is_mixed(block: Factors) -> bool:
    return len({is_normal(port.type) for port in block.ports}) > 1


def _refuse_others(blocks: list[Factors]) -> None:
    """Refuse factors of discrete and normal variables which are no linear relation in each state of a variable."""
    for block in blocks:
        kinds = [is_normal(port.type) for port in block.ports]
        if block.is_block or not block.bound.factor.gives("given") or kinds != [False, *[True] * (len(kinds) - 1)]:
            raise TypeError(
                f"exact answers: factors {block.name!r} have discrete and normal variables, and are no linear relation in each "
                "state; run the graph by belief propagation"
            )
