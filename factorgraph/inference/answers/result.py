"""What a run gives back."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from factorgraph.blocks import Factors, Variables
from factorgraph.graph import FactorGraph
from factorgraph.inference.answers import bethe
from factorgraph.inference.answers.marginal_table import marginal_table
from factorgraph.inference.answers.sampling import by_block, check_number, sample_forest
from factorgraph.inference.layout.program import edge_call, merged_steps
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.potentials import Potentials
from factorgraph.inference.state.state import State
from factorgraph.schedules import Step
from factorgraph.semiring import Semiring


class ConvergenceWarning(UserWarning):
    """Messages were still changing when the iterations ran out."""


class ImproperWarning(UserWarning):
    """Nothing fixes the mean of some real variable, or too few digits are left to tell."""


class ContradictionError(ValueError):
    """
    The evidence contradicts the model: it has probability zero.

    Attributes
    ----------
    result : Result or ExactResult
        With ``contradictions`` and ``log_partition`` -inf.
    """

    def __init__(self, result: Any) -> None:
        self.result = result
        found = result.contradictions
        where = ""
        if found and isinstance(found[0], list):  # of each set of a batch
            first = next(number for number, rows in enumerate(found) if rows)
            where, found = f" in {sum(map(bool, found))} sets, first in set {first}", found[first]
        names = [f"{name}{list(index)}" if index else name for name, index in found]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        super().__init__(f"the evidence contradicts the model{where}: no state is possible for {shown}")


class Result:
    """
    The answers of a run of `Inference.run`. Later changes to the inference do not touch them.

    In a batch of B sets, all arrays have a leading axis of length B, and ``status``, ``iterations`` and ``contradictions`` have
    one entry for each set.

    Attributes
    ----------
    status : {"exact", "converged", "satisfied", "stopped", "diverged"}
        "exact": the graph is a forest and the schedule is exact. "converged": the messages are a fixed point. "satisfied": the
        run stopped at a solution of all hard factors, as it was asked to. "stopped": none of these. "diverged": messages
        between real variables grew without end, so that the answers mean nothing.
    run_mode : {"sum", "max"}
    iterations : int
        Number of iterations.
    residuals : list of float
        Largest change of a message at each check. The checks were made at the iterations in ``residual_iterations``.
    contradictions : list of (block name, index)
        Variables without a possible state. The list is empty unless the evidence contradicts the model.
    """

    def __init__(
        self,
        graph: FactorGraph,
        state: State,
        semiring: Semiring,
        best_states: Callable[[State], list[np.ndarray]],
        status: list[str],
        iterations: np.ndarray,
        contradictions: list[Any],
    ) -> None:
        self._graph, self._semiring, self._best_states = graph, semiring, best_states
        self._state = state  # the inference's own, until it goes on: see `keep_own_state`
        state.onlooker = weakref.ref(self)
        alone = state.batch is None
        self.run_mode = semiring.mode
        self.status: Any = status[0] if alone else status
        self.iterations: Any = int(iterations[0]) if alone else iterations
        self.residuals = list(state.residuals)
        self.residual_iterations = list(state.residual_iterations)
        self.contradictions = contradictions[0] if alone else contradictions

    def keep_own_state(self) -> None:
        """Copy the state, which the inference is about to change."""
        self._state = self._state.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._state.onlooker = weakref.ref(self)

    def __repr__(self) -> str:
        residual = f", last residual {self.residuals[-1]:.2g}" if self.residuals else ""
        if self._state.batch is not None:
            counts = ", ".join(f"{self.status.count(status)} {status}" for status in sorted(set(self.status)))
            return f"<Result: {self._state.batch} sets, {counts} after at most {max(self.iterations)} iterations{residual}>"
        return f"<Result: {self.status} after {self.iterations} iteration{'s' * (self.iterations != 1)}{residual}>"

    def _repr_html_(self) -> str:
        from factorgraph.drawing.notebook import result_html

        return result_html(self, self._graph)

    @property
    def converged(self) -> bool | np.ndarray:
        """Whether the answers are exact or the messages are a fixed point. In a batch, an array of shape ``(B,)``."""
        return np.isin(self.status, ("exact", "converged")) if self._state.batch else self.status in ("exact", "converged")

    def marginals(self, variables: Variables) -> np.ndarray:
        """
        Give the beliefs about variables: for variables with states, the probability of each state.

        Returns
        -------
        (*variables.shape, q) array
            Probabilities of the states in their order, which is -1, 1 for spins. For real variables, mean and variance. In max
            mode, max-marginals, scaled to add up to one.
        """
        self._check(variables)
        pool = self._state.pool(variables)
        with np.errstate(all="ignore"):
            host = pool.backend.to_host(pool.pool.type.marginals(pool.belief, pool.backend))
        return self._pick(host, variables)

    def table(self, variables: Variables) -> Any:
        """
        Give the marginals as a table for people to read, with the names of variables and states.

        Returns
        -------
        pandas.DataFrame, or a text in columns where pandas is not installed
            One row for each variable and one column for each state, or, for normal variables, for the mean and the variance.

        Raises
        ------
        ValueError
            The result belongs to a batch.
        """
        return marginal_table(variables, self.marginals(variables))

    def belief(self, variables: Variables) -> np.ndarray:
        """Natural parameters of the beliefs, ``(*variables.shape, *param_shape)``."""
        self._check(variables)
        return self._state.belief(variables)

    def mean(self, variables: Variables) -> np.ndarray:
        """Expected values, ``(*variables.shape,)``. Categorical variables have none: for them, the probabilities."""
        self._check(variables)
        pool = self._state.pool(variables)
        kind, backend = pool.pool.type, pool.backend
        with np.errstate(all="ignore"):
            mean = kind.expected_value(pool.belief, backend)
        return self._pick(backend.to_host(mean), variables)

    def mode(self, variables: Variables) -> np.ndarray:
        """
        Give the most probable states, ``(*variables.shape,)``. If the states have names, give the names.

        In max mode, this is one joint state: its variables agree even if several states are equally probable, and on forests
        it is the best one. In sum mode, with several ranks, and after a run that stopped at a solution, each variable gets its
        own most probable state.
        """
        pool = self._pool(variables)
        each = self._semiring.mode == "sum" or self._state.sharing is not None
        solved = np.equal(self.status, "satisfied")
        found: Any = None
        if each or solved.any():
            found = pool.backend.to_host(pool.pool.type.mode(pool.belief, pool.backend))
        if not each and not solved.all():
            decoded = self._decoded[self._state.layout.pool_of[variables.name]]
            found = decoded if found is None else np.where(solved, found, decoded)
        return variables.type.to_labels(self._pick(found, variables))

    def factor_marginals(self, factors: str | Factors) -> np.ndarray:
        """
        Give the joint beliefs about the variables of each factor.

        Returns
        -------
        (F, q_0, ..., q_k) array
            Probabilities of the joint states. For `LinearGaussian`, an array of shape ``(F, 1 + d, d)``: the joint mean in the
            first row, and the covariance below it.
        """
        self._check()
        block = self._graph.factors(factors)
        if block.is_block:
            raise ValueError(f"factors {block.name!r} are a block factor, which has no joint beliefs")
        step = merged_steps([Step(block.name, tuple(range(len(block.ports))))], self._state.layout)[0]
        call = edge_call(step, self._state.layout, self._state.backend)
        return bethe.factor_marginals(self._state, call, self._potentials(block), self._semiring)

    def gradient(self, factors: str | Factors) -> np.ndarray:
        """
        Give the derivative of `log_partition` by the potentials of a block, for fitting them to data.

        Returns
        -------
        array
            An array in the shape of the potentials that the block was made with. For `Table`, the probabilities of the joint
            states, added up over factors that share one table; for `Ising`, the expected products; for `Potts`, the
            probabilities of being equal. It is exact on forests. Elsewhere, it is the derivative of Bethe's approximation at
            its fixed point.
        """
        block = self._graph.factors(factors)
        if block.is_block:
            raise ValueError(f"factors {block.name!r} are a block factor, which has no gradient")
        return self._potentials(block).bound.factor.gradient(self.factor_marginals(block))

    def sample(self, n: int = 1, seed: Any = None) -> dict[str, np.ndarray]:
        """
        Draw joint states of all variables, each with its probability given the evidence.

        Parameters
        ----------
        n : int, default 1
        seed : int, numpy.random.Generator or None

        Returns
        -------
        dict of the states of each block of variables by its name, ``(n, *shape)``

        Raises
        ------
        ValueError
            The result is not exact, or it belongs to a batch, to mode "max", or to variables without states. `fg.exact` may
            help.
        """
        self._check()
        graph = self._graph
        if self.status != "exact" or self._semiring.mode != "sum":
            raise ValueError(
                f"states are drawn from one exact result in sum mode, not from one of status {self.status!r} in mode "
                f"{self._semiring.mode!r}; fg.exact draws them where the treewidth is small"
            )
        for block in graph.variable_blocks.values():
            if not hasattr(block.type, "states"):
                raise ValueError(f"states are drawn of variables that have some; {block.name!r} are {block.type!r}")
        check_number(n)
        marginals = {name: self.marginals(graph.variables(name).ravel()) for name in graph.variable_blocks}
        found = sample_forest(graph, marginals.__getitem__, self.factor_marginals, n, np.random.default_rng(seed))
        return by_block(graph, found)

    @cached_property
    def log_partition(self) -> Any:
        """
        Log of the sum over all joint states that agree with the evidence. In a normalised model, this is the log-probability of
        the evidence.

        It is exact on forests, and Bethe's approximation elsewhere. It is -inf if the evidence contradicts the model. In max
        mode, it is the log-weight of the most probable joint state.
        """
        if self.contradictions and self._state.batch is None:
            return -np.inf
        blocks = self._graph.factor_blocks.values()
        layout, backend = self._state.layout, self._state.backend
        edgewise = [
            edge_call(Step(group.name, tuple(range(len(group.segments)))), layout, backend)
            for group in layout.groups.values()
            if not group.is_block
        ]
        pool_of = layout.pool_of
        others = {block.name: [pool_of[port.name] for port in block.ports] for block in blocks if block.is_block}
        found = bethe.log_partition(self._state, edgewise, others, self._semiring)
        if self._state.batch is None:
            return float(found)
        return np.where([bool(rows) for rows in self.contradictions], -np.inf, found)

    def largest_changes(self, number: int = 10) -> list[tuple[str, int, str, tuple[int, ...], float]]:
        """
        Tell where messages changed most at the last check. Look at this when a run does not converge.

        Returns
        -------
        list of (factor block, factor, variable block, variable index, change), the largest change first
        """
        rows = []
        for group in self._state.layout.groups.values():
            starts = np.cumsum([0, *(block.count for block in group.blocks)])
            for place, segment in enumerate(group.segments):
                change = self._state.pools[segment.pool].change
                if change is None:
                    continue
                edges = segment.edges(None)
                host = self._state.backend.to_host(change)[edges]
                host = host if self._state.batch is None else host.max(axis=-1)
                for i in np.argsort(host)[::-1][:number]:
                    slot, factor = divmod(int(i), group.count)
                    member = int(np.searchsorted(starts, factor, side="right")) - 1
                    block, factor = group.blocks[member], factor - int(starts[member])
                    port = block.ports[place]
                    number_in_block = int(port.index.reshape(block.count, -1)[factor, slot])
                    index = tuple(int(j) for j in np.unravel_index(number_in_block, port.block.shape))
                    rows.append((block.name, factor, port.name, index, float(host[i])))
        return sorted(rows, key=lambda row: row[-1], reverse=True)[:number]

    def plot(self, axes: Any = None) -> Any:
        """
        Draw how the run went: the residual at each check, and the variables whose messages changed most at the last check.

        Parameters
        ----------
        axes : two matplotlib Axes, optional
            Default: a new figure. Needs matplotlib: ``pip install "factorgraph-nets[plot]"``.

        Returns
        -------
        (2,) array of matplotlib Axes
        """
        from factorgraph.drawing.convergence import plot_result

        return plot_result(self, axes)

    @cached_property
    def _decoded(self) -> list[np.ndarray]:
        return self._best_states(self._state)

    def _potentials(self, block: Factors) -> Potentials:
        name, number, _ = self._state.layout.place_of[block.name]
        return self._state.potentials[name].of_block(number)

    def _check(self, variables: Variables | None = None) -> None:
        if variables is not None:
            self._graph.block_of(variables)
            if variables.name not in self._state.layout.pool_of:
                raise RuntimeError(f"variables {variables.name!r} were added to the graph after it was compiled: run it anew")
        if self.contradictions and (self._state.batch is None or all(self.contradictions)):
            raise ContradictionError(self)

    def _pool(self, variables: Variables) -> PoolState:
        self._check(variables)
        return self._state.pool(variables)

    def _pick(self, host: np.ndarray, variables: Variables) -> np.ndarray:
        """Entries of an array ``(..., V)`` for some variables, variables first; of ``(..., V, B)``, sets first."""
        positions = self._state.pool(variables).pool.positions(variables)
        if self._state.batch is None:
            picked = np.moveaxis(host[..., positions], -1, 0)
            return picked.reshape((*variables.shape, *picked.shape[1:]))
        picked = np.moveaxis(host[..., positions, :], (-1, -2), (0, 1))
        return picked.reshape((len(picked), *variables.shape, *picked.shape[2:]))
