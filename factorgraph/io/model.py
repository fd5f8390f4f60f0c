"""A factor graph read from a file, with the file's own names and numbers of its variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.blocks import Variables
from factorgraph.factors import Table
from factorgraph.graph import FactorGraph
from factorgraph.variables import Categorical, VariableType

_MOST_AXES = 30  # of a factor's table: NumPy's iterators take 32, of which the engine uses some


class Model:
    """
    A factor graph, with the names and the order that its variables have in a file.

    Variables with the same number of states share a block of `graph`, and so do factors on similar variables. The model finds
    each variable by its name or by its number in the file.

    Attributes
    ----------
    graph : FactorGraph
    names : list of str
        Names of the variables in the order of the file. If the file has no names, these are the numbers of the variables.
    states : list of list of str, or None
        Names of the states of each variable.

    Examples
    --------
    >>> import factorgraph as fg
    >>> model = fg.Model.of_tables([2, 3], [([0], [0.4, 0.6]), ([0, 1], [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])])
    >>> model.observe({1: 0})
    >>> [m.round(4).tolist() for m in model.marginals(fg.run(model.graph))]
    [[0.1176, 0.8824], [1.0, 0.0, 0.0]]
    """

    def __init__(
        self, graph: FactorGraph, variables: Iterable[Variables], names: list[str], states: list[list[str]] | None = None
    ) -> None:
        self.graph = graph
        self.names = names
        self.states = states
        self._numbers = {name: number for number, name in enumerate(names)}
        blocks = list(variables)
        self._blocks = list({v.name: v.block for v in blocks}.values())
        place = {block.name: number for number, block in enumerate(self._blocks)}
        self._block_of = np.concatenate([np.full(v.size, place[v.name]) for v in blocks])
        self._index = np.concatenate([v.index.reshape(-1) for v in blocks])

    @classmethod
    def of_tables(
        cls,
        sizes: Sequence[int],
        factors: Iterable[tuple[Sequence[int], Any]],
        names: list[str] | None = None,
        states: list[list[str]] | None = None,
    ) -> Model:
        """
        Build a model of categorical variables from non-negative tables.

        Parameters
        ----------
        sizes : number of states of each variable
        factors : pairs of the numbers of a factor's variables and its table
            The table has one axis for each variable, or it is flat with the states of the last variable changing fastest. A
            table of a single number (with no variables) scales another one. If a factor has more than 30 variables, those with
            a single state are left out, because nothing depends on them.
        names, states : as the attributes
        """
        graph = FactorGraph()
        shape = np.asarray(sizes, dtype=np.int64)
        kinds = [int(q) for q in np.unique(shape)]
        index = np.zeros(shape.size, dtype=np.int64)
        blocks: dict[int, Variables] = {}
        for q in kinds:
            members = np.flatnonzero(shape == q)
            index[members] = np.arange(members.size)
            blocks[q] = graph.add_variables("x" if len(kinds) == 1 else f"x{q}", Categorical(q), members.size)
        groups: dict[tuple[int, ...], list[tuple[Sequence[int], np.ndarray]]] = {}
        constant = 0.0
        with np.errstate(divide="ignore"):
            for scope, table in factors:
                if len(scope) > _MOST_AXES:
                    scope = [v for v in scope if sizes[v] > 1] or scope[:1]
                    if len(scope) > _MOST_AXES:
                        raise ValueError(f"a table of {len(scope)} variables has too many axes; split its factor")
                logs = np.log(np.asarray(table, dtype=np.float64)).reshape([sizes[v] for v in scope])
                if len(scope) == 0:
                    constant += float(logs)
                else:
                    groups.setdefault(tuple(int(sizes[v]) for v in scope), []).append((scope, logs))
        if constant and not groups:
            groups[(int(sizes[0]),)] = [([0], np.zeros(sizes[0]))]
        for number, (signature, members_of) in enumerate(groups.items()):
            tables = np.stack([logs for _, logs in members_of])
            if number == 0 and constant:
                tables[0] += constant
            scopes = np.array([list(scope) for scope, _ in members_of], dtype=np.int64)
            ports = [blocks[q][index[scopes[:, axis]]] for axis, q in enumerate(signature)]
            graph.add_factors("f" + "_".join(map(str, signature)), Table(tables), *ports)
        found = [blocks[int(q)][int(i)] for q, i in zip(shape, index, strict=True)]
        return cls(graph, found, names or [str(v) for v in range(shape.size)], states)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<Model of {len(self)} variables>\n{self.graph!r}"

    def number(self, variable: int | str) -> int:
        """Return a variable's number in the file, given its name or its number."""
        if isinstance(variable, str):
            if variable not in self._numbers:
                raise KeyError(
                    f"there is no variable {variable!r}; the model has {self.names[:5]}{' ...' if len(self) > 5 else ''}"
                )
            return self._numbers[variable]
        if not 0 <= variable < len(self):
            raise KeyError(f"there is no variable {variable}; the model has {len(self)}")
        return int(variable)

    def __getitem__(self, variable: int | str) -> Variables:
        number = self.number(variable)
        block = self._blocks[self._block_of[number]]
        return Variables(block, np.asarray(self._index[number]))

    def type_of(self, variable: int | str) -> VariableType:
        """Return the type of a variable."""
        return self[variable].type

    def state(self, variable: int | str, state: int | str) -> Any:
        """Return the value of a state, given its name or its position in the file."""
        number = self.number(variable)
        kind: Any = self.type_of(number)
        if isinstance(state, str):
            if self.states is None or state not in self.states[number]:
                known = self.states[number] if self.states is not None else "no names"
                raise ValueError(f"{state!r} is not a state of variable {self.names[number]!r}, which has {known}")
            state = self.states[number].index(state)
        if not 0 <= state < len(kind.states):
            raise ValueError(f"state {state} of variable {self.names[number]!r} is not from 0 to {len(kind.states) - 1}")
        return kind.to_labels(kind.states)[state]

    def observe(
        self,
        evidence: Mapping[int | str, int | str] | Mapping[int, int] | Mapping[str, str],
        inference: Any = None,
        *,
        sets: Any = None,
    ) -> None:
        """
        Fix variables to states.

        Parameters
        ----------
        evidence : mapping
            From names or numbers of variables to names or positions of states.
        inference : Inference, optional
            Where to observe. Default: in `graph`.
        sets : int, slice or integer array, optional
            Sets of a batch, if ``inference`` is one. Default: all.

        Raises
        ------
        KeyError, ValueError
            A variable or state does not exist. Nothing is observed then.
        """
        found = [(self[variable], self.state(variable, state)) for variable, state in evidence.items()]
        for variables, value in found:
            if inference is None:
                self.graph.observe(variables, value)
            else:
                inference.observe(variables, value, sets=sets)

    def marginals(self, result: Any) -> list[np.ndarray]:
        """
        Return the marginals of all variables in the order of the file, from a `Result` or `ExactResult` of `graph`.

        Returns
        -------
        list of (q,) arrays, or of (B, q) arrays in a batch
        """
        whole = []
        for number, block in enumerate(self._blocks):
            found = result.marginals(self._whole(number))
            sets = found.shape[: found.ndim - len(block.shape) - 1]
            whole.append(found.reshape(*sets, block.size, found.shape[-1]))
        return [whole[b][..., i, :] for b, i in zip(self._block_of, self._index, strict=True)]

    def mode(self, result: Any) -> np.ndarray:
        """
        Return the most probable states of all variables, as positions, in the order of the file. In max mode, they form one
        joint state.

        Returns
        -------
        (n,) array, or (B, n) in a batch
        """
        whole = []
        for number, block in enumerate(self._blocks):
            kind: Any = block.type
            found = result.mode(self._whole(number))
            sets = found.shape[: found.ndim - len(block.shape)]
            whole.append(kind.position(kind.from_labels(found.reshape(-1))).reshape(*sets, block.size))
        columns = [whole[b][..., i] for b, i in zip(self._block_of, self._index, strict=True)]
        return np.stack(columns, axis=-1).astype(np.int64)

    def _whole(self, number: int) -> Variables:
        block = self._blocks[number]
        return Variables(block, block.whole)
