"""Blocks of variables and factors: arrays that users index and pass around, and checks of what is said about them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors import BlockFactor, Factor
from factorgraph.factors.bound import BoundFactor
from factorgraph.variables import DiscreteType, VariableType


class Variables:
    """
    A block of like variables, or a part of one: an array of variables that indexes like a NumPy array.

    Made by `FactorGraph.add_variables`. Integers, slices, boolean and integer arrays, ``...`` and `reshape` all give
    Variables again; nothing is copied but indices.

    Attributes
    ----------
    block : VariableBlock
        The block that the variables belong to.
    index : integer array
        Positions in the block; its shape is the shape of this array of variables. -1 where there is none: see `gather`.
    shape : tuple of int
    outside : bool
        Whether -1 may occur.
    rows, length : integer array and int, or None
        The same positions in one row as runs of ``length`` variables that follow each other: number of the run, -1 outside.
        Known where whole blocks were gathered or reshaped; their index is then worked out where somebody asks for it.
    """

    __slots__ = ("_index", "block", "length", "outside", "rows", "shape")

    def __init__(self, block: VariableBlock, index: np.ndarray, outside: bool = False) -> None:
        self.block = block
        self._index: np.ndarray | None = index
        self.shape: tuple[int, ...] = index.shape
        self.outside = outside
        whole = index is block.whole
        self.rows: np.ndarray | None = np.zeros(1, dtype=np.int64) if whole else None
        self.length = block.size if whole else 1

    @classmethod
    def of_rows(
        cls, block: VariableBlock, rows: np.ndarray, length: int, shape: tuple[int, ...], outside: bool = False
    ) -> Variables:
        """Variables that are runs of their block."""
        found = cls.__new__(cls)
        found.block, found._index, found.shape, found.outside = block, None, shape, outside
        found.rows, found.length = rows, length
        return found

    @property
    def index(self) -> np.ndarray:
        if self._index is None:
            assert self.rows is not None
            places = self.rows[:, None] * self.length + np.arange(self.length)
            places[self.rows < 0] = -1
            self._index = places.reshape(self.shape)
        return self._index

    @property
    def name(self) -> str:
        """Name of the block."""
        return self.block.name

    @property
    def type(self) -> VariableType:
        """Type of the variables."""
        return self.block.type

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of variables."""
        return math.prod(self.shape)

    @property
    def T(self) -> Variables:
        """Transposed."""
        return Variables(self.block, self.index.T, self.outside)

    def __len__(self) -> int:
        return len(self.index) if not self.shape else self.shape[0]

    def __iter__(self) -> Iterator[Variables]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Variables:
        try:
            return Variables(self.block, np.asarray(self.index[key]), self.outside)
        except IndexError as error:
            raise IndexError(f"variables {self.name!r} of shape {self.shape}: {error}") from None

    def reshape(self, *shape: Any) -> Variables:
        """The same variables in another shape, as `numpy.reshape`."""
        if self.rows is None:
            return Variables(self.block, self.index.reshape(*shape), self.outside)
        new = np.lib.stride_tricks.as_strided(np.zeros(1, dtype=np.int8), self.shape, [0] * self.ndim)
        return Variables.of_rows(self.block, self.rows, self.length, new.reshape(*shape).shape, self.outside)

    def ravel(self) -> Variables:
        """The same variables in one row."""
        return self.reshape(-1)

    def gather(self, places: Any) -> Variables:
        """
        Entries of the first axis, as ``x[places]``, but for -1: there is none, as outside of an image.

        Ports of block factors take such views where they say so: a convolution is a layer on gathered columns.

        Parameters
        ----------
        places : array of whole numbers from -1 to ``len(self) - 1``

        Examples
        --------
        >>> import factorgraph as fg
        >>> x = fg.FactorGraph().add_variables("x", fg.Spin(), 4)
        >>> x.gather([[-1, 0, 1], [2, 3, -1]]).index
        array([[-1,  0,  1],
               [ 2,  3, -1]])
        """
        chosen = np.asarray(places)
        if not self.shape:
            raise IndexError(f"{self.name!r} is a single variable: there is nothing to gather")
        if not chosen.size:
            chosen = chosen.astype(np.int64)
        if chosen.dtype.kind not in "iu" or (chosen.size and not (-1 <= chosen.min() and chosen.max() < len(self))):
            raise IndexError(f"variables {self.name!r}: places must be whole numbers from -1 to {len(self) - 1}")
        shape, outside = (*chosen.shape, *self.shape[1:]), self.outside or bool((chosen < 0).any())
        each = self.size // len(self)  # variables of an entry
        if self.rows is None or (each % self.length and self.length % each):
            found = self.index[chosen]
            found[chosen < 0] = -1
            return Variables(self.block, found, outside)
        rows, length = self.rows, min(self.length, each)
        if self.length > length:  # an entry is a part of a run
            parts = self.length // length
            rows = np.where(rows[:, None] < 0, -1, rows[:, None] * parts + np.arange(parts))
        found = rows.reshape(len(self), -1)[chosen]
        found[chosen < 0] = -1
        return Variables.of_rows(self.block, found.reshape(-1), length, shape, outside)

    @property
    def is_whole(self) -> bool:
        """Whether this is all of its block, in the block's own order and shape."""
        return self._index is self.block.whole

    def __repr__(self) -> str:
        return f"<Variables {self.name!r}: {self.type!r}, shape {self.shape}>"


@dataclass(frozen=True, eq=False)
class Concatenation:
    """Variables of several blocks, one after another at a plural port of a factor; made by `concatenate`."""

    parts: tuple[Variables, ...]

    def __repr__(self) -> str:
        return f"<Concatenation of {', '.join(map(repr, self.parts))}>"


def concatenate(*parts: Variables) -> Variables | Concatenation:
    """
    Variables of several blocks for one plural port of a factor, one after another along the last axis.

    Parameters
    ----------
    *parts : Variables
        Of one type; their shapes are equal but for the last axis.

    Raises
    ------
    ValueError, TypeError
        Nothing is given, shapes do not fit, types differ, or a part is not Variables.

    Examples
    --------
    The bits of each check and its syndrome, which may be wrong itself:

    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> bits, syndrome = graph.add_variables("bits", fg.Spin(), 4), graph.add_variables("syndrome", fg.Spin(), 3)
    >>> pairs = bits[[[0, 1], [1, 2], [2, 3]]]
    >>> _ = graph.add_factors("check", fg.Parity(), fg.concatenate(pairs, syndrome[:, None]))
    >>> graph.observe(syndrome, [1, -1, 1])
    >>> graph.observe(bits[0], 1)
    >>> fg.run(graph).mode(bits)
    array([ 1,  1, -1, -1])
    """
    if not parts:
        raise ValueError("concatenate takes variables of one block at least")
    for number, part in enumerate(parts):
        if not isinstance(part, Variables):
            raise TypeError(f"concatenate: part {number} must be Variables, not {part!r}")
        if not part.ndim:
            raise ValueError(f"concatenate: {part.name!r} is a single variable; give it an axis, as {part.name}[None]")
        if part.shape[:-1] != parts[0].shape[:-1]:
            raise ValueError(
                f"concatenate: shapes must be equal but for the last axis: {parts[0].name!r} has {parts[0].shape}, "
                f"{part.name!r} has {part.shape}"
            )
        if part.type != parts[0].type:
            raise TypeError(f"concatenate: variables must be of one type: {parts[0].type!r} and {part.type!r} are two")
        if part.outside:
            raise ValueError(f"concatenate: {part.name!r} has places without a variable (-1)")
    joined: list[Variables] = []
    for part in parts:
        if joined and joined[-1].block is part.block:
            index = np.concatenate([joined[-1].index, part.index], axis=-1)
            joined[-1] = Variables(part.block, index)
        else:
            joined.append(part)
    return joined[0] if len(joined) == 1 else Concatenation(tuple(joined))


@dataclass(eq=False)
class VariableBlock:
    """A block of like variables with its prior and evidence, arrays variables-first."""

    name: str
    type: VariableType
    shape: tuple[int, ...]
    whole: np.ndarray
    prior: np.ndarray | None = None  # (n, *param_shape); None: no prior
    observed: np.ndarray | None = None  # (n,) bool; None: nothing observed
    values: np.ndarray | None = None  # (n, *value_shape) observed values

    @property
    def size(self) -> int:
        return self.whole.size


@dataclass(eq=False)
class Factors:
    """
    A block of like factors; made by `FactorGraph.add_factors`.

    Attributes
    ----------
    name : str
    factor : Factor or BlockFactor
    ports : tuple of Variables
        One for each port: ``(F,)`` variables, ``(F, d)`` at plural ports, whole plates for block factors.
    count : int
        Number of factors F; 1 for a block factor.
    """

    name: str
    factor: Factor | BlockFactor
    ports: tuple[Variables, ...]
    count: int
    _bound: BoundFactor | None = field(default=None, repr=False)

    @property
    def is_block(self) -> bool:
        """Whether this is one block factor on whole plates, and not edgewise factors."""
        return isinstance(self.factor, BlockFactor)

    @property
    def bound(self) -> BoundFactor:
        """The edgewise factor bound to its variables' types; a block factor has none."""
        if self._bound is None:
            raise TypeError(f"factors {self.name!r} are a block factor, which is not bound as edgewise ones are")
        return self._bound

    @property
    def open_ports(self) -> tuple[int, ...]:
        """Ports that take messages: all but those of data."""
        return tuple(number for number, port in enumerate(self.ports) if port.type.can_be_random)

    @property
    def num_edges(self) -> int:
        """Number of edges; for a block factor, the variables of its plates."""
        return sum(port.size for port in self.ports)

    def nodes(self, first: Mapping[str, int]) -> np.ndarray:
        """
        The variables of each factor, port by port, ``(F, variables)``.

        Parameters
        ----------
        first : number of the first variable of each block, as `FactorGraph.first_nodes` counts them
        """
        return np.concatenate([port.index.reshape(self.count, -1) + first[port.name] for port in self.ports], axis=1)

    def __repr__(self) -> str:
        ports = ", ".join(f"{port.name}{list(port.shape)}" for port in self.ports)
        return f"<Factors {self.name!r}: {self.count} x {self.factor!r} on {ports}>"


def check_prior(variables: Variables, params: ArrayLike, sets: tuple[int, ...] = ()) -> np.ndarray:
    """Prior parameters as a float64 array ``(*sets, *variables.shape, *param_shape)``, or an error that names the block."""
    kind = variables.type
    shape = (*sets, *variables.shape, *kind.param_shape)
    try:
        checked = np.broadcast_to(np.asarray(params, dtype=np.float64), shape)
    except ValueError:
        raise ValueError(f"prior of {variables.name!r} has shape {np.shape(params)}; expected {shape}") from None
    if np.ndim(params) == 0 and math.prod(kind.param_shape) > 1 and np.any(checked != 0.0):
        moments = "; from_moments makes them of a mean and a variance" if hasattr(kind, "from_moments") else ""
        raise ValueError(
            f"prior of {variables.name!r}: {kind!r} takes natural parameters of shape {kind.param_shape}, not a number{moments}"
        )
    front = np.moveaxis(checked.reshape(-1, *kind.param_shape), 0, -1)
    problem = kind.check_prior(front)
    if problem is not None:
        raise ValueError(f"prior of {variables.name!r}: {problem}")
    return checked


def numbers_of(variables: Variables, values: ArrayLike) -> np.ndarray:
    """Observed values as users give them, made numbers, or an error that names the block."""
    with _naming(variables):
        return variables.type.from_labels(values)


def check_values(variables: Variables, values: ArrayLike, sets: tuple[int, ...] = ()) -> np.ndarray:
    """Observed values as an array ``(*sets, *variables.shape, *value_shape)``, or an error that names the block."""
    checked = _spread_values(variables, values, sets)
    value_shape = variables.type.value_shape
    with _naming(variables):
        variables.type.observe(checked.reshape(-1, *value_shape).T if value_shape else checked.ravel(order="K"))
    return checked


def positions_of(variables: Variables, values: ArrayLike, sets: tuple[int, ...] = ()) -> np.ndarray:
    """Positions of the states of observed discrete variables, ``(*sets, *variables.shape)``, or an error naming the block."""
    checked = _spread_values(variables, values, sets)
    assert isinstance(variables.type, DiscreteType)
    with _naming(variables):
        return variables.type.position(checked)


@contextmanager
def _naming(variables: Variables) -> Iterator[None]:
    """An error about observed values says whose they are."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"observed values of {variables.name!r}: {error}") from None


def _spread_values(variables: Variables, values: ArrayLike, sets: tuple[int, ...]) -> np.ndarray:
    """Observed values of all variables, or an error that says what is wrong with their shape or type."""
    shape = (*sets, *variables.shape, *variables.type.value_shape)
    try:
        checked = np.broadcast_to(np.asarray(values), shape)
    except ValueError:
        raise ValueError(f"observed values of {variables.name!r} have shape {np.shape(values)}; expected {shape}") from None
    if checked.dtype.kind not in "biuf":
        raise TypeError(f"observed values of {variables.name!r} must be numbers, not {checked.dtype}")
    return checked


def check_distinct(ports: Sequence[Variables]) -> None:
    """Refuse a factor that meets the same variable twice."""
    for block in {port.block.name: port.block for port in ports}.values():
        columns = [port.index.reshape(len(port.index), -1) for port in ports if port.block is block]
        if sum(column.shape[1] for column in columns) < 2:
            continue
        if len(columns) == 2 and columns[0].shape[1] == columns[1].shape[1] == 1:
            twice = columns[0] == columns[1]
            values = columns[0]
        else:
            values = np.sort(np.concatenate(columns, axis=1), axis=1)
            twice = values[:, 1:] == values[:, :-1]
        if twice.any():
            factor, place = (int(i) for i in np.argwhere(twice)[0])
            where = tuple(int(i) for i in np.unravel_index(values[factor, place], block.shape))
            raise ValueError(f"factor {factor} meets variable {block.name!r}{list(where)} twice")
