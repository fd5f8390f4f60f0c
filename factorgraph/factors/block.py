"""The contract of block factors: factor blocks whose edges are all pairs of whole plates, or of views of them.

Their edges are too many to store or to index one by one. The engine hands the block its ports' beliefs, and takes from it
the sum of its messages into each plate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from factorgraph.backends import Array, Backend
from factorgraph.factors.base import refuse_old_names
from factorgraph.variables import VariableType


class Port(Protocol):
    """
    What a block factor sees of the plate at one of its ports. All arrays are on the device, in the plate's shape.

    Everything but `observed` is computed once for each change of the belief and shared by all who ask. Where the port is a view
    of a plate, shapes are the view's, and moments those of the variables at its places; outside there is 0.
    """

    @property
    def observed(self) -> bool:
        """Whether the plate is data."""

    @property
    def mean(self) -> Array:
        """
        Expected values, ``(*shape,)``, damped where the user asked for it; the values of an observed plate.

        Probabilities, ``(q, *shape)``, where values are no numbers.
        """

    @property
    def variance(self) -> Array | None:
        """Variance of the belief; None for an observed plate, which has none."""

    @property
    def incoming(self) -> Array:
        """
        Natural parameters of the plate without this block's own messages at this port: prior and all others.

        In a view with repeats all of these are left out, not only the message of one place.
        """

    def cavity_mean(self, messages: Array, old: Array | None, rows: slice, axis: int) -> Array:
        """
        Means of the belief without some messages of the block's own.

        Parameters
        ----------
        messages : natural parameters to be taken out, in the shape of some rows of the plate with one more axis
        old : the same means in the sweep before, which damping averages with, and which may be overwritten; None: as they are
        rows : of the plate's first axis
        axis : the axis that ``messages`` have more
        """

    @property
    def version(self) -> int:
        """A number that changes whenever the belief does; compare it to reuse what was computed from the belief."""


class Quadratic(NamedTuple):
    """
    A sum of messages to numbers, each ``exp(field x - curvature x^2 / 2)``, which types make natural parameters of.

    A message may have a negative curvature, which no belief can take; their sum, over all places and ranks, counts as 0 then.

    Attributes
    ----------
    field, curvature : as the natural parameters, without the axes of parameters
    """

    field: Array
    curvature: Array


class BlockFactor(ABC):
    """
    Base class of block factors.

    Attributes
    ----------
    ports : tuple of str
        Names of the ports, in the order in which ``add_factors`` takes the plates.
    may_be_outside : tuple of str, default ()
        Those at which views may have places without a variable.
    may_share : tuple of str, default ()
        Those that may see a whole block that another port sees whole, too.
    """

    ports: tuple[str, ...]
    may_be_outside: tuple[str, ...] = ()
    may_share: tuple[str, ...] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        refuse_old_names(cls)

    def arranged(self, ports: Sequence[Any]) -> Sequence[Any]:
        """
        The views that the block works on, from the `factorgraph.Variables` that ``add_factors`` was given; optional.

        For blocks that take arrays of several shapes, and work on one: ``port.reshape(len(port), -1)``. What cannot be
        arranged is refused as by `bind`. Default: as they are.
        """
        return ports

    @abstractmethod
    def bind(self, types: Sequence[VariableType], shapes: Sequence[tuple[int, ...]]) -> None:
        """
        Take note of the plates, and refuse those that the block cannot take, with a ValueError or TypeError that says why.

        Called once, when the block is added to a graph; it may keep what it learns on ``self``.
        """

    @abstractmethod
    def update(
        self, ports: Sequence[Port], memory: dict[str, Any], asked: Sequence[int], backend: Backend
    ) -> Sequence[Array | Quadratic]:
        """
        Sums of the block's messages into the asked plates.

        Parameters
        ----------
        ports : the beliefs at the block's ports
        memory : the block's own, empty at first; kept from step to step with the messages, for caches and for
            what first-order cavities need of the step before
        asked : positions of the ports whose totals are wanted
        backend : Backend

        Returns
        -------
        list of natural parameters ``(*param_shape, *plate shape)``, one for each asked port; of a view in its shape, one
        message for each place: they are added up for each variable. `Quadratic` in their place for types of numbers.
        """

    def carried(self, observed: Sequence[bool]) -> Sequence[str] | None:
        """
        What must be kept of the memory, so that steps may be recorded and replayed without calling `update`; optional.

        Parameters
        ----------
        observed : for each port whether its plate is

        Returns
        -------
        Names of the entries of the memory, arrays or tuples of arrays, that one step reads from the step before; all others
        are caches. None, the default: steps cannot be recorded, as they read values back to the host, or send some.
        """
        return None

    def log_partition(self, ports: Sequence[Port], memory: dict[str, Any], backend: Backend) -> Array:
        """
        The block's terms of Bethe's free energy, ``()``; optional.

        The sum over its factors of log Z_a, the local sum over normalised cavities, and over its edges of log Z_av - log Z_v,
        the log-partitions of the variable's cavity and of its belief: see `Result.log_partition`.
        """
        raise NotImplementedError(f"{self!r} has no Bethe free energy")
