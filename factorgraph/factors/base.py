"""The contract of edgewise factor types.

A factor type is written in the least of three forms that serves: a function of the states (`Factor.log_potential`), the
log of the local sum (`Factor.log_partition`), or the messages themselves (`Factor.messages`). `bound.BoundFactor` makes the
three forms one for the engine.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from factorgraph.backends import Array
from factorgraph.semiring import Semiring
from factorgraph.variables import VariableType

Parameters = Mapping[str, Array]


class Rows(NamedTuple):
    """
    Linear relations ``a x = b + noise`` of all numbers at a factor's ports, the noise of the rows independent.

    Attributes
    ----------
    coefficients : (rows, numbers, F or 1), port by port
    offsets, variances : (rows, F or 1)
    log_scale : (F or 1,) the log-density of a factor is the sum of those of its rows, and this
    """

    coefficients: np.ndarray
    offsets: np.ndarray
    variances: np.ndarray
    log_scale: np.ndarray


class Factor:
    """
    Base class of edgewise factor types. Override at least one of the three forms.

    An instance stands for all factors of a block: its own arrays may have one entry for each factor.

    Attributes
    ----------
    arity : int or None
        Number of ports; None for any.
    plural : tuple of int
        Ports that take several variables of a kind; their messages have one more axis, ``(*param_shape, d, F)``.
    pointwise : bool
        Whether `log_potential` follows the states that it is given, so that it can be asked of one configuration of each factor
        too, ``(F,)`` states at each port; not so where it returns a table whatever it is given. False is always safe.
    approximates : bool
        Whether messages are approximations that depend on what comes in at their own port: then no single pass is exact, and a
        forest is passed through again and again.
    device_source : str
        Functions in C++ that bodies of `device_messages` call, each ``DEVICE void NAME(...)``.
    """

    arity: ClassVar[int | None] = None
    plural: ClassVar[tuple[int, ...]] = ()
    pointwise: ClassVar[bool] = False
    approximates: ClassVar[bool] = False
    device_source: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        refuse_old_names(cls)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        """
        Take note of the variables of a block, and refuse those that the factor cannot take; optional.

        Called once on a copy of the factor that is this block's own, so that it may keep what it learns on ``self``.

        Parameters
        ----------
        types : the variable type at each port
        widths : number of variables at each port, 1 except at plural ports
        count : number of factors

        Raises
        ------
        ValueError, TypeError
            With what is wrong; the engine puts the block's name before it.
        """

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        """Host arrays that `log_partition` and `messages` need, the factor axis last, of length ``count`` or 1."""
        return {}

    def merge_key(self) -> Hashable | None:
        """
        What small blocks of this type must share, beside the types and numbers of their variables, to run as one; optional.

        Their parameters are then joined along the factor axis, and the first block's factor is called with those: so all
        that `messages`, `log_partition`, `marginals` and `device_messages` read off the factor itself must be in the key,
        ``()`` where that is nothing. None, the default: each block runs alone. Factors that give `log_potential` alone need
        no key.
        """
        return None

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        """Whether a message may be infinite though the incoming ones are finite. True, the default, is always safe."""
        return True

    def passes_certainty(self, parameters: Mapping[str, np.ndarray]) -> bool:
        """Whether a message may be infinite where incoming ones are. Default: where it may be in any case."""
        return self.can_be_hard(parameters)

    def certainty_needs_all(self) -> bool:
        """
        Whether a message is infinite only where all other incoming ones are.

        Evidence then makes no infinite message as long as two variables of each factor are free. False, the default, is always
        safe.
        """
        return False

    def log_potential(self, *states: np.ndarray) -> np.ndarray:
        """
        First form: the log-potential, vectorised over states and factors.

        Parameters
        ----------
        *states : one array of state values for each port, shaped to broadcast: ``(q_0, 1, 1)``, ``(1, q_1, 1)``, ... whose
            last axis is that of the factors. A plural port of d variables gives d arrays.

        Returns
        -------
        array that broadcasts to ``(q_0, q_1, ..., F)``; -inf for configurations that are ruled out
        """
        raise NotImplementedError

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """
        Second form: log of the sum over all states of potential times incoming densities.

        Parameters
        ----------
        incoming : natural parameters, one ``(*param_shape, F)`` array for each port (``(*param_shape, d, F)`` if plural).
            Infinite entries mean certainty, with weight 1 for what is certain.
        parameters : what `parameters` gave, on the device
        semiring : reduces states by log-sum-exp or by maximum; gives the array namespace ``semiring.xp``

        Returns
        -------
        (F,) array
        """
        raise NotImplementedError

    def centred_log_partition(
        self, incoming: Sequence[Array], values: Sequence[Array], parameters: Parameters, semiring: Semiring
    ) -> Array:
        """
        The log-potential at some values, plus the log-partition with all counted from there; optional, for real variables.

        ``values`` are the means of the beliefs; each incoming density is taken with its curvature only, centred there. At the
        means all first-order terms cancel between factors and variables, so that with `Gaussian.centre` these are the terms of
        Bethe's free energy, without the large ones that cancel where something is known very sharply.

        Returns
        -------
        (F,) array
        """
        raise NotImplementedError(f"{type(self).__name__} has no centred log-partition")

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        """
        Third form: outgoing messages at full speed.

        Parameters
        ----------
        incoming, parameters, semiring : as in `log_partition`; ``incoming`` may not be overwritten
        ports : the ports whose messages are asked for

        Returns
        -------
        list of natural parameters, one array shaped as ``incoming[p]`` for each asked port p
        """
        raise NotImplementedError

    def device_messages(self, types: Sequence[VariableType], widths: Sequence[int], mode: str) -> str | None:
        """
        The messages in C++: the twin of `messages` for backends with kernels, which then do a whole step in one launch.

        Parameters
        ----------
        types, widths : as in `bind`
        mode : {"sum", "max"}

        Returns
        -------
        Body of a function of one factor, or None, the default, which leaves it to array operations. ``T`` is the floating-point
        type; ``in`` holds the natural parameters of all ports one after another (a plural port's variables in turn), ``out``
        takes the messages in the same order; a parameter is an array of its name, its entries in C order without the factor
        axis: ``coupling[0]``. Incoming parameters are finite, but for evidence.
        """
        return None

    def relation(self, incoming: Sequence[Array], parameters: Parameters, ports: tuple[int, int], semiring: Semiring) -> Array:
        """
        A factor of variables of one type as a relation of two of them, for chains and trees in few rounds; optional.

        Parameters
        ----------
        incoming, parameters, semiring : as in `messages`; what comes in at the two ports is not to be used
        ports : of the relation's first and second variable

        Returns
        -------
        (*shape, F or 1) array in the form of the type's `factorgraph.variables.VariableType.relations`; NaN where a factor has
        no such form
        """
        raise NotImplementedError(f"{type(self).__name__} is no relation of two variables")

    def linear(self, parameters: Mapping[str, np.ndarray]) -> Rows:
        """A factor of normal variables as rows ``a x = b + noise``, for exact answers by linear algebra; optional."""
        raise NotImplementedError(f"{type(self).__name__} is no linear relation")

    def given(self, state: int) -> Factor:
        """
        What is left of a factor where the discrete variable at its first port is in a state, given by position; optional.

        The factor of the other variables is to be a linear relation: graphs of such factors have exact answers as mixtures.
        """
        raise NotImplementedError(f"{type(self).__name__} is no linear relation in each state of a variable")

    def marginals(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """
        Joint belief of each factor's variables, for types whose variables cannot be enumerated.

        Returns
        -------
        array in the type's own terms, the factor axis last
        """
        raise NotImplementedError

    def gradient(self, marginals: np.ndarray) -> np.ndarray:
        """
        Derivative of the log-partition by the potentials that the factor was made with, shaped as those.

        Parameters
        ----------
        marginals : (F, q_0, ..., q_k) joint beliefs
        """
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    @classmethod
    def gives(cls, form: str) -> bool:
        """Whether the type has its own method of that name."""
        return getattr(cls, form) is not getattr(Factor, form)


def refuse_old_names(kind: type) -> None:
    """Refuse a factor type whose `Factor.bind` still has the name that it had: it would never be called."""
    if "check" in vars(kind):
        raise TypeError(f"{kind.__name__}.check: this method is now called bind; rename it to bind")


def for_each_factor(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter ``(F or 1,)`` as one entry for each factor, and each set of a batch: ``(F,)`` or ``(F, B)``."""
    return np.broadcast_to(values.reshape(-1, *(1,) * (len(shape) - 1)), shape)
