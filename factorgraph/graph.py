"""The structure of a factor graph: blocks of variables, blocks of factors, priors and evidence. No messages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import csgraph

from factorgraph.blocks import (
    Concatenation,
    Factors,
    VariableBlock,
    Variables,
    check_distinct,
    check_prior,
    check_values,
    numbers_of,
)
from factorgraph.factors import BlockFactor, Factor
from factorgraph.factors.bound import BoundFactor
from factorgraph.variables import VariableType


class FactorGraph:
    """
    A factor graph: variables, factors, priors and evidence.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> spins = graph.add_variables("spins", fg.Spin(), shape=(3,))
    >>> bonds = graph.add_factors("bonds", fg.Ising(0.5), spins[:-1], spins[1:])
    >>> graph.observe(spins[0], 1)
    >>> print(graph)
    FactorGraph: 3 variables, 2 factors, 4 edges, 1 component, a forest
      spins   Spin()      shape (3,), 1 observed
      bonds   Ising(0.5)  2 factors on spins[2], spins[2]
    """

    def __init__(self) -> None:
        self.variable_blocks: dict[str, VariableBlock] = {}
        self.factor_blocks: dict[str, Factors] = {}
        self._components: tuple[int, np.ndarray] | None = None

    # Building.

    def add_variables(self, name: str, type: VariableType, shape: int | tuple[int, ...] = ()) -> Variables:
        """
        Add a block of variables of one type.

        Parameters
        ----------
        name : str
            A name that no other block of the graph has.
        type : VariableType
        shape : int or tuple of int, default ()
            ``()`` adds a single variable.

        Returns
        -------
        Variables
        """
        self._check_name(name)
        if not isinstance(type, VariableType):
            raise TypeError(f"variables {name!r}: type must be a VariableType such as Spin(), not {type!r}")
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        if any(not isinstance(n, (int, np.integer)) or n < 1 for n in shape):
            raise ValueError(f"variables {name!r}: shape {shape} must consist of whole numbers of at least 1")
        whole = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
        block = VariableBlock(name, type, shape, whole)
        self.variable_blocks[name] = block
        self._components = None
        return Variables(block, block.whole)

    def add_factors(self, name: str, factor: Factor | BlockFactor, *ports: Variables | Concatenation) -> Factors:
        """
        Add a block of factors of one type.

        Parameters
        ----------
        name : str
            A name that no other block of the graph has.
        factor : Factor or BlockFactor
        *ports : Variables, or what `concatenate` returns at plural ports
            One array of variables for each port, all of one shape: factor i is connected to the i-th variable of each. A single
            variable (of shape ``()``) is connected to all factors. At a plural port, the last axis runs over the variables of
            one factor. A block factor takes whole blocks or any views of them, also with repeats; some ports may have places
            outside: see `Variables.gather`.

        Returns
        -------
        Factors

        Raises
        ------
        ValueError, TypeError
            Ports have unequal shapes, a factor is connected to a variable twice, potentials have a wrong shape, or the factor
            does not accept the type of a variable. The message names the block and the value.
        """
        self._check_name(name)
        parts: list[Variables] = []
        owners: list[int] = []
        for number, port in enumerate(ports):
            if not isinstance(port, (Variables, Concatenation)):
                raise TypeError(f"factors {name!r}: port {number} must be Variables, not {port!r}")
            if isinstance(port, Concatenation) and number not in getattr(factor, "plural", ()):
                raise TypeError(
                    f"factors {name!r}: port {number} is not plural, so it takes variables of one block, not {port!r}"
                )
            for part in port.parts if isinstance(port, Concatenation) else (port,):
                if self.variable_blocks.get(part.name) is not part.block:
                    raise ValueError(
                        f"factors {name!r}: port {number} has variables {part.name!r} that belong to another graph"
                    )
                parts.append(part)
                owners.append(number)
        if not ports:
            raise ValueError(f"factors {name!r}: give at least one port")
        try:
            if isinstance(factor, BlockFactor):
                block = self._add_block_factor(name, factor, tuple(parts))
            elif isinstance(factor, Factor):
                block = self._add_edgewise(name, factor, parts, owners)
            else:
                raise TypeError(f"factor must be a Factor or a BlockFactor, not {factor!r}")
        except (ValueError, TypeError) as error:
            raise type(error)(f"factors {name!r}: {error}") from error
        self.factor_blocks[name] = block
        self._components = None
        return block

    def _add_block_factor(self, name: str, factor: BlockFactor, ports: tuple[Variables, ...]) -> Factors:
        if len(ports) != len(factor.ports):
            raise ValueError(f"the factor takes {len(factor.ports)} plates {factor.ports}, not {len(ports)}")
        for label, port in zip(factor.ports, ports, strict=True):
            if port.size == 0:
                raise ValueError(f"port {label!r} has no variables")
            if port.outside and label not in factor.may_be_outside:
                raise ValueError(f"port {label!r} cannot have places without a variable (-1)")
        apart = [port for label, port in zip(factor.ports, ports, strict=True) if label not in factor.may_share]
        whole = {port.name for port in apart if port.is_whole}
        if any(sum(port.name == name for port in apart) > 1 for name in whole):
            raise ValueError(f"meets a block twice: {[port.name for port in ports]}")
        ports = tuple(factor.arranged(ports))
        factor.bind([port.type for port in ports], [port.shape for port in ports])
        return Factors(name, factor, ports, 1)

    def _add_edgewise(self, name: str, factor: Factor, ports: list[Variables], owners: list[int]) -> Factors:
        for number, port in enumerate(ports):
            if not port.type.can_be_random:
                raise TypeError(f"port {number} has {port.type!r}, which only block factors take")
            if port.outside:
                raise ValueError(f"port {number} has places without a variable (-1), which only block factors take")
        shapes = [port.shape[:-1] if p in factor.plural else port.shape for p, port in zip(owners, ports, strict=True)]
        shape = next((s for s in shapes if s != ()), ())
        for number, other in enumerate(shapes):
            if other not in (shape, ()):
                raise ValueError(
                    f"ports must have equal shapes: port {number} ({ports[number].name!r}) has {other}, another has {shape}"
                )
        count = int(np.prod(shape, dtype=np.int64))
        if count == 0:
            raise ValueError("the ports have no variables")
        flat, widths = [], []
        for number, port in zip(owners, ports, strict=True):
            width = port.shape[-1:] if number in factor.plural else ()
            if width == (0,):
                raise ValueError(f"plural port {number} has no variables")
            flat.append(Variables(port.block, np.broadcast_to(port.index, (*shape, *width)).reshape(count, *width)))
            widths.append(int(np.prod(width, dtype=np.int64)))
        check_distinct(flat)
        bound = BoundFactor(factor, [port.type for port in ports], widths, count, owners)
        bound.parameters()  # potentials are refused now, where the block is named
        return Factors(name, factor, tuple(flat), count, bound)

    def set_prior(self, variables: Variables, params: ArrayLike) -> None:
        """
        Set the prior of variables, in natural parameters.

        Parameters
        ----------
        variables : Variables
        params : array that broadcasts to ``(*variables.shape, *param_shape)``
            Fields of spins (half log-odds), or log-weights of categorical variables, where -inf rules a state out.
        """
        block = self.block_of(variables)
        checked = check_prior(variables, params)
        if block.prior is None:
            block.prior = np.zeros((block.size, *block.type.param_shape))
        block.prior[variables.index] = checked

    def observe(self, variables: Variables, values: ArrayLike) -> None:
        """
        Fix variables to values. They are evidence until `unobserve` is called.

        Parameters
        ----------
        variables : Variables
        values : array that broadcasts to ``variables.shape``
            -1 or +1 for spins; 0 to q - 1, or the names of states, for categorical variables. For vectors the shape is
            ``(*variables.shape, d)``, with NaN for components that are not observed.
        """
        block = self.block_of(variables)
        checked = check_values(variables, numbers_of(variables, values))
        if block.observed is None or block.values is None:
            block.observed = np.zeros(block.size, dtype=np.bool_)
            block.values = np.zeros((block.size, *block.type.value_shape), dtype=checked.dtype)
        block.values = block.values.astype(np.result_type(block.values, checked), copy=False)
        block.values[variables.index] = checked
        block.observed[variables.index] = True

    def unobserve(self, variables: Variables) -> None:
        """Remove the evidence of variables."""
        block = self.block_of(variables)
        if block.observed is not None:
            block.observed[variables.index] = False

    # Looking up.

    @property
    def size_of_structure(self) -> tuple[int, int]:
        """Number of blocks of variables and of blocks of factors. Both grow with the graph."""
        return len(self.variable_blocks), len(self.factor_blocks)

    def variables(self, name: str) -> Variables:
        """Return the block of variables with this name."""
        if name not in self.variable_blocks:
            raise KeyError(f"there are no variables {name!r}; the graph has {list(self.variable_blocks)}")
        block = self.variable_blocks[name]
        return Variables(block, block.whole)

    def factors(self, name: str | Factors) -> Factors:
        """Return the block of factors with this name."""
        key = name.name if isinstance(name, Factors) else name
        if key not in self.factor_blocks:
            raise KeyError(f"there are no factors {key!r}; the graph has {list(self.factor_blocks)}")
        block = self.factor_blocks[key]
        if isinstance(name, Factors) and block is not name:
            raise ValueError(f"factors {key!r} belong to another graph")
        return block

    def block_of(self, variables: Variables) -> VariableBlock:
        """Return the block to which variables of this graph belong. Variables of another graph are an error."""
        if not isinstance(variables, Variables):
            raise TypeError(f"expected Variables, not {variables!r}")
        if self.variable_blocks.get(variables.name) is not variables.block:
            raise ValueError(f"variables {variables.name!r} belong to another graph")
        if variables.outside:
            raise ValueError(f"variables {variables.name!r} have places without a variable (-1): only block factors take these")
        return variables.block

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"a block's name must be a string, not {name!r}")
        if name in self.variable_blocks or name in self.factor_blocks:
            raise ValueError(f"the name {name!r} is already used in this graph")

    # Structure.

    @property
    def num_variables(self) -> int:
        """Number of variables."""
        return sum(block.size for block in self.variable_blocks.values())

    @property
    def num_factors(self) -> int:
        """Number of factors."""
        return sum(block.count for block in self.factor_blocks.values())

    @property
    def num_edges(self) -> int:
        """Number of edges. A block factor has one edge for each variable at its ports."""
        return sum(block.num_edges for block in self.factor_blocks.values())

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """
        Return all edges, as node numbers.

        Returns
        -------
        variable, factor : (E,) integer arrays
            Variables are numbered from 0 in the order of their blocks, and factors from `num_variables` in the order of theirs.
            Edges are listed block by block, port by port, then (at plural ports) position by position, then factor by factor.
        """
        first = self.first_nodes()
        factor_start = self.num_variables
        variables: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
        factors: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
        for block in self.factor_blocks.values():
            numbers = np.arange(block.count) + factor_start
            for port in block.ports:
                index = port.index[port.index >= 0] if block.is_block else port.index.T.reshape(-1)
                variables.append(index + first[port.name])
                factors.append(np.resize(numbers, index.size))
            factor_start += block.count
        return np.concatenate(variables), np.concatenate(factors)

    def first_nodes(self) -> dict[str, int]:
        """Return the node number of the first variable of each block, as in `edges`."""
        sizes = [block.size for block in self.variable_blocks.values()]
        return dict(zip(self.variable_blocks, np.cumsum([0, *sizes]).tolist(), strict=False))

    def components(self) -> tuple[int, np.ndarray]:
        """Return the number of connected components, and the component of each node (variables, then factors)."""
        if self._components is None:
            variable, factor = self.edges()
            nodes = self.num_variables + self.num_factors
            links = sparse.coo_array((np.ones(variable.size, dtype=np.int8), (variable, factor)), shape=(nodes, nodes))
            number, labels = csgraph.connected_components(links, directed=False)
            self._components = int(number), labels
        return self._components

    @property
    def is_forest(self) -> bool:
        """Whether the graph has no cycle. Then belief propagation on it is exact."""
        if any(block.is_block for block in self.factor_blocks.values()):
            return False
        return self.num_edges == self.num_variables + self.num_factors - self.components()[0]

    def to_networkx(self) -> Any:
        """
        Return the bipartite graph as a `networkx.Graph`.

        Nodes are ``(block name, position)``, with the attributes ``kind`` (``"variable"`` or ``"factor"``), ``type`` and
        ``bipartite`` (0 or 1). Edges have the attribute ``port``.
        """
        import networkx as nx

        result: Any = nx.Graph()
        for variables in self.variable_blocks.values():
            result.add_nodes_from(
                ((variables.name, i) for i in range(variables.size)), kind="variable", type=repr(variables.type), bipartite=0
            )
        for factors in self.factor_blocks.values():
            result.add_nodes_from(
                ((factors.name, i) for i in range(factors.count)), kind="factor", type=repr(factors.factor), bipartite=1
            )
            for number, port in enumerate(factors.ports):
                rows = port.index.reshape(factors.count, -1)
                result.add_edges_from(
                    (((factors.name, f), (port.name, int(v))) for f, row in enumerate(rows) for v in row if v >= 0), port=number
                )
        return result

    # Summaries.

    def _headline(self) -> str:
        def counted(number: int, noun: str) -> str:
            return f"{number:,} {noun}{'' if number == 1 else 's'}"

        parts = [
            counted(self.num_variables, "variable"),
            counted(self.num_factors, "factor"),
            counted(self.num_edges, "edge"),
            counted(self.components()[0], "component"),
            "a forest" if self.is_forest else "with cycles",
        ]
        return "FactorGraph: " + ", ".join(parts)

    def _rows(self) -> list[tuple[str, str, str]]:
        rows = []
        for block in self.variable_blocks.values():
            observed = 0 if block.observed is None else int(block.observed.sum())
            rows.append((block.name, repr(block.type), f"shape {block.shape}" + (f", {observed} observed" if observed else "")))
        for factors in self.factor_blocks.values():
            ports = ", ".join(f"{port.name}{list(port.shape)}" for port in factors.ports)
            noun = "factor" if factors.count == 1 else "factors"
            rows.append((factors.name, repr(factors.factor), f"{factors.count:,} {noun} on {ports}"))
        return rows

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
        lines = [f"  {name:{widths[0]}}   {kind:{widths[1]}}  {rest}" for name, kind, rest in rows]
        return "\n".join([self._headline(), *lines])

    def _repr_html_(self) -> str:
        from factorgraph.drawing.notebook import graph_html

        return graph_html(self, self._headline(), self._rows())
