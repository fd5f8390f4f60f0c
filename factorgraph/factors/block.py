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
    What a block factor sees of the array of variables (the plate) at one of its ports.

    All arrays are on the device, in the plate's shape. Everything except `observed` is computed once for each change of the
    belief, and shared. If the port is a view of a plate, arrays have the shape of the view and hold the moments of the
    variables at its places. Places outside hold 0.
    """

    @property
    def observed(self) -> bool:
        """Whether the plate is observed."""

    @property
    def mean(self) -> Array:
        """
        Expected values, ``(*shape,)``, damped if the user asked for it. For an observed plate, its values.

        If the values are not numbers, the probabilities of the states, ``(q, *shape)``.
        """

    @property
    def variance(self) -> Array | None:
        """Variance of the belief. None for an observed plate, which has no variance."""

    @property
    def incoming(self) -> Array:
        """
        Natural parameters of the prior and of all messages, except those that this block sent through this port.

        In a view with repeats, all messages of this block are left out, not only the message of one place.
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
    A sum of messages to numbers, each of the form ``exp(field x - curvature x^2 / 2)``.

    Variable types turn it into natural parameters. A single message may have a negative curvature. If the sum over all places
    and ranks is negative, it counts as 0, because no belief has a negative curvature.

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
        Ports at which views may have places without a variable.
    may_share : tuple of str, default ()
        Ports that may see a whole block that another port also sees as a whole.
    """

    ports: tuple[str, ...]
    may_be_outside: tuple[str, ...] = ()
    may_share: tuple[str, ...] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        refuse_old_names(cls)

    def arranged(self, ports: Sequence[Any]) -> Sequence[Any]:
        """
        Give the views on which the block works, from the `factorgraph.Variables` that were given to ``add_factors``. Optional.

        This is for blocks that take arrays of several shapes but work on one, for example
        ``port.reshape(len(port), -1)``. Refuse what cannot be arranged, as in `bind`. By default, ports stay as they are.
        """
        return ports

    @abstractmethod
    def bind(self, types: Sequence[VariableType], shapes: Sequence[tuple[int, ...]]) -> None:
        """
        Learn which plates there are. Refuse those that the block cannot take, with a ValueError or TypeError that says why.

        The method is called once, when the block is added to a graph. It may keep what it learns on ``self``.
        """

    @abstractmethod
    def update(
        self, ports: Sequence[Port], memory: dict[str, Any], asked: Sequence[int], backend: Backend
    ) -> Sequence[Array | Quadratic]:
        """
        Give the sums of the block's messages to the plates that are asked for.

        Parameters
        ----------
        ports : sequence of Port
            The beliefs at the block's ports.
        memory : dict
            Belongs to the block and is empty at first. It is kept from step to step, for caches and for what is needed of the
            step before.
        asked : sequence of int
            Positions of the ports for which sums are wanted.
        backend : Backend

        Returns
        -------
        list of arrays
            Natural parameters ``(*param_shape, *plate shape)``, one array for each port that is asked for. For a view, the
            array has its shape, with one message for each place; the engine adds them up for each variable. For types of
            numbers, `Quadratic` sums may be given instead.
        """

    def carried(self, observed: Sequence[bool]) -> Sequence[str] | None:
        """
        Say what must be kept of the memory, so that steps can be recorded and replayed without calling `update`. Optional.

        Parameters
        ----------
        observed : for each port whether its plate is

        Returns
        -------
        Names of the entries of the memory, arrays or tuples of arrays, that one step reads from the step before. All other
        entries are caches. None, the default, means that steps cannot be recorded, because they exchange values with the host.
        """
        return None

    def log_partition(self, ports: Sequence[Port], memory: dict[str, Any], backend: Backend) -> Array:
        """
        The block's terms of Bethe's free energy, ``()``; optional.

        The sum over its factors of log Z_a, the local sum over normalised cavities, and over its edges of log Z_av - log Z_v,
        the log-partitions of the variable's cavity and of its belief: see `Result.log_partition`.
        """
        raise NotImplementedError(f"{self!r} has no Bethe free energy")
