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
DeviceMessages = str | tuple[str, str] | None
"""What `Factor.device_messages` returns."""


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
    Base class of edgewise factor types.

    Override at least one of three methods: `log_potential`, `log_partition` or `messages`. An instance stands for all factors
    of a block: its arrays may have one entry for each factor.

    Attributes
    ----------
    arity : int or None
        Number of ports. None means any number.
    plural : tuple of int
        Ports that take several variables of one type. Their messages have one more axis, ``(*param_shape, d, F)``.
    pointwise : bool
        Whether `log_potential` can also be asked about one configuration of each factor, that is, with ``(F,)`` states at each
        port. A type that returns a whole table, whatever it is given, says False. False is always safe.
    approximates : bool
        Whether messages are approximations that depend on what comes in at their own port. No single pass is exact then, so
        that forests are iterated too.
    device_source : str
        C++ functions that are called in the text of `device_messages`, each ``DEVICE void NAME(...)``.
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
        Learn which variables a block has, and refuse those that the factor cannot take. Optional.

        The method is called once, on a copy of the factor that belongs to this block. It may keep what it learns on ``self``.

        Parameters
        ----------
        types : sequence of VariableType
            The variable type at each port.
        widths : sequence of int
            Number of variables at each port, 1 except at plural ports.
        count : int
            Number of factors.

        Raises
        ------
        ValueError, TypeError
            Says what is wrong. The engine adds the name of the block.
        """

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        """Give the arrays that `log_partition` and `messages` need. Their last axis has the length ``count``, or 1."""
        return {}

    def merge_key(self) -> Hashable | None:
        """
        Say what small blocks of this type must have in common, beside types and numbers of variables, to run as one. Optional.

        Blocks with equal keys are joined: their parameters are put together along the factor axis, and the factor of the first
        block is called with them. So everything that `messages`, `log_partition`, `marginals` and `device_messages` read from
        the factor itself must be in the key. The key is ``()`` if they read nothing. None, the default, means that each block
        runs alone. Factors that give only `log_potential` need no key.
        """
        return None

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        """Whether a message may be infinite although all incoming ones are finite. True, the default, is always safe."""
        return True

    def passes_certainty(self, parameters: Mapping[str, np.ndarray]) -> bool:
        """Whether a message may be infinite when incoming ones are. By default, this is what `can_be_hard` says."""
        return self.can_be_hard(parameters)

    def certainty_needs_all(self) -> bool:
        """
        Whether a message is infinite only if all other incoming messages are.

        Evidence then makes no message infinite as long as two variables of each factor are free. False, the default, is always
        safe.
        """
        return False

    def log_potential(self, *states: np.ndarray) -> np.ndarray:
        """
        First form: give the log-potential, vectorised over states and factors.

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
        Second form: give the log of the sum, over all states, of the potential times the incoming densities.

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
        Third form: give the outgoing messages, at full speed.

        Parameters
        ----------
        incoming, parameters, semiring : as in `log_partition`; ``incoming`` may not be overwritten
        ports : the ports whose messages are asked for

        Returns
        -------
        list of natural parameters, one array shaped as ``incoming[p]`` for each asked port p
        """
        raise NotImplementedError

    def device_messages(self, types: Sequence[VariableType], widths: Sequence[int], mode: str) -> DeviceMessages:
        """
        Give the messages in C++: the same as `messages`, for backends with kernels, which do a whole step in one launch then.

        Parameters
        ----------
        types, widths : as in `bind`
        mode : {"sum", "max"}

        Returns
        -------
        The body of a function for one factor. None, the default, means that array operations are used instead. In the text,
        ``T`` is the floating-point type. ``in`` holds the natural parameters of all ports, one after another; the variables of
        a plural port come in turn. ``out`` takes the messages in the same order. A parameter is an array with its name, without
        the factor axis, in C order: ``coupling[0]``. Incoming parameters are finite, except where there is evidence.

        Or two bodies. The first is a quick one without branches, which a CPU works out for many factors at once; where it does
        not hold, it sets the flag ``holds`` to false, and the factor's messages are those of the second; which is empty where
        the first always holds. In a quick body a ``T`` is several numbers, one for each factor: ``select(a < b, a, b)`` and
        ``larger`` take the place of conditions, and loops run over whole numbers only.
        """
        return None

    def relation(self, incoming: Sequence[Array], parameters: Parameters, ports: tuple[int, int], semiring: Semiring) -> Array:
        """
        Give the factor as a relation of two of its variables, so that chains and trees take few rounds. Optional.

        Parameters
        ----------
        incoming, parameters, semiring : as in `messages`. What comes in at the two ports is not to be used, unless the type
            approximates: then it is what is known at present, for the choice of the relation.
        ports : of the relation's first and second variable

        Returns
        -------
        (*shape, F or 1) array in the form of the type's `factorgraph.variables.VariableType.relations`; NaN where a factor has
        no such form
        """
        raise NotImplementedError(f"{type(self).__name__} is no relation of two variables")

    def linear(self, parameters: Mapping[str, np.ndarray]) -> Rows:
        """Give a factor of normal variables as rows ``a x = b + noise``, for exact answers by linear algebra. Optional."""
        raise NotImplementedError(f"{type(self).__name__} is no linear relation")

    def given(self, state: int) -> Factor:
        """
        Give the factor that is left when the discrete variable at the first port is in the state of this position. Optional.

        This factor of the other variables must be a linear relation. `fg.exact` answers graphs of such factors by mixtures.
        """
        raise NotImplementedError(f"{type(self).__name__} is no linear relation in each state of a variable")

    def marginals(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """
        Give the joint belief about the variables of each factor, for types whose variables cannot be enumerated.

        Returns
        -------
        array in the type's own terms, the factor axis last
        """
        raise NotImplementedError

    def gradient(self, marginals: np.ndarray) -> np.ndarray:
        """
        Give the derivative of the log-partition by the potentials with which the factor was made, in their shape.

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
        raise TypeError(
            f"{kind.__name__}.check: if this method learns of a block's variables, it is now called bind(types, widths, "
            "count); if it does something else, give it another name"
        )


def for_each_factor(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter ``(F or 1,)`` as one entry for each factor, and each set of a batch: ``(F,)`` or ``(F, B)``."""
    return np.broadcast_to(values.reshape(-1, *(1,) * (len(shape) - 1)), shape)
